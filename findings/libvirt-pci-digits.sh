#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A PCI address in libvirt's XML is read as C reads numbers: bus='41' is 0x29 and bus='041' is
# 0x21. lspci and nvidia-smi write 41:00.0 and mean 0x41; copied from there the definition is taken
# without a word and names another device. Only a letter among the digits, 3b, is refused.
. "$(dirname "$0")/lib.sh"
need unshare
get_all libvirt-clients=9.0.0-4+deb12u2
guess "the digits of a PCI address are hexadecimal, as everywhere else"

mkdir -p "$R/tmp"
virsh() { in_chroot /usr/bin/virsh -q -c test:///default "$@"; }
bus() {
    cat >"$R/tmp/vm.xml" <<XML
<domain type='test'><name>vm</name><memory>262144</memory><os><type>hvm</type></os><devices>
<hostdev mode='subsystem' type='pci'><source>
<address domain='0' bus='$1' slot='0' function='0'/></source></hostdev></devices></domain>
XML
    virsh "define /tmp/vm.xml; dumpxml vm" 2>"$T/err" | grep -o "bus='[^']*'" || :
}

saw "41" "$(bus 41)" "bus='0x29'"
saw "041" "$(bus 041)" "bus='0x21'"
saw "0x41" "$(bus 0x41)" "bus='0x41'"
saw "3b" "$(bus 3b; grep -o "Invalid value for attribute 'bus'" "$T/err")" \
    "Invalid value for attribute 'bus'"
end
