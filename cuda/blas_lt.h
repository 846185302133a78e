/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * This header says what the records of the cuBLASLt front end hold, for the library and the
 * worker.
 *
 * Descriptors are the program's: they lie in memory that it may copy and need not give back, so
 * they hold values alone.  They travel whole with each call, and the worker makes the library's
 * own out of them.  A structure here is as long as NVIDIA's opaque one or shorter.
 *
 * LT_MATMUL has one argument, the handle, and a BLASLtMatmul as its payload; the answer's first
 * word is the library's status.  LT_HEURISTIC has the handle and a BLASLtQuery; the answer is a
 * BLASLtResults.
 */
#ifndef CUDA_BLAS_LT_H
#define CUDA_BLAS_LT_H

#include <stddef.h>

#include "cuda/blas.h"

#define BLAS_LT_DESC_MARK 0x4c744465u
#define BLAS_LT_LAYOUT_MARK 0x4c744c61u
#define BLAS_LT_PREFERENCE_MARK 0x4c745072u
#define BLAS_LT_RESULTS_MAX 32u /* of one question */

/* Attributes by their numbers in the interface: X(number, field). */
/* clang-format off */
#define BLAS_LT_DESC(X) \
    X(0, compute_type) X(1, scale_type) X(2, pointer_mode) X(3, transa) X(4, transb) \
    X(5, transc) X(6, fill_mode) X(7, epilogue) X(8, bias) X(10, bias_stride) X(11, aux) \
    X(12, aux_ld) X(13, aux_stride) X(14, alpha_stride) X(15, sm_count) X(17, a_scale) \
    X(18, b_scale) X(19, c_scale) X(20, d_scale) X(21, amax) X(22, aux_type) X(23, aux_scale) \
    X(24, aux_amax) X(25, fast_accum) X(26, bias_type) X(31, a_mode) X(32, b_mode) X(33, c_mode) \
    X(34, d_mode) X(35, aux_mode) X(36, d_out_scale) X(37, d_out_mode)
#define BLAS_LT_LAYOUT(X) \
    X(0, type) X(1, order) X(2, rows) X(3, cols) X(4, ld) X(5, batch) X(6, stride) X(7, plane) \
    X(8, batch_mode)
#define BLAS_LT_PREFERENCE(X) \
    X(0, search) X(1, workspace_bytes) X(3, reduction) X(5, align_a) X(6, align_b) X(7, align_c) \
    X(8, align_d) X(9, waves) X(12, implementation)
/* clang-format on */

/* Addresses are of the GPU.  `set`: a bit for each row of BLAS_LT_DESC that the program set. */
typedef struct BLASLtDesc {
    uint32_t mark, reserved;
    uint64_t set;
    uint64_t bias, aux, a_scale, b_scale, c_scale, d_scale, amax, aux_scale, aux_amax, d_out_scale;
    int64_t bias_stride, aux_ld, aux_stride, alpha_stride;
    int32_t compute_type, scale_type, pointer_mode, transa, transb, transc, fill_mode;
    uint32_t epilogue;
    int32_t sm_count, aux_type, bias_type, a_mode, b_mode, c_mode, d_mode, aux_mode, d_out_mode;
    int8_t fast_accum, padding[3];
} BLASLtDesc;

typedef struct BLASLtLayout {
    uint32_t mark, type;
    uint64_t rows, cols;
    int64_t ld, stride, plane;
    int32_t order, batch;
    uint32_t batch_mode, reserved;
} BLASLtLayout;

typedef struct BLASLtPreference {
    uint32_t mark, search, reduction, align_a, align_b, align_c, align_d;
    float waves;
    uint64_t workspace_bytes, implementation;
} BLASLtPreference;

VGPU_STATIC_ASSERT(sizeof(BLASLtDesc) <= 256, "it fits cublasLtMatmulDescOpaque_t");
VGPU_STATIC_ASSERT(sizeof(BLASLtLayout) <= 64, "it fits cublasLtMatrixLayoutOpaque_t");
VGPU_STATIC_ASSERT(sizeof(BLASLtPreference) <= 64, "it fits cublasLtMatmulPreferenceOpaque_t");

/* Opaque: taken back only as it was given. */
typedef struct BLASLtAlgo {
    uint64_t data[8];
} BLASLtAlgo;

enum { BLAS_LT_A, BLAS_LT_B, BLAS_LT_C, BLAS_LT_D, BLAS_LT_MATRICES };

typedef struct BLASLtProblem {
    BLASLtDesc desc;
    BLASLtLayout layouts[BLAS_LT_MATRICES];
} BLASLtProblem;

/* alpha and beta: the value, or an address in the first 8 bytes, as the pointer mode says. */
typedef struct BLASLtMatmul {
    BLASLtProblem problem;
    uint64_t matrices[BLAS_LT_MATRICES];
    uint64_t alpha[2], beta[2];
    uint64_t workspace, workspace_bytes, stream;
    uint32_t has_algo, reserved; /* without one the library looks for one itself */
    BLASLtAlgo algo;
} BLASLtMatmul;

/* Of addresses only how they are aligned matters here: they are below 512. */
typedef struct BLASLtQuery {
    BLASLtProblem problem;
    BLASLtPreference preference;
    uint32_t wanted, reserved;
} BLASLtQuery;

/* As cublasLtMatmulHeuristicResult_t. */
typedef struct BLASLtResult {
    BLASLtAlgo algo;
    uint64_t workspace_bytes;
    int32_t status;
    float waves;
    int32_t reserved[4];
} BLASLtResult;

VGPU_STATIC_ASSERT(sizeof(BLASLtResult) == 96, "BLASLtResult is 96 bytes");

typedef struct BLASLtResults {
    int32_t status;
    uint32_t count;
    BLASLtResult results[BLAS_LT_RESULTS_MAX];
} BLASLtResults;

VGPU_STATIC_ASSERT(sizeof(BLASLtResults) <= VGPU_MAILBOX_BODY_BYTES, "it fits a mailbox");

struct blas_lt_attribute {
    uint8_t number, offset, bytes;
};

#define BLAS_LT_ROW(type, number, field)                                                           \
    {number, offsetof(type, field), sizeof(((type *)0)->field)},

/* The tables of each kind's attributes. */
#define BLAS_LT_DESC_ROW(number, field) BLAS_LT_ROW(BLASLtDesc, number, field)
#define BLAS_LT_LAYOUT_ROW(number, field) BLAS_LT_ROW(BLASLtLayout, number, field)
#define BLAS_LT_PREFERENCE_ROW(number, field) BLAS_LT_ROW(BLASLtPreference, number, field)
#define BLAS_LT_TABLES                                                                             \
    static const struct blas_lt_attribute desc_rows[] = {BLAS_LT_DESC(BLAS_LT_DESC_ROW)};          \
    static const struct blas_lt_attribute layout_rows[] = {BLAS_LT_LAYOUT(BLAS_LT_LAYOUT_ROW)};    \
    static const struct blas_lt_attribute preference_rows[] = {                                    \
        BLAS_LT_PREFERENCE(BLAS_LT_PREFERENCE_ROW)}

enum { BLAS_LT_FILL_FULL = 2 };

/* Epilogues are made of these; those that read or write more than D are in blas_lt_check.c. */
enum {
    BLAS_LT_EPILOGUE_DEFAULT = 1,
    BLAS_LT_EPILOGUE_RELU = 2,
    BLAS_LT_EPILOGUE_BIAS = 4,
    BLAS_LT_EPILOGUE_DRELU = 8,
    BLAS_LT_EPILOGUE_BGRAD = 16,
    BLAS_LT_EPILOGUE_GELU = 32,
    BLAS_LT_EPILOGUE_DGELU = 64,
    BLAS_LT_EPILOGUE_AUX = 128,
    BLAS_LT_EPILOGUE_BGRADA = 256,
    BLAS_LT_EPILOGUE_BGRADB = 512,
    BLAS_LT_EPILOGUE_ALL = 1023,
};

enum {
    BLAS_LT_POINTER_HOST,
    BLAS_LT_POINTER_DEVICE,
    BLAS_LT_POINTER_VECTORS,     /* on the GPU: a factor for each row */
    BLAS_LT_POINTER_VECTOR_ZERO, /* beta is 0 */
    BLAS_LT_POINTER_VECTOR_HOST, /* beta is a value */
    BLAS_LT_POINTER_LAST = BLAS_LT_POINTER_VECTOR_HOST
};

static inline int blas_lt_alpha_is_value(int pointer_mode)
{
    return pointer_mode == BLAS_LT_POINTER_HOST;
}

static inline int blas_lt_beta_is_value(int pointer_mode)
{
    return pointer_mode == BLAS_LT_POINTER_HOST || pointer_mode == BLAS_LT_POINTER_VECTOR_HOST;
}

static inline int blas_lt_beta_is_zero(int pointer_mode)
{
    return pointer_mode == BLAS_LT_POINTER_VECTOR_ZERO;
}

#endif /* CUDA_BLAS_LT_H */
