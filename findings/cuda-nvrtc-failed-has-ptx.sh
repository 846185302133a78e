#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# nvrtcGetPTX gives success after a compilation that failed: an empty text after an error in the
# source, and the whole PTX after one that ptxas found. A program that looks at that status alone
# loads an empty image, or PTX that was refused for its GPU, and hears of it from the driver.
. "$(dirname "$0")/lib.sh"
need cc
get libnvrtc11.2=11.8.89~11.8.0-5~deb12u1 libnvrtc-builtins11.8=11.8.89~11.8.0-5~deb12u1
guess "after a failed compilation nvrtcGetPTX fails, too"

cc "$(dirname "$0")/nvrtc.c" -L"$LIB" -l:libnvrtc.so.11.2 -o "$T/nvrtc"
compile() { LD_LIBRARY_PATH=$LIB "$T/nvrtc" "$T" "$@"; }

status=$(echo '__global__ void k() { undeclared = 1; }' | compile)
saw "an undeclared name" "$status" NVRTC_ERROR_COMPILATION
saw "bytes of its PTX, and success" "$(wc -c <"$T/ptx")" 0

# One word more of shared memory than a kernel may declare.
too_much='extern "C" __global__ void k(int *p)
{ __shared__ int s[12289]; s[threadIdx.x] = p[0]; __syncthreads(); p[1] = s[p[2]]; }'
status=$(echo "$too_much" | compile -arch=sm_80)
saw "too much shared memory" "$status" NVRTC_ERROR_COMPILATION
saw "entries in its PTX, and success" "$(grep -c '^.visible .entry k' "$T/ptx")" 1
saw "the same for compute_80" "$(echo "$too_much" | compile -arch=compute_80)" NVRTC_SUCCESS
end
