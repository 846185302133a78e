/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "mediator/health/health.h"

static int log_ends[2], saved_stderr;

static int begin(void **state)
{
    saved_stderr = dup(STDERR_FILENO);
    if (pipe2(log_ends, O_NONBLOCK) < 0 || dup2(log_ends[1], STDERR_FILENO) < 0) {
        return -1;
    }
    log_init("test", LOG_LEVEL_INFO, false);
    *state = health_new();
    return *state ? 0 : -1;
}

static int end(void **state)
{
    health_free(*state);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(log_ends[0]);
    close(log_ends[1]);
    return 0;
}

/* How many lines were logged since the last time. */
static unsigned logged(void)
{
    char text[65536];
    ssize_t n = read(log_ends[0], text, sizeof(text));
    unsigned lines = 0;

    for (ssize_t i = 0; i < n; i++) {
        lines += text[i] == '\n';
    }
    return lines;
}

static void test_comes_changes_goes(void **state)
{
    struct health *health = *state;

    assert_true(health_good(health) && health_serving(health));
    health_report(health, HEALTH_POOL, HEALTH_ERROR, "pool B", "it has %d VMs and no GPU", 2);
    assert_int_equal(logged(), 1);
    assert_false(health_good(health) || health_serving(health));
    health_report(health, HEALTH_POOL, HEALTH_ERROR, "pool B", "it has 2 VMs and no GPU");
    assert_int_equal(logged(), 0); /* once per change */
    health_report(health, HEALTH_POOL, HEALTH_ERROR, "pool B", "it has 3 VMs and no GPU");
    assert_int_equal(logged(), 1);
    assert_int_equal(health_kind_count(health, HEALTH_POOL), 1);
    assert_string_equal(health_at(health, 0)->text, "it has 3 VMs and no GPU");
    assert_null(health_at(health, 1));
    health_clear(health, HEALTH_POOL, "pool C");
    health_clear(health, HEALTH_WORKER, "pool B");
    assert_int_equal(health_kind_count(health, HEALTH_POOL), 1);
    health_clear(health, HEALTH_POOL, "pool B");
    assert_int_equal(logged(), 1);
    assert_true(health_good(health) && health_serving(health));
}

static void test_a_warning_serves(void **state)
{
    struct health *health = *state;

    health_report(health, HEALTH_GPU, HEALTH_WARNING, "GPU 0", "one of two");
    assert_true(health_serving(health) && !health_good(health));
    assert_int_equal(logged(), 0); /* gpu_health.c says it, with more */
    health_report(health, HEALTH_GPU, HEALTH_ERROR, "GPU 0", "one of two");
    assert_false(health_serving(health));
}

static void test_a_look_at_all_of_a_kind(void **state)
{
    struct health *health = *state;

    health_report(health, HEALTH_WORKER, HEALTH_ERROR, "VM 1", "does not start");
    for (int round = 0; round < 2; round++) {
        health_begin(health, HEALTH_SOCKET);
        health_report(health, HEALTH_SOCKET, HEALTH_WARNING, "/a", "gone");
        if (round == 0) {
            health_report(health, HEALTH_SOCKET, HEALTH_WARNING, "/b", "gone");
        }
        health_end(health, HEALTH_SOCKET);
    }
    assert_int_equal(health_kind_count(health, HEALTH_SOCKET), 1);
    assert_string_equal(health_at(health, 1)->subject, "/a");
    assert_int_equal(health_kind_count(health, HEALTH_WORKER), 1);
}

static void test_order(void **state)
{
    struct health *health = *state;

    health_report(health, HEALTH_SOCKET, HEALTH_WARNING, "x", "1");
    health_report(health, HEALTH_DRIVER, HEALTH_ERROR, "y", "2");
    health_report(health, HEALTH_SOCKET, HEALTH_WARNING, "z", "3");
    health_report(health, HEALTH_DRIVER, HEALTH_ERROR, "a", "4");
    assert_string_equal(health_at(health, 0)->subject, "y");
    assert_string_equal(health_at(health, 1)->subject, "a");
    assert_string_equal(health_at(health, 2)->subject, "x");
    assert_string_equal(health_at(health, 3)->subject, "z");
}

/* More than there are places for: none is forgotten in the sum. */
static void test_full(void **state)
{
    struct health *health = *state;
    char subject[HEALTH_SUBJECT_BYTES * 2];

    for (int round = 0; round < 2; round++) {
        health_begin(health, HEALTH_SOCKET_ACCESS);
        for (uint32_t i = 0; i < HEALTH_PROBLEMS_MAX + 5; i++) {
            snprintf(subject, sizeof(subject), "QEMU %u", i);
            health_report(health, HEALTH_SOCKET_ACCESS,
                          i < HEALTH_PROBLEMS_MAX ? HEALTH_WARNING : HEALTH_ERROR, subject, "no");
        }
        health_end(health, HEALTH_SOCKET_ACCESS);
        assert_int_equal(health_kind_count(health, HEALTH_SOCKET_ACCESS), HEALTH_PROBLEMS_MAX + 5);
        assert_false(health_serving(health));
    }
    health_begin(health, HEALTH_SOCKET_ACCESS);
    health_end(health, HEALTH_SOCKET_ACCESS);
    assert_true(health_good(health) && health_serving(health));
    /* Subjects are cut, and then still the same. */
    memset(subject, 's', sizeof(subject) - 1);
    subject[sizeof(subject) - 1] = '\0';
    health_report(health, HEALTH_SOCKET, HEALTH_ERROR, subject, "no");
    health_report(health, HEALTH_SOCKET, HEALTH_ERROR, subject, "no");
    assert_int_equal(health_kind_count(health, HEALTH_SOCKET), 1);
    health_clear(health, HEALTH_SOCKET, subject);
    assert_true(health_good(health));
}

static void test_names(void **state)
{
    for (int kind = 0; kind < HEALTH_KIND_COUNT; kind++) {
        assert_non_null(health_kind_name((enum health_kind)kind));
        for (int other = 0; other < kind; other++) {
            assert_string_not_equal(health_kind_name((enum health_kind)kind),
                                    health_kind_name((enum health_kind)other));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_changes_goes, begin, end),
        cmocka_unit_test_setup_teardown(test_a_warning_serves, begin, end),
        cmocka_unit_test_setup_teardown(test_a_look_at_all_of_a_kind, begin, end),
        cmocka_unit_test_setup_teardown(test_order, begin, end),
        cmocka_unit_test_setup_teardown(test_full, begin, end),
        cmocka_unit_test_setup_teardown(test_names, begin, end),
    };

    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
