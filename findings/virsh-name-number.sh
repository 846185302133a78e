#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A domain may be called "1", but virsh takes a number for the ID of a domain that runs, if there is
# one: commands about "1" reach another domain, without a word, and the right one as soon as that
# other one has ended. 01 and +1 are IDs as well. Scripts should use UUIDs.
. "$(dirname "$0")/lib.sh"
get_all libvirt-clients=9.0.0-4+deb12u2
cd "$T"
guess "such a name is refused, or the name wins, or virsh says that both are meant"

virsh() { in_root usr/bin/virsh -q -c test:///default "$@" | tr -d '\n'; }
cat >one.xml <<'X'
<domain type='test'><name>1</name><uuid>7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001</uuid>
<memory>65536</memory><os><type>hvm</type></os></domain>
X
saw "UUID of the domain test, which runs as ID 1" "$(virsh 'domuuid test')" \
    6695eb01-f6a4-8304-79aa-97f2502e193f
saw "UUID of 1 beside it" "$(virsh 'define one.xml; domuuid 1')" \
    6695eb01-f6a4-8304-79aa-97f2502e193f
saw "after test has ended" "$(virsh 'define one.xml; destroy test; domuuid 1')" \
    7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001
saw "01 and +1" "$(virsh 'domname 01; domname +1')" testtest
end
