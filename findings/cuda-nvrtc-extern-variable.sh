#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# NVRTC makes a definition out of `extern __device__ int total;`: the compilation succeeds, with a
# warning in a log that nobody reads after a success, and the PTX has a variable of its own. A
# function that is declared and not defined stays an .extern. So two programs never share a variable
# that way, they each have one (unless compiled with -rdc=true).
. "$(dirname "$0")/lib.sh"
need cc
get libnvrtc11.2=11.8.89~11.8.0-5~deb12u1 libnvrtc-builtins11.8=11.8.89~11.8.0-5~deb12u1
guess "a variable that is only declared is .extern in the PTX, as a function is"

cc "$(dirname "$0")/nvrtc.c" -L"$LIB" -l:libnvrtc.so.11.2 -o "$T/nvrtc"
compile() { LD_LIBRARY_PATH=$LIB "$T/nvrtc" "$T" "$@"; }
source='extern __device__ int total; extern "C" __device__ int next(int);
extern "C" __global__ void k(int *p) { *p = next(total); }'

saw "status" "$(echo "$source" | compile)" NVRTC_SUCCESS
saw "the variable" "$(grep -o '.*\.u32 total' "$T/ptx")" ".global .align 4 .u32 total"
saw "the function" "$(grep -c '^.extern .func .* next' "$T/ptx")" 1
saw "warning" "$(grep -o '#20044-D' "$T/log")" "#20044-D"
saw "status with -rdc=true" "$(echo "$source" | compile -rdc=true)" NVRTC_SUCCESS
saw "the variable" "$(grep -o '.*\.u32 total' "$T/ptx")" ".extern .global .align 4 .u32 total"
end
