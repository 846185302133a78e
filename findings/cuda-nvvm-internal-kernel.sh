#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A kernel with internal linkage (static, or in an anonymous namespace) is gone from the PTX that
# libNVVM makes, though the annotation says that it is a kernel; it succeeds with an empty module.
# So a front end must make each kernel external, whatever the language says of it.
. "$(dirname "$0")/lib.sh"
need cc
get libnvvm4=11.8.89~11.8.0-5~deb12u1
guess "the annotation \"kernel\" keeps the function"

cc "$(dirname "$0")/nvvm.c" -L"$LIB" -l:libnvvm.so.4 -o "$T/nvvm"
compile() { LD_LIBRARY_PATH=$LIB "$T/nvvm" "$T"; }
layout=e-p:64:64:64-i1:8:8-i8:8:8-i16:16:16-i32:32:32-i64:64:64-i128:128:128-f32:32:32-f64:64:64
layout=$layout-v16:16:16-v32:32:32-v64:64:64-v128:128:128-n16:32:64
ir() {
    printf 'target datalayout = "%s"\ntarget triple = "nvptx64-nvidia-cuda"\n' "$layout"
    echo "define $1 void @k() { ret void }"
    echo "!nvvm.annotations = !{!0}"
    echo "!0 = !{void ()* @k, !\"kernel\", i32 1}"
}

saw "external" "$(ir "" | compile)" "NVVM_SUCCESS NVVM_SUCCESS"
saw "entries" "$(grep -c .entry "$T/ptx")" 1
saw "internal" "$(ir internal | compile)" "NVVM_SUCCESS NVVM_SUCCESS"
saw "entries" "$(grep -c .entry "$T/ptx" || :)" 0
saw "characters in the log" "$(wc -c <"$T/log")" 0
end
