#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# GNU ld takes a version script that exports a symbol which no object has: the library is made
# without it, with status 0 and no warning, also with --fatal-warnings. A symbol in two versions'
# lists goes to the first, silently. A misspelt export is found by the program that
# needs it. --no-undefined-version, which is off, makes the first one an error.
. "$(dirname "$0")/lib.sh"
need cc
get_all binutils=2.40-2
cd "$T"
guess "an error for both, as an undefined version is one"

link() {
    script=$1
    shift
    in_root usr/bin/ld -shared "$@" --version-script="$script" f.o -o f.so
}
echo 'int f(void) { return 1; }' >f.c
cc -c -fPIC f.c -o f.o
echo 'V1 { global: f; vgpu_opne; local: *; };' >missing
echo 'V1 { global: f; }; V2 { global: f; };' >twice
echo 'V1 { global: f; } V0;' >undefined
saw "no such symbol" "$(status_of link missing --fatal-warnings)" 0
saw "bytes of messages" "$(cat out err | wc -c)" 0
saw "with --no-undefined-version" "$(status_of link missing --no-undefined-version)" 1
saw "in two versions" "$(status_of link twice --fatal-warnings)" 0
saw "bytes of messages" "$(cat out err | wc -c)" 0
saw "no such version" "$(status_of link undefined)" 1
end
