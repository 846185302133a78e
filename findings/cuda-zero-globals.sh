#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A device variable that is set to zero takes its whole size in the cubin, unlike a C variable,
# which goes to .bss; one without an initial value takes none. So a module's file can be far
# larger than its code, and "= {0}" on a table of many MiB makes each load copy that many zeros.
. "$(dirname "$0")/lib.sh"
need wc
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
guess "zeros take no room in the file, whether they are written down or not"

cubin_size() {
    printf '.version 7.8\n.target sm_80\n.address_size 64\n%s\n' "$1" >"$T/k.ptx"
    "$R/usr/bin/ptxas" -arch=sm_80 "$T/k.ptx" -o "$T/k.cubin"
    wc -c <"$T/k.cubin"
}

large() {
    [ "$1" -gt 1000000 ] && echo yes || echo no
}

plain=$(cubin_size '.visible .global .align 4 .b8 table[1000000];')
zeros=$(cubin_size '.visible .global .align 4 .b8 table[1000000] = {0};')
saw "over 1,000,000 bytes without a value" "$(large "$plain")" no
saw "over 1,000,000 bytes with = {0}" "$(large "$zeros")" yes
end
