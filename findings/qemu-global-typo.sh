#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A misspelt property after -global ends QEMU at once if the command line makes such a device, but
# only then. With a device that is added later, nothing is said at the start; device_add succeeds,
# the warning goes to standard error alone, and the device is there without the setting. A driver
# name that doesn't exist is never more than a warning.
. "$(dirname "$0")/lib.sh"
get_all "qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3"
guess "a property that doesn't exist is refused, at the start or by device_add"

qmp() {
    printf '%s\n' '{"execute":"qmp_capabilities"}' "$@" '{"execute":"quit"}' >"$T/in"
    qemu -S -M pc -global "$global" -qmp stdio <"$T/in" >"$T/out" 2>"$T/err" || :
}
add='{"execute":"device_add","arguments":{"driver":"edu","id":"d"},"id":"add"}'

global=edu.dma_maks=1
saw "exit status with -device edu" "$(status_of qemu -S -M pc -global $global -device edu)" 1
qmp '{"execute":"query-status","id":"q"}'
saw "started with device_add in mind" "$(grep -c '"id": "q"' "$T/out")" 1
saw "lines on standard error" "$(wc -l <"$T/err")" 0
qmp "$add"
saw "answer to device_add" "$(grep '"add"' "$T/out" | tr -d '\r')" '{"return": {}, "id": "add"}'
saw "warning" "$(grep -o "warning: can't apply global" "$T/err")" "warning: can't apply global"
global=eduu.dma_mask=1
qmp '{"execute":"query-status","id":"q"}'
saw "started with an unknown driver" "$(grep -c '"id": "q"' "$T/out")" 1
end
