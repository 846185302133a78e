/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One call of cuBLAS on its way to the worker.  The generated functions begin it, add their
 * arguments in their order, and end it.
 *
 * The first call of a key is asked for and waited for, since its status decides all later ones:
 * the library loads its kernels then, and says what it can't do.  Later ones are sent and
 * forgotten, as the library's own are asynchronous.  The key is all that the status can depend
 * on: the function, numbers, the handle's state, and how the addresses are aligned.
 */
#ifndef GUEST_FRONTENDS_BLAS_CALL_H
#define GUEST_FRONTENDS_BLAS_CALL_H

#include "cublas_ids.h"
#include "cuda/blas.h"
#include "guest/cuda/frontend.h"

#define BLAS_EXPORT __attribute__((visibility("default")))

struct blas_handle;

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
/* CUBLAS_STATUS_NOT_SUPPORTED, and the name on stderr the first time. */
int blas_refuse(const char *name, unsigned number);

#endif
