#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A kernel's parameters may be larger than the 4 KiB that books and most code speak of: ptxas
# takes 4,352 bytes for sm_80, and its message names that limit. A buffer of 4,096 bytes for the
# parameters of a launch is too small.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
guess "4,096 bytes of parameters are taken, 4,097 are refused"

ptx() {
    printf '.version 7.8\n.target sm_80\n.address_size 64\n'
    echo ".visible .entry k(.param .align 4 .b8 p[$1]) { ret; }"
}

for bytes in 4096 4097 4352 4353; do
    ptx $bytes >"$T/k.ptx"
    rc=$(status_of "$R/usr/bin/ptxas" -arch=sm_80 "$T/k.ptx" -o "$T/k.cubin")
    case $bytes in 4353) recorded=255 ;; *) recorded=0 ;; esac
    saw "exit status for $bytes bytes" "$rc" $recorded
done
saw "limit in the message" "$(grep -o '0x[0-9a-f]* max' "$T/err")" "0x1100 max"
end
