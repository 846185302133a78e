#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# All guides declare libvirt's qemu namespace on <domain>. It may stand on <qemu:commandline>
# itself: so a tool that only appends to a domain's XML can pass arguments to QEMU. Without any
# declaration the arguments are not refused, they are dropped, and nothing is said.
. "$(dirname "$0")/lib.sh"
need unshare chroot mount dash
[ "$(id -u)" = 0 ] || skip "libvirtd wants root"
get_all libvirt-clients=9.0.0-4+deb12u2 libvirt-daemon=9.0.0-4+deb12u2 \
    libvirt-daemon-driver-qemu=9.0.0-4+deb12u2 qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3
guess "the namespace belongs on the root element, and an undeclared prefix is an error"

mkdir -p "$R/tmp" "$R/run/libvirt" "$R/proc" "$R/dev" "$R/var/log/libvirt" "$R/var/lib/libvirt" \
    "$R/var/cache/libvirt" "$R/bin" "$R/etc"
rm -rf "$R/var/run" && ln -s /run "$R/var/run"
cp "$(command -v dash)" "$R/bin/sh"
for program in cat mkdir sleep; do cp "$(command -v "$program")" "$R/bin/"; done
printf '%s\n' root:x:0:0::/:/bin/sh libvirt-qemu:x:64055:64055::/:/bin/sh >"$R/etc/passwd"
printf '%s\n' root:x:0: libvirt-qemu:x:64055: libvirt:x:64056: kvm:x:64057: tty:x:5: >"$R/etc/group"
for device in null zero random urandom; do : >"$R/dev/$device"; done

domain() { # FILE, attribute of <domain>, attribute of <qemu:commandline>
    cat >"$R/tmp/$1.xml" <<XML
<domain type='qemu'$2><name>vm</name><memory>262144</memory>
<os><type arch='x86_64'>hvm</type></os>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices>
<qemu:commandline$3><qemu:arg value='-device'/><qemu:arg value='pci-testdev'/></qemu:commandline>
</domain>
XML
}
namespace=" xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
domain root "$namespace" ""
domain element "" "$namespace"
domain nowhere "" ""
cat >"$R/tmp/ask" <<'SH'
/usr/sbin/libvirtd >/tmp/log 2>&1 &
i=0
until virsh -q -c qemu:///system version >/tmp/version 2>&1; do
    i=$((i + 1)); [ $i -lt 300 ] || exit 1; sleep 0.2
done
for file in root element nowhere; do
    virsh -q -c qemu:///system domxml-to-native qemu-argv --xml /tmp/$file.xml >/tmp/$file.out 2>&1
    echo $? >/tmp/$file.rc
done
kill $!
SH
unshare -m -p -f --mount-proc="$R/proc" sh -c "for device in null zero random urandom; do
    mount --bind /dev/\$device $R/dev/\$device; done; chroot $R /bin/sh /tmp/ask" ||
    skip "libvirtd does not start here: $(tail -n 1 "$R/tmp/log" 2>/dev/null)"

given() { grep -c -e '-device pci-testdev' "$R/tmp/$1.out" || :; }
saw "declared on <domain>" "$(cat "$R/tmp/root.rc") $(given root)" "0 1"
saw "declared on <qemu:commandline>" "$(cat "$R/tmp/element.rc") $(given element)" "0 1"
saw "declared nowhere" "$(cat "$R/tmp/nowhere.rc") $(given nowhere)" "0 0"
end
