#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# cmocka's assert_float_equal() holds for "not a number" against anything, so a computation that
# gives NaN passes every such test. And its comparisons of whole numbers know no sign: 0 isn't in
# the range -1 to 1, and (int)-1 isn't equal to 0xffffffff.
. "$(dirname "$0")/lib.sh"
need cc
get libcmocka0=1.1.5-2.1 libcmocka-dev=1.1.5-2.1
guess "NaN is equal to no number; ranges and equality are those of C"

cat >"$T/nan.c" <<'C'
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <math.h>
#include <cmocka.h>

#define TEST(name, assertion)                                                                      \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        assertion;                                                                                 \
    }
TEST(nan_is_one, assert_float_equal(NAN, 1.0f, 0.001f))
TEST(two_is_one, assert_float_equal(2.0f, 1.0f, 0.001f))
TEST(nan_is_not_one, assert_float_not_equal(NAN, 1.0f, 0.001f))
TEST(zero_in_range, assert_in_range(0, -1, 1))
TEST(minus_one, assert_int_equal(-1, 0xffffffffu))

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nan_is_one), cmocka_unit_test(two_is_one),
        cmocka_unit_test(nan_is_not_one), cmocka_unit_test(zero_in_range),
        cmocka_unit_test(minus_one)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/nan.c" -L"$lib" -lcmocka -o "$T/nan"
LD_LIBRARY_PATH=$lib "$T/nan" >"$T/out" 2>&1 || :
passed() {
    grep -q "  *OK \] $1\$" "$T/out" && echo passes || echo fails
}
saw "NaN equal to 1" "$(passed nan_is_one)" passes
saw "2 equal to 1" "$(passed two_is_one)" fails
saw "NaN not equal to 1" "$(passed nan_is_not_one)" fails
saw "0 in the range -1 to 1" "$(passed zero_in_range)" fails
saw "-1 equal to 0xffffffffu" "$(passed minus_one)" fails
end
