#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# kubernetes-resource-parser gives wrong numbers for valid quantities of Kubernetes, without an
# error: 1.5Gi of memory is 1 byte, 129e6 is 129, and 2u or 500n of a processor, which is how the
# metrics server gives them, are 2 and 500 processors. k8s-resource-parser reads these of memory.
. "$(dirname "$0")/lib.sh"
get_npm kubernetes-resource-parser@0.1.0 k8s-resource-parser@0.2.2
guess "all forms that Kubernetes takes, or an error for those that it doesn't know"

cat >"$T/parse.cjs" <<'C'
const [, , name, kind, quantity] = process.argv
console.log(require(name)[`${kind}Parser`](quantity))
C
parse() { node "$T/parse.cjs" kubernetes-resource-parser "$@"; }
saw "memory 1Gi" "$(parse memory 1Gi)" 1073741824
saw "memory 1.5Gi" "$(parse memory 1.5Gi)" 1
saw "memory 129e6" "$(parse memory 129e6)" 129
saw "processors 100m" "$(parse cpu 100m)" 0.1
saw "processors 500n" "$(parse cpu 500n)" 500
saw "processors 2k" "$(parse cpu 2k)" 2
saw "the other one: memory 1.5Gi" \
    "$(node "$T/parse.cjs" k8s-resource-parser memory 1.5Gi)" 1610612736
end
