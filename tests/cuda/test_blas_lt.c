/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Products of cuBLASLt as a hostile process may write them: the library believes descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "cuda/blas_lt.h"
#include "tests/cuda/rig.h"
#include "worker/libraries/blas_lt_run.h"

#define BLAS(n) RIG_HANDLE(CUDA_KIND_BLAS, n)
#define MEMORY_BYTES 4096u
#define OUTSIDE 0x1000u

enum { FLOAT = 0, COMPUTE_FLOAT = 68 };

static uint64_t memory; /* of the GPU */

static int open_rig(void **state)
{
    struct rig_channel *c = rig_setup(state, 0);

    assert_int_equal(RIG_CALL(c, ALLOC, 1, MEMORY_BYTES), 0);
    memory = c->out[0];
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(1), BLAS_KIND_BLAS), 0);
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(2), BLAS_KIND_LT), 0);
    return 0;
}

/* Floats by columns, 8 by 4. */
static BLASLtLayout layout(void)
{
    return (BLASLtLayout){.mark = BLAS_LT_LAYOUT_MARK, .rows = 8, .cols = 4, .ld = 8, .batch = 1};
}

/* a (8 by 4) times b (4 by 4) into d (8 by 4). */
static BLASLtMatmul matmul(void)
{
    const float one = 1;
    BLASLtMatmul call = {
        .problem = {.desc = {.mark = BLAS_LT_DESC_MARK,
                             .compute_type = COMPUTE_FLOAT,
                             .fill_mode = BLAS_LT_FILL_FULL,
                             .epilogue = BLAS_LT_EPILOGUE_DEFAULT,
                             .aux_type = -1,
                             .bias_type = -1}},
        .matrices = {memory, memory + 512, memory + 1024, memory + 1024},
    };

    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        call.problem.layouts[i] = layout();
    }
    call.problem.layouts[BLAS_LT_B].rows = call.problem.layouts[BLAS_LT_B].ld = 4;
    memcpy(&call.alpha, &one, sizeof(one));
    return call;
}

static CUresult send(struct rig_channel *c, uint64_t handle, uint16_t op, const void *payload,
                     size_t bytes)
{
    return rig_ask(c, (struct rig_record){.op = op,
                                          .context = 1,
                                          RIG_ARGS(handle),
                                          .payload = payload,
                                          .payload_bytes = (uint32_t)bytes});
}

static int status_of(struct rig_channel *c, const BLASLtMatmul *call)
{
    assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_MATMUL, call, sizeof(*call)), 0);
    return (int)c->out[0];
}

static void a_product_that_is_well(void **state)
{
    struct rig_channel *c = rig_first(state);
    BLASLtMatmul call = matmul();

    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    call.matrices[BLAS_LT_C] = 0; /* which nothing is read of */
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    assert_int_equal(send(c, BLAS(2), CUDA_OP_LT_MATMUL, &call, sizeof(call)), 0);
    assert_int_equal(c->out[0], BLAS_SUCCESS);
    rig_settle(c);
}

/* One field of a product that is well is made wrong. */
#define LAYOUT(i, field) problem.layouts[i].field

static void fields(void **state)
{
    static const struct {
        size_t offset, bytes;
        int64_t value;
        int status;
    } rows[] = {
#define BAD(field, value)                                                                          \
    {offsetof(BLASLtMatmul, field), sizeof(((BLASLtMatmul *)0)->field), value, 7}
#define NOT(field, value)                                                                          \
    {                                                                                              \
        offsetof(BLASLtMatmul, field), sizeof(((BLASLtMatmul *)0)->field), value, 15               \
    }
        BAD(matrices[0], OUTSIDE),
        BAD(matrices[1], -1),
        BAD(matrices[3], 0),
        BAD(workspace_bytes, 4096),
        BAD(workspace_bytes, -1),
        BAD(stream, 0x123456),
        BAD(LAYOUT(0, rows), 1 << 20),
        BAD(LAYOUT(0, rows), 4), /* they don't fit together, though each lies in memory */
        BAD(LAYOUT(1, cols), 2),
        BAD(LAYOUT(0, cols), 3),
        BAD(LAYOUT(2, rows), 4),
        BAD(LAYOUT(3, batch), 2),
        BAD(LAYOUT(0, batch), 2),
        BAD(problem.desc.transa, 1),
        BAD(LAYOUT(0, rows), -1),
        BAD(LAYOUT(0, cols), INT64_MAX),
        BAD(LAYOUT(1, cols), INT64_MIN),
        BAD(LAYOUT(3, ld), 7),
        BAD(LAYOUT(3, ld), -8),
        BAD(LAYOUT(3, ld), 4096),
        BAD(LAYOUT(3, batch), -1),
        NOT(LAYOUT(0, type), 1), /* doubles fit: the library itself refuses */
        BAD(LAYOUT(0, type), 1000),
        BAD(LAYOUT(0, type), -1),
        BAD(LAYOUT(0, order), 4),
        BAD(LAYOUT(2, plane), 64),
        BAD(LAYOUT(2, batch_mode), 2),
        BAD(problem.desc.pointer_mode, 5),
        BAD(problem.desc.pointer_mode, -1),
        BAD(problem.desc.pointer_mode, 1), /* 1.0f is no address */
        BAD(problem.desc.pointer_mode, 2),
        BAD(problem.desc.transa, 3),
        BAD(problem.desc.fill_mode, 9),
        BAD(problem.desc.epilogue, 0),
        BAD(problem.desc.epilogue, 2048),
        BAD(problem.desc.epilogue, BLAS_LT_EPILOGUE_BIAS),
        BAD(problem.desc.epilogue, BLAS_LT_EPILOGUE_BGRADB),
        BAD(problem.desc.epilogue, BLAS_LT_EPILOGUE_RELU | BLAS_LT_EPILOGUE_AUX),
        BAD(problem.desc.sm_count, -1),
        BAD(problem.desc.a_scale, OUTSIDE),
        BAD(problem.desc.amax, OUTSIDE),
        BAD(problem.desc.d_out_scale, OUTSIDE),
        NOT(problem.desc.scale_type, 1000),
        NOT(problem.desc.compute_type, 1000),
        NOT(has_algo, 1), /* zeros are none that was handed out */
#undef BAD
#undef NOT
    };
    struct rig_channel *c = rig_first(state);

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        BLASLtMatmul call = matmul();

        call.workspace = memory + 2048;
        call.workspace_bytes = 64;
        memcpy((uint8_t *)&call + rows[i].offset, &rows[i].value, rows[i].bytes);
        fprintf(stderr, "row %u\n", i);
        assert_int_equal(status_of(c, &call), rows[i].status);
    }
}

/* What epilogues and factors read and write lies in the last bytes of the memory, or not. */
static void edges(void **state)
{
    struct rig_channel *c = rig_first(state);
    BLASLtMatmul call = matmul();

    call.problem.desc.set = UINT32_MAX; /* the library is told of all */
    call.problem.desc.epilogue = BLAS_LT_EPILOGUE_BIAS;
    call.problem.desc.bias_type = FLOAT;
    call.problem.desc.bias = memory + MEMORY_BYTES - 32;
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    call.problem.desc.bias += 4;
    assert_int_equal(status_of(c, &call), BLAS_INVALID_VALUE);
    call.problem.desc.bias -= 4;
    call.problem.desc.bias_type = 1; /* doubles */
    assert_int_equal(status_of(c, &call), BLAS_INVALID_VALUE);
    call.problem.desc.bias_type = FLOAT;
    call.problem.desc.a_scale = memory + MEMORY_BYTES - 4;
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    call.problem.desc.a_mode = 3; /* one for each row */
    assert_int_equal(status_of(c, &call), BLAS_INVALID_VALUE);
    call.problem.desc.a_mode = 1;
    assert_int_equal(status_of(c, &call), BLAS_NOT_SUPPORTED);
    rig_settle(c);
}

/* The library has the pointer mode that was checked, whatever else the process says it has set. */
static void factors_on_the_gpu(void **state)
{
    struct rig_channel *c = rig_first(state);
    BLASLtMatmul call = matmul();

    call.problem.desc.set = 0;
    call.problem.desc.pointer_mode = BLAS_LT_POINTER_DEVICE;
    call.alpha[0] = call.beta[0] = memory + 2048;
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    rig_settle(c);
}

/* In bytes these strides are more than 64 bits hold. */
static void strides_that_overflow(void **state)
{
    struct rig_channel *c = rig_first(state);
    BLASLtMatmul call = matmul();

    for (unsigned i = 0; i < BLAS_LT_MATRICES; i++) {
        call.problem.layouts[i].batch = 2;
    }
    call.problem.desc.set = UINT32_MAX;
    call.problem.desc.epilogue = BLAS_LT_EPILOGUE_BIAS;
    call.problem.desc.bias_type = FLOAT;
    call.problem.desc.bias = memory + 2048;
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    call.problem.desc.bias_stride = 1ll << 62;
    assert_int_equal(status_of(c, &call), BLAS_INVALID_VALUE);
    call.problem.desc.bias_stride = 0;
    call.problem.desc.pointer_mode = BLAS_LT_POINTER_DEVICE;
    call.alpha[0] = call.beta[0] = memory + 3072;
    assert_int_equal(status_of(c, &call), BLAS_SUCCESS);
    call.problem.desc.alpha_stride = 1ll << 62;
    assert_int_equal(status_of(c, &call), BLAS_INVALID_VALUE);
    rig_settle(c);
}

/* The library looks up such numbers in tables of its own. */
static void questions_of_no_sense(void **state)
{
    static const struct {
        size_t offset, bytes;
        int64_t value;
        int status;
    } rows[] = {
#define ROW(field, value, status)                                                                  \
    {offsetof(BLASLtQuery, field), sizeof(((BLASLtQuery *)0)->field), value, status}
        ROW(problem.desc.transa, 99, BLAS_INVALID_VALUE),
        ROW(problem.desc.transb, -1, BLAS_INVALID_VALUE),
        ROW(problem.desc.pointer_mode, 99, BLAS_INVALID_VALUE),
        ROW(problem.desc.epilogue, 0, BLAS_INVALID_VALUE),
        ROW(problem.desc.epilogue, 1 << 30, BLAS_INVALID_VALUE),
        ROW(problem.desc.fill_mode, -2, BLAS_INVALID_VALUE),
        ROW(problem.desc.compute_type, -1, BLAS_NOT_SUPPORTED),
        ROW(problem.desc.scale_type, 1 << 20, BLAS_NOT_SUPPORTED),
        ROW(LAYOUT(2, type), -1, BLAS_NOT_SUPPORTED),
        ROW(LAYOUT(2, type), 1 << 20, BLAS_NOT_SUPPORTED),
        ROW(LAYOUT(2, order), 99, BLAS_NOT_SUPPORTED),
        ROW(LAYOUT(2, batch), -1, BLAS_NOT_SUPPORTED),
#undef ROW
    };
    struct rig_channel *c = rig_first(state);

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        BLASLtQuery query = {.problem = matmul().problem,
                             .preference = {.mark = BLAS_LT_PREFERENCE_MARK},
                             .wanted = 1};

        memcpy((uint8_t *)&query + rows[i].offset, &rows[i].value, rows[i].bytes);
        print_message("row %u\n", i);
        assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)), 0);
        assert_int_equal(c->out[0], rows[i].status);
    }
}

static void questions(void **state)
{
    struct rig_channel *c = rig_first(state);
    BLASLtQuery query = {.problem = matmul().problem,
                         .preference = {.mark = BLAS_LT_PREFERENCE_MARK},
                         .wanted = BLAS_LT_RESULTS_MAX};

    assert_int_equal(send(c, BLAS(2), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)), 0);
    assert_int_equal((int32_t)c->out[0], BLAS_SUCCESS);
    assert_int_equal(c->out[0] >> 32, 1); /* the other one needs a workspace */
    query.problem.layouts[0].type = 1;
    assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)), 0);
    assert_int_equal(c->out[0], BLAS_NOT_SUPPORTED);
    query.wanted = BLAS_LT_RESULTS_MAX + 1;
    assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)),
                     CUDA_ERROR_INVALID_VALUE);
    query.wanted = 0;
    assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_HEURISTIC, &query, sizeof(query) - 8),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(send(c, BLAS(3), CUDA_OP_LT_HEURISTIC, &query, sizeof(query)),
                     CUDA_ERROR_INVALID_HANDLE);
}

static void handles_and_lengths(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t wrong[] = {0, BLAS(3), RIG_HANDLE(CUDA_KIND_MODULE, 0), RIG_CONTEXT(1), UINT64_MAX};
    BLASLtMatmul call = matmul();

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(send(c, wrong[i], CUDA_OP_LT_MATMUL, &call, sizeof(call)),
                         CUDA_ERROR_INVALID_HANDLE);
    }
    for (size_t bytes = 0; bytes < sizeof(call); bytes += 8) {
        assert_int_equal(send(c, BLAS(1), CUDA_OP_LT_MATMUL, &call, bytes),
                         CUDA_ERROR_INVALID_VALUE);
    }
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(7), 2), CUDA_ERROR_INVALID_VALUE);
    /* One of cuBLASLt alone is none of cuBLAS. */
    assert_int_equal(RIG_CALL(c, BLAS_CALL, 1, BLAS(2), 1), CUDA_ERROR_INVALID_HANDLE);
}

static void a_handle_of_its_own_takes_nothing(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t before = c->channel->charged_bytes;

    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(7), BLAS_KIND_LT), 0);
    assert_int_equal(c->channel->charged_bytes, before);
    assert_int_equal(RIG_CALL(c, BLAS_DESTROY, 1, BLAS(7)), 0);
    assert_int_equal(c->channel->charged_bytes, before);
}

static void algorithms_that_were_handed_out(void **state)
{
    BLASLtAlgo algo = {{1, 2, 3}};

    (void)state;
    assert_false(blas_lt_algo_known(&algo));
    for (uint64_t i = 1; i <= 3000; i++) {
        algo.data[7] = i;
        assert_true(blas_lt_algo_note(&algo));
        assert_true(blas_lt_algo_note(&algo));
    }
    for (uint64_t i = 1; i <= 3000; i++) {
        algo.data[7] = i;
        assert_true(blas_lt_algo_known(&algo));
        algo.data[6] = 1;
        assert_false(blas_lt_algo_known(&algo));
        algo.data[6] = 0;
    }
    algo = (BLASLtAlgo){{0}};
    assert_true(blas_lt_algo_note(&algo));
    assert_false(blas_lt_algo_known(&algo));
}

static void bytes_of_layouts(void **state)
{
    BLASLtLayout of = layout();

    (void)state;
    assert_int_equal(blas_lt_layout_bytes(&of), 8 * 4 * 4);
    of.ld = 10;
    assert_int_equal(blas_lt_layout_bytes(&of), (3 * 10 + 8) * 4);
    of.order = 1;
    assert_int_equal(blas_lt_layout_bytes(&of), (7 * 10 + 4) * 4);
    of.batch = 3;
    of.stride = 100;
    assert_int_equal(blas_lt_layout_bytes(&of), (7 * 10 + 4) * 4 + 2 * 100 * 4);
    of.stride = -100;
    assert_int_equal(blas_lt_layout_bytes(&of), UINT64_MAX);
    of.batch_mode = 1; /* addresses of the matrices */
    assert_int_equal(blas_lt_layout_bytes(&of), 3 * 8);
}

#define WITH_RIG(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(a_product_that_is_well),
        WITH_RIG(fields),
        WITH_RIG(edges),
        WITH_RIG(factors_on_the_gpu),
        WITH_RIG(strides_that_overflow),
        WITH_RIG(questions),
        WITH_RIG(questions_of_no_sense),
        WITH_RIG(handles_and_lengths),
        WITH_RIG(a_handle_of_its_own_takes_nothing),
        cmocka_unit_test(algorithms_that_were_handed_out),
        cmocka_unit_test(bytes_of_layouts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
