#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# virsh with several commands goes on after one that failed and ends with the status of the last. So
# "virsh 'destroy web; undefine web'" in a script is not && but a semicolon of a shell, whose exit
# status forgets the failure. dumpxml --xpath ends with 0 when nothing is found.
. "$(dirname "$0")/lib.sh"
get_all libvirt-clients=9.0.0-4+deb12u2
cd "$T"
guess "it stops at the first failure, or ends with something else than 0 if any failed"

virsh() { in_root usr/bin/virsh -q -c test:///default "$@"; }
saw "one that fails" "$(status_of virsh 'domstate nosuch')" 1
saw "and then one that doesn't" "$(status_of virsh 'domstate nosuch; domstate test')" 0
saw "its output" "$(tr '\n' ' ' <out; grep -c 'failed to get domain' err)" "running 1"
saw "the other way round" "$(status_of virsh 'domstate test; domstate nosuch')" 1
saw "an unknown command first" "$(status_of virsh 'nosuch; domstate test')" 1
saw "--xpath that finds nothing" "$(status_of virsh 'dumpxml test --xpath //nosuch')" 0
end
