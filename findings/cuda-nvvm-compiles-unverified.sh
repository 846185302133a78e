#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# nvvmCompileProgram succeeds on IR that nvvmVerifyProgram refuses: a kernel that returns a value
# becomes an .entry with a return parameter, which is no PTX (ptxas refuses it), and a module for
# another machine is taken, too. Nor is what is verified always compiled: a thread_local variable.
. "$(dirname "$0")/lib.sh"
need cc
get libnvvm4=11.8.89~11.8.0-5~deb12u1
guess "what is not valid IR is refused by the compilation as well"

cc "$(dirname "$0")/nvvm.c" -L"$LIB" -l:libnvvm.so.4 -o "$T/nvvm"
compile() { LD_LIBRARY_PATH=$LIB "$T/nvvm" "$T"; }
layout=e-p:64:64:64-i1:8:8-i8:8:8-i16:16:16-i32:32:32-i64:64:64-i128:128:128-f32:32:32-f64:64:64
layout=$layout-v16:16:16-v32:32:32-v64:64:64-v128:128:128-n16:32:64
ir() {
    printf 'target datalayout = "%s"\ntarget triple = "%s"\n' "$layout" "$2"
    echo "define $1 @k() { ret $1 $3 }"
    echo "!nvvm.annotations = !{!0}"
    echo "!0 = !{$1 ()* @k, !\"kernel\", i32 1}"
}

saw "a kernel of type void" "$(ir void nvptx64-nvidia-cuda "" | compile)" \
    "NVVM_SUCCESS NVVM_SUCCESS"
saw "its entry" "$(grep .entry "$T/ptx")" ".visible .entry k()"
saw "a kernel of type i32" "$(ir i32 nvptx64-nvidia-cuda 0 | compile)" \
    "NVVM_ERROR_INVALID_IR NVVM_SUCCESS"
saw "its entry" "$(grep .entry "$T/ptx")" ".visible .entry  (.param .b32 func_retval0) k()"
saw "for x86_64" "$(ir void x86_64-pc-linux-gnu "" | compile)" \
    "NVVM_ERROR_INVALID_IR NVVM_SUCCESS"

with_thread_local() {
    ir "$@" | sed 's/{ ret/{ store i32 6, i32 addrspace(1)* @mine ret/'
    echo '@mine = thread_local addrspace(1) global i32 5'
}
saw "with a thread_local" "$(with_thread_local void nvptx64-nvidia-cuda "" | compile)" \
    "NVVM_SUCCESS NVVM_ERROR_COMPILATION"
end
