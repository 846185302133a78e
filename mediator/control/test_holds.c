/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mediator/control/holds.h"

static const struct admin_who anna = {.pid = 100, .uid = 0, .connection = 0};
static const struct admin_who bert = {.pid = 200, .uid = 1000, .connection = 31};
static const struct admin_who cleo = {.pid = 300, .uid = 0, .connection = 7};

static void test_a_hold_ends_with_its_connection(void **state)
{
    struct holds holds = {0};

    holds_pause(&holds, CORE_NONE, &anna, true, 1000);
    assert_true(holds_paused(&holds, 0) && holds_paused(&holds, CORE_GPUS_MAX - 1));
    assert_int_equal(holds.gpus[3].since_s, 1000);
    assert_int_equal(holds.gpus[3].who.pid, 100);
    assert_false(holds_leave(&holds, &bert).gpus);
    assert_true(holds_paused(&holds, 0));
    assert_true(holds_leave(&holds, &anna).gpus);
    for (uint32_t gpu = 0; gpu < CORE_GPUS_MAX; gpu++) {
        assert_false(holds_paused(&holds, gpu));
        assert_int_equal(holds.gpus[gpu].since_s, 0);
    }
    assert_false(holds_leave(&holds, &anna).gpus);
}

static void test_a_pause_stays(void **state)
{
    struct holds holds = {0};

    holds_pause(&holds, 2, &anna, false, 1000);
    assert_false(holds_leave(&holds, &anna).gpus);
    assert_true(holds_paused(&holds, 2));
    assert_false(holds_paused(&holds, 1));
    holds_resume(&holds, 2, &bert);
    assert_false(holds_paused(&holds, 2));
}

/* test-mode during a maintenance does not end the maintenance. */
static void test_a_hold_beside_a_pause(void **state)
{
    struct holds holds = {0};

    holds_pause(&holds, 0, &anna, false, 1000);
    holds_pause(&holds, CORE_NONE, &bert, true, 2000);
    assert_int_equal(holds.gpus[0].since_s, 1000);
    assert_int_equal(holds.gpus[0].who.pid, 100);
    holds_resume(&holds, CORE_NONE, &bert); /* its own hold, no more */
    assert_true(holds_paused(&holds, 0));
    assert_false(holds_paused(&holds, 1));
    holds_resume(&holds, CORE_NONE, &bert); /* now it is anybody */
    assert_false(holds_paused(&holds, 0));

    /* A pause that comes later is a pause, and the administrator's. */
    holds_pause(&holds, 0, &bert, true, 3000);
    holds_pause(&holds, 0, &anna, false, 4000);
    assert_int_equal(holds.gpus[0].who.pid, 100);
    assert_int_equal(holds.gpus[0].since_s, 4000);
    holds_leave(&holds, &bert);
    assert_true(holds_paused(&holds, 0));
}

static void test_two_holds(void **state)
{
    struct holds holds = {0};

    holds_pause(&holds, 0, &anna, true, 1000);
    holds_pause(&holds, 0, &bert, true, 2000);
    holds_leave(&holds, &anna);
    assert_true(holds_paused(&holds, 0));
    holds_pause(&holds, 0, &anna, true, 3000);
    /* An administrator who holds nothing lets all of it go. */
    holds_resume(&holds, 0, &cleo);
    assert_false(holds_paused(&holds, 0));
    assert_false(holds_leave(&holds, &bert).gpus);
}

static void test_preference(void **state)
{
    struct holds holds = {0};

    holds_prefer(&holds, &anna, true);
    assert_false(holds_leave(&holds, &bert).preference);
    assert_true(holds_leave(&holds, &anna).preference);
    assert_false(holds_leave(&holds, &anna).preference);
    /* Whoever prefers a VM later has the say. */
    holds_prefer(&holds, &anna, true);
    holds_prefer(&holds, &bert, false);
    assert_false(holds_leave(&holds, &anna).preference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hold_ends_with_its_connection),
        cmocka_unit_test(test_a_pause_stays),
        cmocka_unit_test(test_a_hold_beside_a_pause),
        cmocka_unit_test(test_two_holds),
        cmocka_unit_test(test_preference),
    };

    return cmocka_run_group_tests_name("holds", tests, NULL, NULL);
}
