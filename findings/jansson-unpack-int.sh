#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# json_unpack() with "i" (an int) takes any 64-bit whole number, keeps its lower 32 bits and
# returns success: 4,294,967,297 arrives as 1. json_pack() with "i" turns 4,000,000,000u into a
# negative number in the same way. "I" and json_int_t are right. And a call that fails has already
# stored what came before the fault.
. "$(dirname "$0")/lib.sh"
need cc
get libjansson4=2.14-2 libjansson-dev=2.14-2
guess "a number that an int can't hold is an error, as too large a number in a text is"

cat >"$T/unpack.c" <<'C'
#include <jansson.h>
#include <stdio.h>

int main(void)
{
    json_t *text = json_loads("{\"large\": 4294967297, \"small\": 5}", 0, NULL);
    int value = -1, other = -1, rc = json_unpack(text, "{s:i}", "large", &value);
    char *packed = json_dumps(json_pack("[i]", 4000000000u), 0);

    printf("unpack %d %d\n", rc, value);
    printf("pack %s\n", packed);
    value = -1;
    rc = json_unpack(text, "{s:i, s:i}", "small", &value, "missing", &other);
    printf("partly %d %d %d\n", rc, value, other);
    printf("text %d\n", json_loads("[9223372036854775808]", 0, NULL) != NULL);
    return 0;
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/unpack.c" -L"$lib" -ljansson -o "$T/unpack"
LD_LIBRARY_PATH=$lib "$T/unpack" >"$T/out"
saw "4294967297 by i (status, value)" "$(sed -n 's/^unpack //p' "$T/out")" "0 1"
saw "4000000000 packed by i" "$(sed -n 's/^pack //p' "$T/out")" "[-294967296]"
saw "second key missing (status, values)" "$(sed -n 's/^partly //p' "$T/out")" "-1 5 -1"
saw "2^63 in a text is taken" "$(sed -n 's/^text //p' "$T/out")" 0
end
