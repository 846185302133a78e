#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A cmocka program that ends, as its manual's examples do, with the result of
# cmocka_run_group_tests() has the number of failures as its exit status, of which the system
# keeps 8 bits: 256 failed tests are a success to everything that runs it. A filter that matches no
# test is a success too. `return cmocka_run_group_tests(...) != 0;` mends the first.
. "$(dirname "$0")/lib.sh"
need cc
get libcmocka0=1.1.5-2.1 libcmocka-dev=1.1.5-2.1
guess "a program with failed tests ends with something else than 0"

cat >"$T/many.c" <<'C'
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

static void fails(void **state)
{
    (void)state;
    fail();
}

int main(int argc, char **argv)
{
    static struct CMUnitTest tests[256];

    for (int i = 0; i < 256; i++) {
        tests[i] = (struct CMUnitTest)cmocka_unit_test(fails);
    }
    if (argc > 2) {
        cmocka_set_test_filter(argv[2]);
    }
    return _cmocka_run_group_tests("many", tests, strtoul(argv[1], NULL, 10), NULL, NULL);
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/many.c" -L"$lib" -lcmocka -o "$T/many"
LD_LIBRARY_PATH=$lib
export LD_LIBRARY_PATH
saw "exit status with 255 failed" "$(status_of "$T/many" 255)" 255
saw "exit status with 256 failed" "$(status_of "$T/many" 256)" 0
saw "what it says of them" "$(grep -ho '256 FAILED TEST(S)' "$T/out" "$T/err")" "256 FAILED TEST(S)"
saw "exit status, filter that matches none" "$(status_of "$T/many" 3 'nosuch*')" 0
end
