#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Three VMs in pool A, three in pool B, one for tests.  Options are those of vgpu-admin, such as
# --db FILE.  Run again it stops at the first VM that is registered already.
set -eu

admin() { ${VGPU_ADMIN:-vgpu-admin} --toolstack=none "$@"; }

# The UUID is what xe vm-list or virsh domuuid shows.
register() { # NAME UUID POOL PRIORITY WEIGHT, options of vgpu-admin
    name=$1 uuid=$2 pool=$3 priority=$4 weight=$5
    shift 5
    admin "$@" register-vm --vm-name="$name" --vm-uuid="$uuid" --pool="$pool" \
        --priority="$priority" --weight="$weight"
}

[ $# -eq 0 ] || [ "$1" != --db ] || [ -e "$2" ] || admin "$@" init-db

register web-1 11111111-0000-4000-8000-000000000001 A high 62.5 "$@"
register web-2 11111111-0000-4000-8000-000000000002 A high 37.5 "$@"
register web-batch 11111111-0000-4000-8000-000000000003 A low 50 "$@"
register train-1 22222222-0000-4000-8000-000000000001 B medium 50 "$@"
register train-2 22222222-0000-4000-8000-000000000002 B medium 50 "$@"
register train-night 22222222-0000-4000-8000-000000000003 B low 10 "$@"
register tests 33333333-0000-4000-8000-000000000001 B low 1 "$@"

admin "$@" set-rate-limit --vm-name=web-batch --rate=200
admin "$@" set-rate-limit --vm-name=tests --rate=50 --queue-depth=16

# With two GPUs: a pool each.  Without these lines both use all GPUs of the host.
#admin "$@" assign-gpu --pool=A --gpu=0
#admin "$@" assign-gpu --pool=B --gpu=1
