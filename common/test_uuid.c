/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/uuid.h"

static void test_there_and_back(void **state)
{
    static const uint8_t bytes[UUID_BYTES] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                              0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    uint8_t parsed[UUID_BYTES];
    char text[UUID_TEXT_BYTES];

    uuid_format(bytes, text);
    assert_string_equal(text, "01234567-89ab-cdef-fedc-ba9876543210");
    assert_true(uuid_parse(text, parsed));
    assert_memory_equal(parsed, bytes, UUID_BYTES);
    assert_true(uuid_parse("01234567-89AB-CDEF-FEDC-BA9876543210", parsed));
    assert_memory_equal(parsed, bytes, UUID_BYTES);
}

static void test_what_is_none(void **state)
{
    static const char *const none[] = {
        "",
        "0",
        "01234567-89ab-cdef-fedc-ba987654321",
        "01234567-89ab-cdef-fedc-ba98765432100",
        "01234567-89ab-cdef-fedc-ba9876543210 ",
        "0123456789abcdeffedcba9876543210",
        "0123456-789ab-cdef-fedc-ba9876543210",
        "01234567-89ab-cdef-fedc-ba987654321g",
        "{1234567-89ab-cdef-fedc-ba9876543210",
    };
    uint8_t uuid[UUID_BYTES];

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_false(uuid_parse(none[i], uuid));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_what_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
