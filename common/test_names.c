/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/clock.h"
#include "common/names.h"
#include "vgpu/vgpu_protocol.h"

static void test_priorities(void **state)
{
    assert_string_equal(priority_name(VGPU_PRIORITY_LOW), "low");
    assert_string_equal(priority_name(VGPU_PRIORITY_HIGH), "high");
    assert_string_equal(priority_name(3), "?");
    assert_string_equal(priority_name(UINT32_MAX), "?");
    for (uint32_t i = 0; i <= VGPU_PRIORITY_HIGH; i++) {
        assert_int_equal(priority_from_name(priority_name(i)), i);
    }
    assert_null(priority_names[VGPU_PRIORITY_HIGH + 1]);
    assert_int_equal(priority_from_name("Low"), -1);
    assert_int_equal(priority_from_name(""), -1);
    assert_int_equal(priority_from_name("?"), -1);
}

static void test_the_clock_never_goes_back(void **state)
{
    uint64_t last_ns = clock_now_ns();

    assert_true(last_ns > 0);
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t now_ns = clock_now_ns();

        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_the_clock_never_goes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
