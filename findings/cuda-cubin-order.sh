#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Everything in a cubin stands in reverse: sections and symbols of the kernels, and the entries
# that describe a kernel's parameters. Who numbers kernels or parameters as they come is wrong for
# all but the middle one; the entries' own ordinals must be read. And the size of all parameters
# is not rounded up to their alignment: u64 and u8 are 9 bytes.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
cd "$T"
guess "kernels and parameters are in the order of the source; 16 bytes of parameters"

cat >k.ptx <<'PTX'
.version 7.8
.target sm_80
.address_size 64
.visible .entry m(.param .u64 p, .param .u8 q) { ret; }
.visible .entry z() { ret; }
.visible .entry a() { ret; }
PTX
"$R/usr/bin/ptxas" -arch=sm_80 k.ptx -o k.cubin
"$R/usr/bin/cuobjdump" -elf k.cubin >dump

sections=$(awk '$NF ~ /^\.text\./ && NF > 8 {print $NF}' dump | tr '\n' ' ')
symbols=$(awk '$NF ~ /^[maz]$/ && NF == 7 {print $NF}' dump | tr '\n' ' ')
ordinals=$(grep -o 'Ordinal : 0x[0-9]*' dump | sed 's/.*0x//' | tr '\n' ' ')
size=$(awk '/CBANK_PARAM_SIZE/ {n = NR} n && NR == n + 2 {print $2}' dump | sort -u | tr '\n' ' ')
echo "  kernels in the source: m z a"
saw "code sections" "$sections" ".text.a .text.z .text.m "
saw "symbols" "$symbols" "a z m "
saw "ordinals of m's parameters" "$ordinals" "1 0 "
saw "sizes of all parameters" "$size" "0x9 "
end
