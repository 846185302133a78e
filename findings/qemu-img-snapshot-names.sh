#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# qemu-img takes any number of snapshots of one name in an image, without a word. "Apply" then means
# the oldest of that name, and "delete" removes that one and ends with 0. So a script that takes a
# snapshot "before" at each upgrade goes back, when it has to, to the first one of all.
. "$(dirname "$0")/lib.sh"
get_all qemu-utils=1:7.2+dfsg-7+deb12u18+b3
guess "the second snapshot of a name is refused, or takes the place of the first"

img() {
    in_root usr/bin/qemu-img "$@"
}
fill() { # BYTE
    in_root usr/bin/qemu-io -f qcow2 -c "write -q -P $1 0 64k" "$T/a.qcow2"
}
has() { # BYTE
    status_of in_root usr/bin/qemu-io -f qcow2 -c "read -q -P $1 0 64k" "$T/a.qcow2"
}
count() {
    img snapshot -l "$T/a.qcow2" | grep -c before || :
}

img create -q -f qcow2 "$T/a.qcow2" 1M
for byte in 1 2; do
    fill $byte
    saw "snapshot $byte, exit status" "$(status_of img snapshot -c before "$T/a.qcow2")" 0
done
fill 3
saw "snapshots of that name" "$(count)" 2
saw "apply, exit status" "$(status_of img snapshot -a before "$T/a.qcow2")" 0
saw "it is the first one" "$(has 1)" 0
saw "it is the second one" "$(has 2)" 1
saw "delete, exit status" "$(status_of img snapshot -d before "$T/a.qcow2")" 0
saw "left" "$(count)" 1
img snapshot -a before "$T/a.qcow2"
saw "which is the second one" "$(has 2)" 0
end
