/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/test_random.h"
#include "common/ns.h"
#include "core/watchdog.h"

#define MS NS_PER_MS

static const struct watchdog_config config = {
    .overrun_ns = 100 * MS,
    .timeout_ns = 30000 * MS,
    .fault_threshold = 5,
};

static void test_nothing_runs(void **state)
{
    struct watchdog watchdog = {0};

    assert_int_equal(wd_deadline_ns(&watchdog, &config), UINT64_MAX);
    assert_int_equal(wd_check(&watchdog, &config, UINT64_MAX), WD_FINE);
    wd_job_started(&watchdog, 5);
    wd_job_completed(&watchdog);
    assert_int_equal(wd_deadline_ns(&watchdog, &config), UINT64_MAX);
    assert_int_equal(wd_check(&watchdog, &config, UINT64_MAX), WD_FINE);
}

/* Fine, overrun asked again every 5 ms until it is dealt with, then timeout. */
static void test_one_long_job(void **state)
{
    struct watchdog watchdog = {0};
    uint64_t begin_ns = 7777;

    wd_job_started(&watchdog, begin_ns);
    assert_int_equal(wd_deadline_ns(&watchdog, &config), begin_ns + 100 * MS);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 100 * MS - 1), WD_FINE);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 100 * MS), WD_OVERRUN);

    /* Nobody could be let in: asked again later, not at once. */
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 100 * MS), WD_FINE);
    assert_int_equal(wd_deadline_ns(&watchdog, &config), begin_ns + 100 * MS + WD_OVERRUN_RETRY_NS);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 100 * MS + WD_OVERRUN_RETRY_NS),
                     WD_OVERRUN);
    wd_set_aside(&watchdog);

    assert_int_equal(wd_deadline_ns(&watchdog, &config), begin_ns + 30000 * MS);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 30000 * MS - 1), WD_FINE);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 30000 * MS), WD_TIMEOUT);
    /* Until somebody ends the job it stays due. */
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 30001 * MS), WD_TIMEOUT);

    /* The next job starts afresh. */
    wd_job_started(&watchdog, begin_ns + 40000 * MS);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 40099 * MS), WD_FINE);
    assert_int_equal(wd_check(&watchdog, &config, begin_ns + 40100 * MS), WD_OVERRUN);
}

/* A check that comes late finds the timeout, not the overrun it has missed. */
static void test_late_check(void **state)
{
    struct watchdog watchdog = {0};

    wd_job_started(&watchdog, 0);
    assert_int_equal(wd_check(&watchdog, &config, 60000 * MS), WD_TIMEOUT);
}

static void test_zero_is_never(void **state)
{
    const struct watchdog_config never = {0};
    struct watchdog watchdog = {0};

    wd_job_started(&watchdog, 1);
    assert_int_equal(wd_deadline_ns(&watchdog, &never), UINT64_MAX);
    assert_int_equal(wd_check(&watchdog, &never, UINT64_MAX - 1), WD_FINE);
    for (uint32_t i = 0; i < 100000; i++) {
        wd_job_started(&watchdog, i);
        assert_false(wd_job_failed(&watchdog, &never));
    }
    assert_int_equal(watchdog.fault_count, 100000);
}

/* Deadlines near the end of the clock don't wrap around to the past. */
static void test_no_wrap(void **state)
{
    const struct watchdog_config longest = {
        .overrun_ns = UINT64_MAX - 1, .timeout_ns = UINT64_MAX, .fault_threshold = 1};
    struct watchdog watchdog = {0};

    wd_job_started(&watchdog, 1000 * MS);
    assert_int_equal(wd_check(&watchdog, &longest, 2000 * MS), WD_FINE);
    assert_int_equal(wd_deadline_ns(&watchdog, &longest), UINT64_MAX);

    wd_job_started(&watchdog, UINT64_MAX - 10);
    assert_int_equal(wd_check(&watchdog, &config, UINT64_MAX - 5), WD_FINE);
    assert_int_equal(wd_deadline_ns(&watchdog, &config), UINT64_MAX);
}

static void test_fault_threshold(void **state)
{
    struct watchdog watchdog = {0};

    for (uint32_t fault = 1; fault <= 7; fault++) {
        wd_job_started(&watchdog, fault);
        assert_int_equal(wd_job_failed(&watchdog, &config), fault >= 5);
        assert_int_equal(watchdog.fault_count, fault);
        assert_int_equal(wd_deadline_ns(&watchdog, &config), UINT64_MAX);
        /* A job that ends well takes nothing off the count. */
        wd_job_started(&watchdog, fault);
        wd_job_completed(&watchdog);
        assert_int_equal(watchdog.fault_count, fault);
    }
}

/*
 * What an event loop relies on: before the deadline a check says FINE, at the
 * deadline it does not, so a loop that sleeps until then neither misses
 * anything nor spins.
 */
static void test_deadline_is_exact(void **state)
{
    seed_random(1);
    for (uint32_t run = 0; run < 20000; run++) {
        const struct watchdog_config any = {
            .overrun_ns = next_random() % 4 == 0 ? 0 : next_random() % (200 * MS),
            .timeout_ns = next_random() % 4 == 0 ? 0 : 1 + next_random() % (200 * MS),
        };
        struct watchdog watchdog = {0};
        uint64_t now_ns = next_random() % (1000 * MS), deadline_ns;

        wd_job_started(&watchdog, now_ns);
        for (uint32_t step = 0; step < 50; step++) {
            enum wd_verdict verdict;

            deadline_ns = wd_deadline_ns(&watchdog, &any);
            if (deadline_ns == UINT64_MAX) {
                assert_int_equal(wd_check(&watchdog, &any, now_ns + 100000 * MS), WD_FINE);
                break;
            }
            if (deadline_ns > now_ns) {
                uint64_t before_ns = now_ns + next_random() % (deadline_ns - now_ns);

                assert_int_equal(wd_check(&watchdog, &any, before_ns), WD_FINE);
                assert_int_equal(wd_check(&watchdog, &any, deadline_ns - 1), WD_FINE);
            }
            now_ns = deadline_ns;
            verdict = wd_check(&watchdog, &any, now_ns);
            assert_int_not_equal(verdict, WD_FINE);
            if (verdict == WD_TIMEOUT) {
                break;
            }
            if (next_random() % 2 == 0) {
                wd_set_aside(&watchdog);
            }
            assert_true(wd_deadline_ns(&watchdog, &any) > now_ns);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_runs),      cmocka_unit_test(test_one_long_job),
        cmocka_unit_test(test_late_check),        cmocka_unit_test(test_zero_is_never),
        cmocka_unit_test(test_no_wrap),           cmocka_unit_test(test_fault_threshold),
        cmocka_unit_test(test_deadline_is_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
