/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "worker/libraries/blas_lt_run.h"
#include "worker/libraries/blas_run.h"
#include "worker/libraries/library_call.h"

typedef int set_attribute(void *descriptor, int attribute, const void *value, size_t bytes);

static struct {
    int (*MatmulDescCreate)(void **desc, int compute_type, int scale_type);
    int (*MatmulDescDestroy)(void *desc);
    set_attribute *MatmulDescSetAttribute;
    int (*MatrixLayoutCreate)(void **layout, int type, uint64_t rows, uint64_t cols, int64_t ld);
    int (*MatrixLayoutDestroy)(void *layout);
    set_attribute *MatrixLayoutSetAttribute;
    int (*PreferenceCreate)(void **preference);
    int (*PreferenceDestroy)(void *preference);
    set_attribute *PreferenceSetAttribute;
    int (*GetHeuristic)(void *handle, void *desc, void *a, void *b, void *c, void *d,
                        void *preference, int wanted, BLASLtResult *results, int *count);
    int (*Matmul)(void *handle, void *desc, const void *alpha, uint64_t a, void *a_layout,
                  uint64_t b, void *b_layout, const void *beta, uint64_t c, void *c_layout,
                  uint64_t d, void *d_layout, const BLASLtAlgo *algo, uint64_t workspace,
                  size_t workspace_bytes, CUstream stream);
} lt;

BLAS_LT_TABLES;

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* The first attributes are what the library makes it of. */
enum { DESC_MADE_OF = 2 };

/* It says where the library reads the factors: it has what was checked, set or not. */
enum { DESC_POINTER_MODE = 2 };

bool blas_lt_find(void *opened, bool (*find)(void *opened, const char *name, void *function))
{
    return find(opened, "cublasLtMatmulDescCreate", &lt.MatmulDescCreate) &&
           find(opened, "cublasLtMatmulDescDestroy", &lt.MatmulDescDestroy) &&
           find(opened, "cublasLtMatmulDescSetAttribute", &lt.MatmulDescSetAttribute) &&
           find(opened, "cublasLtMatrixLayoutCreate", &lt.MatrixLayoutCreate) &&
           find(opened, "cublasLtMatrixLayoutDestroy", &lt.MatrixLayoutDestroy) &&
           find(opened, "cublasLtMatrixLayoutSetAttribute", &lt.MatrixLayoutSetAttribute) &&
           find(opened, "cublasLtMatmulPreferenceCreate", &lt.PreferenceCreate) &&
           find(opened, "cublasLtMatmulPreferenceDestroy", &lt.PreferenceDestroy) &&
           find(opened, "cublasLtMatmulPreferenceSetAttribute", &lt.PreferenceSetAttribute) &&
           find(opened, "cublasLtMatmulAlgoGetHeuristic", &lt.GetHeuristic) &&
           find(opened, "cublasLtMatmul", &lt.Matmul);
}

/* ---- descriptors of the library ---- */

struct real {
    void *desc, *layouts[BLAS_LT_MATRICES], *preference;
};

static int set(set_attribute *function, void *real, const struct blas_lt_attribute *row,
               const void *from)
{
    return function(real, row->number, (const uint8_t *)from + row->offset, row->bytes);
}

static int make_desc(void **to, const BLASLtDesc *desc)
{
    int status = lt.MatmulDescCreate(to, desc->compute_type, desc->scale_type);

    for (size_t i = DESC_MADE_OF; i < COUNT(desc_rows) && !status; i++) {
        if (desc->set >> i & 1 || desc_rows[i].number == DESC_POINTER_MODE) {
            status = set(lt.MatmulDescSetAttribute, *to, &desc_rows[i], desc);
        }
    }
    return status;
}

static bool is_default(const struct blas_lt_attribute *row, const BLASLtLayout *layout)
{
    switch (row->number) {
    case 1: return layout->order == 0;
    case 5: return layout->batch == 1;
    case 6: return layout->stride == 0;
    case 7: return layout->plane == 0;
    case 8: return layout->batch_mode == 0; /* older libraries know no other one */
    default: return true;                   /* it was made of these */
    }
}

static int make_layout(void **to, const BLASLtLayout *layout)
{
    int status =
        lt.MatrixLayoutCreate(to, (int)layout->type, layout->rows, layout->cols, layout->ld);

    for (size_t i = 0; i < COUNT(layout_rows) && !status; i++) {
        if (!is_default(&layout_rows[i], layout)) {
            status = set(lt.MatrixLayoutSetAttribute, *to, &layout_rows[i], layout);
        }
    }
    return status;
}

static int make_preference(void **to, const BLASLtPreference *preference)
{
    int status = lt.PreferenceCreate(to);

    for (size_t i = 0; i < COUNT(preference_rows) && !status; i++) {
        status = set(lt.PreferenceSetAttribute, *to, &preference_rows[i], preference);
    }
    return status;
}

static int make(struct real *real, const BLASLtProblem *problem)
{
    int status = make_desc(&real->desc, &problem->desc);

    for (unsigned i = 0; i < BLAS_LT_MATRICES && !status; i++) {
        status = make_layout(&real->layouts[i], &problem->layouts[i]);
    }
    return status;
}

static void drop(const struct real *real)
{
    if (real->preference) {
        lt.PreferenceDestroy(real->preference);
    }
    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        if (real->layouts[i]) {
            lt.MatrixLayoutDestroy(real->layouts[i]);
        }
    }
    if (real->desc) {
        lt.MatmulDescDestroy(real->desc);
    }
}

/* ---- calls ---- */

static int ask(struct blas *blas, const BLASLtQuery *query, BLASLtResults *results)
{
    struct real real = {.desc = NULL};
    int status = blas_lt_check_problem(&query->problem), count = 0;

    status = status ? status : make(&real, &query->problem);
    status = status ? status : make_preference(&real.preference, &query->preference);
    if (!status) {
        status = lt.GetHeuristic(blas->real, real.desc, real.layouts[0], real.layouts[1],
                                 real.layouts[2], real.layouts[3], real.preference,
                                 (int)query->wanted, results->results, &count);
    }
    drop(&real);
    if (status || count < 0 || count > (int)query->wanted) {
        return status ? status : BLAS_EXECUTION_FAILED;
    }
    for (int i = 0; i < count; i++) {
        if (results->results[i].status == BLAS_SUCCESS &&
            !blas_lt_algo_note(&results->results[i].algo)) {
            return BLAS_ALLOC_FAILED;
        }
    }
    results->count = (uint32_t)count;
    return BLAS_SUCCESS;
}

CUresult driver_run_lt_heuristic(struct driver_call *call)
{
    static _Thread_local BLASLtResults results; /* it is the answer, after this */
    struct blas *blas = blas_of(call);
    BLASLtQuery query;

    if (!blas || call->payload_bytes != sizeof(query)) {
        return blas ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    memcpy(&query, call->payload, sizeof(query));
    if (query.wanted == 0 || query.wanted > BLAS_LT_RESULTS_MAX) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    memset(&results, 0, sizeof(results));
    results.status = ask(blas, &query, &results);
    if (results.status) {
        memset(results.results, 0, sizeof(results.results));
    }
    call->reply = &results;
    call->reply_bytes =
        (uint32_t)(offsetof(BLASLtResults, results) + results.count * sizeof(results.results[0]));
    return CUDA_SUCCESS;
}

static const void *factor(const uint64_t words[2], bool is_value)
{
    return is_value ? (const void *)words
                    : (const void *)(uintptr_t)words[0]; /* NOLINT(performance-no-int-to-ptr) */
}

static int run(struct driver_call *call, struct blas *blas, const BLASLtMatmul *matmul)
{
    const uint64_t *at = matmul->matrices;
    int mode = matmul->problem.desc.pointer_mode;
    struct real real = {.desc = NULL};
    CUstream stream = NULL;
    int status;

    if (!driver_stream(call, matmul->stream, &stream)) {
        return BLAS_INVALID_VALUE;
    }
    status = blas_lt_check(call, matmul);
    if (!status && matmul->has_algo && !blas_lt_algo_known(&matmul->algo)) {
        status = BLAS_NOT_SUPPORTED;
    }
    status = status ? status : make(&real, &matmul->problem);
    if (!status) {
        status = lt.Matmul(
            blas->real, real.desc, factor(matmul->alpha, blas_lt_alpha_is_value(mode)),
            at[BLAS_LT_A], real.layouts[BLAS_LT_A], at[BLAS_LT_B], real.layouts[BLAS_LT_B],
            factor(matmul->beta, blas_lt_beta_is_value(mode) || blas_lt_beta_is_zero(mode)),
            at[BLAS_LT_C], real.layouts[BLAS_LT_C], at[BLAS_LT_D], real.layouts[BLAS_LT_D],
            matmul->has_algo ? &matmul->algo : NULL, matmul->workspace, matmul->workspace_bytes,
            stream);
    }
    drop(&real);
    return status;
}

CUresult driver_run_lt_matmul(struct driver_call *call)
{
    struct blas *blas = blas_of(call);
    BLASLtMatmul matmul;

    if (!blas || call->payload_bytes != sizeof(matmul)) {
        return blas ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_INVALID_HANDLE;
    }
    memcpy(&matmul, call->payload, sizeof(matmul));
    return library_answer(call, "cuBLASLt", run(call, blas, &matmul));
}
