/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of cuBLAS as a hostile process may write them: the library itself checks little. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "cublas_ids.h"
#include "cuda/blas.h"
#include "tests/cuda/rig.h"

#define BLAS(n) RIG_HANDLE(CUDA_KIND_BLAS, n)
#define MEMORY_BYTES 4096u
#define HANDLE_MIB 64u

static uint64_t memory; /* of the GPU */

static int open_rig(void **state)
{
    struct rig_channel *c = rig_setup(state, 0);

    assert_int_equal(RIG_CALL(c, ALLOC, 1, MEMORY_BYTES), 0);
    memory = c->out[0];
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(1)), 0);
    assert_int_equal(c->out[0], BLAS_SUCCESS);
    assert_true(c->out[1] >= 130000);
    return 0;
}

struct payload {
    BLASState state;
    uint64_t words[BLAS_WORDS_MAX + 4];
};

/* The channel's answer; the library's status is its first word. */
static CUresult send(struct rig_channel *c, uint64_t handle, uint64_t number,
                     const struct payload *payload, unsigned words)
{
    return rig_ask(
        c, (struct rig_record){.op = CUDA_OP_BLAS_CALL,
                               .context = 1,
                               RIG_ARGS(handle, number),
                               .payload = payload,
                               .payload_bytes = (uint32_t)(sizeof(payload->state) + words * 8)});
}

#define SGEMM_WORDS 15u

/* 4 by 4 by 4, all in the first bytes of the memory. */
static struct payload product(void)
{
    const float one = 1;
    struct payload payload = {
        .words = {0, 0, 4, 4, 4, 0, 0, memory, 4, memory + 64, 4, 0, 0, memory + 128, 4}};

    memcpy(&payload.words[5], &one, sizeof(one));
    return payload;
}

static int status_of(struct rig_channel *c, const struct payload *payload)
{
    assert_int_equal(send(c, BLAS(1), BLAS_cublasSgemm_v2, payload, SGEMM_WORDS), 0);
    return (int)c->out[0];
}

static void a_call_that_is_well(void **state)
{
    struct payload payload = product();

    assert_int_equal(status_of(rig_first(state), &payload), BLAS_SUCCESS);
    payload.state.workspace = memory + 1024;
    payload.state.workspace_bytes = 1024;
    assert_int_equal(status_of(rig_first(state), &payload), BLAS_SUCCESS);
    payload.state.pointer_mode = 1;
    payload.words[5] = memory + 2048;
    payload.words[11] = memory + 2052;
    assert_int_equal(status_of(rig_first(state), &payload), BLAS_SUCCESS);
    rig_settle(rig_first(state));
}

static void addresses_and_sizes(void **state)
{
    static const struct {
        unsigned word;
        uint64_t value;
    } rows[] = {
        {2, 0xffffffff}, {2, 0x7fffffff}, {3, 0x80000000},         {4, 0x7fffffff},
        {7, 0},          {7, 0x1000},     {8, 0x7fffffff},         {8, 3},
        {8, 0},          {9, UINT64_MAX}, {10, 0xfffffffffffffff}, {13, UINT64_MAX},
        {14, 1000},
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct payload payload = product();

        payload.words[rows[i].word] = rows[i].value;
        print_message("word %u\n", rows[i].word);
        assert_int_equal(status_of(rig_first(state), &payload), BLAS_INVALID_VALUE);
    }
}

/* Rows of the families, at the edge of what there is: `last` is too much in one argument. */
static void families(void **state)
{
    static const struct {
        unsigned number, count;
        int64_t words[16]; /* addresses: offsets in the memory, marked */
        unsigned word;     /* that is made wrong */
        int64_t wrong;
    } rows[] = {
#define AT(offset) ((1ll << 62) + (offset))
        /* side, uplo, trans, diag, m, n, alpha, A, lda, B, ldb */
        {BLAS_cublasStrsm_v2, 12, {0, 0, 0, 0, 16, 48, 0, 0, AT(0), 16, AT(1024), 16}, 5, 49},
        {BLAS_cublasStrsm_v2, 12, {1, 0, 0, 0, 8, 32, 0, 0, AT(0), 32, AT(0), 8}, 9, 33},
        {BLAS_cublasStrsm_v2, 12, {1, 0, 0, 0, 8, 32, 0, 0, AT(0), 32, AT(0), 8}, 0, 2},
        {BLAS_cublasStrsm_v2, 12, {0, 2, 0, 1, 8, 32, 0, 0, AT(0), 8, AT(0), 8}, 1, 3},
        {BLAS_cublasStrsm_v2, 12, {0, 2, 0, 1, 8, 32, 0, 0, AT(0), 8, AT(0), 8}, 3, -1},
        /* uplo, trans, n, k, alpha, A, lda, beta, C, ldc */
        {BLAS_cublasSsyrk_v2, 12, {0, 0, 4, 8, 0, 0, AT(0), 4, 0, 0, AT(0), 4}, 1, 1},
        {BLAS_cublasSsyrk_v2, 12, {0, 1, 4, 8, 0, 0, AT(0), 8, 0, 0, AT(4096 - 64), 4}, 11, 5},
        {BLAS_cublasSsyrk_v2, 12, {0, 1, 4, 8, 0, 0, AT(0), 8, 0, 0, AT(0), 4}, 1, 7},
        /* m, n, alpha, x, incx, y, incy, A, lda */
        {BLAS_cublasSger_v2, 10, {4, 8, 0, 0, AT(0), 341, AT(0), -146, AT(0), 4}, 5, 342},
        {BLAS_cublasSger_v2, 10, {4, 8, 0, 0, AT(0), 341, AT(0), -146, AT(0), 4}, 7, -147},
        /* n, x, incx, y, incy */
        {BLAS_cublasSswap_v2, 5, {1024, AT(0), 1, AT(0), 1}, 0, 1025},
        {BLAS_cublasSswap_v2, 5, {1024, AT(0), 1, AT(0), 1}, 3, AT(4)},
#undef AT
    };
    struct rig_channel *c = rig_first(state);

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct payload payload = {.state.stream = 0};

        for (unsigned w = 0; w < rows[i].count; w++) {
            int64_t word = rows[i].words[w];

            payload.words[w] = (uint64_t)(word >> 62 == 1 ? word - (1ll << 62) : word);
            payload.words[w] += word >> 62 == 1 ? memory : 0;
        }
        print_message("row %u\n", i);
        assert_int_equal(send(c, BLAS(1), rows[i].number, &payload, rows[i].count), 0);
        assert_int_equal(c->out[0], BLAS_SUCCESS);
        payload.words[rows[i].word] =
            (uint64_t)(rows[i].wrong >> 62 == 1 ? (int64_t)memory + (rows[i].wrong & 0xffff)
                                                : rows[i].wrong);
        assert_int_equal(send(c, BLAS(1), rows[i].number, &payload, rows[i].count), 0);
        assert_int_equal(c->out[0], BLAS_INVALID_VALUE);
    }
}

/* Without the pointer mode "device" a result would be written into this process. */
static void results(void **state)
{
    struct rig_channel *c = rig_first(state);
    /* n, x, incx, y, incy, result */
    struct payload payload = {.words = {4, memory, 1, memory, 1, memory + MEMORY_BYTES - 4}};

    assert_int_equal(send(c, BLAS(1), BLAS_cublasSdot_v2, &payload, 6), 0);
    assert_int_equal(c->out[0], BLAS_INVALID_VALUE);
    payload.state.pointer_mode = 1;
    assert_int_equal(send(c, BLAS(1), BLAS_cublasSdot_v2, &payload, 6), 0);
    assert_int_equal(c->out[0], BLAS_SUCCESS);
    payload.words[5]++;
    assert_int_equal(send(c, BLAS(1), BLAS_cublasSdot_v2, &payload, 6), 0);
    assert_int_equal(c->out[0], BLAS_INVALID_VALUE);
    rig_settle(c);
}

static void states(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();

    payload.state.pointer_mode = 2;
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload.state.pointer_mode = 1; /* 1.0f is no address */
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload = product();
    payload.state.math_mode = 0x100;
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload.state.math_mode = 5; /* between those that there are */
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload = product();
    payload.state.atomics_mode = 7;
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload = product();
    payload.state.stream = RIG_HANDLE(CUDA_KIND_STREAM, 9);
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload = product();
    payload.state.workspace = memory;
    payload.state.workspace_bytes = MEMORY_BYTES + 1;
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
    payload.state.workspace_bytes = UINT64_MAX;
    assert_int_equal(status_of(c, &payload), BLAS_INVALID_VALUE);
}

/* What the library has refused is not its setting: the next call is refused as well. */
static void a_setting_that_the_library_refuses(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();

    payload.state.math_mode = 8;
    assert_int_equal(status_of(c, &payload), BLAS_NOT_SUPPORTED);
    assert_int_equal(status_of(c, &payload), BLAS_NOT_SUPPORTED);
    payload.state.math_mode = 3 | BLAS_MATH_FLAGS;
    assert_int_equal(status_of(c, &payload), BLAS_SUCCESS);
    rig_settle(c);
}

#define GEMM_EX_WORDS 20u
#define GEMM_EX_ALGORITHM 19u

static void algorithms(void **state)
{
    static const struct {
        int algorithm, status;
    } rows[] = {
        {-1, BLAS_SUCCESS},       {23, BLAS_SUCCESS},        {99, BLAS_SUCCESS},
        {115, BLAS_SUCCESS},      {-2, BLAS_INVALID_VALUE},  {24, BLAS_INVALID_VALUE},
        {98, BLAS_INVALID_VALUE}, {116, BLAS_INVALID_VALUE}, {INT32_MIN, BLAS_INVALID_VALUE}};
    struct rig_channel *c = rig_first(state);
    struct payload payload = {.words = {0, 0, 4, 4, 4, 0, 0, memory, 0, 4, memory + 64, 0, 4, 0, 0,
                                        memory + 128, 0, 4, 68}};

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        payload.words[GEMM_EX_ALGORITHM] = (uint64_t)rows[i].algorithm;
        print_message("algorithm %d\n", rows[i].algorithm);
        assert_int_equal(send(c, BLAS(1), BLAS_cublasGemmEx, &payload, GEMM_EX_WORDS), 0);
        assert_int_equal(c->out[0], rows[i].status);
    }
    rig_settle(c);
}

static struct rig_record record_of(const struct payload *payload, uint16_t flags)
{
    return (struct rig_record){.op = CUDA_OP_BLAS_CALL,
                               .context = 1,
                               .flags = flags,
                               RIG_ARGS(BLAS(1), BLAS_cublasSgemm_v2),
                               .payload = payload,
                               .payload_bytes = sizeof(payload->state) + SGEMM_WORDS * 8};
}

/* The answer has no place for the library's status. */
static void a_call_that_waits_for_the_gpu(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();

    assert_int_equal(rig_ask(c, record_of(&payload, VGPU_RECORD_WAIT)), 0);
    payload.words[8] = 3; /* lda */
    assert_int_equal(rig_ask(c, record_of(&payload, VGPU_RECORD_WAIT)), CUDA_ERROR_UNKNOWN);
}

/* A program may make any number of such calls, and none of them fills the host's log. */
static void late_errors_are_said_once(void **state)
{
    const int to = memfd_create("log", 0), before = dup(STDERR_FILENO);
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();
    struct rig_record record = record_of(&payload, 0);
    char text[4096] = "";
    const char *first;

    payload.words[8] = 3; /* lda */
    dup2(to, STDERR_FILENO);
    log_init("rig", LOG_LEVEL_WARNING, false);
    for (unsigned i = 0; i < 5; i++) {
        rig_put(c, &record);
    }
    rig_settle(c);
    dup2(before, STDERR_FILENO);
    log_init("rig", LOG_LEVEL_ERROR, false);
    assert_true(pread(to, text, sizeof(text) - 1, 0) > 0);
    close(before);
    close(to);
    first = strstr(text, "too late");
    assert_non_null(first);
    assert_null(strstr(first + 1, "too late"));
    assert_int_equal(c->channel->late_count, 5);
}

static void numbers_and_lengths(void **state)
{
    static const uint64_t numbers[] = {0, BLAS_CALLS_END, 0x10001, UINT64_MAX};
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        assert_int_equal(send(c, BLAS(1), numbers[i], &payload, SGEMM_WORDS), 0);
        assert_int_equal(c->out[0], BLAS_INVALID_VALUE);
    }
    for (unsigned words = 0; words < BLAS_WORDS_MAX + 4; words++) {
        assert_int_equal(send(c, BLAS(1), BLAS_cublasSgemm_v2, &payload, words), 0);
        assert_int_equal(c->out[0], words == SGEMM_WORDS ? BLAS_SUCCESS : BLAS_INVALID_VALUE);
    }
    assert_int_equal(RIG_CALL(c, BLAS_CALL, 1, BLAS(1)), 0);
    assert_int_equal(c->out[0], BLAS_INVALID_VALUE);
    rig_settle(c);
}

/* The library loads its own code, at which the driver would wait; the stand-in ends who lets it. */
static void the_library_never_waits(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint32_t ns = 50000000;

    assert_int_equal(rig_function(c, 1, RIG_HANDLE(CUDA_KIND_MODULE, 0), 8, "spin"), 0);
    assert_int_equal(rig_launch(c, 1, RIG_HANDLE(CUDA_KIND_FUNCTION, 8), 0, &ns, 4), 0);
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(2)), 0);
}

static void handles(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();
    uint64_t wrong[] = {0, BLAS(2), RIG_HANDLE(CUDA_KIND_MODULE, 0), RIG_CONTEXT(1), UINT64_MAX};

    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(send(c, wrong[i], BLAS_cublasSgemm_v2, &payload, SGEMM_WORDS),
                         CUDA_ERROR_INVALID_HANDLE);
        assert_int_equal(RIG_CALL(c, BLAS_DESTROY, 1, wrong[i]), CUDA_ERROR_INVALID_HANDLE);
    }
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(1)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, RIG_HANDLE(CUDA_KIND_STREAM, 7)),
                     CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(RIG_CALL(c, BLAS_DESTROY, 1, BLAS(1)), 0);
    assert_int_equal(send(c, BLAS(1), BLAS_cublasSgemm_v2, &payload, SGEMM_WORDS),
                     CUDA_ERROR_INVALID_HANDLE);
}

static unsigned alive_in_library(void)
{
    void *library = dlopen(VGPU_STAND_IN_CUBLAS, RTLD_NOW | RTLD_NOLOAD);
    unsigned (*alive)(void) = NULL;

    *(void **)&alive = dlsym(library, "stand_in_cublas_alive");
    return alive();
}

/* The library's handle goes while its context is still there. */
static void a_handle_ends_with_its_context(void **state)
{
    struct rig_channel *c = rig_first(state);
    struct payload payload = product();
    unsigned before = alive_in_library();

    assert_int_equal(RIG_CALL(c, CTX_CREATE, 0, RIG_CONTEXT(2), 0), 0);
    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 2, BLAS(3)), 0);
    assert_int_equal(send(c, BLAS(3), BLAS_cublasSgemm_v2, &payload, SGEMM_WORDS),
                     CUDA_ERROR_INVALID_HANDLE); /* of another context */
    assert_int_equal(alive_in_library(), before + 1);
    assert_int_equal(RIG_CALL(c, CTX_DESTROY, 2, RIG_CONTEXT(2)), 0);
    assert_int_equal(alive_in_library(), before);
    assert_int_equal(RIG_CALL(c, BLAS_DESTROY, 1, BLAS(3)), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(status_of(c, &payload), BLAS_SUCCESS);
    rig_settle(c);
}

static void what_a_handle_takes_is_charged(void **state)
{
    struct rig_channel *c = rig_first(state);
    uint64_t before = c->channel->charged_bytes;
    unsigned made = 0;

    assert_int_equal(RIG_CALL(c, BLAS_CREATE, 1, BLAS(10)), 0);
    assert_int_equal(c->channel->charged_bytes - before, (uint64_t)HANDLE_MIB << 20);
    assert_int_equal(RIG_CALL(c, BLAS_DESTROY, 1, BLAS(10)), 0);
    assert_int_equal(c->channel->charged_bytes, before);
    while (made < 100 && RIG_CALL(c, BLAS_CREATE, 1, BLAS(20 + made)) == 0) {
        made++;
    }
    assert_true(made < 64); /* there is one already */
}

static void bytes_of_matrices(void **state)
{
    (void)state;
    assert_int_equal(blas_matrix(0, 3, 5, 7, 4), (4 * 7 + 3) * 4);
    assert_int_equal(blas_matrix(1, 3, 5, 7, 4), (2 * 7 + 5) * 4);
    assert_int_equal(blas_matrix(0, 0, 5, 0, 4), 0);
    assert_int_equal(blas_matrix(0, 3, 5, 2, 4), UINT64_MAX);
    assert_int_equal(blas_matrix(0, -3, 5, 7, 4), UINT64_MAX);
    assert_int_equal(blas_matrix(0, INT32_MAX, INT32_MAX, INT64_MAX, 16), UINT64_MAX);
    assert_int_equal(blas_matrix(0, 3, 5, 7, 0), UINT64_MAX);
    assert_int_equal(blas_batch(100, 10, 3, 4), 180);
    assert_int_equal(blas_batch(100, -10, 3, 4), UINT64_MAX);
    assert_int_equal(blas_batch(100, INT64_MAX, INT32_MAX, 16), UINT64_MAX);
    assert_int_equal(blas_batch(100, 10, 0, 4), 0);
    assert_int_equal(blas_vector(4, -3, 8), 80);
    assert_int_equal(blas_vector(-4, 3, 8), 0);
    assert_int_equal(blas_vector(INT64_MAX, INT64_MIN, 8), UINT64_MAX);
    assert_int_equal(blas_type_bytes(2), 2);
    assert_int_equal(blas_type_bytes(5), 16);
    assert_int_equal(blas_type_bytes(-1), 0);
    assert_int_equal(blas_type_bytes(16), 0);
    assert_int_equal(blas_type_bytes(1000), 0);
    assert_int_equal(blas_scalar_bytes(68, 0), 4);
    assert_int_equal(blas_scalar_bytes(70, 5), 16);
    assert_int_equal(blas_scalar_bytes(64, 2), 2);
    assert_int_equal(blas_scalar_bytes(1, 2), 0);
}

#define WITH_RIG(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_RIG(a_call_that_is_well),
        WITH_RIG(addresses_and_sizes),
        WITH_RIG(families),
        WITH_RIG(results),
        WITH_RIG(states),
        WITH_RIG(a_setting_that_the_library_refuses),
        WITH_RIG(algorithms),
        WITH_RIG(a_call_that_waits_for_the_gpu),
        WITH_RIG(late_errors_are_said_once),
        WITH_RIG(numbers_and_lengths),
        WITH_RIG(the_library_never_waits),
        WITH_RIG(handles),
        WITH_RIG(a_handle_ends_with_its_context),
        WITH_RIG(what_a_handle_takes_is_charged),
        cmocka_unit_test(bytes_of_matrices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
