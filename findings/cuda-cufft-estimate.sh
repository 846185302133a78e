#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# cuFFT can't say without a GPU how much memory a transform takes: cufftEstimate1d, whose answer is
# worked out from the sizes, fails with CUFFT_INVALID_DEVICE (11) and leaves the size as it was. So
# do cufftCreate and cufftPlan1d, which write a plan number all the same: 0. Wrong arguments give
# the same 11, so a program that runs without a GPU learns nothing of them. CUFFT_SETUP_FAILED (7),
# the status for a library that can't start, is not what comes.
. "$(dirname "$0")/lib.sh"
need cc
ldconfig -p 2>/dev/null | grep -q libcuda.so.1 && skip "this machine has a driver"
get "libcufft10=11.1.1+~10.9.0.58~11.8.0-5~deb12u1"
guess "an estimate; CUFFT_SETUP_FAILED for a plan; CUFFT_INVALID_SIZE (8) for a size below 0"

cat >"$T/fft.c" <<'C'
#include <stddef.h>
#include <stdio.h>

int cufftEstimate1d(int, int, int, size_t *), cufftCreate(int *), cufftGetVersion(int *);
int cufftPlan1d(int *, int, int, int);

int main(void)
{
    size_t bytes = 99;
    int version = 0, plan = -7, other = -7;

    printf("%d ", cufftGetVersion(&version));
    printf("%d\n", version);
    printf("%d ", cufftEstimate1d(1024, 0x29, 1, &bytes));
    printf("%zu\n", bytes);
    printf("%d ", cufftEstimate1d(-5, 0x29, 1, &bytes));
    printf("%zu\n", bytes);
    printf("%d ", cufftCreate(&plan));
    printf("%d\n", plan);
    printf("%d ", cufftPlan1d(&other, 1024, 0x29, 1));
    printf("%d\n", other);
    return 0;
}
C
cc "$T/fft.c" "$LIB/libcufft.so.10" -Wl,--unresolved-symbols=ignore-all -o "$T/fft"
LD_LIBRARY_PATH=$LIB "$T/fft" >"$T/out"
line() { sed -n "$1p" "$T/out"; }
saw "the version" "$(line 1)" "0 10900"
saw "an estimate for 1024 numbers: status, bytes (99 before)" "$(line 2)" "11 99"
saw "for -5" "$(line 3)" "11 99"
saw "cufftCreate: status, plan (-7 before)" "$(line 4)" "11 0"
saw "cufftPlan1d" "$(line 5)" "11 0"
end
