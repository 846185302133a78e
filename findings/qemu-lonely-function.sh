#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A device at function 1 of a slot whose function 0 is empty: QEMU makes it without a word, but
# firmware and kernels ask for functions 1 to 7 only if function 0 answers. SeaBIOS here doesn't
# find the device; QMP shows it all the same. (Functions that are added before function 0 are how
# hot-plug of several functions works, which is why it is allowed.)
. "$(dirname "$0")/lib.sh"
get_all "qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3"
guess "refused or warned of, as two devices at one address are"

# SeaBIOS tells on port 0x402 what it finds; it ends by looking for something to boot.
found() {
    : >"$T/log"
    qemu -M pc -accel tcg -m 16 -monitor none -chardev "file,id=log,path=$T/log" \
        -device isa-debugcon,iobase=0x402,chardev=log -pidfile "$T/pid" \
        -device "pci-testdev,addr=$1" >"$T/out" 2>&1 &
    tries=0
    until grep -q 'Found .* PCI devices' "$T/log" || [ $tries -ge 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    kill "$(cat "$T/pid")"
    wait
    sed -n 's/^Found \([0-9]*\) PCI devices.*/\1/p' "$T/log" | head -n 1
}

saw "PCI devices with one at 5.0" "$(found 5.0)" 5
saw "PCI devices with one at 5.1" "$(found 5.1)" 4
saw "warnings" "$(grep -c warning "$T/out" || :)" 0
printf '%s\n' '{"execute":"qmp_capabilities"}' '{"execute":"qom-get","arguments":{
    "path":"/machine/peripheral/lonely","property":"realized"}}' '{"execute":"quit"}' |
    qemu -S -M pc -qmp stdio -device pci-testdev,id=lonely,addr=5.1 >"$T/out" 2>&1
saw "realized" "$(grep -c '"return": true' "$T/out")" 1
end
