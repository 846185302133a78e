#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A thread has at most 512 KiB of local memory on every GPU since compute capability 2.0. ptxas
# doesn't know that limit, as it knows those of shared and constant memory: it makes machine code
# for 16 MiB a thread, with status 0 and no warning. Whoever loads modules for others has to look
# at the size that the driver tells, before the driver sets memory aside for it.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
guess "512 KiB of local memory are taken, more is refused as too much shared memory is"

# kernel SPACE BYTES: reads and writes the array at a place that isn't known before.
kernel() {
    printf '.version 7.8\n.target sm_80\n.address_size 64\n'
    echo ".visible .entry k(.param .u64 p) {"
    echo "    .$1 .align 4 .b8 d[$2]; .reg .u64 %at, %p; .reg .u32 %v;"
    echo "    ld.param.u64 %p, [p]; mov.u64 %at, d; add.u64 %at, %at, %p;"
    echo "    st.$1.u32 [%at], 7; ld.$1.u32 %v, [%at+64]; st.global.u32 [%p], %v; ret; }"
}

# compile SPACE BYTES -> exit status
compile() {
    kernel "$1" "$2" >"$T/k.ptx"
    status_of timeout 60 "$R/usr/bin/ptxas" -arch=sm_80 -v "$T/k.ptx" -o "$T/k.cubin"
}

saw "exit status for 48 KiB of shared memory" "$(compile shared 49152)" 0
saw "exit status for one byte more" "$(compile shared 49153)" 255
for bytes in 524288 524304 1048576 16777216; do
    saw "exit status for $bytes bytes of local memory" "$(compile local $bytes)" 0
    saw "its stack frame" "$(grep -o '[0-9]* bytes stack frame' "$T/err")" \
        "$bytes bytes stack frame"
    saw "warnings" "$(grep -ci warning "$T/err" || :)" 0
done
end
