/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/test_random.h"
#include "core/timers.h"

enum { OBJECTS = 97 };

static void test_empty(void **state)
{
    struct timers timers;

    assert_int_equal(timers_init(&timers, 4), 0);
    assert_int_equal(timers_next_ns(&timers), TIMERS_NEVER);
    assert_int_equal(timers_take_due(&timers, 0), UINT32_MAX);
    assert_int_equal(timers_take_due(&timers, UINT64_MAX), UINT32_MAX);
    timers_set(&timers, 2, TIMERS_NEVER); /* removing what is not there */
    timers_lower(&timers, 2, TIMERS_NEVER);
    assert_int_equal(timers_next_ns(&timers), TIMERS_NEVER);
    timers_destroy(&timers);
}

static void test_one_object(void **state)
{
    struct timers timers;

    assert_int_equal(timers_init(&timers, 1), 0);
    timers_set(&timers, 0, 100);
    timers_lower(&timers, 0, 200); /* never later */
    assert_int_equal(timers_next_ns(&timers), 100);
    timers_lower(&timers, 0, 50);
    assert_int_equal(timers_next_ns(&timers), 50);
    timers_set(&timers, 0, 70); /* set may go either way */
    assert_int_equal(timers_next_ns(&timers), 70);
    assert_int_equal(timers_take_due(&timers, 69), UINT32_MAX);
    assert_int_equal(timers_take_due(&timers, 70), 0);
    assert_int_equal(timers_take_due(&timers, UINT64_MAX), UINT32_MAX);
    timers_lower(&timers, 0, 300); /* it has none now, so this sets it */
    assert_int_equal(timers_next_ns(&timers), 300);
    timers_set(&timers, 0, TIMERS_NEVER);
    assert_int_equal(timers_next_ns(&timers), TIMERS_NEVER);
    timers_destroy(&timers);
}

static uint64_t model_next(const uint64_t *when_ns)
{
    uint64_t next_ns = TIMERS_NEVER;

    for (uint32_t i = 0; i < OBJECTS; i++) {
        next_ns = when_ns[i] < next_ns ? when_ns[i] : next_ns;
    }
    return next_ns;
}

/* A plain table of deadlines says what the heap should. */
static void test_against_table(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct timers timers;
        uint64_t when_ns[OBJECTS], now_ns = 0;
        /* Few distinct times in some runs, so that many tie. */
        uint64_t span_ns = seed % 3 == 0 ? 8 : 1ull << (seed % 40);

        seed_random(seed);
        assert_int_equal(timers_init(&timers, OBJECTS), 0);
        for (uint32_t i = 0; i < OBJECTS; i++) {
            when_ns[i] = TIMERS_NEVER;
        }
        for (uint32_t step = 0; step < 4000; step++) {
            uint32_t object = (uint32_t)(next_random() % OBJECTS);
            uint64_t at_ns = now_ns + next_random() % span_ns;

            switch (next_random() % 6) {
            case 0:
            case 1:
                timers_set(&timers, object, at_ns);
                when_ns[object] = at_ns;
                break;
            case 2:
                timers_lower(&timers, object, at_ns);
                when_ns[object] = at_ns < when_ns[object] ? at_ns : when_ns[object];
                break;
            case 3:
                timers_set(&timers, object, TIMERS_NEVER);
                when_ns[object] = TIMERS_NEVER;
                break;
            default: {
                uint32_t due = timers_take_due(&timers, now_ns);

                if (due == UINT32_MAX) {
                    assert_true(model_next(when_ns) > now_ns);
                } else {
                    assert_true(due < OBJECTS);
                    /* Whichever comes out is one of the earliest. */
                    assert_int_equal(when_ns[due], model_next(when_ns));
                    assert_true(when_ns[due] <= now_ns);
                    when_ns[due] = TIMERS_NEVER;
                }
                now_ns += next_random() % (span_ns / 16 + 2);
            }
            }
            assert_int_equal(timers_next_ns(&timers), model_next(when_ns));
        }
        timers_destroy(&timers);
    }
}

/* Taken out one by one they come in order, and each once. */
static void test_drains_in_order(void **state)
{
    struct timers timers;
    bool seen[1000] = {false};
    uint64_t last_ns = 0;

    seed_random(1);
    assert_int_equal(timers_init(&timers, 1000), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        timers_set(&timers, i, next_random() % 5000);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t next_ns = timers_next_ns(&timers);
        uint32_t object = timers_take_due(&timers, next_ns);

        assert_true(next_ns >= last_ns);
        assert_true(object < 1000 && !seen[object]);
        seen[object] = true;
        last_ns = next_ns;
    }
    assert_int_equal(timers_next_ns(&timers), TIMERS_NEVER);
    timers_destroy(&timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_one_object),
        cmocka_unit_test(test_against_table),
        cmocka_unit_test(test_drains_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
