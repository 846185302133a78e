/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/cublas_api.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

static const char *const places[] = {
    "/usr/local/cuda/lib64/libcublas.so.13",
    "/usr/local/cuda/lib64/libcublas.so.12",
    "/usr/lib/x86_64-linux-gnu/libcublas.so.13",
    "/usr/lib/x86_64-linux-gnu/libcublas.so.12",
    "/usr/lib64/libcublas.so.13",
    "/usr/lib64/libcublas.so.12",
};

static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static bool open_at(struct cublas_api *api, const char *path)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!library) {
        return false;
    }
    if (find(library, "cublasCreate_v2", &api->Create) &&
        find(library, "cublasSetStream_v2", &api->SetStream) &&
        find(library, "cublasSgemm_v2", &api->Sgemm)) {
        log_debug("products by %s", path);
        return true;
    }
    dlclose(library);
    return false;
}

bool cublas_api_open(struct cublas_api *api)
{
    const char *wanted = getenv("VGPU_CUBLAS");

    /* Single precision means it: TF32 has 10 bits. */
    setenv("NVIDIA_TF32_OVERRIDE", "0", 1);
    if (wanted && *wanted) {
        return wanted[0] == '/' && open_at(api, wanted);
    }
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        if (open_at(api, places[i])) {
            return true;
        }
    }
    return false;
}
