#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# In nbdkit's data plugin a number with a 0 before it is octal as far as it goes, and what follows
# is the next byte, without a blank between: 08 is the two bytes 0 and 8, 018 is 1 and 8. For a
# size, in the same command, 010 is ten and 0x10 is refused.
. "$(dirname "$0")/lib.sh"
get_all nbdkit=1.32.5-1 libnbd-bin=1.14.2-1
guess "08 is 8 or an error; numbers are written in one way"

plugins=$LIB/nbdkit/plugins
serve() {
    in_root usr/bin/nbdkit -U - "$plugins/nbdkit-$1-plugin.so" "$2" --run \
        "'$R/lib64/ld-linux-x86-64.so.2' --library-path '$LIBS' '$R/usr/bin/$3' \$uri $4"
}
bytes() { serve data "$1" nbdcopy "- | od -An -tx1" | sed 's/^ //'; }
saw "data 8" "$(bytes 8)" 08
saw "data 08" "$(bytes 08)" "00 08"
saw "data 010" "$(bytes 010)" 08
saw "data 018" "$(bytes 018)" "01 08"
saw "data 0x10" "$(bytes 0x10)" 10
saw "size 010" "$(serve memory 010 nbdinfo --size)" 10
saw "size 0x10" "$(status_of serve memory 0x10 nbdinfo --size)" 1
end
