#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# ptxas takes bounds that no GPU can meet: a block of at most, or of exactly, more than the 1,024
# threads that every GPU of compute capability 2.0 and later has as its limit. A kernel with such a
# required size can never be launched, and the build doesn't tell.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-toolkit=11.8.89~11.8.0-5~deb12u1
guess "an error, or a warning, for more than 1,024 threads in a block"

assemble() {
    printf '.version 7.8\n.target sm_80\n.address_size 64\n' >"$T/k.ptx"
    echo ".visible .entry k() $1 { ret; }" >>"$T/k.ptx"
    status_of "$R/usr/bin/ptxas" --warning-as-error -arch=sm_80 "$T/k.ptx" -o "$T/k.cubin"
}

for bound in ".maxntid 1025" ".maxntid 1024, 2" ".reqntid 2048"; do
    saw "exit status for $bound" "$(assemble "$bound")" 0
    saw "bytes of messages" "$(cat "$T/out" "$T/err" | wc -c)" 0
done
assemble ".maxnreg 300" >"$T/status"
saw "300 registers are warned of" "$(grep -c 'Too many maxnreg' "$T/err")" 1
end
