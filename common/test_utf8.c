/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "common/utf8.h"

/* Written with the plain formula, for numbers that have a character and those that have none. */
static size_t encode(uint32_t code, char out[5])
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};

    memset(out, 0, 5);
    for (size_t i = length; i-- > 1;) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(leads[length] | code);
    return length;
}

static void test_each_character_is_read_as_it_was_written(void **state)
{
    for (uint32_t code = 0; code < 0x110000; code++) {
        bool surrogate = code >= 0xd800 && code < 0xe000;
        uint32_t found = 1;
        char text[5];
        size_t length = encode(code, text);

        assert_int_equal(utf8_decode(text, &found), surrogate ? 0 : length);
        assert_int_equal(found, surrogate ? 0 : code);
    }
}

static void test_what_is_no_character(void **state)
{
    static const char *const none[] = {
        "\x80", /* begins in the middle */
        "\xc0\xaf",
        "\xc1\xbf",         /* too long a form of ASCII */
        "\xe0\x9f\xbf",     /* of two bytes */
        "\xf0\x8f\xbf\xbf", /* of three */
        "\xed\xa0\x80",     /* a surrogate */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xc3",
        "\xe2\x82",
        "\xf0\x9f\x98", /* broken off */
        "\xc3(",
        "\xe2\x82(",
        "\xf0\x9f\x98(",
    };

    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        uint32_t code = 1;

        assert_int_equal(utf8_decode(none[i], &code), 0);
        assert_int_equal(code, 0);
    }
}

static void test_control_characters(void **state)
{
    assert_true(utf8_has_control("a\x1b[2J"));
    assert_true(utf8_has_control("\x7f"));
    assert_true(utf8_has_control("caf\xc3\xa9\xc2\x9b"));
    assert_true(utf8_has_control("\xe2\x82\xc2\x85")); /* behind a broken character */
    assert_false(utf8_has_control(""));
    assert_false(utf8_has_control("caf\xc3\xa9 \xc2\xa0 \xe2\x82\xac"));
    assert_false(utf8_has_control("\xff\x80\xc0")); /* rubbish, but none of them */
    assert_true(utf8_is_control(0x9f));
    assert_false(utf8_is_control(0xa0));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_character_is_read_as_it_was_written),
        cmocka_unit_test(test_what_is_no_character),
        cmocka_unit_test(test_control_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
