#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# apparmor_parser takes a rule for a path that no process can ever have: /a/../b and /a/./b become a
# policy of their own, though two slashes are made one. The kernel compares the path that it has
# resolved, so such a rule allows nothing, and a rule that denies it denies nothing. No word, and 0.
# A limit that is no 64-bit number becomes the largest one that is.
. "$(dirname "$0")/lib.sh"
get_all apparmor=3.0.8-3
guess "'..' in a rule's path is resolved as a double slash is, or refused"

policy() { # RULE: what it is compiled to
    echo "profile x { $1, }" >"$T/p"
    in_root sbin/apparmor_parser -QKS --base "$T" "$T/p" 2>"$T/err" | sha256sum
}
same() { # RULE RULE
    [ "$(policy "$1")" = "$(policy "$2")" ] && echo yes || echo no
}
compiles() {
    status_of in_root sbin/apparmor_parser -QKS --base "$T" "$T/p"
}

saw "/a//b is /a/b" "$(same '/a//b r' '/a/b r')" yes
saw "/a/./b is /a/b" "$(same '/a/./b r' '/a/b r')" no
saw "/a/../b is /b" "$(same '/a/../b r' '/b r')" no
policy 'deny /a/../b w' >"$T/sum"
saw "exit status" "$(compiles)" 0
saw "messages" "$(grep -ci 'warn\|error' "$T/err" || :)" 0
saw "10^20-1 processes are 2^64-1" "$(same 'set rlimit nproc <= 99999999999999999999' \
    'set rlimit nproc <= 18446744073709551615')" yes
end
