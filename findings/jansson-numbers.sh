#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Numbers that jansson reads and writes again: 0.1 comes out with 17 digits (unless
# JSON_REAL_PRECISION says how many), 1E2 as 100.0, -0 as 0 although -0.0 keeps its sign, and
# 1e-400 becomes 0.0 although 1e400 is an error. So a reader can't compare the texts of two files.
. "$(dirname "$0")/lib.sh"
need cc
get libjansson4=2.14-2 libjansson-dev=2.14-2
guess "the shortest text that gives the same number; too small is an error as too large is"

cat >"$T/numbers.c" <<'C'
#include <jansson.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    json_t *value = json_loads(argc > 1 ? argv[1] : "", JSON_DECODE_ANY, NULL);

    return value ? json_dumpf(value, stdout, JSON_ENCODE_ANY) : puts("error");
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/numbers.c" -L"$lib" -ljansson -o "$T/numbers"

again() {
    LD_LIBRARY_PATH=$lib "$T/numbers" "$1" || :
}

saw 0.1 "$(again 0.1)" 0.10000000000000001
saw 0.3 "$(again 0.3)" 0.29999999999999999
saw 1E2 "$(again 1E2)" 100.0
saw -0 "$(again -0)" 0
saw -0.0 "$(again -0.0)" -0.0
saw 1e-400 "$(again 1e-400)" 0.0
saw 1e400 "$(again 1e400)" error
end
