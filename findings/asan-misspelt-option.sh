#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# AddressSanitizer leaves out an option in ASAN_OPTIONS whose name it doesn't know, and says so only
# with verbosity=1. A value that it doesn't understand ends the program. So a misspelt
# detect_leaks or halt_on_error lets a test pass that it was meant to make fail.
. "$(dirname "$0")/lib.sh"
need true
get libasan8=12.2.0-14+deb12u1
guess "a warning at least, since a wrong value is an error"

start() {
    LD_PRELOAD=$R/usr/lib/x86_64-linux-gnu/libasan.so.8 ASAN_OPTIONS=$1 /bin/true
}

saw "detect_leaks=0" "$(status_of start detect_leaks=0)" 0
saw "detect_leeks=0:nosuch=1" "$(status_of start detect_leeks=0:nosuch=1)" 0
saw "bytes of messages" "$(cat "$T/out" "$T/err" | wc -c)" 0
saw "the same with verbosity=1" "$(status_of start detect_leeks=0:nosuch=1:verbosity=1)" 0
saw "message" "$(grep -o 'WARNING: found 2 unrecognized flag' "$T/err")" \
    "WARNING: found 2 unrecognized flag"
saw "detect_leaks=maybe" "$(status_of start detect_leaks=maybe)" 1
end
