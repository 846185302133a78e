#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# setpci ends with 0 when the device doesn't exist, for reading and for writing: a line on stderr is
# all. What is wrong with a device that exists ends with 1. So a script that prepares a GPU for
# passing through, with an address from another host, goes on as if the bits were set.
. "$(dirname "$0")/lib.sh"
get_all pciutils=1:3.9.0-4
guess "an address without a device is an error"

cat >"$T/dump" <<'EOF'
01:00.0 3D controller: one GPU
00: de 10 35 23 07 04 10 00 a1 00 02 03 00 00 00 00
10: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 de 10 35 23
30: 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00

EOF

setpci() {
    status_of in_root usr/bin/setpci -A dump -O "dump.name=$T/dump" "$@"
}

saw "exit status for the device" "$(setpci -s 01:00.0 VENDOR_ID)" 0
saw "its vendor" "$(cat "$T/out")" 10de
saw "exit status for a register that it hasn't" "$(setpci -s 01:00.0 CAP_EXP+8.w)" 1
saw "exit status for no such device" "$(setpci -s 02:00.0 VENDOR_ID)" 0
saw "what it printed" "$(cat "$T/out")" ""
saw "exit status for writing to no such device" "$(setpci -s 02:00.0 COMMAND=7)" 0
saw "what it said" "$(cat "$T/err")" \
    "setpci: Warning: No devices selected for operation group 1."
end
