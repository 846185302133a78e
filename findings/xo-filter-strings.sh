#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A filter of Xen Orchestra's complex-matcher finds a string by any part of it, in any case, and a
# number only if it is equal; > and >= compare numbers only. All values of a VM's other-config are
# strings: "vgpu-weight:1" also finds the VMs of weight 10 and 100, and "vgpu-weight:>9" finds none.
# A regular expression finds what was meant.
. "$(dirname "$0")/lib.sh"
get_npm complex-matcher@0.7.0
guess "vgpu-weight:1 finds weight 1, and vgpu-weight:>9 those above 9"

cat >"$T/find.js" <<'C'
const { parse } = require('complex-matcher')
const vms = ['1', '10', '100'].map(value => ({ weight: +value, other: { 'vgpu-weight': value } }))
const found = vms.filter(parse(process.argv[2]).createPredicate())
console.log(found.map(vm => vm.weight).join(' ') || 'none')
C
find_vms() {
    node "$T/find.js" "$1"
}
saw "other:vgpu-weight:1" "$(find_vms 'other:vgpu-weight:1')" "1 10 100"
saw "other:vgpu-weight:>9" "$(find_vms 'other:vgpu-weight:>9')" none
saw "weight:1, of numbers" "$(find_vms 'weight:1')" 1
saw "weight:>9, of numbers" "$(find_vms 'weight:>9')" "10 100"
saw "other:vgpu-weight:/^1\$/" "$(find_vms 'other:vgpu-weight:/^1$/')" 1
end
