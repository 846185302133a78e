/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/suggest.h"

static void test_distance(void **state)
{
    assert_int_equal(suggest_distance("", ""), 0);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("weight", "Weight"), 0);
    assert_int_equal(suggest_distance("wieght", "weight"), 1);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("ab", "ba"), 1);
    assert_int_equal(suggest_distance("list", "show"), suggest_distance("show", "list"));
}

static void test_suggestion(void **state)
{
    static const char *const words[] = {"list-vms", "show-vm", "scan-vms", "pause"};
    const struct {
        const char *word, *best;
    } cases[] = {
        {"lst-vms", "list-vms"}, {"scna-vms", "scan-vms"}, {"paus", "pause"},
        {"list", "list-vms"},    {"frobnicate", NULL},     {"x", NULL},
    };

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct suggest s;
        suggest_init(&s, cases[c].word);
        for (size_t i = 0; i < 4; i++) {
            suggest_offer(&s, words[i]);
        }
        if (cases[c].best) {
            assert_non_null(s.best);
            assert_string_equal(s.best, cases[c].best);
        } else {
            assert_null(s.best);
        }
    }
}

static void test_option(void **state)
{
    static const struct option options[] = {
        {"policy", required_argument, NULL, 1},
        {"no-db", no_argument, NULL, 2},
        {NULL, 0, NULL, 0},
    };

    assert_string_equal(suggest_option(options, "--polcy"), "policy");
    assert_string_equal(suggest_option(options, "--polcy=wfq"), "policy");
    assert_string_equal(suggest_option(options, "--nodb"), "no-db");
    assert_null(suggest_option(options, "--frobnicate"));
    assert_null(suggest_option(options, "--"));
    assert_null(suggest_option(options, "polcy"));
    assert_null(suggest_option(options, ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distance),
        cmocka_unit_test(test_suggestion),
        cmocka_unit_test(test_option),
    };

    return cmocka_run_group_tests_name("suggest", tests, NULL, NULL);
}
