#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# "-device NAME,help" ends with 0 even if QEMU knows no such device; the other kinds of objects end
# with 1. A script that wants to know whether a QEMU has a device must read what it prints.
. "$(dirname "$0")/lib.sh"
get_all "qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3"
guess "1 for a device that isn't there, as for other kinds of objects"

saw "-device edu,help" "$(status_of qemu -device edu,help)" 0
saw "its lines" "$(grep -c '^edu options' "$T/out")" 1
saw "-device nosuch,help" "$(status_of qemu -device nosuch,help)" 0
saw "message" "$(grep -o "Device 'nosuch' not found" "$T/err")" "Device 'nosuch' not found"
saw "-object nosuch,help" "$(status_of qemu -object nosuch,help)" 1
saw "-chardev nosuch,id=c" "$(status_of qemu -chardev nosuch,id=c)" 1
saw "-machine nosuch" "$(status_of qemu -machine nosuch)" 1
end
