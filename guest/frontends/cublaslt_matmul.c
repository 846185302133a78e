/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Products of cuBLASLt, and the question which algorithms there are for one.  Programs ask that
 * before each product, so the answers are kept: they depend on the descriptors alone.
 */
#include <stdlib.h>
#include <string.h>

#include "cublaslt_hand.h"
#include "guest/frontends/blas_call.h"
#include "guest/frontends/cublaslt.h"

#define ANSWERS 512u      /* that are kept */
#define ANSWER_RESULTS 8u /* of each */

struct answer {
    uint64_t of; /* the handle: another context may have another GPU */
    BLASLtQuery query;
    uint32_t count;
    BLASLtResult results[ANSWER_RESULTS];
};

static struct answer *answers[ANSWERS];
static size_t capacity = ANSWERS;
static pthread_mutex_t answers_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- what both take ---- */

static bool take(BLASLtProblem *problem, const void *desc, const void *const layouts[])
{
    const BLASLtDesc *given = blas_lt_desc(desc);

    if (!given) {
        return false;
    }
    problem->desc = *given;
    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        const BLASLtLayout *layout = blas_lt_layout(layouts[i]);

        if (!layout) {
            return false;
        }
        problem->layouts[i] = *layout;
    }
    return true;
}

/* All of an address that its algorithm can depend on: is there one, and how it is aligned. */
static uint64_t aligned_as(uint64_t address)
{
    return address % BLAS_KEY_ALIGN | (address ? BLAS_KEY_ALIGN : 0);
}

static void strip_addresses(BLASLtDesc *desc)
{
    uint64_t *const addresses[] = {
        &desc->bias,    &desc->aux,  &desc->a_scale,   &desc->b_scale,  &desc->c_scale,
        &desc->d_scale, &desc->amax, &desc->aux_scale, &desc->aux_amax, &desc->d_out_scale};

    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        *addresses[i] = aligned_as(*addresses[i]);
    }
}

static uint64_t mix_bytes(uint64_t key, const void *bytes, size_t count)
{
    const uint8_t *from = bytes;

    for (size_t i = 0; i < count; i += sizeof(key)) {
        uint64_t word = 0;

        memcpy(&word, from + i, count - i < sizeof(word) ? count - i : sizeof(word));
        key = blas_mix(key, word);
    }
    return key;
}

/* ---- which algorithms there are ---- */

int cublasLtHeuristicsCacheGetCapacity(size_t *to)
{
    if (!to) {
        return BLAS_INVALID_VALUE;
    }
    *to = __atomic_load_n(&capacity, __ATOMIC_RELAXED);
    return BLAS_SUCCESS;
}

/* 0: none are kept; else as many as there is room for. */
int cublasLtHeuristicsCacheSetCapacity(size_t to)
{
    __atomic_store_n(&capacity, to, __ATOMIC_RELAXED);
    return BLAS_SUCCESS;
}

/* As they travel: two that differ in a byte are two questions. */
static bool same_bytes(const void *one, const void *other, size_t count)
{
    return memcmp(one, other, count) == 0;
}

static bool is_answer(const struct answer *answer, uint64_t of, const BLASLtQuery *query)
{
    return answer && answer->of == of && same_bytes(&answer->query, query, sizeof(*query));
}

static bool find_answer(uint64_t of, const BLASLtQuery *query, uint64_t key, BLASLtResults *to)
{
    const struct answer *answer;
    bool found;

    pthread_mutex_lock(&answers_lock);
    answer = answers[key % ANSWERS];
    found = is_answer(answer, of, query);
    if (found) {
        to->status = BLAS_SUCCESS;
        to->count = answer->count;
        memcpy(to->results, answer->results, answer->count * sizeof(to->results[0]));
    }
    pthread_mutex_unlock(&answers_lock);
    return found;
}

static void keep_answer(uint64_t of, const BLASLtQuery *query, uint64_t key,
                        const BLASLtResults *results)
{
    struct answer **place = &answers[key % ANSWERS];

    if (results->count > ANSWER_RESULTS || __atomic_load_n(&capacity, __ATOMIC_RELAXED) == 0) {
        return;
    }
    pthread_mutex_lock(&answers_lock);
    if (!*place) {
        *place = malloc(sizeof(**place));
    }
    if (*place) {
        (*place)->of = of;
        (*place)->query = *query;
        (*place)->count = results->count;
        memcpy((*place)->results, results->results, results->count * sizeof(results->results[0]));
    }
    pthread_mutex_unlock(&answers_lock);
}

static int ask(struct blas_handle *handle, const BLASLtQuery *query, BLASLtResults *results)
{
    uint64_t key = mix_bytes(handle->real, query, sizeof(*query));
    struct cuda_call call;
    CUresult result;
    int status = blas_open(&call, handle, CUDA_OP_LT_HEURISTIC);

    if (status || find_answer(handle->real, query, key, results)) {
        return status;
    }
    blas_driver->add_bytes(&call, query, sizeof(*query));
    call.reply = results;
    call.reply_bytes = sizeof(*results);
    result = blas_driver->ask(&call);
    if (result) {
        return blas_status_of(result);
    }
    if (results->count > query->wanted) {
        return BLAS_EXECUTION_FAILED; /* the worker makes no sense */
    }
    if (results->status == BLAS_SUCCESS) {
        keep_answer(handle->real, query, key, results);
    }
    return results->status;
}

int cublasLtMatmulAlgoGetHeuristic(struct blas_handle *lightHandle, void *operationDesc,
                                   void *Adesc, void *Bdesc, void *Cdesc, void *Ddesc,
                                   void *preference, int requestedAlgoCount,
                                   void *heuristicResultsArray, int *returnAlgoCount)
{
    const BLASLtPreference *wanted = blas_lt_preference(preference);
    const void *const layouts[] = {Adesc, Bdesc, Cdesc, Ddesc};
    BLASLtQuery query = {.reserved = 0};
    BLASLtResults results;
    int status;

    if (!blas_is_handle(lightHandle)) {
        return BLAS_NOT_INITIALIZED;
    }
    if (!wanted || requestedAlgoCount <= 0 || !heuristicResultsArray || !returnAlgoCount ||
        !take(&query.problem, operationDesc, layouts)) {
        return BLAS_INVALID_VALUE;
    }
    strip_addresses(&query.problem.desc);
    query.preference = *wanted;
    query.wanted = requestedAlgoCount > (int)BLAS_LT_RESULTS_MAX ? BLAS_LT_RESULTS_MAX
                                                                 : (uint32_t)requestedAlgoCount;
    *returnAlgoCount = 0;
    status = ask(lightHandle, &query, &results);
    if (status == BLAS_SUCCESS) {
        memcpy(heuristicResultsArray, results.results, results.count * sizeof(results.results[0]));
        *returnAlgoCount = (int)results.count;
    }
    return status;
}

/* ---- products ---- */

/* The value of a factor, or where it lies. */
static bool add_factor(uint64_t to[2], const void *factor, bool is_value, uint64_t bytes)
{
    if (!factor) {
        return false;
    }
    if (!is_value) {
        to[0] = (uint64_t)(uintptr_t)factor;
        return true;
    }
    if (bytes == 0 || bytes > BLAS_SCALAR_BYTES) {
        return false;
    }
    memcpy(to, factor, bytes);
    return true;
}

static bool add_factors(BLASLtMatmul *matmul, const void *alpha, const void *beta)
{
    const BLASLtDesc *desc = &matmul->problem.desc;
    uint64_t bytes = blas_type_bytes(desc->scale_type);
    int mode = desc->pointer_mode;

    if (mode < 0 || mode > BLAS_LT_POINTER_LAST) {
        return false;
    }
    return add_factor(matmul->alpha, alpha, blas_lt_alpha_is_value(mode), bytes) &&
           (blas_lt_beta_is_zero(mode) ||
            add_factor(matmul->beta, beta, blas_lt_beta_is_value(mode), bytes));
}

/* What the library's answer can depend on. */
static uint64_t key_of(const struct blas_handle *handle, const BLASLtMatmul *matmul)
{
    const bool is_value = blas_lt_alpha_is_value(matmul->problem.desc.pointer_mode);
    BLASLtMatmul like = *matmul;

    strip_addresses(&like.problem.desc);
    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        like.matrices[i] = aligned_as(like.matrices[i]);
    }
    like.workspace = aligned_as(like.workspace);
    like.alpha[0] = is_value ? !(like.alpha[0] || like.alpha[1]) : aligned_as(like.alpha[0]);
    like.beta[0] = blas_lt_beta_is_value(matmul->problem.desc.pointer_mode)
                       ? !(like.beta[0] || like.beta[1])
                       : aligned_as(like.beta[0]);
    like.alpha[1] = like.beta[1] = 0;
    return mix_bytes(handle->real ^ 1, &like, sizeof(like));
}

int cublasLtMatmul(struct blas_handle *lightHandle, void *computeDesc, const void *alpha,
                   const void *A, void *Adesc, const void *B, void *Bdesc, const void *beta,
                   const void *C, void *Cdesc, void *D, void *Ddesc, const void *algo,
                   void *workspace, size_t workspaceSizeInBytes, CUstream stream)
{
    const void *const layouts[] = {Adesc, Bdesc, Cdesc, Ddesc};
    BLASLtMatmul matmul = {
        .matrices = {(uintptr_t)A, (uintptr_t)B, (uintptr_t)C, (uintptr_t)D},
        .workspace = workspaceSizeInBytes ? (uintptr_t)workspace : 0,
        .workspace_bytes = workspaceSizeInBytes,
        .stream = (uintptr_t)stream,
        .has_algo = algo != NULL,
    };
    struct cuda_call call;
    bool is_asked;
    int status;

    if (!take(&matmul.problem, computeDesc, layouts) || !add_factors(&matmul, alpha, beta)) {
        return blas_is_handle(lightHandle) ? BLAS_INVALID_VALUE : BLAS_NOT_INITIALIZED;
    }
    if (algo) {
        memcpy(&matmul.algo, algo, sizeof(matmul.algo));
    }
    status = blas_open(&call, lightHandle, CUDA_OP_LT_MATMUL);
    if (status) {
        return status;
    }
    if (!blas_stream_lives(stream)) {
        return BLAS_INVALID_VALUE;
    }
    blas_driver->add_bytes(&call, &matmul, sizeof(matmul));
    return blas_send(&call, key_of(lightHandle, &matmul), stream, &is_asked);
}
