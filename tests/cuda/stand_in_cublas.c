/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A stand-in for cuBLAS on the stand-in driver; a worker opens it by the path in VGPU_CUBLAS.
 *
 * It is strict as that one is: a handle that isn't live ends the process, and so does the first
 * call of a shape while work is in flight, which the real library would wait for.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/blas.h"
#include "cuda/driver_types.h"

#include "tests/cuda/stand_in_cublas.h"

#define VERSION 130100
#define TRANSPOSED_LAST 2
#define MATH_MODE_LAST 8

static CUresult (*load)(CUmodule *, const void *, unsigned, unsigned *, void **);
static CUresult (*get)(CUfunction *, CUmodule, const char *);
static CUresult (*launch)(const CUlaunchConfig *, CUfunction, void **, void **);

struct stand_in_blas *stand_in_blas(void *opaque)
{
    struct stand_in_blas *handle = opaque;

    if (!handle || handle->mark != HANDLE_MARK) {
        fprintf(stderr, "stand-in cuBLAS: the handle is not live\n");
        abort();
    }
    return handle;
}

static unsigned alive;
static struct stand_in_blas *all;

EXPORT unsigned stand_in_cublas_alive(void)
{
    return alive;
}

static bool find_driver(void)
{
    void *driver = dlopen(getenv("VGPU_CUDA_DRIVER"), RTLD_NOW | RTLD_NOLOAD);

    if (!driver) {
        return false;
    }
    *(void **)&load = dlsym(driver, "cuModuleLoadDataEx");
    *(void **)&get = dlsym(driver, "cuModuleGetFunction");
    *(void **)&launch = dlsym(driver, "cuLaunchKernelEx");
    return load && get && launch;
}

int stand_in_blas_create(void **out)
{
    struct stand_in_blas *handle = calloc(1, sizeof(*handle));

    if (!find_driver() ||
        load(&handle->module,
             "vgpu-test\nkernel gemm 8 8 8 8 8 4 4 4 4 4 4 4 4\nkernel axpy 8 8 8 4 4 4 4 4\n"
             "kernel reduce 8 8 8 8 4 4 4 4 4\n",
             0, NULL, NULL) ||
        get(&handle->gemm, handle->module, "gemm") || get(&handle->axpy, handle->module, "axpy") ||
        get(&handle->reduce, handle->module, "reduce")) {
        free(handle);
        return BLAS_NOT_INITIALIZED;
    }
    handle->mark = HANDLE_MARK;
    handle->next = all;
    all = handle;
    alive++;
    *out = handle;
    return BLAS_SUCCESS;
}

EXPORT int cublasCreate_v2(void **out)
{
    return stand_in_blas_create(out);
}

EXPORT int cublasDestroy_v2(void *opaque)
{
    alive--;
    stand_in_blas(opaque)->mark = 0; /* it stays, so that a use of it shows */
    return BLAS_SUCCESS;
}

EXPORT int cublasGetVersion_v2(void *opaque, int *version)
{
    stand_in_blas(opaque);
    *version = VERSION;
    return BLAS_SUCCESS;
}

EXPORT int cublasSetStream_v2(void *opaque, CUstream stream)
{
    struct stand_in_blas *handle = stand_in_blas(opaque);

    handle->stream = stream;
    handle->workspace = handle->workspace_bytes = 0;
    return BLAS_SUCCESS;
}

EXPORT int cublasSetWorkspace_v2(void *opaque, uint64_t workspace, size_t bytes)
{
    stand_in_blas(opaque)->workspace = workspace;
    stand_in_blas(opaque)->workspace_bytes = bytes;
    return BLAS_SUCCESS;
}

EXPORT int cublasSetPointerMode_v2(void *opaque, int mode)
{
    stand_in_blas(opaque)->pointer_mode = mode;
    return BLAS_SUCCESS;
}

/* As a library that is older than the last mode. */
EXPORT int cublasSetMathMode(void *opaque, int mode)
{
    struct stand_in_blas *handle = stand_in_blas(opaque);

    if (mode == MATH_MODE_LAST) {
        return BLAS_NOT_SUPPORTED;
    }
    handle->math_mode = mode;
    return BLAS_SUCCESS;
}

EXPORT int cublasSetAtomicsMode(void *opaque, int mode)
{
    stand_in_blas(opaque);
    return mode <= 1 ? BLAS_SUCCESS : BLAS_INVALID_VALUE;
}

/* The first call of a shape loads code, and so waits for what is in flight. */
void stand_in_first_of(struct stand_in_blas *handle, uint64_t shape)
{
    CUmodule module;

    for (unsigned i = 0; i < handle->seen_count; i++) {
        if (handle->seen[i] == shape) {
            return;
        }
    }
    if (handle->seen_count < SEEN_MAX) {
        handle->seen[handle->seen_count++] = shape;
    }
    load(&module, "vgpu-test\n", 0, NULL, NULL);
}

int stand_in_submit(struct stand_in_blas *handle, CUfunction function, const void *params,
                    size_t bytes)
{
    void *extra[] = {(void *)1, (void *)params, (void *)2, &bytes, (void *)0};
    CUlaunchConfig config = {1, 1, 1, 1, 1, 1, 0, handle->stream, NULL, 0};

    return launch(&config, function, NULL, extra) ? BLAS_EXECUTION_FAILED : BLAS_SUCCESS;
}

static uint64_t scalar_of(const struct stand_in_blas *handle, const void *scalar, int size)
{
    uint64_t value = 0;

    if (handle->pointer_mode) {
        return (uint64_t)(uintptr_t)scalar;
    }
    memcpy(&value, scalar, (size_t)size);
    return value;
}

static int product(struct stand_in_blas *handle, int transa, int transb, struct gemm *call,
                   const void *alpha, const void *beta)
{
    if (transa < 0 || transa > TRANSPOSED_LAST || transb < 0 || transb > TRANSPOSED_LAST ||
        call->m < 0 || call->n < 0 || call->k < 0) {
        return BLAS_INVALID_VALUE;
    }
    stand_in_first_of(handle, (uint64_t)call->m << 40 | (uint64_t)call->n << 20 |
                                  (uint64_t)call->k << 4 | (uint64_t)call->size);
    call->flags = (transa ? A_TRANSPOSED : 0) | (transb ? B_TRANSPOSED : 0) |
                  (handle->pointer_mode ? SCALARS_ON_GPU : 0);
    call->alpha = scalar_of(handle, alpha, call->size);
    call->beta = scalar_of(handle, beta, call->size);
    return stand_in_submit(handle, handle->gemm, call, sizeof(*call));
}

static int gemm(void *opaque, int transa, int transb, int m, int n, int k, const void *alpha,
                uint64_t a, int lda, uint64_t b, int ldb, const void *beta, uint64_t c, int ldc,
                int size)
{
    struct gemm call = {a, b, c, 0, 0, m, n, k, lda, ldb, ldc, 0, size};

    return product(stand_in_blas(opaque), transa, transb, &call, alpha, beta);
}

EXPORT int cublasSgemm_v2(void *handle, int transa, int transb, int m, int n, int k,
                          const void *alpha, uint64_t a, int lda, uint64_t b, int ldb,
                          const void *beta, uint64_t c, int ldc)
{
    return gemm(handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, 4);
}

EXPORT int cublasDgemm_v2(void *handle, int transa, int transb, int m, int n, int k,
                          const void *alpha, uint64_t a, int lda, uint64_t b, int ldb,
                          const void *beta, uint64_t c, int ldc)
{
    return gemm(handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, 8);
}

EXPORT int cublasSgemmStridedBatched(void *handle, int transa, int transb, int m, int n, int k,
                                     const void *alpha, uint64_t a, int lda, long long stride_a,
                                     uint64_t b, int ldb, long long stride_b, const void *beta,
                                     uint64_t c, int ldc, long long stride_c, int count)
{
    int status = BLAS_SUCCESS;

    for (int i = 0; i < count && !status; i++) {
        status = gemm(handle, transa, transb, m, n, k, alpha, a + (uint64_t)(i * stride_a) * 4, lda,
                      b + (uint64_t)(i * stride_b) * 4, ldb, beta, c + (uint64_t)(i * stride_c) * 4,
                      ldc, 4);
    }
    return status;
}

/* Single and double precision only. */
EXPORT int cublasGemmEx(void *handle, int transa, int transb, int m, int n, int k,
                        const void *alpha, uint64_t a, int a_type, int lda, uint64_t b, int b_type,
                        int ldb, const void *beta, uint64_t c, int c_type, int ldc, int compute,
                        int algorithm)
{
    (void)algorithm;
    stand_in_blas(handle);
    if (a_type > 1 || a_type != b_type || b_type != c_type ||
        compute != (a_type == 0 ? 68 /* COMPUTE_32F */ : 70 /* COMPUTE_64F */)) {
        return BLAS_NOT_SUPPORTED;
    }
    return gemm(handle, transa, transb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc,
                a_type == 0 ? 4 : 8);
}

static int axpy(void *opaque, int n, const void *alpha, uint64_t x, int incx, uint64_t y, int incy,
                int flags)
{
    struct stand_in_blas *handle = stand_in_blas(opaque);
    struct axpy call = {x,
                        y,
                        scalar_of(handle, alpha, 4),
                        n,
                        incx,
                        incy,
                        flags | (handle->pointer_mode ? SCALARS_ON_GPU : 0),
                        4};

    stand_in_first_of(handle, (uint64_t)n << 8 | 1u << 2 | (unsigned)flags);
    return stand_in_submit(handle, handle->axpy, &call, sizeof(call));
}

EXPORT int cublasSaxpy_v2(void *handle, int n, const void *alpha, uint64_t x, int incx, uint64_t y,
                          int incy)
{
    return axpy(handle, n, alpha, x, incx, y, incy, 0);
}

EXPORT int cublasSscal_v2(void *handle, int n, const void *alpha, uint64_t x, int incx)
{
    return axpy(handle, n, alpha, x, incx, x, incx, SCALE_ONLY);
}

/* A result on the GPU: with the pointer mode "host" the library would wait, and write here. */
static int reduce(void *opaque, int kind, int n, uint64_t x, int incx, uint64_t y, int incy,
                  uint64_t result, uint64_t other)
{
    struct stand_in_blas *handle = stand_in_blas(opaque);
    struct reduce call = {x, y, result, other, n, incx, incy, kind, 4};

    if (handle->pointer_mode != 1) {
        fprintf(stderr, "stand-in cuBLAS: a result to the host\n");
        abort();
    }
    stand_in_first_of(handle, (uint64_t)n << 8 | (unsigned)kind << 4 | 2u);
    return stand_in_submit(handle, handle->reduce, &call, sizeof(call));
}

EXPORT int cublasSdot_v2(void *handle, int n, uint64_t x, int incx, uint64_t y, int incy,
                         uint64_t result)
{
    return reduce(handle, 0, n, x, incx, y, incy, result, 0);
}

EXPORT int cublasSnrm2_v2(void *handle, int n, uint64_t x, int incx, uint64_t result)
{
    return reduce(handle, 1, n, x, incx, 0, 0, result, 0);
}

EXPORT int cublasSasum_v2(void *handle, int n, uint64_t x, int incx, uint64_t result)
{
    return reduce(handle, 2, n, x, incx, 0, 0, result, 0);
}

EXPORT int cublasIsamax_v2(void *handle, int n, uint64_t x, int incx, uint64_t result)
{
    return reduce(handle, 3, n, x, incx, 0, 0, result, 0);
}

EXPORT int cublasSrotg_v2(void *handle, uint64_t a, uint64_t b, uint64_t c, uint64_t s)
{
    return reduce(handle, 4, 1, a, 1, b, 1, c, s);
}

/* The addresses of the matrices lie on the GPU; here its memory can be read. */
EXPORT int cublasSgemmBatched(void *handle, int transa, int transb, int m, int n, int k,
                              const void *alpha, const uint64_t *a, int lda, const uint64_t *b,
                              int ldb, const void *beta, const uint64_t *c, int ldc, int count)
{
    int status = BLAS_SUCCESS;

    for (int i = 0; i < count && !status; i++) {
        status = cublasSgemm_v2(handle, transa, transb, m, n, k, alpha, a[i], lda, b[i], ldb, beta,
                                c[i], ldc);
    }
    return status;
}

/* Says what is wrong with the arguments, to the program itself. */
EXPORT int cublasSgetrsBatched(void *handle, int trans, int n, int nrhs, const uint64_t *a, int lda,
                               const int *pivots, const uint64_t *b, int ldb, int *info, int count)
{
    (void)trans, (void)a, (void)pivots, (void)b, (void)ldb, (void)count;
    stand_in_blas(handle);
    *info = n < 0 ? -2 : nrhs < 0 ? -3 : lda < n ? -5 : 0;
    return *info ? BLAS_INVALID_VALUE : BLAS_SUCCESS;
}

/* These are only seen to be reached, with arguments that the worker has checked. */
EXPORT int cublasStrsm_v2(void *handle)
{
    stand_in_blas(handle);
    return BLAS_SUCCESS;
}

EXPORT int cublasSsyrk_v2(void *handle)
{
    stand_in_blas(handle);
    return BLAS_SUCCESS;
}

EXPORT int cublasSger_v2(void *handle)
{
    stand_in_blas(handle);
    return BLAS_SUCCESS;
}

EXPORT int cublasSswap_v2(void *handle)
{
    stand_in_blas(handle);
    return BLAS_SUCCESS;
}
