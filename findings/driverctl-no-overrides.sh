#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# driverctl list-overrides, on a host where no device's driver was chosen by hand yet, ends with 1
# and asks whether the kernel is too old, though list-devices shows that it isn't: both use one
# function, which takes an empty list for a kernel without driver_override. So a script that looks
# whether a GPU is set aside for passing through fails on each new host.
. "$(dirname "$0")/lib.sh"
need bash
get_all driverctl=0.111-1
guess "an empty list of overrides is an empty output with status 0"

overridden() {
    for file in /sys/bus/pci/devices/*/driver_override; do
        [ ! -e "$file" ] || [ "$(cat "$file")" = "(null)" ] || return 0
    done
    return 1
}

[ "$(status_of bash "$R/usr/sbin/driverctl" list-devices)" = 0 ] ||
    skip "this machine has no PCI devices that driverctl can see"
overridden && skip "a device of this machine has an override"
saw "is a device in it" "$(head -n 1 "$T/out" | grep -c '^[0-9a-f]*:[0-9a-f:.]* ')" 1
saw "exit status of list-overrides" \
    "$(status_of bash "$R/usr/sbin/driverctl" list-overrides)" 1
saw "what it printed" "$(cat "$T/out")" ""
saw "what it said" "$(cat "$T/err")" \
    "driverctl: No overridable devices found. Kernel too old?"
end
