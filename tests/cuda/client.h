/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header has what programs of tests/cuda need of the driver interface.  They find libcuda.so.1
 * as any program does, and its functions by cuGetProcAddress, so they run natively and on our
 * library unchanged.
 */
#ifndef TESTS_CUDA_CLIENT_H
#define TESTS_CUDA_CLIENT_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/driver_types.h"

static CUresult (*get_proc)(const char *, void **, int, uint64_t, int *);
/* Functions come from cuGetProcAddress, as programs of today ask for them. */
#define F(name, ...) static CUresult (*name)(__VA_ARGS__);
#define FUNCTIONS(X)                                                                               \
    X(cuInit, unsigned)                                                                            \
    X(cuDeviceGet, CUdevice *, int)                                                                \
    X(cuDeviceGetName, char *, int, CUdevice)                                                      \
    X(cuDeviceGetAttribute, int *, int, CUdevice)                                                  \
    X(cuDeviceTotalMem, size_t *, CUdevice)                                                        \
    X(cuDevicePrimaryCtxRetain, CUcontext *, CUdevice)                                             \
    X(cuDevicePrimaryCtxRelease, CUdevice)                                                         \
    X(cuCtxSetCurrent, CUcontext)                                                                  \
    X(cuCtxSynchronize, void)                                                                      \
    X(cuMemAlloc, CUdeviceptr *, size_t)                                                           \
    X(cuMemFree, CUdeviceptr)                                                                      \
    X(cuMemGetInfo, size_t *, size_t *)                                                            \
    X(cuMemHostAlloc, void **, size_t, unsigned)                                                   \
    X(cuMemFreeHost, void *)                                                                       \
    X(cuMemcpyHtoD, CUdeviceptr, const void *, size_t)                                             \
    X(cuMemcpyDtoH, void *, CUdeviceptr, size_t)                                                   \
    X(cuMemcpyDtoD, CUdeviceptr, CUdeviceptr, size_t)                                              \
    X(cuMemcpyHtoDAsync, CUdeviceptr, const void *, size_t, CUstream)                              \
    X(cuMemcpyDtoHAsync, void *, CUdeviceptr, size_t, CUstream)                                    \
    X(cuMemsetD32, CUdeviceptr, unsigned, size_t)                                                  \
    X(cuModuleLoadData, CUmodule *, const void *)                                                  \
    X(cuModuleUnload, CUmodule)                                                                    \
    X(cuModuleGetFunction, CUfunction *, CUmodule, const char *)                                   \
    X(cuLaunchKernel, CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,      \
      unsigned, CUstream, void **, void **)                                                        \
    X(cuStreamCreate, CUstream *, unsigned)                                                        \
    X(cuStreamDestroy, CUstream)                                                                   \
    X(cuStreamSynchronize, CUstream)                                                               \
    X(cuStreamWaitEvent, CUstream, CUevent, unsigned)                                              \
    X(cuEventCreate, CUevent *, unsigned)                                                          \
    X(cuEventRecord, CUevent, CUstream)                                                            \
    X(cuEventSynchronize, CUevent)                                                                 \
    X(cuEventQuery, CUevent)                                                                       \
    X(cuEventElapsedTime, float *, CUevent, CUevent)                                               \
    X(cuEventDestroy, CUevent)                                                                     \
    X(cuDeviceGetDefaultMemPool, CUmemoryPool *, CUdevice)                                         \
    X(cuMemPoolGetAttribute, CUmemoryPool, int, void *)                                            \
    X(cuMemPoolSetAttribute, CUmemoryPool, int, void *)                                            \
    X(cuOccupancyMaxActiveClusters, int *, CUfunction, const CUlaunchConfig *)                     \
    X(cuOccupancyMaxPotentialClusterSize, int *, CUfunction, const CUlaunchConfig *)

FUNCTIONS(F)

/* Is it our library, not the driver? */
static inline int is_ours(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);

    return library && dlsym(library, "vgpu_libcuda_of_a_guest");
}

static inline int find_functions(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    void *symbol = library ? dlsym(library, "cuGetProcAddress_v2") : NULL;
    int status;

    if (!symbol) {
        printf("no driver: %s\n", dlerror());
        return 0;
    }
    memcpy(&get_proc, &symbol, sizeof(symbol));
#define FIND(name, ...)                                                                            \
    if (get_proc(#name, (void **)&name, 12050, 0, &status) != CUDA_SUCCESS || !name) {             \
        printf("no function %s\n", #name);                                                         \
        return 0;                                                                                  \
    }
    FUNCTIONS(FIND)
    return 1;
}

static inline char *read_image(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = calloc(1, 1u << 20);

    if (!file || !text || fread(text, 1, (1u << 20) - 1, file) == 0) {
        printf("cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return text;
}

#endif
