/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of vgpu-admin that need no process around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "admin/base/render.h"

static void test_sanitise(void **state)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"web 1", "web 1"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac"},
        {"\x1b[2J\x7f", "?[2J?"},
        {"\xc2\x9b"
         "31m",
         "??31m"},
        {"\x9b"
         "31m",
         "?31m"},
        {"\xc1\x9b", "??"},
        {"\xe0\x82\x9b", "???"}, /* the same in too long a form */
        {"\xf0\x80\x82\x9b", "????"},
        {"\xed\xa0\x80 \xf5\x80\x80\x80", "??? ????"},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"cut \xe2\x82", "cut ??"},
        {"a\nb", "a?b"},
    };
    char lines[] = "a\nb\r";

    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        char text[64];

        strcpy(text, cases[c].text);
        render_sanitise(text, false);
        assert_string_equal(text, cases[c].shown);
    }
    render_sanitise(lines, true);
    assert_string_equal(lines, "a\nb?");
}

static void test_quantities(void **state)
{
    char text[RENDER_BYTES];

    assert_string_equal(render_duration_ns(0, text), "0 ns");
    assert_string_equal(render_duration_ns(45000, text), "45.0 us");
    assert_string_equal(render_duration_ns(2.5e6, text), "2.5 ms");
    assert_string_equal(render_duration_ns(119e9, text), "119.0 s");
    assert_string_equal(render_duration_ns(3 * 86400e9, text), "3 d");
    assert_string_equal(render_duration_ns(-1, text), "-");
    assert_string_equal(render_bytes(0, text), "0 B");
    assert_string_equal(render_bytes(1536, text), "1.5 KiB");
    assert_string_equal(render_bytes(16.0 * 1024 * 1024 * 1024, text), "16 GiB");
    assert_string_equal(render_count(999999, text), "999999");
    assert_string_equal(render_count(1234567, text), "1.23 M");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sanitise),
        cmocka_unit_test(test_quantities),
    };

    return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
