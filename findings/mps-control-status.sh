#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# nvidia-cuda-mps-control ends with 0 whatever it was told, once a daemon answers: for a command
# that doesn't exist, for a percentage that is refused, for a server that isn't there, for a GPU
# that the host doesn't have. A word where a number belongs is 0: a priority "high" is 0, which is
# the normal one (1 is below it). So a script that sets shares must read them back.
. "$(dirname "$0")/lib.sh"
get nvidia-cuda-mps=535.309.01-0+deb12u1 libcuda1=535.309.01-0+deb12u1
guess "what is refused ends with another status than 0, and a word is no number"

export CUDA_MPS_PIPE_DIRECTORY="$T/pipe" CUDA_MPS_LOG_DIRECTORY="$T/log"
export LD_LIBRARY_PATH="$LIB:$LIB/nvidia/current"
mkdir "$T/pipe" "$T/log"

control() {
    echo "$*" >"$T/in"
    rc=0
    timeout 20 "$R/usr/bin/nvidia-cuda-mps-control" <"$T/in" >"$T/out" 2>&1 || rc=$?
    echo "$rc: $(tr '\n' ' ' <"$T/out")"
}

saw "without a daemon" "$(control get_server_list)" "1: Cannot find MPS control daemon process "
timeout 20 "$R/usr/bin/nvidia-cuda-mps-control" -d || skip "the control daemon doesn't start here"
trap 'control quit >"$T/last"; rm -rf "$T"' EXIT
saw "no such command" "$(control set_share 50)" '0: Unknown command "set_share" '
saw "a percentage of 250" "$(control set_default_active_thread_percentage 250)" "0: 100.0 "
saw "the reason for that, in the daemon's log only" \
    "$(grep -o 'expected between.*' "$T/log/control.log")" "expected between (0.0, 100.0]"
saw "30abc for a percentage" "$(control set_default_active_thread_percentage 30abc)" "0: 30.0 "
saw "no such server" "$(control get_active_thread_percentage 99999)" "0: Server 99999 not found "
saw "a limit for GPU 99" "$(control set_default_device_pinned_mem_limit 99 2G)" "0: "
saw "priority 1" "$(control set_default_client_priority 1; control get_default_client_priority)" \
    "0: 
0: 1 "
saw "priority high" \
    "$(control set_default_client_priority high; control get_default_client_priority)" "0: 
0: 0 "
end
