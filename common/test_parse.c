/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/parse.h"

static void test_numbers_at_their_limits(void **state)
{
    uint64_t value = 7;
    uint32_t small = 7;

    assert_true(parse_uint("0", 0, 0, &value));
    assert_int_equal(value, 0);
    assert_true(parse_uint("18446744073709551615", 0, UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_true(parse_uint("010", 10, 10, &value)); /* decimal, not octal */
    assert_false(parse_uint("9", 10, 20, &value));
    assert_false(parse_uint("21", 10, 20, &value));
    assert_true(parse_u32("4294967295", 0, UINT32_MAX, &small));
    assert_true(small == UINT32_MAX);
    assert_false(parse_u32("4294967296", 0, UINT32_MAX, &small));
    assert_true(small == UINT32_MAX);
}

static void test_what_is_no_number(void **state)
{
    static const char *const texts[] = {
        "",   " 1", "1 ",   "+1",  "-1",
        "-",  "1k", "0x10", "1.0", "one",
        "１", "\n", "1\n",  "1e3", "18446744073709551616",
    };
    uint64_t value = 7;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(parse_uint(texts[i], 0, UINT64_MAX, &value));
    }
    assert_int_equal(value, 7);
}

static void test_other_bases(void **state)
{
    uint64_t value;

    assert_true(parse_uint_base("0x1F", 16, 0, 31, &value));
    assert_int_equal(value, 31);
    assert_true(parse_uint_base("0x1f", 0, 0, 31, &value));
    assert_int_equal(value, 31);
    assert_true(parse_uint_base("010", 0, 0, 31, &value));
    assert_int_equal(value, 8);
    assert_false(parse_uint_base("0x20", 0, 0, 31, &value));
    assert_false(parse_uint_base("-0x1", 0, 0, UINT64_MAX, &value));
}

static void test_digits_with_something_behind(void **state)
{
    static const char text[] = "512MiB";
    uint64_t value = 7;

    assert_ptr_equal(parse_digits(text, 1000, &value), text + 3);
    assert_int_equal(value, 512);
    assert_null(parse_digits(text, 511, &value));
    assert_null(parse_digits("MiB", 1000, &value));
    assert_int_equal(value, 512);
}

static void test_reals(void **state)
{
    static const char *const none[] = {"", "x", "1s", "nan", "inf", "-inf", "1e999", "-0.1", "11"};
    double value = 7;

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(parse_real(none[i], 0, 10, &value));
    }
    assert_true(value == 7);
    assert_true(parse_real("2.5e0", 0, 10, &value));
    assert_true(value == 2.5);
    assert_true(parse_real("10", 0, 10, &value));
    assert_true(value == 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers_at_their_limits),
        cmocka_unit_test(test_what_is_no_number),
        cmocka_unit_test(test_other_bases),
        cmocka_unit_test(test_digits_with_something_behind),
        cmocka_unit_test(test_reals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
