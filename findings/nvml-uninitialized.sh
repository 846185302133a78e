#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# NVML's manual gives NVML_ERROR_UNINITIALIZED (1) for calls without nvmlInit. nvmlShutdown without
# it, and after an nvmlInit that failed, is a success; so is nvmlSystemGetNVMLVersion. A program
# that counts on the error to find unpaired calls finds none.
. "$(dirname "$0")/lib.sh"
need gcc
get libnvidia-ml1=535.309.01-0+deb12u1
guess "every call without nvmlInit gives 1, nvmlShutdown too"

cat >"$T/calls.c" <<'EOF'
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **words)
{
    void *nvml = count > 1 ? dlopen(words[1], RTLD_NOW) : NULL;
    char text[96] = "";
    unsigned devices;

    if (!nvml) {
        return 1;
    }
#define CALL(name, types, ...) \
    printf(#name " %d\n", ((int(*) types)dlsym(nvml, #name))(__VA_ARGS__))
    CALL(nvmlSystemGetDriverVersion, (char *, unsigned), text, sizeof(text));
    CALL(nvmlDeviceGetCount_v2, (unsigned *), &devices);
    CALL(nvmlSystemGetNVMLVersion, (char *, unsigned), text, sizeof(text));
    printf("version %s\n", text);
    CALL(nvmlShutdown, (void));
    CALL(nvmlInit_v2, (void));
    CALL(nvmlShutdown, (void));
    CALL(nvmlShutdown, (void));
    return 0;
}
EOF
gcc -w -o "$T/calls" "$T/calls.c" -ldl
saw "exit status" "$(status_of "$T/calls" "$LIB/nvidia/current/libnvidia-ml.so.1")" 0
saw "driver's version" "$(sed -n 1p "$T/out")" "nvmlSystemGetDriverVersion 1"
saw "count" "$(sed -n 2p "$T/out")" "nvmlDeviceGetCount_v2 1"
saw "NVML's version" "$(sed -n 3,4p "$T/out" | tr '\n' ' ')" \
    "nvmlSystemGetNVMLVersion 0 version 12.535.309.01 "
saw "shutdown before init" "$(sed -n 5p "$T/out")" "nvmlShutdown 0"
init=$(sed -n 6p "$T/out")
[ "$init" != "nvmlInit_v2 0" ] || skip "this machine has a driver"
saw "init without a driver" "$init" "nvmlInit_v2 9"
saw "shutdown after it, twice" "$(sed -n 7,8p "$T/out" | tr '\n' ' ')" \
    "nvmlShutdown 0 nvmlShutdown 0 "
end
