/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One call of cuBLAS whose arguments are numbers, addresses and factors.  The generated functions
 * begin it, add their arguments in their order, and end it.
 */
#ifndef GUEST_FRONTENDS_BLAS_WORDS_H
#define GUEST_FRONTENDS_BLAS_WORDS_H

#include "cublas_ids.h"
#include "guest/frontends/blas_call.h"
#include "guest/frontends/refuse.h"

struct blas_call {
    struct cuda_call call;
    struct blas_handle *handle;
    int status; /* what an argument has made of it */
    uint64_t key;
    BLASState state;
    unsigned count;
    uint64_t words[BLAS_WORDS_MAX];
};

/* A cublasStatus_t: 0, or what the function answers at once. */
int blas_begin(struct blas_call *call, struct blas_handle *handle, unsigned number);
void blas_number(struct blas_call *call, long long value);
void blas_address(struct blas_call *call, const void *address);
/* By the handle's pointer mode: `bytes` of the value, or its address on the GPU. */
void blas_scalar(struct blas_call *call, const void *scalar, uint64_t bytes);
int blas_end(struct blas_call *call);

#endif
