/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the stand-in for cuBLAS and cuBLASLt share these declarations. */
#ifndef TESTS_CUDA_STAND_IN_CUBLAS_H
#define TESTS_CUDA_STAND_IN_CUBLAS_H

#include <stddef.h>
#include <stdlib.h>

#include "cuda/blas.h"
#include "cuda/driver_types.h"

#define EXPORT __attribute__((visibility("default")))
#define HANDLE_MARK 0x5c00b1a5u
#define SEEN_MAX 256u

struct stand_in_blas {
    unsigned mark;
    CUstream stream;
    int pointer_mode, math_mode;
    uint64_t workspace;
    size_t workspace_bytes;
    CUmodule module;
    CUfunction gemm, axpy, reduce;
    uint64_t seen[SEEN_MAX];
    unsigned seen_count;
    struct stand_in_blas *next; /* of all that ever lived */
};

/* As the kernels of stand_in_gpu.c take them: no gaps. */
struct gemm {
    uint64_t a, b, c, alpha, beta;
    int32_t m, n, k, lda, ldb, ldc, flags, size;
};

struct axpy {
    uint64_t x, y, alpha;
    int32_t n, incx, incy, flags, size;
};

struct reduce {
    uint64_t x, y, result, other;
    int32_t n, incx, incy, kind, size;
};

enum { A_TRANSPOSED = 1, B_TRANSPOSED = 2, SCALARS_ON_GPU = 4, SCALE_ONLY = 8 };

/* Memory of zeros that stays for good, so that a use of what is dead shows. */
static inline void *stand_in_keep(size_t bytes)
{
    struct kept {
        struct kept *next;
        _Alignas(16) unsigned char bytes[];
    };
    static struct kept *all; /* else it would be taken for a leak */
    struct kept *made = calloc(1, sizeof(*made) + bytes);

    made->next = all;
    all = made;
    return made->bytes;
}

/* That handle; a dead one ends the process. */
struct stand_in_blas *stand_in_blas(void *opaque);
int stand_in_blas_create(void **out);
/* The first call of a shape loads code, and so waits for what is in flight. */
void stand_in_first_of(struct stand_in_blas *handle, uint64_t shape);
/* One launch in the handle's stream. */
int stand_in_submit(struct stand_in_blas *handle, CUfunction function, const void *params,
                    size_t bytes);

#endif
