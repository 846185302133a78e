/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what the records of the cuBLAS front end hold, for the library and the worker.
 *
 * BLAS_CREATE's arguments are the handle and which library it is of (enum blas_kind): one of
 * cuBLAS serves cuBLASLt too, one of cuBLASLt takes no memory of the GPU.
 * BLAS_CALL has two arguments, the handle and the number of the call (cublas.py); its payload is
 * a BLASState and then the call's arguments as 64-bit words in their order.  alpha and beta are
 * two words: 16 bytes of the value, or an address of the GPU and 0, as the pointer mode says.
 * Results and the like are addresses of the GPU; their calls have the pointer mode "device".
 * The answer's first word is the library's status; the second is `info`, which some calls have.
 *
 * The helpers say how many bytes of the GPU's memory a call uses.  They saturate: what is no size
 * at all becomes one that no memory has.
 */
#ifndef CUDA_BLAS_H
#define CUDA_BLAS_H

#include <stdint.h>

#include "vgpu/vgpu_channel.h"

#define BLAS_WORDS_MAX 32u
#define BLAS_SCALAR_BYTES 16u
#define BLAS_MATH_FLAGS 16u /* CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION */

typedef struct BLASState {
    uint64_t stream;
    uint64_t workspace, workspace_bytes; /* 0: the library's own */
    uint32_t pointer_mode, math_mode, atomics_mode, reserved;
} BLASState;

VGPU_STATIC_ASSERT(sizeof(BLASState) == 40, "BLASState is 40 bytes");

/* What a handle is; BLAS_CREATE's second argument. */
enum blas_kind { BLAS_KIND_BLAS = 0, BLAS_KIND_LT = 1 };

/* Results of the library that this code gives. */
enum {
    BLAS_SUCCESS = 0,
    BLAS_NOT_INITIALIZED = 1,
    BLAS_ALLOC_FAILED = 3,
    BLAS_INVALID_VALUE = 7,
    BLAS_MAPPING_ERROR = 11,
    BLAS_EXECUTION_FAILED = 13,
    BLAS_NOT_SUPPORTED = 15,
};

/* Of cublasMath_t: default, tensor, pedantic, TF32, the two emulated ones; and the flag. */
static inline int blas_is_math_mode(uint32_t mode)
{
    uint32_t base = mode & ~BLAS_MATH_FLAGS;

    return base <= 4 || base == 8;
}

static inline uint64_t blas_clamp(unsigned __int128 bytes)
{
    return bytes > UINT64_MAX ? UINT64_MAX : (uint64_t)bytes;
}

/* op(X) is rows by columns; X lies by columns, `ld` elements apart. */
static inline uint64_t blas_matrix(int trans, long long rows, long long columns, long long ld,
                                   uint64_t size)
{
    long long high = trans ? columns : rows, wide = trans ? rows : columns;

    if (rows < 0 || columns < 0 || ld < high) {
        return UINT64_MAX;
    }
    if (rows == 0 || columns == 0) {
        return 0;
    }
    return size == 0
               ? UINT64_MAX
               : blas_clamp(((unsigned __int128)(wide - 1) * (uint64_t)ld + (uint64_t)high) * size);
}

static inline uint64_t blas_batch(uint64_t one, long long stride, long long count, uint64_t size)
{
    if (stride < 0 || count < 0) {
        return UINT64_MAX;
    }
    return count == 0 || one == 0
               ? 0
               : blas_clamp((unsigned __int128)(count - 1) * (uint64_t)stride * size + one);
}

static inline uint64_t blas_vector(long long n, long long increment, uint64_t size)
{
    uint64_t step = (uint64_t)(increment < 0 ? -(__int128)increment : increment);

    return n <= 0 ? 0 : blas_clamp(((unsigned __int128)(n - 1) * step + 1) * size);
}

/* Rows that were exchanged: n numbers for each matrix. */
static inline uint64_t blas_pivots(long long n, long long count)
{
    return n < 0 || count < 0
               ? UINT64_MAX
               : blas_clamp((unsigned __int128)(uint64_t)n * (uint64_t)count * sizeof(int));
}

/* Bytes of a cudaDataType; 0: none that has whole bytes. */
static inline uint64_t blas_type_bytes(int type)
{
    static const uint8_t bytes[] = {4, 8, 2, 1, 8, 16, 4, 2, 1, 2, 4,  8, 4,  8, 2,
                                    4, 0, 0, 0, 0, 2,  4, 2, 4, 8, 16, 8, 16, 1, 1};

    return type >= 0 && type < (int)sizeof(bytes) ? bytes[type] : 0;
}

static inline int blas_type_is_complex(int type)
{
    return (type >= 4 && type <= 7) || type == 9 || type == 11 || type == 13 || type == 15;
}

/* Bytes of alpha and beta, by the kind of sums (cublasComputeType_t); 0: an unknown kind. */
static inline uint64_t blas_scalar_bytes(int compute, int type)
{
    uint64_t of_real = compute == 64 || compute == 65                    ? 2
                       : compute == 70 || compute == 71 || compute == 79 ? 8
                       : compute >= 68 && compute <= 78                  ? 4
                                                                         : 0;

    return blas_type_is_complex(type) ? of_real * 2 : of_real;
}

#endif /* CUDA_BLAS_H */
