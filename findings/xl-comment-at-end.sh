#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# xl's parser wants a line end after a comment: a guest's file whose last line is a comment without
# one is refused as a lexical error at its '#'. After a setting the line end may be missing. Names
# of settings have no capitals: A=1 is a lexical error, not a setting that nobody knows.
. "$(dirname "$0")/lib.sh"
need cc
get_all libxen-dev=4.17.7+13-g2445b30a44-0+deb12u1
guess "a comment may end the file as a setting may; an unknown name is left out or named"

cat >"$T/read.c" <<'C'
#include <libxlutil.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **words)
{
    XLU_Config *config = xlu_cfg_init(stderr, "guest.cfg");

    return count < 2 || xlu_cfg_readdata(config, words[1], strlen(words[1]));
}
C
cc -I"$R/usr/include" "$T/read.c" -L"$LIB" -lxlutil -Wl,--unresolved-symbols=ignore-all \
    -o "$T/read"
reads() {
    LD_LIBRARY_PATH=$LIBS "$T/read" "$(cat "$T/cfg")$1"
}
line='
'
printf 'memory = 512' >"$T/cfg"
saw "setting, no line end" "$(status_of reads '')" 0
printf 'memory = 512\n# the end' >"$T/cfg"
saw "comment, line end" "$(status_of reads "$line")" 0
saw "comment, no line end" "$(status_of reads '')" 1
saw "line" "$(sed -n 's/^guest.cfg:\([0-9]*\): .*near .#.: lexical error.*/\1/p' "$T/err")" 2
printf 'Memory = 512' >"$T/cfg"
saw "Memory = 512" "$(status_of reads "$line")" 1
end
