/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/ns.h"
#include "common/utc.h"

static void test_moments(void **state)
{
    const uint64_t moment_ns = 1764504000 * NS_PER_S + 7 * NS_PER_MS + 42 * NS_PER_US + 999;
    char out[UTC_BYTES];

    assert_string_equal(utc_text(0, 0, out), "1970-01-01T00:00:00Z");
    assert_string_equal(utc_text(moment_ns, 0, out), "2025-11-30T12:00:00Z");
    assert_string_equal(utc_text(moment_ns, 3, out), "2025-11-30T12:00:00.007Z");
    assert_string_equal(utc_text(moment_ns, 6, out), "2025-11-30T12:00:00.007042Z");
    assert_string_equal(utc_text(UINT64_MAX, 6, out), "2554-07-21T23:34:33.709551Z");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moments)};

    return cmocka_run_group_tests_name("utc", tests, NULL, NULL);
}
