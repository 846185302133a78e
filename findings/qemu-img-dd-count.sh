#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# "qemu-img dd count=N skip=M" doesn't copy N blocks from block M on, as dd does: the N blocks are
# counted from the start of the image, those that are skipped among them. With M as large as N
# nothing is copied, and it ends with 0 without a word.
. "$(dirname "$0")/lib.sh"
get_all qemu-utils=1:7.2+dfsg-7+deb12u18+b3
guess "count blocks behind those that are skipped, as dd copies them; or an error"

copy() {
    in_root usr/bin/qemu-img dd -f raw -O raw "$@" if="$T/in" of="$T/qemu"
}
blocks() { # FILE: the first letter of each of its blocks
    fold -w 1024 "$1" | cut -c1 | tr -d '\n'
}

for letter in a b c d; do
    printf '%1024s' '' | tr ' ' "$letter"
done >"$T/in"
dd bs=1k skip=1 count=2 if="$T/in" of="$T/dd" 2>"$T/log"
saw "dd, 2 blocks from the second on" "$(blocks "$T/dd")" bc
saw "qemu-img dd, exit status" "$(status_of copy bs=1k skip=1 count=2)" 0
saw "qemu-img dd, the same" "$(blocks "$T/qemu")" b
saw "without count" "$(status_of copy bs=1k skip=1) $(blocks "$T/qemu")" "0 bcd"
rm "$T/qemu"
saw "1 block from the second on, exit status" "$(status_of copy bs=1k skip=1 count=1)" 0
saw "its size" "$(stat -c %s "$T/qemu")" 0
saw "messages" "$(grep -c . "$T/err" || :)" 0
end
