#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Numbers of xl's guest files are C's: 010 is 8, in quotes too, and 08 is no number. A negative one
# must be quoted, for without quotes it is taken for Python code. Of two lines for one setting the
# last one counts, without a warning, also where the first one was a list.
. "$(dirname "$0")/lib.sh"
need cc
get_all libxen-dev=4.17.7+13-g2445b30a44-0+deb12u1
guess "010 is 10, for the format comes from Python 2's and JSON's time of quoted numbers;" \
    "-1 is a number; a second line for a setting is an error or a warning"

cat >"$T/get.c" <<'C'
#include <libxlutil.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **words)
{
    XLU_Config *config = xlu_cfg_init(stderr, "guest.cfg");
    long value = 0;

    if (count < 2 || xlu_cfg_readdata(config, words[1], strlen(words[1]))) {
        return 2;
    }
    if (xlu_cfg_get_long(config, "shadow_memory", &value, 1)) {
        return 1;
    }
    printf("%ld\n", value);
    return 0;
}
C
cc -I"$R/usr/include" "$T/get.c" -L"$LIB" -lxlutil -Wl,--unresolved-symbols=ignore-all \
    -o "$T/get"
value() {
    rc=0
    LD_LIBRARY_PATH=$LIBS "$T/get" "$1" 2>"$T/err" || rc=$?
    [ $rc = 0 ] || echo "status $rc"
}
name=shadow_memory
saw "010" "$(value "$name=010")" 8
saw "'010'" "$(value "$name='010'")" 8
saw "08" "$(value "$name=08")" "status 1"
saw "-1" "$(value "$name=-1")" "status 2"
saw "message" "$(grep -c 'looks like it contains Python code' "$T/err")" 1
saw "'-1'" "$(value "$name='-1'")" -1
saw "a list, then 2" "$(value "$name=[1]
$name=2")" 2
saw "warnings" "$(wc -c <"$T/err")" 0
end
