#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A verifier made by spin ends with 0 whether it finds an error or not, and also when it gave up
# part of the search: with a depth that is too small it prints "errors: 0" in the summary. So a
# check must read the output: "errors: 0", no "max search depth too small". spin itself ends with 1
# where a simulation meets the same assertion.
. "$(dirname "$0")/lib.sh"
need cc
get spin=6.5.2+dfsg-1
cd "$T"
guess "something else than 0 for a broken assertion, and for a search that wasn't complete"

cat >count.pml <<'P'
byte n;
active proctype P() {
    do
    :: n < 200 -> n++
    :: n == 200 -> break
    od;
    assert(n != 200)
}
P
"$R/usr/bin/spin" -a count.pml
cc -w -o pan pan.c

saw "assertion broken" "$(status_of ./pan)" 0
saw "summary" "$(grep -o 'errors: [0-9]*' out)" "errors: 1"
saw "depth too small" "$(status_of ./pan -m100)" 0
saw "summary" "$(grep -o 'errors: [0-9]*' out)" "errors: 0"
saw "message" "$(grep -o 'max search depth too small' out err | sed 's/.*://')" \
    "max search depth too small"
saw "simulation" "$(status_of "$R/usr/bin/spin" count.pml)" 1
end
