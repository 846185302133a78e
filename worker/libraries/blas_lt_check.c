/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "worker/libraries/blas_lt_run.h"

enum { ORDER_COLUMNS = 0, ORDER_ROWS = 1 };
enum { BATCH_STRIDED = 0, BATCH_POINTERS = 1 };
enum { SCALE_SCALAR = 0, SCALE_OUTER_VECTOR = 3 };

#define FACTOR_BYTES 4u /* of a scale and of a maximum: they are floats */
#define POINTER_BYTES 8u

static uint64_t times(uint64_t count, uint64_t bytes)
{
    return blas_clamp((unsigned __int128)count * bytes);
}

/* One for each of the batch, `stride` elements apart; without a stride it is the same for all. */
static uint64_t batched(uint64_t one, int64_t stride, uint64_t element, int32_t batch)
{
    return blas_batch(one, stride, stride ? batch : 1, element);
}

static bool is_size(uint64_t count)
{
    return count <= INT64_MAX;
}

uint64_t blas_lt_layout_bytes(const BLASLtLayout *layout)
{
    uint64_t element = blas_type_bytes((int)(layout->type > INT32_MAX ? -1 : (int)layout->type));
    uint64_t one;

    if (element == 0 || layout->plane != 0 || !is_size(layout->rows) || !is_size(layout->cols) ||
        layout->batch < 0 || (layout->order != ORDER_COLUMNS && layout->order != ORDER_ROWS)) {
        return UINT64_MAX;
    }
    if (layout->batch_mode == BATCH_POINTERS) {
        return times((uint64_t)layout->batch, POINTER_BYTES);
    }
    if (layout->batch_mode != BATCH_STRIDED) {
        return UINT64_MAX;
    }
    one = blas_matrix(layout->order == ORDER_ROWS, (long long)layout->rows, (long long)layout->cols,
                      layout->ld, element);
    return blas_batch(one, layout->stride, layout->batch, element);
}

struct check {
    struct driver_call *call;
    const BLASLtMatmul *matmul;
    const BLASLtDesc *desc;
    const BLASLtLayout *d;
    int status;
};

static void need(struct check *check, uint64_t address, uint64_t bytes)
{
    if (!driver_range_ok(check->call, address, bytes)) {
        check->status = BLAS_INVALID_VALUE;
    }
}

static void unsupported(struct check *check)
{
    check->status = check->status ? check->status : BLAS_NOT_SUPPORTED;
}

static void choice(struct check *check, int value, int last)
{
    if (value < 0 || value > last) {
        check->status = BLAS_INVALID_VALUE;
    }
}

static void check_numbers(struct check *check)
{
    const BLASLtDesc *desc = check->desc;

    choice(check, desc->pointer_mode, BLAS_LT_POINTER_LAST);
    choice(check, desc->transa, 2);
    choice(check, desc->transb, 2);
    choice(check, desc->transc, 2);
    choice(check, desc->fill_mode, BLAS_LT_FILL_FULL);
    choice(check, desc->sm_count, INT32_MAX);
    if (desc->epilogue == 0 || desc->epilogue > BLAS_LT_EPILOGUE_ALL) {
        check->status = BLAS_INVALID_VALUE;
    }
    if (blas_scalar_bytes(desc->compute_type, 0) == 0) {
        unsupported(check);
    }
}

/* Do they fit together?  What lies behind each follows from its own layout. */
static void check_shapes(struct check *check)
{
    const BLASLtDesc *desc = check->desc;
    const BLASLtLayout *a = &check->matmul->problem.layouts[BLAS_LT_A];
    const BLASLtLayout *b = &check->matmul->problem.layouts[BLAS_LT_B];
    const BLASLtLayout *c = &check->matmul->problem.layouts[BLAS_LT_C];
    const BLASLtLayout *d = check->d;
    uint64_t inner = desc->transa ? a->rows : a->cols;

    if ((desc->transa ? a->cols : a->rows) != d->rows ||
        (desc->transb ? b->cols : b->rows) != inner ||
        (desc->transb ? b->rows : b->cols) != d->cols || c->rows != d->rows || c->cols != d->cols ||
        a->batch != d->batch || b->batch != d->batch || c->batch != d->batch) {
        check->status = BLAS_INVALID_VALUE;
    }
}

/* Without C only where nothing of it is read. */
static bool may_lack_c(const BLASLtMatmul *matmul)
{
    int mode = matmul->problem.desc.pointer_mode;

    return matmul->matrices[BLAS_LT_C] == 0 &&
           (blas_lt_beta_is_zero(mode) ||
            (blas_lt_beta_is_value(mode) && !matmul->beta[0] && !matmul->beta[1]));
}

static void check_matrices(struct check *check)
{
    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        uint64_t bytes = blas_lt_layout_bytes(&check->matmul->problem.layouts[i]);

        if (i != BLAS_LT_C || !may_lack_c(check->matmul)) {
            need(check, check->matmul->matrices[i], bytes);
        }
    }
}

static void check_factors(struct check *check)
{
    const BLASLtDesc *desc = check->desc;
    uint64_t bytes = blas_type_bytes(desc->scale_type);
    int mode = desc->pointer_mode;
    uint64_t all = mode == BLAS_LT_POINTER_DEVICE ? bytes : times(check->d->rows, bytes);

    if (bytes == 0) {
        unsupported(check);
        return;
    }
    if (!blas_lt_alpha_is_value(mode)) {
        need(check, check->matmul->alpha[0],
             batched(all, desc->alpha_stride, bytes, check->d->batch));
    }
    if (!blas_lt_beta_is_value(mode) && !blas_lt_beta_is_zero(mode)) {
        need(check, check->matmul->beta[0], all);
    }
}

/* Of a type that the program may have chosen, else D's; a bias of a small D can be a float. */
static uint64_t element_of(int32_t chosen, const BLASLtLayout *d)
{
    uint64_t bytes = blas_type_bytes(chosen >= 0 ? chosen : (int)d->type);

    return chosen < 0 && bytes < FACTOR_BYTES && bytes == 1 ? FACTOR_BYTES : bytes;
}

static void check_bias(struct check *check)
{
    const BLASLtDesc *desc = check->desc;
    const uint32_t uses = BLAS_LT_EPILOGUE_BIAS | BLAS_LT_EPILOGUE_BGRAD | BLAS_LT_EPILOGUE_BGRADA |
                          BLAS_LT_EPILOGUE_BGRADB;
    uint64_t element = element_of(desc->bias_type, check->d);
    uint64_t count = desc->epilogue & BLAS_LT_EPILOGUE_BGRADB ? check->d->cols : check->d->rows;

    if (!(desc->epilogue & uses)) {
        return;
    }
    if (element == 0 || desc->bias_stride < 0) {
        unsupported(check);
        return;
    }
    need(check, desc->bias,
         batched(times(count, element), desc->bias_stride, element, check->d->batch));
}

/* A mask of bits for RELU, elements for GELU. */
static void check_aux(struct check *check)
{
    const BLASLtDesc *desc = check->desc;
    const bool is_mask = desc->epilogue & (BLAS_LT_EPILOGUE_RELU | BLAS_LT_EPILOGUE_DRELU);
    uint64_t bits = is_mask ? 1 : element_of(desc->aux_type, check->d) * 8;
    uint64_t one, all;

    if (!(desc->epilogue & BLAS_LT_EPILOGUE_AUX)) {
        return;
    }
    if (bits == 0 || desc->aux_ld < 0 || desc->aux_stride < 0 || !is_size(check->d->cols)) {
        unsupported(check);
        return;
    }
    one = blas_matrix(0, (long long)check->d->rows, (long long)check->d->cols, desc->aux_ld, 1);
    all = batched(one, desc->aux_stride, 1, check->d->batch);
    /* In whole bytes, of which the product of the three saturates. */
    need(check, desc->aux, all == UINT64_MAX ? all : (times(all, bits) + 7) / 8);
}

static void check_scale(struct check *check, uint64_t address, int mode, uint64_t outer)
{
    if (!address) {
        return;
    }
    if (mode == SCALE_SCALAR || mode == SCALE_OUTER_VECTOR) {
        need(check, address, mode == SCALE_SCALAR ? FACTOR_BYTES : times(outer, FACTOR_BYTES));
    } else {
        unsupported(check); /* factors of blocks */
    }
}

static void check_scales(struct check *check)
{
    const BLASLtDesc *desc = check->desc;
    const BLASLtLayout *d = check->d;

    check_scale(check, desc->a_scale, desc->a_mode, d->rows);
    check_scale(check, desc->b_scale, desc->b_mode, d->cols);
    check_scale(check, desc->c_scale, desc->c_mode, d->rows);
    check_scale(check, desc->d_scale, desc->d_mode, d->rows);
    check_scale(check, desc->aux_scale, desc->aux_mode, d->rows);
    check_scale(check, desc->d_out_scale, desc->d_out_mode, d->rows);
    check_scale(check, desc->amax, SCALE_SCALAR, 1);
    check_scale(check, desc->aux_amax, SCALE_SCALAR, 1);
}

int blas_lt_check_problem(const BLASLtProblem *problem)
{
    struct check check = {.desc = &problem->desc};

    check_numbers(&check);
    if (blas_type_bytes(problem->desc.scale_type) == 0) {
        unsupported(&check);
    }
    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        if (blas_lt_layout_bytes(&problem->layouts[i]) == UINT64_MAX) {
            unsupported(&check);
        }
    }
    return check.status;
}

int blas_lt_check(struct driver_call *call, const BLASLtMatmul *matmul)
{
    struct check check = {.call = call,
                          .matmul = matmul,
                          .desc = &matmul->problem.desc,
                          .d = &matmul->problem.layouts[BLAS_LT_D]};

    check_numbers(&check);
    check_shapes(&check);
    if (!check.status) {
        check_matrices(&check);
        check_factors(&check);
        check_bias(&check);
        check_aux(&check);
        check_scales(&check);
        need(&check, matmul->workspace, matmul->workspace_bytes);
    }
    return check.status;
}
