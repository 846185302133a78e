/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bridge/request_text.h"

static const char *parse(const char *text, struct request *request)
{
    return request_parse(text, strlen(text), request);
}

static void test_sums(void **state)
{
    struct request request;

    assert_null(parse("A:2:1:100:200", &request));
    assert_int_equal(request.kind, REQUEST_SUM);
    assert_int_equal(request.pool, 'A');
    assert_int_equal(request.priority, 2);
    assert_int_equal(request.vm_id, 1);
    assert_int_equal(request.a, 100);
    assert_int_equal(request.b, 200);

    assert_null(parse("Z:0:4294967295:-2147483648:2147483647\r\n", &request));
    assert_int_equal(request.vm_id, UINT32_MAX);
    assert_int_equal(request.a, INT32_MIN);
    assert_int_equal(request.b, INT32_MAX);
}

static void test_vector_add(void **state)
{
    struct request request;

    assert_null(parse("B:1:7:VECTOR_ADD\n", &request));
    assert_int_equal(request.kind, REQUEST_VECTOR_ADD);
    assert_int_equal(request.vm_id, 7);
}

static void test_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "\n",
        "A",
        "A:",
        "a:2:1:1:1",
        "AB:2:1:1:1",
        "A;2:1:1:1",
        "A:3:1:1:1",
        "A:-1:1:1:1",
        "A::1:1:1",
        "A:2::1:1",
        "A:2:4294967296:1:1",
        "A:2:99999999999999999999999999:1:1",
        "A:2:1:2147483648:1",
        "A:2:1:1:-2147483649",
        "A:2:1:1",
        "A:2:1:1:",
        "A:2:1:1:1:1",
        "A:2:1:1:1 ",
        "A:2:1: 1:1",
        "A:2:1:+1:1",
        "A:2:1:--1:1",
        "A:2:1:0x1:1",
        "A:2:1:VECTOR_ADD ",
        "A:2:1:VECTOR_AD",
        "A:2:1:VECTOR_ADDS",
        "A:2:1:MATRIX_MUL",
        "../../etc/passwd",
    };
    struct request request;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *why = parse(texts[i], &request);

        if (!why) {
            fail_msg("\"%s\" was accepted", texts[i]);
        }
    }
    assert_non_null(request_parse("A:2:1:1\0:1", 10, &request));
}

/* Each shorter text ends where it may not be read beyond. */
static void test_reads_no_further(void **state)
{
    static const char whole[] = "A:2:1:-100:VECTOR_ADD\r\n";
    struct request request;

    for (size_t length = 0; length < sizeof(whole); length++) {
        char *copy = test_malloc(length ? length : 1);

        memcpy(copy, whole, length);
        request_parse(copy, length, &request);
        test_free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_vector_add),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_reads_no_further),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
