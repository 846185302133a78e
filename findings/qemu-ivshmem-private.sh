#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# ivshmem-plain is there to share memory, but takes memory that isn't shared without a word. That
# is what memory-backend-file makes unless share=on is given (memory-backend-memfd shares by
# itself): the guest writes, reads back what it wrote, and the file never sees it.
. "$(dirname "$0")/lib.sh"
need od
get_all "qemu-system-x86=1:7.2+dfsg-7+deb12u18+b3"
guess "refused, or at least a warning, or the file is shared by default"

# What the guest does, by qtest: set BAR2 of slot 4 to 0xe0000000, enable memory, write, read back.
cat >"$T/guest" <<'QTEST'
outl 0xcf8 0x80002018
outl 0xcfc 0xe0000000
outl 0xcf8 0x80002004
outw 0xcfc 0x2
writel 0xe0000000 0x12345678
readl 0xe0000000
QTEST

mkfifo "$T/pipe"
for share in "" ,share=on; do
    # `|| echo` makes a line of its own, so that the loop ends too if QEMU does not start.
    : >"$T/out"
    { qemu -M pc -S -pidfile "$T/pid" -qtest stdio -qtest-log /dev/null -object \
        "memory-backend-file,id=m,mem-path=$T/memory,size=1M$share" \
        -device ivshmem-plain,memdev=m,addr=4 <"$T/pipe" 2>"$T/err" || echo ended; } >"$T/out" &
    exec 3>"$T/pipe"
    cat "$T/guest" >&3
    until [ "$(grep -c '^OK' "$T/out")" -ge 6 ] || grep -q ended "$T/out"; do
        sleep 0.1
    done
    echo "memory-backend-file$share:"
    saw "the guest reads back" "$(grep -o '0x00*12345678' "$T/out")" 0x0000000012345678
    case $share in "") recorded=00000000 ;; *) recorded=12345678 ;; esac
    saw "in the file" "$(od -An -tx4 -N4 "$T/memory" | tr -d ' ')" $recorded
    saw "warnings" "$(grep -c warning "$T/err" || :)" 0
    kill "$(cat "$T/pid")"
    wait
    exec 3>&-
done
end
