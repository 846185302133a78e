#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# systemd-sysusers ends with 0 when it doesn't do what a line asks for: a uid that another user has
# is replaced by a free one, a line that it can't read is left out, a changed line changes nothing
# for a user who is there, and a member ("m") who doesn't exist is made as a new user. So a script
# of a package notices neither a uid that isn't the wanted one nor a misspelt name.
. "$(dirname "$0")/lib.sh"
get_all systemd=252.39-1~deb12u2
guess "an error for a uid that is taken, for a bad line and for a member who doesn't exist"

tree=$T/tree
mkdir -p "$tree/etc" "$tree/usr/lib/sysusers.d"
printf 'root:x:0:0::/root:/bin/sh\nother:x:990:990::/:/bin/sh\n' >"$tree/etc/passwd"
printf 'root:x:0:\nother:x:990:\n' >"$tree/etc/group"

sysusers() {
    printf '%s\n' "$@" >"$tree/usr/lib/sysusers.d/a.conf"
    rc=0
    "$R/lib64/ld-linux-x86-64.so.2" --library-path "$LIBS:$R/usr/lib/x86_64-linux-gnu/systemd:\
$R/lib/x86_64-linux-gnu/systemd" "$R/bin/systemd-sysusers" --root="$tree" \
        >"$T/out" 2>"$T/err" || rc=$?
    echo "$rc"
}
field() {
    sed -n "s/^$1:x:\([^:]*\):.*/\1/p" "$tree/etc/passwd"
}

saw "uid 990 is taken" "$(sysusers 'u daemon1 990 -')" 0
saw "daemon1's uid" "$(field daemon1)" 999
saw "uid out of range" "$(sysusers 'u daemon2 5000000000 -')" 0
saw "daemon2's uid" "$(field daemon2)" ""
saw "another uid for one who is there" "$(sysusers 'u daemon1 980 -')" 0
saw "daemon1's uid" "$(field daemon1)" 999
saw "member who doesn't exist" "$(sysusers 'm dameon1 other')" 0
saw "users called dameon1" "$(grep -c '^dameon1:' "$tree/etc/passwd")" 1
saw "a line of an unknown kind" "$(sysusers 'q daemon3')" 0
saw "message" "$(grep -o "Unknown command type 'q'" "$T/err")" "Unknown command type 'q'"
end
