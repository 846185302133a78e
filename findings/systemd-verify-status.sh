#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# systemd-analyze verify ends with 0 for a unit whose hardening is misspelt: an unknown key and an
# unknown group of system calls are lines with "ignoring". And an allow list of system calls of
# which no name is known still counts for systemd-analyze security: the exposure falls from 9.6 to
# 8.0, for a filter that lets the service start nothing. So a check of a unit reads what verify
# prints.
. "$(dirname "$0")/lib.sh"
get_all "systemd=252.39-1~deb12u2"
cd "$T"
guess "verify fails; security counts what is understood only"

analyze() {
    "$R/lib64/ld-linux-x86-64.so.2" --library-path "$LIBS:$LIB/systemd:$R/lib/systemd" \
        "$R/usr/bin/systemd-analyze" "$@"
}
unit() {
    printf '[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n%s\n' "$2" >"$1.service"
}
exposure() {
    status_of analyze security --offline=yes --no-pager "./$1.service" >/dev/null
    sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p' out
}
unit plain ''
unit key 'NoNewPrivilegs=yes'
unit group 'SystemCallFilter=@sytem-service'
for name in key group; do
    saw "verify, $name" "$(status_of analyze verify "./$name.service")" 0
    saw "lines with 'ignoring'" "$(grep -c ignoring err)" 1
done
saw "exposure, nothing set" "$(exposure plain)" 9.6
saw "exposure, key" "$(exposure key)" 9.6
saw "exposure, group" "$(exposure group)" 8.0
end
