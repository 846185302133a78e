/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files of libcudart.so.13 share these declarations.
 *
 * The runtime runs wholly in the program: it calls the documented driver interface of whichever
 * libcuda.so.1 the program finds, ours or NVIDIA's, and has no state of the GPU itself.  An
 * exported function (generated) makes sure of what it needs by rt_begin(), calls the driver or
 * hand_NAME, and keeps the error as the thread's last one by rt_end().
 */
#ifndef GUEST_CUDART_INTERNAL_H
#define GUEST_CUDART_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "runtime_driver.h"

#define RT_EXPORT __attribute__((visibility("default")))
#define RT_DEVICES_MAX 64
#define RT_CONFIGURATIONS 16 /* <<<>>> inside the arguments of another one */

/* ---- the driver ---- */

enum rt_need {
    RT_NOTHING,
    RT_LIBRARY, /* libcuda.so.1 is there */
    RT_DRIVER,  /* cuInit has succeeded */
    RT_CONTEXT, /* the thread has a context */
};

/* All functions can be called: one that the driver lacks answers
 * cudaErrorCallRequiresNewerDriver. */
extern struct rt_driver rt_driver;

/* The driver's form of a function for the default stream that `mode` says (1: per thread). */
#define RT_FORM(mode, name) ((mode) ? rt_driver.name##_pt : rt_driver.name)

cudaError_t rt_begin(enum rt_need need);
/* Of the driver, or 0 where there is none. */
int rt_driver_version(void);
/* The driver's handles have generations: it refuses what is none. */
bool rt_driver_checks_handles(void);
int rt_device_count(void);
/* The primary context of a device, made if needed; current: also the thread's. */
cudaError_t rt_primary(int device, bool current);
cudaError_t rt_primary_reset(int device);
/* The device of the thread's context, or the one it has chosen. */
cudaError_t rt_device(int *device);

/* ---- threads ---- */

struct rt_configuration {
    dim3 grid, block;
    size_t shared_bytes;
    void *stream;
};

struct rt_thread {
    cudaError_t last;
    int device;       /* plus 1; 0: none was chosen */
    CUcontext seen;   /* this context was found alive ... */
    unsigned seen_at; /* ... when so many resets had been */
    unsigned depth;
    struct rt_configuration stack[RT_CONFIGURATIONS];
};

extern __thread struct rt_thread rt_thread;

/* Keeps an error as the thread's last one; answers it. */
static inline cudaError_t rt_end(cudaError_t error)
{
    if (error) {
        rt_thread.last = error;
    }
    return error;
}

/* "Not ready" is the answer here, not an error. */
static inline cudaError_t rt_end_query(cudaError_t error)
{
    return error == cudaErrorNotReady ? error : rt_end(error);
}

/* cudaErrorNotSupported, and the name on stderr the first time. */
cudaError_t rt_refuse(const char *name, unsigned number);
/* One line on stderr, after "libcudart (vgpu): ". */
void rt_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- what programs have registered ---- */

/* The kernel behind a function pointer of the program or a cudaKernel_t; loads its image. */
cudaError_t rt_kernel(const void *function, CUkernel *kernel);
/* True: it is the function pointer of a registered kernel. */
bool rt_is_registered(const void *function);
/* Where a variable of the program lies on the GPU. */
cudaError_t rt_variable(const void *symbol, CUdeviceptr *address, size_t *bytes);
/* A kernel that the driver gave, so that it is known later; false: no memory. */
bool rt_kernel_known(CUkernel kernel, CUlibrary library);
void rt_kernels_forget(CUlibrary library);
/* The program has this kernel of a host function now, and may launch it by itself. */
void rt_kernel_given(const void *function, CUkernel kernel);

/* ---- copies ---- */

/* The kind that a copy really is, none of the unknown ones; false: it contradicts the pointers. */
bool rt_copy_kind(const void *dst, const void *src, enum cudaMemcpyKind *kind);

/* ---- numbers of the driver interface ---- */

#define RT_ATTRIBUTE_COOPERATIVE 2 /* of a launch */

static inline CUdeviceptr rt_address(const void *pointer)
{
    return (CUdeviceptr)(uintptr_t)pointer;
}

/* A kernel's handle serves as a function's in launches and questions. */
static inline CUfunction rt_function(CUkernel kernel)
{
    return (CUfunction)(void *)kernel;
}

#endif /* GUEST_CUDART_INTERNAL_H */
