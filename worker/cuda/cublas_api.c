/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/cuda/cublas_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"

static const char *const folders[] = {
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
};
static const unsigned majors[] = {13, 12};

static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol != NULL;
}

static void *open_named(const char *name)
{
    char path[96];

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        void *library;

        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library) {
            log_debug("calls of %s by %s", name, path);
            return library;
        }
    }
    return NULL;
}

void *host_library_open(const char *variable, const char *name)
{
    const char *wanted = getenv(variable);

    if (wanted && *wanted) {
        return wanted[0] == '/' ? dlopen(wanted, RTLD_NOW | RTLD_LOCAL) : NULL;
    }
    return open_named(name);
}

void *cublas_library_open(unsigned major)
{
    char name[32];
    void *library = NULL;

    for (size_t i = 0; i < sizeof(majors) / sizeof(majors[0]) && !library; i++) {
        snprintf(name, sizeof(name), "libcublas.so.%u", majors[i]);
        library = major == 0 || major == majors[i] ? host_library_open("VGPU_CUBLAS", name) : NULL;
    }
    return library;
}

bool cublas_api_open(struct cublas_api *api)
{
    void *library;

    /* Single precision means it: TF32 has 10 bits. */
    setenv("NVIDIA_TF32_OVERRIDE", "0", 1);
    library = cublas_library_open(0);
    return library && find(library, "cublasCreate_v2", &api->Create) &&
           find(library, "cublasSetStream_v2", &api->SetStream) &&
           find(library, "cublasSgemm_v2", &api->Sgemm);
}
