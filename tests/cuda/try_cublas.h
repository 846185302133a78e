/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of try_cublas share these declarations. */
#ifndef TESTS_CUDA_TRY_CUBLAS_H
#define TESTS_CUDA_TRY_CUBLAS_H

#include <stdlib.h>

#include "cublas_prototypes.h"
#include "cublaslt_prototypes.h"
#include "cuda/blas.h"
#include "cudart_prototypes.h"

#define HOST ((const void *)0x1234560) /* no memory of the GPU */
/* NVIDIA's library checks little: what it would crash at is for ours alone. */
#define IS_NATIVE (getenv("TRY_NATIVE") != NULL)

#define OK(call) expect(#call, (int)(call), 0)
#define GIVES(wanted, call) expect(#call, (int)(call), wanted)
#define TRUE(holds) expect(#holds, !!(holds), 1)

extern unsigned wrong;

void expect(const char *what, int got, int wanted);
float *on_gpu(const float *host, unsigned count);
void fill(float *to, unsigned count, int seed);

/* With a handle of cuBLAS, which serves cuBLASLt too. */
void try_cublaslt(struct blas_handle *handle);

#endif
