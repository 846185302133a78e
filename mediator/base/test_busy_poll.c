/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When the loop stays awake for a job's next step, and that it sleeps again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mediator/base/busy_poll.h"
#include "common/ns.h"

#define LIMIT_NS 50000u
#define START_NS NS_PER_S

static struct busy_poll poll;
static uv_loop_t loop;

static int begin(void **state)
{
    (void)state;
    return uv_loop_init(&loop);
}

static void on_closed(uv_handle_t *handle)
{
    (void)handle;
}

static int end(void **state)
{
    (void)state;
    busy_poll_close(&poll, on_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

/* `count` steps, `gap_ns` apart; the time of the last one. */
static uint64_t steps(uint64_t now_ns, unsigned count, uint64_t gap_ns)
{
    while (count-- > 0) {
        now_ns += gap_ns;
        busy_poll_step(&poll, now_ns);
    }
    return now_ns;
}

static void test_never_when_switched_off(void **state)
{
    uint64_t now_ns;

    (void)state;
    busy_poll_init(&poll, &loop, 0);
    now_ns = steps(START_NS, 100, 1000);
    assert_false(busy_poll_wanted(&poll, now_ns));
}

static void test_a_few_quick_steps_are_enough_even_after_a_long_pause(void **state)
{
    uint64_t now_ns;

    (void)state;
    busy_poll_init(&poll, &loop, LIMIT_NS);
    now_ns = steps(START_NS, 20, 10000);
    now_ns = steps(now_ns, 1, 3600ull * NS_PER_S);
    assert_false(busy_poll_wanted(&poll, now_ns));
    now_ns = steps(now_ns, 6, 10000);
    assert_true(busy_poll_wanted(&poll, now_ns));
}

static void test_no_longer_than_the_limit(void **state)
{
    uint64_t now_ns;

    (void)state;
    busy_poll_init(&poll, &loop, LIMIT_NS);
    now_ns = steps(START_NS, 20, 10000);
    assert_true(busy_poll_wanted(&poll, now_ns + LIMIT_NS - 1));
    assert_false(busy_poll_wanted(&poll, now_ns + LIMIT_NS));
}

static void test_slow_steps_are_waited_for_asleep(void **state)
{
    uint64_t now_ns;

    (void)state;
    busy_poll_init(&poll, &loop, LIMIT_NS);
    now_ns = steps(START_NS, 20, 2 * LIMIT_NS);
    assert_false(busy_poll_wanted(&poll, now_ns));
}

/* A job that is accepted and handed out in one event does not look like two quick ones. */
static void test_steps_of_one_event_are_one(void **state)
{
    uint64_t now_ns = START_NS;

    (void)state;
    busy_poll_init(&poll, &loop, LIMIT_NS);
    for (unsigned i = 0; i < 20; i++) {
        now_ns = steps(now_ns, 1, 2 * LIMIT_NS);
        busy_poll_step(&poll, now_ns);
        busy_poll_step(&poll, now_ns);
        busy_poll_step(&poll, now_ns);
    }
    assert_false(busy_poll_wanted(&poll, now_ns));
}

/* libuv's own word: 0 = it would not wait, -1 = for ever. */
static void test_the_loop_is_awake_only_while_it_is_wanted(void **state)
{
    uint64_t now_ns;
    int first, second, third;
    uv_async_t open_end; /* a loop without anything to wait for does not wait */

    (void)state;
    busy_poll_init(&poll, &loop, LIMIT_NS);
    uv_async_init(&loop, &open_end, NULL);
    uv_run(&loop, UV_RUN_NOWAIT); /* libuv does not wait before it has looked once */
    now_ns = steps(START_NS, 20, 10000);
    busy_poll_prepare(&poll, now_ns);
    first = uv_backend_timeout(&loop);
    busy_poll_prepare(&poll, now_ns + 1000);
    second = uv_backend_timeout(&loop);
    busy_poll_prepare(&poll, now_ns + LIMIT_NS);
    third = uv_backend_timeout(&loop);
    uv_close((uv_handle_t *)&open_end, on_closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(first, 0);
    assert_int_equal(second, 0);
    assert_int_equal(third, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_never_when_switched_off, begin, end),
        cmocka_unit_test_setup_teardown(test_a_few_quick_steps_are_enough_even_after_a_long_pause,
                                        begin, end),
        cmocka_unit_test_setup_teardown(test_no_longer_than_the_limit, begin, end),
        cmocka_unit_test_setup_teardown(test_slow_steps_are_waited_for_asleep, begin, end),
        cmocka_unit_test_setup_teardown(test_steps_of_one_event_are_one, begin, end),
        cmocka_unit_test_setup_teardown(test_the_loop_is_awake_only_while_it_is_wanted, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
