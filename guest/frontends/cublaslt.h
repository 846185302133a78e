/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of the front end of cuBLASLt share these declarations. */
#ifndef GUEST_FRONTENDS_CUBLASLT_H
#define GUEST_FRONTENDS_CUBLASLT_H

#include "cuda/blas_lt.h"

/* As long as NVIDIA's opaque structures: a program may copy them whole. */
#define BLAS_LT_DESC_BYTES 256u
#define BLAS_LT_SMALL_BYTES 64u

/* What a descriptor of the program holds; NULL: it is none. */
const BLASLtDesc *blas_lt_desc(const void *desc);
const BLASLtLayout *blas_lt_layout(const void *layout);
const BLASLtPreference *blas_lt_preference(const void *preference);

#endif
