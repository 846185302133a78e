/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Threads that copy from the GPU at the same time, each behind a kernel of its own stream: all of
 * their copies are under way before the first one ends.
 *
 *     copies_driver IMAGE THREADS
 *
 * IMAGE has the kernel spin(ns).
 */
#include <pthread.h>

#include "tests/cuda/client.h"

#define BYTES (6u << 20)
#define SPIN_NS 50000000u
#define THREADS_MAX 32

static CUcontext context;
static CUfunction spin;
static unsigned wrong;

static void *copy(void *opaque)
{
    unsigned char *host = calloc(1, BYTES), fill = (unsigned char)(uintptr_t)opaque;
    unsigned ns = SPIN_NS;
    void *params[] = {&ns};
    CUdeviceptr memory;
    CUstream stream;

    if (cuCtxSetCurrent(context) || cuStreamCreate(&stream, 1) || cuMemAlloc(&memory, BYTES) ||
        cuMemsetD32(memory, 0x01010101u * fill, BYTES / 4) || cuCtxSynchronize() ||
        cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL) ||
        cuMemcpyDtoHAsync(host, memory, BYTES, stream) || cuStreamSynchronize(stream) ||
        host[0] != fill || host[BYTES - 1] != fill) {
        __atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
    }
    free(host);
    return NULL;
}

int main(int argc, char **argv)
{
    int count = argc == 3 ? atoi(argv[2]) : 0;
    pthread_t threads[THREADS_MAX];
    CUmodule module;

    if (count < 1 || count > THREADS_MAX || !find_functions() || cuInit(0) ||
        cuDevicePrimaryCtxRetain(&context, 0) || cuCtxSetCurrent(context) ||
        cuModuleLoadData(&module, read_image(argv[1])) ||
        cuModuleGetFunction(&spin, module, "spin")) {
        printf("it did not come so far\n");
        return 1;
    }
    for (int i = 0; i < count; i++) {
        pthread_create(&threads[i], NULL, copy, (void *)(uintptr_t)(i + 1));
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("%u wrong\n", wrong);
    return wrong != 0;
}
