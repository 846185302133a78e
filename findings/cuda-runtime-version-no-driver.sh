#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Without a driver, NVIDIA's runtime tells the driver's version (0) but not its own:
# cudaRuntimeGetVersion ends with 35, cudaErrorInsufficientDriver, and leaves the number as it was.
# cudaGetLastError is that error before any call was made, and doesn't clear it. A program that
# logs the runtime's version first, for a report on a machine without a driver, reports rubbish.
. "$(dirname "$0")/lib.sh"
need cc
ldconfig -p 2>/dev/null | grep -q libcuda.so.1 && skip "this machine has a driver"
get libcudart11.0=11.8.89~11.8.0-5~deb12u1
guess "the runtime's version is a constant of the library: 11080; no call, no error"

cat >"$T/version.c" <<'C'
#include <stdio.h>

int cudaRuntimeGetVersion(int *), cudaDriverGetVersion(int *), cudaGetDeviceCount(int *);
int cudaGetLastError(void);

int main(void)
{
    int value = 77, before = cudaGetLastError(), status = cudaRuntimeGetVersion(&value);

    printf("before %d\nruntime %d %d\n", before, status, value);
    status = cudaDriverGetVersion(&value);
    printf("driver %d %d\n", status, value);
    value = 77;
    status = cudaGetDeviceCount(&value);
    printf("devices %d %d\n", status, value);
    before = cudaGetLastError();
    printf("last %d, then %d\n", before, cudaGetLastError());
    return 0;
}
C
cc "$T/version.c" "$LIB/libcudart.so.11.0" -o "$T/version"
saw "exit status" "$(LD_LIBRARY_PATH=$LIB status_of "$T/version")" 0
saw "error before the first call" "$(sed -n 's/^before //p' "$T/out")" 35
saw "runtime: error, version" "$(sed -n 's/^runtime //p' "$T/out")" "35 77"
saw "driver: error, version" "$(sed -n 's/^driver //p' "$T/out")" "0 0"
saw "devices: error, count" "$(sed -n 's/^devices //p' "$T/out")" "35 77"
saw "cudaGetLastError twice" "$(sed -n 's/^last //p' "$T/out")" "35, then 35"
end
