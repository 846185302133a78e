/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes a call of cuBLAS on the host's library.
 *
 * The library validates neither handles nor streams, and reads whatever address it is given:
 * what a record says is checked here.  The generated functions take its words
 * apart, have each address looked up in the process's allocations, and call the library.
 */
#ifndef WORKER_LIBRARIES_BLAS_RUN_H
#define WORKER_LIBRARIES_BLAS_RUN_H

#include "cublas_ids.h"
#include "cuda/blas.h"
#include "worker/cuda/channel/driver_internal.h"

/* What a handle of a process is: the library's, and the settings that it has. */
struct blas {
    void *real;
    enum blas_kind kind;
    BLASState applied;
    CUstream stream; /* the driver's own, of applied.stream */
};

/* That of the call's first argument; NULL: no live one. */
struct blas *blas_of(struct driver_call *call);

struct blas_run {
    struct driver_call *call;
    void *library_handle;
    void *const *functions; /* of the library, by the call's number */
    const BLASState *state;
    uint64_t words[BLAS_WORDS_MAX];
    int status; /* not 0: an argument is wrong */
    int info;   /* what some functions say besides, to the program itself */
};

struct blas_entry {
    const char *name; /* NULL: no such call */
    int (*run)(struct blas_run *run);
    unsigned words;
};

extern const struct blas_entry blas_entries[BLAS_CALLS_END];

/* Notes in run->status when so many bytes there are not the process's. */
void blas_run_range(struct blas_run *run, uint64_t address, uint64_t bytes);
/* The same for a value that the library reads or writes where its pointer mode says: only on
 * the GPU. */
void blas_run_value(struct blas_run *run, uint64_t address, uint64_t bytes);
/* The same when a number is not one of 0 to last. */
void blas_run_choice(struct blas_run *run, int value, int last);
/* The same when it is no cublasGemmAlgo_t. */
void blas_run_algorithm(struct blas_run *run, int algorithm);
/* What the library gets as alpha or beta: the value in the two words from `at` on, or its
 * address on the GPU. */
const void *blas_run_scalar(struct blas_run *run, unsigned at, uint64_t bytes);

#endif
