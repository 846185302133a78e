#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# sparse ends with 0 not only after warnings but after errors, and one error hides the warnings of
# the rest of the file: here the access to memory of another address space, which is what one runs
# sparse on kernel code for. With -Wsparse-error it ends with 1 for both.
. "$(dirname "$0")/lib.sh"
get_all sparse=0.6.4-3
cd "$T"
guess "something else than 0 after an error, and all warnings are there"

sparse() {
    in_root usr/bin/sparse "$@"
}
cat >warning.c <<'C'
static int f(int __attribute__((noderef, address_space(1))) *p) { return *p; }
C
{ cat warning.c; echo 'static int g(void) { return nosuch; }'; } >error.c

saw "warning" "$(status_of sparse warning.c)" 0
saw "lines" "$(grep -c 'warning: dereference of noderef' err)" 1
saw "error" "$(status_of sparse error.c)" 0
saw "lines with the error" "$(grep -c 'error: undefined identifier' err)" 1
saw "lines with the warning" "$(grep -c 'dereference of noderef' err || :)" 0
saw "error, -Wsparse-error" "$(status_of sparse -Wsparse-error error.c)" 1
saw "no such file" "$(status_of sparse nosuch.c)" 1
end
