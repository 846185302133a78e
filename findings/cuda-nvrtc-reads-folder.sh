#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# NVRTC takes source and headers from memory, but an #include in quotes also reads the folder that
# the process stands in, without any -I. Among headers in memory names are compared as they are
# written: a name with "./" before it is another one.
. "$(dirname "$0")/lib.sh"
need cc
get libnvrtc11.2=11.8.89~11.8.0-5~deb12u1 libnvrtc-builtins11.8=11.8.89~11.8.0-5~deb12u1
guess "without -I only what was handed over is found, and by the rules of folders"

cc "$(dirname "$0")/nvrtc.c" -L"$LIB" -l:libnvrtc.so.11.2 -o "$T/nvrtc"
compile() { LD_LIBRARY_PATH=$LIB "$T/nvrtc" "$T" "$@"; }
mkdir "$T/here"
echo '__device__ int from_the_folder;' >"$T/here/x.h"
echo '__device__ int from_memory;' >"$T/memory.h"
cd "$T/here"

saw '"x.h" of the folder' "$(echo '#include "x.h"' | compile)" NVRTC_SUCCESS
saw "its variable" "$(grep -o 'from_the_folder' "$T/ptx")" from_the_folder
saw '<x.h>' "$(echo '#include <x.h>' | compile)" NVRTC_ERROR_COMPILATION
saw '"x.h" in both' "$(echo '#include "x.h"' | compile --header x.h "$T/memory.h")" NVRTC_SUCCESS
saw "its variable" "$(grep -o 'from_[a-z_]*' "$T/ptx")" from_memory
cd "$T"
saw '"./x.h" of memory' "$(echo '#include "./x.h"' | compile --header x.h "$T/memory.h")" \
    NVRTC_ERROR_COMPILATION
end
