#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libvirt takes a UUID without hyphens, or with some of them, in a domain's XML. virsh takes only
# the form with all four for a UUID: without them it looks for a domain of that name. So what was
# written into a definition may not be what the domain is found by.
. "$(dirname "$0")/lib.sh"
get_all libvirt-clients=9.0.0-4+deb12u2
cd "$T"
guess "the same forms everywhere"

virsh() { in_root usr/bin/virsh -q -c test:///default "$@"; }
domain() {
    printf "<domain type='test'><name>web</name><uuid>%s</uuid><memory>65536</memory>" "$1" >web.xml
    echo "<os><type>hvm</type></os></domain>" >>web.xml
}
plain=7f1d7b049d4e4cc08c5b0f4a6a1d0001 full=7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001
domain $plain
saw "defined without hyphens" "$(virsh "define web.xml; domuuid web" | tr -d '\n')" "$full"
saw "found without" "$(status_of virsh "define web.xml; domstate $plain")" 1
saw "found with" "$(status_of virsh "define web.xml; domstate $full")" 0
domain 7f1d7b04-9d4e4cc08c5b-0f4a6a1d0001
saw "defined with two of four" "$(virsh "define web.xml; domuuid web" | tr -d '\n')" "$full"
saw "capitals" \
    "$(status_of virsh "define web.xml; domstate $(echo $full | tr a-f A-F)")" 0
end
