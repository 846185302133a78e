#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# For qemu-img a raw image has whole sectors of 512 bytes: a file of 3,000 bytes is one of 3,072.
# Making it one byte longer is refused, for that would shrink it; a copy is 72 bytes longer; and the
# two are "identical". Yet an image of 1.5k is made with 1,536 bytes, one of 100 bytes with 512.
. "$(dirname "$0")/lib.sh"
get_all "qemu-utils=1:7.2+dfsg-7+deb12u18+b3"
cd "$T"
guess "a raw image is its file, byte for byte; what can't be is an error"

image() { in_root usr/bin/qemu-img "$@"; }
size() { stat -c %s "$1"; }
head -c 3000 /dev/zero | tr '\0' x >a.raw
saw "size of an image of 3000 bytes" \
    "$(image info --output=json -f raw a.raw | grep -o 'virtual-size": [0-9]*')" \
    'virtual-size": 3072'
saw "one byte longer" "$(status_of image resize -f raw a.raw 3001)" 1
saw "why not" "$(grep -o 'Use the --shrink option' err)" "Use the --shrink option"
saw "a copy" "$(status_of image convert -f raw -O raw a.raw b.raw) $(size b.raw)" "0 3072"
saw "the two" "$(image compare -f raw -F raw a.raw b.raw)" "Images are identical."
saw "a new one of 100 bytes" "$(status_of image create -f raw c.raw 100) $(size c.raw)" "0 512"
saw "and of 1.5k" "$(status_of image create -f raw d.raw 1.5k) $(size d.raw)" "0 1536"
end
