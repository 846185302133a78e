/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "mediator/base/host_wait.h"

static void test_text(void **state)
{
    uint64_t waited_ns = 0;

    assert_true(host_wait_parse("592040 33033230 2\n", &waited_ns));
    assert_int_equal(waited_ns, 33033230);
    assert_true(host_wait_parse("0 0 0\n", &waited_ns));
    assert_int_equal(waited_ns, 0);
    assert_false(host_wait_parse("", &waited_ns));
    assert_false(host_wait_parse("592040", &waited_ns));
    assert_false(host_wait_parse("592040 \n", &waited_ns));
    assert_false(host_wait_parse("a b c\n", &waited_ns));
    assert_false(host_wait_parse("1 99999999999999999999999 2\n", &waited_ns));
}

static void test_only_what_is_new_counts(void **state)
{
    struct host_wait wait = {0}, nobody = {0};
    uint64_t first_ns, more_ns;

    first_ns = host_wait_ns(&wait, 0); /* since it began */
    assert_int_equal(first_ns, wait.waited_ns);
    more_ns = host_wait_ns(&wait, 0);
    assert_int_equal(more_ns, wait.waited_ns - first_ns);
    wait.waited_ns = UINT64_MAX; /* another process has its number: nothing */
    assert_int_equal(host_wait_ns(&wait, 0), 0);
    assert_int_equal(host_wait_ns(&nobody, 1 << 30), 0); /* beyond all numbers of processes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_only_what_is_new_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
