#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libseccomp's scmp_sys_resolver ends with 0 for a system call that doesn't exist, and prints -1;
# for a number that no call has it prints UNKNOWN, also with 0. Other negative numbers are real
# answers: a call that the asked machine doesn't have. So only -1 itself means "no such call".
. "$(dirname "$0")/lib.sh"
get_all seccomp=2.5.4-1+deb12u1
guess "something else than 0 for a name or number that isn't a system call"

resolve() {
    in_root usr/bin/scmp_sys_resolver "$@"
}

for question in "openat" "nosuch_call" "99999" "-a aarch64 open"; do
    case $question in
    openat) recorded="257" ;;
    nosuch_call) recorded="-1" ;;
    99999) recorded="UNKNOWN" ;;
    *) recorded="-10166" ;;
    esac
    # shellcheck disable=SC2086 # several words
    saw "exit status of $question" "$(status_of resolve $question)" 0
    saw "answer" "$(cat "$T/out")" "$recorded"
done
saw "exit status for a machine that isn't known" "$(status_of resolve -a vax open)" 22
end
