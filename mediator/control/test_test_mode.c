/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What --test-mode asks, and what it makes of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/core.h"
#include "mediator/control/test_mode.h"

static struct test_mode_plan plan;
static char *said;

static bool ask(const char *answers)
{
    size_t bytes;
    FILE *in = fmemopen((char *)answers, strlen(answers), "r");
    FILE *out = open_memstream(&said, &bytes);
    bool ok = test_mode_ask(in, out, &plan);

    fclose(in);
    fclose(out);
    return ok;
}

static void test_answers(void **state)
{
    assert_true(ask("3\n7\n"));
    assert_int_equal(plan.requests, 3);
    assert_int_equal(plan.prefer, 7);
    free(said);

    assert_true(ask("\n\r\n"));
    assert_int_equal(plan.requests, TEST_MODE_REQUESTS_DEFAULT);
    assert_int_equal(plan.prefer, CORE_NONE);
    free(said);
}

static void test_until_it_makes_sense(void **state)
{
    static const char answers[] =
        "many\n0\n-3\n100001\n"
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111\n"
        "100000\n4294967295\nnone\n1\n";
    int asked = 0;

    assert_true(ask(answers));
    assert_int_equal(plan.requests, 100000);
    assert_int_equal(plan.prefer, 1);
    for (const char *at = said; (at = strstr(at, "no number from 1 to")) != NULL; at++) {
        asked++;
    }
    assert_in_range(asked, 7, 8); /* a line that is too long is two answers */
    free(said);
}

static void test_the_end_of_the_answers(void **state)
{
    assert_false(ask("3\n"));
    free(said);
    assert_false(ask("x"));
    free(said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_until_it_makes_sense),
        cmocka_unit_test(test_the_end_of_the_answers),
    };

    return cmocka_run_group_tests_name("test_mode", tests, NULL, NULL);
}
