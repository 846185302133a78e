/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This module makes one call of cuBLAS whose arguments are numbers, addresses and factors.  The
 * generated functions begin it, add their arguments in their order, and end it.
 */
#ifndef GUEST_FRONTENDS_BLAS_WORDS_H
#define GUEST_FRONTENDS_BLAS_WORDS_H

#include "cublas_ids.h"
#include "guest/frontends/blas_call.h"
#include "guest/frontends/refuse.h"

enum { BLAS_IN = 1, BLAS_OUT = 2 };

#define BLAS_VALUES_MAX 5u
#define BLAS_VALUE_BYTES 64u

/* A value of the program that a call reads or writes on the GPU. */
struct blas_value {
    void *host;
    CUdeviceptr gpu;
    uint32_t bytes;
    unsigned flags;
};

struct blas_call {
    struct cuda_call call;
    struct blas_handle *handle;
    int status; /* what an argument has made of it */
    uint64_t key;
    BLASState state;
    int *info; /* of the program; NULL: the function has none */
    struct blas_value values[BLAS_VALUES_MAX];
    unsigned value_count;
    unsigned count;
    uint64_t words[BLAS_WORDS_MAX];
};

/* A cublasStatus_t: 0, or what the function answers at once. */
int blas_begin(struct blas_call *call, struct blas_handle *handle, unsigned number);
void blas_number(struct blas_call *call, long long value);
void blas_address(struct blas_call *call, const void *address);
/* By the handle's pointer mode: `bytes` of the value, or its address on the GPU. */
void blas_scalar(struct blas_call *call, const void *scalar, uint64_t bytes);
/* The same for what is read (BLAS_IN) or written: where the pointer mode says "host", it gets a
 * place on the GPU for the call, and comes back before the function ends. */
void blas_value(struct blas_call *call, void *value, uint64_t bytes, unsigned flags);
int blas_end(struct blas_call *call);

#endif
