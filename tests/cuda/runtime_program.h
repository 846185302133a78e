/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This header writes by hand what nvcc puts into a program on the CUDA runtime: a fat binary, host
 * functions of kernels, host shadows of variables, and the registration before main().  So a
 * program in C needs no nvcc and runs unchanged natively, on our runtime over NVIDIA's driver, and
 * through us.
 *
 * To be included once, with IMAGE_PTX the path of the PTX (kernels.cu has the source).
 */
#ifndef TESTS_CUDA_RUNTIME_PROGRAM_H
#define TESTS_CUDA_RUNTIME_PROGRAM_H

#include <stdlib.h>

#include "cudart_prototypes.h"

/* A fat binary with one entry, PTX that is not compressed. */
__asm__(".pushsection .nv_fatbin, \"a\"\n"
        ".balign 8\n"
        "fat_binary:\n"
        ".long 0xBA55ED50\n"
        ".short 1, 16\n"
        ".quad 3f - 1f\n"
        "1: .short 1, 0x0101\n" /* PTX */
        ".long 80\n"            /* of header, as the toolkit makes it */
        ".quad 3f - 2f\n"
        ".long 0, 64\n"
        ".short 0, 7\n" /* of PTX 7.0 */
        ".long 60\n"    /* for sm_60 */
        ".long 0, 0\n"
        ".quad 0x11\n"
        ".quad 0, 0\n"
        ".quad 72, 0\n" /* options: where they are, and that there are none */
        "2: .incbin \"" IMAGE_PTX "\"\n"
        ".byte 0\n"
        ".balign 8\n"
        "3:\n"
        /* One that has no code for any GPU. */
        "empty_binary:\n"
        ".long 0xBA55ED50\n"
        ".short 1, 16\n"
        ".quad 0\n"
        ".popsection\n");
extern const char fat_binary[], empty_binary[];

struct fat_wrapper {
    int magic, version;
    const void *data;
    void *list;
};

static const struct fat_wrapper fat_wrapper = {0x466243B1, 1, fat_binary, NULL};
static const struct fat_wrapper empty_wrapper = {0x466243B1, 1, empty_binary, NULL};
static void **fat_handle, **empty_handle;

/* The host function of a kernel: what `kernel<<<...>>>(arguments)` calls. */
static cudaError_t run_stub(const void *function, cudaKernel_t *kernel, int *asked, void **args)
{
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;

    if (!*asked) {
        *asked = 1;
        (void)__cudaGetKernel(kernel, function);
    }
    if (__cudaPopCallConfiguration(&grid, &block, &shared, &stream) != cudaSuccess) {
        return cudaErrorMissingConfiguration;
    }
    return __cudaLaunchKernel(*kernel, grid, block, args, shared, stream);
}

#define STUB(name, parameters, ...)                                                                \
    __attribute__((noinline)) static void name parameters                                          \
    {                                                                                              \
        static cudaKernel_t kernel;                                                                \
        static int asked;                                                                          \
        void *args[] = {__VA_ARGS__};                                                              \
                                                                                                   \
        (void)run_stub((const void *)name, &kernel, &asked, args);                                 \
    }

STUB(add, (const unsigned *a, const unsigned *b, unsigned *c, unsigned n), &a, &b, &c, &n)
STUB(increment, (unsigned *value), &value)
STUB(bad, (void), NULL)
STUB(lost, (unsigned *value), &value)   /* its image has no code */
STUB(absent, (unsigned *value), &value) /* its name is not in the image */
static unsigned counter, no_such_variable;

/* k<<<grid, block, 0, stream>>> */
#define LAUNCH(grid, block, stream, call)                                                          \
    do {                                                                                           \
        if (__cudaPushCallConfiguration((dim3){grid, 1, 1}, (dim3){block, 1, 1}, 0, stream) ==     \
            0) {                                                                                   \
            call;                                                                                  \
        }                                                                                          \
    } while (0)

static void register_kernel(void **handle, const void *function, const char *name)
{
    __cudaRegisterFunction(handle, function, (char *)name, name, -1, NULL, NULL, NULL, NULL, NULL);
}

static void unregister(void)
{
    __cudaUnregisterFatBinary(fat_handle);
    __cudaUnregisterFatBinary(empty_handle);
}

__attribute__((constructor)) static void register_all(void)
{
    fat_handle = __cudaRegisterFatBinary((void *)&fat_wrapper);
    register_kernel(fat_handle, (const void *)increment, "increment");
    register_kernel(fat_handle, (const void *)bad, "bad");
    register_kernel(fat_handle, (const void *)absent, "absent");
    register_kernel(fat_handle, (const void *)add, "add");
    __cudaRegisterVar(fat_handle, (char *)&counter, (char *)"counter", "counter", 0,
                      sizeof(counter), 0, 0);
    __cudaRegisterVar(fat_handle, (char *)&no_such_variable, (char *)"nothing", "nothing", 0,
                      sizeof(no_such_variable), 0, 0);
    __cudaRegisterFatBinaryEnd(fat_handle);
    empty_handle = __cudaRegisterFatBinary((void *)&empty_wrapper);
    register_kernel(empty_handle, (const void *)lost, "lost");
    __cudaRegisterFatBinaryEnd(empty_handle);
    atexit(unregister);
}

#endif
