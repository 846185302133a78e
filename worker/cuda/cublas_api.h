/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This is the part of cuBLAS that the worker uses, where there is one: opened at run time, by
 * absolute path, so that nothing in a search path can take its place.  Own declarations of its
 * documented, stable binary interface.  All functions return 0 or a cublasStatus_t.
 */
#ifndef WORKER_CUDA_CUBLAS_API_H
#define WORKER_CUDA_CUBLAS_API_H

#include <stdbool.h>

#include "worker/cuda/cuda_api.h"

#define CUBLAS_AS_IT_IS 0 /* cublasOperation_t: not transposed */

typedef struct cublas_handle_s *cublas_handle;

struct cublas_api {
    int (*Create)(cublas_handle *handle);
    int (*SetStream)(cublas_handle handle, cuda_stream stream);
    /* Matrices by columns. */
    int (*Sgemm)(cublas_handle handle, int a_as, int b_as, int m, int n, int k, const float *alpha,
                 cuda_address a, int a_stride, cuda_address b, int b_stride, const float *beta,
                 cuda_address c, int c_stride);
};

/* One of NVIDIA's libraries by its name: the environment's `variable` is its path, or "none"; else
 * the usual places are tried.  A handle of dlopen(), which stays open; NULL: none. */
void *host_library_open(const char *variable, const char *name);
/* The library's handle of dlopen(), of this major version (0: any that is there); NULL: none.  It
 * stays open. */
void *cublas_library_open(unsigned major);

/* The environment's VGPU_CUBLAS is its path, or "none"; else the usual places are tried. */
bool cublas_api_open(struct cublas_api *api);

#endif /* WORKER_CUDA_CUBLAS_API_H */
