/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for cuFFT on the stand-in driver; a worker opens it by the path in VGPU_CUFFT.  Its
 * "transform" copies what fits from the input to the output; the real one is tried on a GPU.
 *
 * It is strict as that one is: a plan that isn't live, one that isn't made, or a work area that is
 * missing ends the process, and so does the first execution of a plan while work is in flight.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda/driver_types.h"
#include "cuda/fft.h"

#define EXPORT __attribute__((visibility("default")))
#define PLANS 64

struct plan {
    bool lives, made, was_run;
    CUstream stream;
    void *work;
    size_t work_bytes, bytes;
};

static struct plan plans[PLANS];

static struct plan *live(int number, const char *function)
{
    if (number < 1 || number >= PLANS || !plans[number].lives) {
        fprintf(stderr, "stand-in cuFFT: %s of plan %d, which is none\n", function, number);
        abort();
    }
    return &plans[number];
}

static void *of_driver(const char *name)
{
    void *driver = dlopen(getenv("VGPU_CUDA_DRIVER"), RTLD_NOW | RTLD_NOLOAD);
    void *found = driver ? dlsym(driver, name) : NULL;

    if (!found) {
        fprintf(stderr, "stand-in cuFFT: no %s\n", name);
        abort();
    }
    return found;
}

EXPORT unsigned stand_in_cufft_alive(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < PLANS; i++) {
        count += plans[i].lives;
    }
    return count;
}

EXPORT int cufftCreate(int *plan)
{
    for (int i = 1; i < PLANS; i++) {
        if (!plans[i].lives) {
            plans[i] = (struct plan){.lives = true};
            *plan = i;
            return FFT_SUCCESS;
        }
    }
    return FFT_ALLOC_FAILED;
}

EXPORT int cufftDestroy(int plan)
{
    live(plan, "cufftDestroy")->lives = false;
    return FFT_SUCCESS;
}

EXPORT int cufftSetAutoAllocation(int plan, int is_on)
{
    if (is_on || live(plan, "cufftSetAutoAllocation")->made) {
        fprintf(stderr, "stand-in cuFFT: it would allocate\n");
        abort();
    }
    return FFT_SUCCESS;
}

EXPORT int cufftSetStream(int plan, CUstream stream)
{
    CUresult (*query)(CUstream) = of_driver("cuStreamQuery");

    (void)query(stream); /* the stand-in driver ends the process for one that isn't live */
    live(plan, "cufftSetStream")->stream = stream;
    return FFT_SUCCESS;
}

EXPORT int cufftSetWorkArea(int plan, void *work)
{
    live(plan, "cufftSetWorkArea")->work = work;
    return FFT_SUCCESS;
}

/* As much work area as the transforms have lengths; a length of 13 is none that it can do. */
EXPORT int cufftXtMakePlanMany(int plan, int rank, long long *n, long long *in_embed,
                               long long in_stride, long long in_distance, int in_type,
                               long long *out_embed, long long out_stride, long long out_distance,
                               int out_type, long long batch, size_t *work_bytes,
                               int execution_type)
{
    struct plan *found = live(plan, "cufftXtMakePlanMany");
    size_t elements = (size_t)batch;

    (void)in_embed, (void)in_stride, (void)in_distance, (void)out_embed;
    (void)out_stride, (void)out_distance;
    if (fft_is_real(execution_type)) {
        return FFT_INVALID_TYPE;
    }
    for (int i = 0; i < rank; i++) {
        if (n[i] == 13) {
            return FFT_INVALID_SIZE;
        }
        elements *= (size_t)n[i];
    }
    found->made = true;
    found->bytes =
        elements * (fft_type_bytes(in_type) < fft_type_bytes(out_type) ? fft_type_bytes(in_type)
                                                                       : fft_type_bytes(out_type));
    found->work_bytes = *work_bytes = n[0] > 1 ? (size_t)n[0] * 16 : 0;
    return FFT_SUCCESS;
}

EXPORT int cufftXtExec(int plan, void *in, void *out, int direction)
{
    CUresult (*copy)(CUdeviceptr, CUdeviceptr, size_t, CUstream) =
        of_driver("cuMemcpyDtoDAsync_v2");
    CUresult (*query)(CUstream) = of_driver("cuStreamQuery");
    struct plan *found = live(plan, "cufftXtExec");

    if (!found->made || (found->work_bytes && !found->work) ||
        (direction != 1 && direction != -1) || (!found->was_run && query(found->stream) != 0)) {
        fprintf(stderr, "stand-in cuFFT: an execution that is not prepared\n");
        abort();
    }
    found->was_run = true;
    return copy((CUdeviceptr)(uintptr_t)out, (CUdeviceptr)(uintptr_t)in, found->bytes,
                found->stream)
               ? FFT_EXEC_FAILED
               : FFT_SUCCESS;
}
