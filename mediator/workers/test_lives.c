/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lives: each that has gone is told once, and the others stay, however many there are. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "mediator/workers/lives.h"

#define LIVES 200u /* more than are looked at with one system call */

static struct lives *lives;
static int ends[LIVES]; /* those of the processes; -1: closed */
static unsigned told[LIVES + 1];

static int setup(void **state)
{
    lives = lives_new();
    assert_non_null(lives);
    for (unsigned i = 0; i < LIVES; i++) {
        int pair[2];

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        ends[i] = pair[1];
        told[i + 1] = 0;
        assert_int_equal(lives_add(lives, i + 1, pair[0]), 0);
    }
    return 0;
}

static int teardown(void **state)
{
    for (unsigned i = 0; i < LIVES; i++) {
        if (ends[i] >= 0) {
            close(ends[i]);
        }
    }
    lives_free(lives);
    return 0;
}

static void end(unsigned i)
{
    close(ends[i]);
    ends[i] = -1;
}

static void count(void *opaque, uint64_t channel)
{
    assert_in_range(channel, 1, LIVES);
    told[channel]++;
}

/* What follows from the end of one may be that others are dropped, gone or not. */
static void count_and_drop(void *opaque, uint64_t channel)
{
    count(opaque, channel);
    lives_drop(lives, channel);
    lives_drop(lives, channel % LIVES + 1);
}

static void test_each_that_is_gone_is_told_once(void **state)
{
    lives_look(lives, count, NULL);
    for (unsigned i = 0; i < LIVES; i += 3) {
        assert_int_equal(told[i + 1], 0);
        end(i);
    }
    for (unsigned again = 0; again < 2; again++) {
        lives_look(lives, count, NULL);
        for (unsigned i = 0; i < LIVES; i++) {
            assert_int_equal(told[i + 1], i % 3 == 0);
            assert_true(ends[i] < 0 || lives_match(lives, ends[i]) == i + 1);
        }
    }
}

static void test_all_are_gone(void **state)
{
    for (unsigned i = 0; i < LIVES; i++) {
        end(i);
    }
    lives_look(lives, count, NULL);
    for (unsigned i = 0; i < LIVES; i++) {
        assert_int_equal(told[i + 1], 1);
    }
    assert_false(lives_any(lives));
}

static void test_others_may_be_dropped_meanwhile(void **state)
{
    for (unsigned i = 0; i < LIVES; i += 2) {
        end(i);
    }
    lives_look(lives, count_and_drop, NULL);
    for (unsigned i = 0; i < LIVES; i++) {
        assert_int_equal(told[i + 1], i % 2 == 0);
    }
    assert_false(lives_any(lives));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_that_is_gone_is_told_once),
        TEST(test_all_are_gone),
        TEST(test_others_may_be_dropped_meanwhile),
    };

    return cmocka_run_group_tests_name("lives", tests, NULL, NULL);
}
