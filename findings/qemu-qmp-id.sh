#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# QMP gives back a command's "id" in its answer, but not as it came: numbers are written anew, with
# 17 digits, without ".0", and one beyond a double's range becomes "inf", so that the answer is no
# JSON; members of an object are sorted. A client should use strings or small whole numbers.
. "$(dirname "$0")/lib.sh"
get_all "qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3"
guess "the id of the answer is the id of the command, byte for byte or at least the same number"

ask() {
    printf '%s\n' '{"execute":"qmp_capabilities"}' "{\"execute\":\"query-name\",\"id\":$1}" \
        '{"execute":"quit"}' | qemu -S -M q35 -qmp stdio 2>"$T/err" |
        sed -n 's/^{"return": {}, "id": \(.*\)}.*/\1/p'
}

saw "0.1" "$(ask 0.1)" 0.10000000000000001
saw "1.0" "$(ask 1.0)" 1
saw "18446744073709551615" "$(ask 18446744073709551615)" 18446744073709551615
saw "18446744073709551616" "$(ask 18446744073709551616)" 1.8446744073709552e+19
saw "1e400" "$(ask 1e400)" inf
saw '{"b": 1, "a": 2}' "$(ask '{"b": 1, "a": 2}')" '{"a": 2, "b": 1}'
end
