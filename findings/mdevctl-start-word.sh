#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# mdevctl reads a definition from a JSON file and takes any word for "start": what isn't "auto"
# becomes "manual", with exit status 0. "always" or "boot", as systemd or libvirt would have it,
# gives a vGPU that isn't there after a reboot.
. "$(dirname "$0")/lib.sh"
need unshare
get_all mdevctl=1.2.0-3+b1
guess "an unknown word for \"start\" is refused, as a missing one is"

uuid=6f1f5a3e-0d0b-4c57-9a55-0d6c1b1f2a0
define() {
    echo "{\"mdev_type\": \"nvidia-259\", $2 \"attrs\": []}" >"$R/tmp/definition.json"
    status_of in_chroot /usr/bin/mdevctl define --uuid $uuid$1 --parent 0000:01:00.0 \
        --jsonfile /tmp/definition.json
}
start_of() { in_chroot /usr/bin/mdevctl list -d | awk -v uuid="$uuid$1" '$1 == uuid { print $4 }'; }
mkdir -p "$R/tmp"

saw "no word" "$(define 1 '')" 1
saw "auto" "$(define 2 '"start": "auto",') $(start_of 2)" "0 auto"
saw "always" "$(define 3 '"start": "always",') $(start_of 3)" "0 manual"
end
