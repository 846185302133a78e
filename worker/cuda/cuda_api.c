/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/cuda_api.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUDA_LIBRARY "libcuda.so.1"

typedef cuda_result (*get_proc_address_fn)(const char *name, void **function, int version,
                                           uint64_t flags, int *status);

static const struct symbol {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(member)                                                                             \
    {                                                                                              \
        "cu" #member, offsetof(struct cuda_api, member)                                            \
    }
    SYMBOL(Init),
    SYMBOL(DriverGetVersion),
    SYMBOL(GetErrorName),
    SYMBOL(GetErrorString),
    SYMBOL(DeviceGetCount),
    SYMBOL(DeviceGet),
    SYMBOL(DeviceGetName),
    SYMBOL(DeviceGetUuid),
    SYMBOL(DeviceTotalMem),
    SYMBOL(DeviceGetAttribute),
    SYMBOL(DevicePrimaryCtxRetain),
    SYMBOL(DevicePrimaryCtxRelease),
    SYMBOL(CtxSetCurrent),
    SYMBOL(ModuleLoadDataEx),
    SYMBOL(ModuleGetFunction),
    SYMBOL(MemAlloc),
    SYMBOL(MemFree),
    SYMBOL(MemsetD8Async),
    SYMBOL(MemsetD32Async),
    SYMBOL(MemcpyHtoDAsync),
    SYMBOL(MemcpyDtoHAsync),
    SYMBOL(MemHostRegister),
    SYMBOL(MemHostUnregister),
    SYMBOL(MemHostAlloc),
    SYMBOL(MemFreeHost),
    SYMBOL(MemHostGetDevicePointer),
    SYMBOL(StreamCreate),
    SYMBOL(StreamQuery),
    SYMBOL(StreamSynchronize),
    SYMBOL(StreamWaitEvent),
    SYMBOL(EventCreate),
    SYMBOL(EventRecord),
    SYMBOL(EventQuery),
    SYMBOL(EventElapsedTime),
    SYMBOL(LaunchKernel),
#undef SYMBOL
};

_Static_assert(sizeof(symbols) / sizeof(symbols[0]) ==
                   sizeof(struct cuda_api) / sizeof(cuda_result(*)(void)),
               "each member of struct cuda_api has its symbol");

void cuda_error_text(const struct cuda_api *api, cuda_result error, char text[CUDA_REASON_BYTES])
{
    const char *name = NULL, *meaning = NULL;

    if (api->GetErrorName(error, &name) != CUDA_OK || !name ||
        api->GetErrorString(error, &meaning) != CUDA_OK || !meaning) {
        snprintf(text, CUDA_REASON_BYTES, "CUDA error %d", error);
        return;
    }
    snprintf(text, CUDA_REASON_BYTES, "%s (%s)", name, meaning);
}

static int find_symbols(struct cuda_api *api, get_proc_address_fn get_proc_address,
                        char reason[CUDA_REASON_BYTES])
{
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *function = NULL;
        int status = 0;
        cuda_result error =
            get_proc_address(symbols[i].name, &function, CUDA_API_VERSION, 0, &status);

        if (error != CUDA_OK || !function) {
            snprintf(reason, CUDA_REASON_BYTES,
                     "the NVIDIA driver has no function %s (error %d): a driver of CUDA 12.0 "
                     "(525) or later is needed",
                     symbols[i].name, error);
            return -ENOSYS;
        }
        memcpy((char *)api + symbols[i].offset, &function, sizeof(function));
    }
    return 0;
}

int cuda_api_open(struct cuda_api *api, char reason[CUDA_REASON_BYTES])
{
    void *library = dlopen(CUDA_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    get_proc_address_fn get_proc_address;
    void *symbol;
    cuda_result error;
    int status;

    if (!library) {
        snprintf(reason, CUDA_REASON_BYTES, "no NVIDIA driver: %s", dlerror());
        return -ENOENT;
    }
    symbol = dlsym(library, "cuGetProcAddress_v2");
    if (!symbol) {
        snprintf(reason, CUDA_REASON_BYTES,
                 "the NVIDIA driver is too old: CUDA 12.0 (525) or later is needed");
        return -ENOSYS;
    }
    memcpy(&get_proc_address, &symbol, sizeof(symbol));
    status = find_symbols(api, get_proc_address, reason);
    if (status < 0) {
        return status;
    }
    /*
     * Indices as nvidia-smi counts.  Our kernels are loaded when they are looked up, at the start,
     * so that nothing is left to load once a job may hang; those of cuBLAS when they are used,
     * because to load all takes two seconds.
     */
    setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1);
    setenv("CUDA_MODULE_LOADING", "LAZY", 1);
    error = api->Init(0);
    if (error != CUDA_OK) {
        char text[CUDA_REASON_BYTES];

        cuda_error_text(api, error, text);
        snprintf(reason, CUDA_REASON_BYTES, "the NVIDIA driver does not start: %.100s%s", text,
                 error == CUDA_DRIVER_MISMATCH
                     ? "; its library and its kernel module differ, as after an upgrade: load the "
                       "new module, or reboot"
                     : "");
        return error == CUDA_NO_DEVICE ? -ENODEV : -EIO;
    }
    return 0;
}
