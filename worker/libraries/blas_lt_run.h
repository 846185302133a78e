/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * This module makes products of cuBLASLt on the host's library.  The library believes what
 * descriptors say, so here each matrix and vector is checked to lie in memory of the process, and
 * an algorithm is taken only if the library handed it out itself: its bytes are not documented.
 */
#ifndef WORKER_LIBRARIES_BLAS_LT_RUN_H
#define WORKER_LIBRARIES_BLAS_LT_RUN_H

#include "cuda/blas_lt.h"
#include "worker/cuda/channel/driver_internal.h"

/* The library's functions; false: one is missing. */
bool blas_lt_find(void *opened, bool (*find)(void *opened, const char *name, void *function));

/* ---- blas_lt_check.c ---- */

/* Whether all that a product reads or writes is the process's; a cublasStatus_t. */
int blas_lt_check(struct driver_call *call, const BLASLtMatmul *matmul);
/* Whether a question's numbers are such as the library may look up; a cublasStatus_t. */
int blas_lt_check_problem(const BLASLtProblem *problem);
/* Bytes of a matrix, all of its batch; UINT64_MAX: it makes no sense or is not supported. */
uint64_t blas_lt_layout_bytes(const BLASLtLayout *layout);

/* ---- blas_lt_algos.c: what the library handed out in this process ---- */

/* False: there is no more room. */
bool blas_lt_algo_note(const BLASLtAlgo *algo);
bool blas_lt_algo_known(const BLASLtAlgo *algo);

#endif
