#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Two rules of libseccomp that contradict each other for one system call: the second one is taken
# (0) and has no effect, neither a stricter nor a laxer one. So a list that first allows a call and
# later wants to kill for it only looks strict; a program can't learn that from the library, which
# does refuse (-13) a rule whose action is the filter's default.
. "$(dirname "$0")/lib.sh"
need cc
get libseccomp2=2.5.4-1+deb12u1 libseccomp-dev=2.5.4-1+deb12u1
guess "an error for the second rule, or the stricter action, or the last word"

cat >"$T/rules.c" <<'C'
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>

int main(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));

    fprintf(stderr, "%d ", seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(read), 0));
    fprintf(stderr, "%d ", seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(read), 0));
    fprintf(stderr, "%d ", seccomp_rule_add(filter, SCMP_ACT_ERRNO(7), SCMP_SYS(write), 0));
    fprintf(stderr, "%d ", seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 0));
    fprintf(stderr, "%d", seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(open), 0));
    return seccomp_export_pfc(filter, 1);
}
C
lib=$R/usr/lib/x86_64-linux-gnu
cc -I"$R/usr/include" "$T/rules.c" -L"$lib" -lseccomp -o "$T/rules"
saw "exit status" "$(LD_LIBRARY_PATH=$lib status_of "$T/rules")" 0
action() {
    awk -v name="\"$1\"" '$0 ~ name {found = 1} found && /action/ {print $2; exit}' "$T/out"
}
saw "results of the five rules" "$(cat "$T/err")" "0 0 0 0 -13"
saw "read: allow, then kill" "$(action read)" "ALLOW;"
saw "write: errno, then allow" "$(action write)" "ERRNO(7);"
end
