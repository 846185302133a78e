#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# MPS, NVIDIA's own way to share a GPU, takes any text for a client's limit of GPU memory and says
# nothing. A number without a unit is MiB, so bytes become a limit that no GPU has. T, K and a
# fraction lose their unit: 2T is 2 MiB and 1.5G is 1 MiB. A negative number wraps, and a text
# that is no number takes the limit away. Only reading the limit back shows it.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-mps=535.309.01-0+deb12u1 libcuda1=535.309.01-0+deb12u1
guess "2T is 2 TiB or refused, 1.5G is 1,536 MiB or refused, 1073741824 is 1 GiB or refused"

export CUDA_MPS_PIPE_DIRECTORY="$T/pipe" CUDA_MPS_LOG_DIRECTORY="$T/log"
export LD_LIBRARY_PATH="$LIB:$LIB/nvidia/current"
mkdir "$T/pipe" "$T/log"

control() {
    echo "$*" | timeout 20 "$R/usr/bin/nvidia-cuda-mps-control"
}

timeout 20 "$R/usr/bin/nvidia-cuda-mps-control" -d || skip "the control daemon doesn't start here"
trap 'control quit >"$T/out" 2>&1 || :; rm -rf "$T"' EXIT
for pair in 2G=2G 2048M=2G 1024=1G 1073741824=1048576G 2T=2M 512K=512M 1.5G=1M -1G=17179869183G \
    all=; do
    control "set_default_device_pinned_mem_limit 0 1G" >"$T/out"
    said=$(control "set_default_device_pinned_mem_limit 0 ${pair%%=*}" 2>&1)
    saw "what setting ${pair%%=*} says" "$said" ""
    saw "the limit after ${pair%%=*}" "$(control "get_default_device_pinned_mem_limit 0")" \
        "${pair#*=}"
done
end
