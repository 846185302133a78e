/* SPDX-License-Identifier: BSD-3-Clause */
/* When and how often a refused request is tried again, in a time of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "internal.h"

#define SLEEPS_MAX 32u
#define MS 1000000u

struct world {
    struct vgpu v;
    uint64_t now_ns;
    uint64_t sleeps_ns[SLEEPS_MAX];
    uint32_t sleeps;
    uint32_t exchanges;
    uint32_t refusals;  /* how many exchanges are refused first */
    uint32_t code;      /* with this */
    bool in_the_answer; /* as status of a response, not by the transport */
};

static uint64_t world_now_ns(void *opaque)
{
    return ((struct world *)opaque)->now_ns;
}

static void world_sleep_ns(void *opaque, uint64_t duration_ns)
{
    struct world *w = opaque;

    assert_true(w->sleeps < SLEEPS_MAX);
    w->sleeps_ns[w->sleeps++] = duration_ns;
    w->now_ns += duration_ns;
}

static uint32_t world_exchange(struct vgpu *v, const void *request, uint32_t request_bytes,
                               void *response, uint32_t *response_bytes, uint64_t deadline_ns)
{
    struct world *w = v->link;
    VGPUResponse header = {.version = VGPU_PROTOCOL_VERSION, .exec_time_us = 3};

    /* Each attempt has the whole timeout. */
    assert_true(deadline_ns == w->now_ns + (uint64_t)v->options.timeout_ms * MS);
    if (w->exchanges++ < w->refusals) {
        if (!w->in_the_answer) {
            return vgpu_set_device_error(v, w->code);
        }
        header.status = w->code;
    }
    memcpy(response, &header, sizeof(header));
    *response_bytes = sizeof(header);
    return VGPU_ERR_NONE;
}

static void world_get_stats(const struct vgpu *v, struct vgpu_stats *stats)
{
}

static const struct vgpu_transport world_transport = {
    .exchange = world_exchange,
    .get_stats = world_get_stats,
};

static void world_start(struct world *w, uint32_t refusals, uint32_t code)
{
    memset(w, 0, sizeof(*w));
    vgpu_options_init(&w->v.options);
    w->v.transport = &world_transport;
    w->v.link = w;
    w->v.clock = (struct vgpu_clock){world_now_ns, world_sleep_ns, w};
    w->v.random = 42;
    w->now_ns = 7;
    w->refusals = refusals;
    w->code = code;
}

static void test_schedule(void **state)
{
    static const uint32_t expected_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
    struct vgpu_stats stats;
    struct world w;
    uint32_t i;

    world_start(&w, 8, VGPU_ERR_QUEUE_FULL);
    w.v.options.retries = 8;
    assert_int_equal(vgpu_nop(&w.v), VGPU_OK);
    assert_int_equal(w.exchanges, 9);
    assert_int_equal(w.sleeps, 8);
    for (i = 0; i < 8; i++) {
        assert_in_range(w.sleeps_ns[i], expected_ms[i] * (uint64_t)MS * 3 / 4,
                        expected_ms[i] * (uint64_t)MS * 5 / 4);
    }
    vgpu_get_stats(&w.v, &stats);
    assert_int_equal(stats.attempts, 9);
    assert_int_equal(stats.retries, 8);
    assert_int_equal(vgpu_error_code(&w.v), VGPU_ERR_NONE);
    assert_int_equal(vgpu_exec_time_us(&w.v), 3);
}

static void test_used_up(void **state)
{
    struct world w;

    world_start(&w, 100, VGPU_ERR_RATE_LIMITED);
    assert_int_equal(vgpu_nop(&w.v), VGPU_RETRY_LATER);
    assert_int_equal(w.exchanges, 1 + VGPU_DEFAULT_RETRIES);
    assert_int_equal(vgpu_error_code(&w.v), VGPU_ERR_RATE_LIMITED);
    assert_non_null(strstr(vgpu_last_error(&w.v), "RATE_LIMITED"));

    world_start(&w, 100, VGPU_ERR_QUEUE_FULL);
    w.v.options.retries = 0;
    assert_int_equal(vgpu_nop(&w.v), VGPU_RETRY_LATER);
    assert_int_equal(w.exchanges, 1);
    assert_int_equal(w.sleeps, 0);

    /* The refusal may also come as an answer's status. */
    world_start(&w, 2, VGPU_ERR_QUEUE_FULL);
    w.in_the_answer = true;
    assert_int_equal(vgpu_nop(&w.v), VGPU_OK);
    assert_int_equal(w.exchanges, 3);
}

static void test_every_code(void **state)
{
    uint32_t code;

    for (code = 1; code < VGPU_ERR_COUNT + 3; code++) {
        bool retryable = code == VGPU_ERR_QUEUE_FULL || code == VGPU_ERR_RATE_LIMITED;
        int expected = retryable                         ? VGPU_RETRY_LATER
                       : code == VGPU_ERR_VM_QUARANTINED ? VGPU_QUARANTINED
                                                         : VGPU_FAILED;
        unsigned way;

        for (way = 0; way < 2; way++) {
            struct world w;

            world_start(&w, 100, code);
            w.in_the_answer = way;
            assert_int_equal(vgpu_nop(&w.v), expected);
            assert_int_equal(w.exchanges, retryable ? 6 : 1);
            assert_int_equal(vgpu_error_code(&w.v), code);
            assert_true(strlen(vgpu_last_error(&w.v)) > 20);
        }
        assert_int_equal(strcmp(vgpu_error_name(code), "UNKNOWN") == 0, code >= VGPU_ERR_COUNT);
    }
}

static void test_backoff_limits(void **state)
{
    uint64_t random = 9, low = UINT64_MAX, high = 0;
    uint32_t i;

    for (i = 0; i < 1000; i++) {
        uint64_t delay_ns = vgpu_backoff_ns(0, 100, 5000, &random);

        low = delay_ns < low ? delay_ns : low;
        high = delay_ns > high ? delay_ns : high;
    }
    /* Jitter that uses its range: guests refused together don't come back together. */
    assert_in_range(low, 75u * MS, 78u * MS);
    assert_in_range(high, 122u * MS, 125u * MS);
    assert_true(vgpu_backoff_ns(0xFFFFFFFF, 100, 5000, &random) <= 6250ull * MS);
    assert_true(vgpu_backoff_ns(3, 0, 0, &random) == 0);
    assert_true(vgpu_backoff_ns(0, 5000, 100, &random) <= 125u * MS);
    assert_true(vgpu_backoff_ns(40, UINT32_MAX, UINT32_MAX, &random) <= 5400000ull * 1000 * MS);
}

static void test_arguments(void **state)
{
    uint8_t buffer[VGPU_REQUEST_BUFFER_BYTES + 1] = {0};
    int32_t numbers[VGPU_VECTOR_MAX] = {0};
    struct vgpu_answer answer;
    struct world w;
    size_t bytes = 1;

    world_start(&w, 0, 0);
    assert_int_equal(vgpu_submit(&w.v, buffer, 0, buffer, 1024, &bytes), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(&w.v), VGPU_ERR_ARGUMENT);
    assert_int_equal(vgpu_submit(&w.v, buffer, 1025, buffer, 1024, &bytes), VGPU_FAILED);
    assert_int_equal(vgpu_call(&w.v, 0, NULL, UINT32_MAX, NULL, 0, &answer), VGPU_FAILED);
    assert_int_equal(vgpu_call(&w.v, 0, NULL, VGPU_PARAMS_MAX, NULL, 1, &answer), VGPU_FAILED);
    assert_int_equal(vgpu_call(&w.v, 0, NULL, 0, NULL, UINT32_MAX, &answer), VGPU_FAILED);
    assert_int_equal(vgpu_vector_add_i32(&w.v, 0, numbers, numbers, numbers), VGPU_FAILED);
    assert_int_equal(vgpu_vector_add_i32(&w.v, VGPU_VECTOR_MAX + 1, numbers, numbers, numbers),
                     VGPU_FAILED);
    assert_int_equal(vgpu_test_op(&w.v, VGPU_OP_NOP, 0), VGPU_FAILED);
    assert_int_equal(w.exchanges, 0);
    assert_int_equal(bytes, 0);

    assert_int_equal(vgpu_submit(&w.v, buffer, 32, buffer, 31, &bytes), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(&w.v), VGPU_ERR_ARGUMENT);
    assert_int_equal(vgpu_submit(&w.v, buffer, 32, buffer, 32, &bytes), VGPU_OK);
    assert_int_equal(bytes, 32);
}

static void test_open_arguments(void **state)
{
    static const char *const specs[] = {"",
                                        "usb",
                                        "pci:",
                                        "pci:zz",
                                        "pci:0000:00:05",
                                        "sock:",
                                        "pci:0000:00:05.0/..",
                                        "pci:../../0000:00:05.0"};
    struct vgpu_options options;
    struct vgpu *v;
    size_t i;

    for (i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        assert_int_equal(vgpu_open(specs[i], NULL, &v), VGPU_FAILED);
        assert_null(v);
        assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_ARGUMENT);
        assert_true(strlen(vgpu_last_error(NULL)) > 10);
    }
    memset(&options, 0, sizeof(options));
    assert_int_equal(vgpu_open("sock:/nonexistent", &options, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_ARGUMENT);
    vgpu_options_init(&options);
    options.pool_id = 'a';
    assert_int_equal(vgpu_open("sock:/nonexistent", &options, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_ARGUMENT);
    vgpu_options_init(&options);
    assert_int_equal(vgpu_open("sock:/nonexistent/x", &options, &v), VGPU_FAILED);
    assert_int_equal(vgpu_error_code(NULL), VGPU_ERR_MEDIATOR_UNAVAILABLE);
    vgpu_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule),   cmocka_unit_test(test_used_up),
        cmocka_unit_test(test_every_code), cmocka_unit_test(test_backoff_limits),
        cmocka_unit_test(test_arguments),  cmocka_unit_test(test_open_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
