#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A mediated device's UUID is unique on a host, and mdevctl refuses it a second time for the same
# GPU, but takes it for another one. Then `modify` asks which is meant, and `undefine`, which needs
# the same answer more, removes both.
. "$(dirname "$0")/lib.sh"
need unshare
get_all mdevctl=1.2.0-3+b1
guess "a UUID that is defined is refused; what is ambiguous is asked for, never removed"

uuid=6f1f5a3e-0d0b-4c57-9a55-0d6c1b1f2a01
mdev() { status_of in_chroot /usr/bin/mdevctl "$@"; }
defined() { in_chroot /usr/bin/mdevctl list -d | grep -c "$uuid" || :; }

saw "first GPU" "$(mdev define --uuid $uuid --parent 0000:01:00.0 --type nvidia-259)" 0
saw "first GPU again" "$(mdev define --uuid $uuid --parent 0000:01:00.0 --type nvidia-259)" 1
saw "second GPU" "$(mdev define --uuid $uuid --parent 0000:02:00.0 --type nvidia-259)" 0
saw "definitions" "$(defined)" 2
saw "modify without a parent" "$(mdev modify --uuid $uuid --auto)" 1
saw "message" "$(grep -o 'specify a parent' "$T/err")" "specify a parent"
saw "undefine without a parent" "$(mdev undefine --uuid $uuid)" 0
saw "definitions" "$(defined)" 0
end
