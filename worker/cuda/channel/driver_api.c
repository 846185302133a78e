/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/channel/driver_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "worker/cuda/channel/driver_set.h"

#define DRIVER_DEFAULT "libcuda.so.1"
#define GUEST_MARK "vgpu_libcuda_of_a_guest"
#define DEVICES_MAX 64

static struct driver_api api;

static const struct symbol {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(name) {#name, offsetof(struct driver_api, name)},
    DRIVER_FUNCTIONS(SYMBOL)
#undef SYMBOL
};

/* In place of what an old driver lacks. */
static CUresult missing(void)
{
    return CUDA_ERROR_NOT_SUPPORTED;
}

static const char *wanted_path(void)
{
    const char *path = getenv(DRIVER_PATH_VARIABLE);

    return path && path[0] == '/' ? path : DRIVER_DEFAULT;
}

bool driver_api_expected(const char *gpu_uuid)
{
    return strncmp(gpu_uuid, "CPU-", 4) != 0 || getenv(DRIVER_PATH_VARIABLE);
}

int driver_api_open(const struct driver_api **out)
{
    static bool opened;
    void *library;
    CUresult result;

    *out = &api;
    if (opened) {
        return 0;
    }
    library = dlopen(wanted_path(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        log_error("no CUDA driver for guests' programs: %s", dlerror());
        return -ENOENT;
    }
    if (dlsym(library, GUEST_MARK)) {
        log_error("%s is the library for guests, not the driver: take its folder out of "
                  "LD_LIBRARY_PATH and /etc/ld.so.conf.d of this host",
                  wanted_path());
        dlclose(library);
        return -ELIBBAD;
    }
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *symbol = dlsym(library, symbols[i].name);
        CUresult (*otherwise)(void) = missing;

        memcpy((char *)&api + symbols[i].offset, symbol ? (void *)&symbol : (void *)&otherwise,
               sizeof(void *));
    }
    if (!dlsym(library, "cuCtxRecordEvent") || !dlsym(library, "cuFuncGetParamInfo")) {
        log_error("the CUDA driver is too old for guests' programs: 12.5 (555) or later is needed");
        return -ENOSYS;
    }
    result = api.cuInit(0);
    if (result != CUDA_SUCCESS) {
        log_error("the CUDA driver does not start: error %d", result);
        return -EIO;
    }
    opened = true;
    return 0;
}

int driver_api_device(const struct driver_api *driver, const char *gpu_uuid)
{
    CUdevice device;

    if (strncmp(gpu_uuid, "GPU-", 4) != 0) {
        return 0; /* a MIG slice is all that this process sees; and see DRIVER_PATH_VARIABLE */
    }
    for (int i = 0; i < DEVICES_MAX && driver->cuDeviceGet(&device, i) == CUDA_SUCCESS; i++) {
        CUuuid uuid;
        char text[40];
        size_t at = 0;

        if (driver->cuDeviceGetUuid(&uuid, device) != CUDA_SUCCESS) {
            continue;
        }
        for (unsigned b = 0; b < 16; b++) {
            at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%02x",
                                   b == 4 || b == 6 || b == 8 || b == 10 ? "-" : "",
                                   (uint8_t)uuid.bytes[b]);
        }
        if (strcasecmp(text, gpu_uuid + 4) == 0) {
            return device;
        }
    }
    return -1;
}
