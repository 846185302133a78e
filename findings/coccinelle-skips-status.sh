#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# spatch leaves a function that it can't parse as it is and ends with 0, without a word that could
# be seen in a log of many files: the change that was to reach the whole kernel module is not made
# there. What it could not parse is told only with --parse-c.
. "$(dirname "$0")/lib.sh"
get_all coccinelle=1.1.1.deb-2+b1
cd "$T"
guess "another exit status than 0, or an error with the file's name and line"

spatch() {
    in_root usr/bin/spatch "$@"
}
printf '@@ expression e; @@\n- g(e)\n+ h(e)\n' >rename.cocci
cat >driver.c <<'C'
#define EACH(x) for (x = 0; x < 4; x++)
static int first(void) { return g(1); }
static int second(void) { int x, sum = 0; EACH(x) EACH2 { sum += g(x); } return sum; }
C
saw "exit status" "$(status_of spatch --sp-file rename.cocci driver.c)" 0
saw "calls changed" "$(grep -c '^-.*g(' out || :)" 1
saw "calls there" "$(grep -c 'g(' driver.c)" 2
saw "errors and warnings about it" "$(grep -ciE 'driver.c.*(error|bad|pars)' err || :)" 0
saw "--parse-c" "$(status_of spatch --parse-c driver.c)" 0
saw "it tells of that line" "$(cat out err | grep -q 'EACH2.*sum += g(x)' && echo yes)" yes
end
