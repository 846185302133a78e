/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the mediator says of its own process. */
#include <fcntl.h>
#include <math.h>
#include <string.h>

#include "common/clock.h"
#include "mediator/metrics/own_metrics.h"
#include "mediator/test_loop.h"

static uv_loop_t loop;
static struct own_metrics *own;

static int setup(void **state)
{
    assert_int_equal(uv_loop_init(&loop), 0);
    own = own_metrics_start(&loop);
    assert_non_null(own);
    return 0;
}

static int teardown(void **state)
{
    own_metrics_stop(own);
    own_metrics_stop(own); /* once more is nothing */
    end_loop(&loop);
    own_metrics_free(own);
    return 0;
}

static struct metrics_external look(void)
{
    struct metrics_external external;

    metrics_external_init(&external);
    own_metrics_fill(own, &external);
    return external;
}

static void test_the_process(void **state)
{
    struct metrics_external external = look();
    double now = (double)clock_read_ns(CLOCK_REALTIME) / NS_PER_S;
    static char memory[32 << 20];

    assert_true(external.start_time_seconds > 1e9 && external.start_time_seconds <= now);
    assert_true(external.cpu_seconds >= 0);
    assert_true(external.resident_memory_bytes > 100e3);
    if (!isnan(external.open_fds)) { /* kernels before 6.2 do not say it */
        double before = external.open_fds;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(look().open_fds == before + 1);
        close(fd);
        assert_true(look().open_fds == before);
    }
    /* What is used now counts, and not what was once. */
    memset(memory, 1, sizeof(memory));
    assert_true(look().resident_memory_bytes > external.resident_memory_bytes + (16 << 20));
}

static void on_timer(uv_timer_t *timer)
{
    bool *fired = timer->data;

    *fired = true;
}

static void be_busy(uv_timer_t *timer)
{
    uint64_t since_ns = clock_now_ns();

    while (clock_now_ns() - since_ns < 30 * NS_PER_MS) {
    }
    on_timer(timer);
}

/*
 * It repeats: libuv before 1.45 runs what is due at the beginning of a turn, and UV_RUN_ONCE then
 * waits for something else; where nothing else is to come it would wait for ever.
 */
static void run_timer(uint64_t after_ms, uv_timer_cb callback)
{
    bool fired = false;
    uv_timer_t timer;

    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    timer.data = &fired;
    assert_int_equal(uv_timer_start(&timer, callback, after_ms, 50), 0);
    run_until(&loop, fired);
    uv_close((uv_handle_t *)&timer, NULL);
    run_ready(&loop);
}

/* The time in which the loop works, and not that in which it waits. */
static void test_the_loop(void **state)
{
    struct metrics_histogram before, after;
    uint64_t since_ns;

    run_timer(1, on_timer);
    before = look().loop;
    assert_true(before.count > 0);
    run_timer(20, be_busy);
    after = look().loop;
    assert_true(after.count > before.count);
    assert_true(after.sum_ns - before.sum_ns >= 30 * NS_PER_MS);
    before = after;
    since_ns = clock_now_ns();
    run_timer(300, on_timer);
    after = look().loop;
    assert_true(after.count > before.count);
    /* However slow the machine is, the loop waited for most of the timer's time. */
    assert_true(after.sum_ns - before.sum_ns + 250 * NS_PER_MS < clock_now_ns() - since_ns);
}

static void test_without(void **state)
{
    struct metrics_external external;

    metrics_external_init(&external);
    own_metrics_fill(NULL, &external);
    assert_true(external.cpu_seconds >= 0);
    assert_true(isnan(external.resident_memory_bytes) && isnan(external.open_fds));
    assert_int_equal(external.loop.count, 0);
    own_metrics_stop(NULL);
    own_metrics_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_loop, setup, teardown),
        cmocka_unit_test(test_without),
    };

    return cmocka_run_group_tests_name("own_metrics", tests, NULL, NULL);
}
