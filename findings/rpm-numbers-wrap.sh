#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Numbers in %if and in expressions of a spec file are cut to 32 bits, without a word: 4294967297 is
# 1, and a date with hours and minutes is any number. So a condition on such a number picks the
# wrong branch, and rpm ends with 0.
. "$(dirname "$0")/lib.sh"
get_all rpm=4.18.0+dfsg-1+deb12u1
guess "64-bit numbers, or an error for one that is too large"

value() {
    in_root usr/bin/rpm --rcfile="$R/usr/lib/rpm/rpmrc" --eval "%{expr:$1}"
}

saw "2147483647 + 1" "$(value '2147483647 + 1')" -2147483648
saw "4294967297 == 1" "$(value '4294967297 == 1')" 1
saw "202611302200" "$(value 202611302200)" 747839288
saw "3000000000 > 1" "$(value '3000000000 > 1')" 0
saw "exit status" "$(status_of value 202611302200)" 0
saw "messages" "$(grep -c . "$T/err" || :)" 0
end
