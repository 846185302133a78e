/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cuBLASLt of the stand-in: single precision by columns, with a bias.  As strict as the rest: a
 * descriptor that isn't live ends the process, and so does an algorithm that was not handed out,
 * both of which the real library would believe.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/blas_lt.h"
#include "tests/cuda/stand_in_cublas.h"

#define LT_VERSION 130100
#define ALGO_MARK 0x616c676f5f6d6172ull
#define DEAD_MARK 0xdeadu
#define WORKSPACE_BYTES 1024u
#define GPU_LOW 0x200000000000ull /* where the stand-in's GPU has memory */
#define GPU_HIGH 0x300000000000ull

enum { OF_FLOAT = 0, COMPUTE_FLOAT = 68 };

static unsigned alive;

EXPORT unsigned stand_in_cublaslt_alive(void)
{
    return alive;
}

static void *check(void *opaque, uint32_t mark)
{
    if (!opaque || *(uint32_t *)opaque != mark) {
        fprintf(stderr, "stand-in cuBLASLt: a descriptor is not live\n");
        abort();
    }
    return opaque;
}

static void *made(const void *content, size_t bytes)
{
    void *to = stand_in_keep(256);

    memcpy(to, content, bytes);
    alive++;
    return to;
}

static int end(void *opaque, uint32_t mark)
{
    *(uint32_t *)check(opaque, mark) = DEAD_MARK; /* it stays, so that a use of it shows */
    alive--;
    return BLAS_SUCCESS;
}

static int set(void *to, const struct blas_lt_attribute *rows, size_t count, int number,
               const void *value, size_t bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].number == number && rows[i].bytes == bytes) {
            memcpy((char *)to + rows[i].offset, value, bytes);
            return BLAS_SUCCESS;
        }
    }
    return BLAS_INVALID_VALUE;
}

#define ROWS(type, list)                                                                           \
    static const struct blas_lt_attribute type##_rows[] = {list(type##_ROW)};                      \
    EXPORT int cublasLt##type##SetAttribute(void *to, int number, const void *value, size_t bytes) \
    {                                                                                              \
        return set(check(to, type##_MARK), type##_rows,                                            \
                   sizeof(type##_rows) / sizeof(type##_rows[0]), number, value, bytes);            \
    }                                                                                              \
    EXPORT int cublasLt##type##Destroy(void *opaque)                                               \
    {                                                                                              \
        return end(opaque, type##_MARK);                                                           \
    }

#define MatmulDesc_MARK BLAS_LT_DESC_MARK
#define MatrixLayout_MARK BLAS_LT_LAYOUT_MARK
#define MatmulPreference_MARK BLAS_LT_PREFERENCE_MARK
#define MatmulDesc_ROW(number, field) BLAS_LT_ROW(BLASLtDesc, number, field)
#define MatrixLayout_ROW(number, field) BLAS_LT_ROW(BLASLtLayout, number, field)
#define MatmulPreference_ROW(number, field) BLAS_LT_ROW(BLASLtPreference, number, field)
ROWS(MatmulDesc, BLAS_LT_DESC)
ROWS(MatrixLayout, BLAS_LT_LAYOUT)
ROWS(MatmulPreference, BLAS_LT_PREFERENCE)

EXPORT size_t cublasLtGetVersion(void)
{
    return LT_VERSION;
}

EXPORT int cublasLtCreate(void **out)
{
    return stand_in_blas_create(out);
}

EXPORT int cublasDestroy_v2(void *opaque);
EXPORT int cublasLtDestroy(void *opaque)
{
    return cublasDestroy_v2(opaque);
}

EXPORT int cublasLtMatmulDescCreate(void **out, int compute_type, int scale_type)
{
    const BLASLtDesc desc = {.mark = BLAS_LT_DESC_MARK,
                             .compute_type = compute_type,
                             .scale_type = scale_type,
                             .epilogue = BLAS_LT_EPILOGUE_DEFAULT};

    *out = made(&desc, sizeof(desc));
    return BLAS_SUCCESS;
}

EXPORT int cublasLtMatrixLayoutCreate(void **out, int type, uint64_t rows, uint64_t cols,
                                      int64_t ld)
{
    const BLASLtLayout layout = {.mark = BLAS_LT_LAYOUT_MARK,
                                 .type = (uint32_t)type,
                                 .rows = rows,
                                 .cols = cols,
                                 .ld = ld,
                                 .batch = 1};

    *out = made(&layout, sizeof(layout));
    return BLAS_SUCCESS;
}

EXPORT int cublasLtMatmulPreferenceCreate(void **out)
{
    const BLASLtPreference preference = {.mark = BLAS_LT_PREFERENCE_MARK};

    *out = made(&preference, sizeof(preference));
    return BLAS_SUCCESS;
}

static bool is_built(const BLASLtDesc *desc, const BLASLtLayout *a, const BLASLtLayout *b,
                     const BLASLtLayout *d)
{
    return desc->compute_type == COMPUTE_FLOAT && desc->scale_type == OF_FLOAT &&
           (desc->epilogue == BLAS_LT_EPILOGUE_DEFAULT ||
            desc->epilogue == BLAS_LT_EPILOGUE_BIAS) &&
           a->type == OF_FLOAT && b->type == OF_FLOAT && d->type == OF_FLOAT && a->order == 0 &&
           b->order == 0 && d->order == 0;
}

/* Of the problem, so that one for another problem shows; the second wants a workspace. */
static BLASLtAlgo algo_of(const BLASLtLayout *d, uint64_t number)
{
    return (BLASLtAlgo){{ALGO_MARK, d->rows, d->cols, number}};
}

EXPORT int cublasLtMatmulAlgoGetHeuristic(void *handle, void *desc, void *a, void *b, void *c,
                                          void *d, void *preference, int wanted,
                                          BLASLtResult *results, int *count)
{
    const BLASLtPreference *like = check(preference, BLAS_LT_PREFERENCE_MARK);

    stand_in_blas(handle);
    check(c, BLAS_LT_LAYOUT_MARK);
    *count = 0;
    if (!is_built(check(desc, BLAS_LT_DESC_MARK), check(a, BLAS_LT_LAYOUT_MARK),
                  check(b, BLAS_LT_LAYOUT_MARK), check(d, BLAS_LT_LAYOUT_MARK))) {
        return BLAS_NOT_SUPPORTED;
    }
    for (int i = 0; i < wanted && i < 2; i++) {
        if (i == 1 && like->workspace_bytes < WORKSPACE_BYTES) {
            break;
        }
        results[i] = (BLASLtResult){.algo = algo_of(d, (uint64_t)i),
                                    .workspace_bytes = i ? WORKSPACE_BYTES : 0,
                                    .waves = 1};
        (*count)++;
    }
    return BLAS_SUCCESS;
}

static void check_algo(const BLASLtAlgo *algo, const BLASLtLayout *d, uint64_t workspace,
                       size_t workspace_bytes)
{
    BLASLtAlgo wanted;

    if (!algo) {
        return;
    }
    wanted = algo_of(d, algo->data[3]);
    if (algo->data[3] > 1 || memcmp(&wanted, algo, sizeof(wanted)) != 0 ||
        (algo->data[3] == 1 && (!workspace || workspace_bytes < WORKSPACE_BYTES))) {
        fprintf(stderr, "stand-in cuBLASLt: no such algorithm was handed out\n");
        abort();
    }
}

static uint64_t factor(int pointer_mode, const void *value)
{
    uint64_t word = 0;

    if (pointer_mode == BLAS_LT_POINTER_DEVICE) {
        return (uint64_t)(uintptr_t)value;
    }
    if ((uintptr_t)value >= GPU_LOW && (uintptr_t)value < GPU_HIGH) {
        fprintf(stderr, "stand-in cuBLASLt: a factor lies on the GPU, no processor can read it\n");
        abort();
    }
    memcpy(&word, value, sizeof(float));
    return word;
}

/* To each column of D. */
static int add_bias(struct stand_in_blas *handle, const BLASLtDesc *desc, uint64_t address,
                    const BLASLtLayout *d)
{
    const float one = 1;
    int status = BLAS_SUCCESS;

    for (uint64_t i = 0; i < d->cols && !status; i++) {
        struct axpy call = {desc->bias, address + i * (uint64_t)d->ld * 4, 0, (int)d->rows, 1, 1, 0,
                            4};

        memcpy(&call.alpha, &one, sizeof(one));
        status = stand_in_submit(handle, handle->axpy, &call, sizeof(call));
    }
    return status;
}

EXPORT int cublasLtMatmul(void *opaque, void *desc_opaque, const void *alpha, uint64_t a,
                          void *a_layout, uint64_t b, void *b_layout, const void *beta, uint64_t c,
                          void *c_layout, uint64_t d, void *d_layout, const BLASLtAlgo *algo,
                          uint64_t workspace, size_t workspace_bytes, CUstream stream)
{
    struct stand_in_blas *handle = stand_in_blas(opaque);
    const BLASLtDesc *desc = check(desc_opaque, BLAS_LT_DESC_MARK);
    const BLASLtLayout *la = check(a_layout, BLAS_LT_LAYOUT_MARK);
    const BLASLtLayout *lb = check(b_layout, BLAS_LT_LAYOUT_MARK);
    const BLASLtLayout *ld = check(d_layout, BLAS_LT_LAYOUT_MARK);
    CUstream before = handle->stream;
    struct gemm call = {a,
                        b,
                        d,
                        factor(desc->pointer_mode, alpha),
                        factor(desc->pointer_mode, beta),
                        (int)ld->rows,
                        (int)ld->cols,
                        (int)(desc->transa ? la->rows : la->cols),
                        (int)la->ld,
                        (int)lb->ld,
                        (int)ld->ld,
                        (desc->transa ? A_TRANSPOSED : 0) | (desc->transb ? B_TRANSPOSED : 0) |
                            (desc->pointer_mode ? SCALARS_ON_GPU : 0),
                        4};
    int status;

    check(c_layout, BLAS_LT_LAYOUT_MARK);
    check_algo(algo, ld, workspace, workspace_bytes);
    if (!is_built(desc, la, lb, ld) || (c != d && c != 0 && call.beta != 0)) {
        return BLAS_NOT_SUPPORTED;
    }
    stand_in_first_of(handle, ld->rows << 40 | ld->cols << 20 | (uint64_t)call.k << 4 |
                                  desc->epilogue % 16);
    handle->stream = stream;
    status = stand_in_submit(handle, handle->gemm, &call, sizeof(call));
    if (!status && desc->epilogue == BLAS_LT_EPILOGUE_BIAS) {
        status = add_bias(handle, desc, d, ld);
    }
    handle->stream = before;
    return status;
}
