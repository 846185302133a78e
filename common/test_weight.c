/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is a weight, and what is none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/json_number.h"
#include "common/weight.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        double weight;
    } good[] = {{"1", 1},       {"1.0", 1},     {"100", 100},    {"100.00", 100},
                {"50.5", 50.5}, {"62.5", 62.5}, {"1.01", 1.01},  {"99.99", 99.99},
                {"33.3", 33.3}, {"007", 7},     {"10.05", 10.05}};
    static const char *const bad[] = {
        "",
        "0",
        "0.99",
        "100.01",
        "101",
        "1.",
        ".5",
        "1.005",
        "1,5",
        "1.5 ",
        " 1",
        "-1",
        "+1",
        "1e1",
        "0x10",
        "nan",
        "inf",
        "1.0.0",
        "1.+5",
        "1.-5",
        "1. 5",
        "99999999999999999999",
        "1.99999999999999999999",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        double weight = 0;

        assert_true(weight_parse(good[i].text, &weight));
        assert_true(weight == good[i].weight);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        double weight = 7;

        if (weight_parse(bad[i], &weight) || weight != 7) {
            fail_msg("\"%s\" is taken for a weight", bad[i]);
        }
    }
}

/* Each weight comes back as it was, through its text and through a file's number. */
static void test_all_of_them(void **state)
{
    for (int n = 100; n <= 10000; n++) {
        double weight = n / 100.0, again;
        char text[32];

        snprintf(text, sizeof(text), "%g", weight);
        assert_true(weight_parse(text, &again) && again == weight);
        assert_true(weight_nearest(weight) == weight);
        assert_true(weight_nearest(weight + 1e-9) == weight);
    }
}

static void test_nearest(void **state)
{
    assert_true(weight_nearest(-5) == 1);
    assert_true(weight_nearest(0.4) == 1);
    assert_true(weight_nearest(NAN) == 1);
    assert_true(weight_nearest(INFINITY) == 100);
    assert_true(weight_nearest(500) == 100);
    assert_true(weight_nearest(33.333333) == 33.33);
}

static void test_json(void **state)
{
    json_t *whole = json_number(50), *part = json_number(62.5);

    assert_true(json_is_integer(whole) && json_integer_value(whole) == 50);
    assert_true(json_is_real(part) && json_real_value(part) == 62.5);
    json_decref(whole);
    json_decref(part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_all_of_them),
        cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_json),
    };

    return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
