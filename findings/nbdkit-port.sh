#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# nbdkit takes a port beyond 65535, listens on what is left of it in 16 bits, and tells its clients
# the number as it was given. So --port 99999 works for a client that cuts numbers in the same way,
# and for no other. A word that is no service is refused.
. "$(dirname "$0")/lib.sh"
get_all nbdkit=1.32.5-1
cd "$T"
guess "a port beyond 65535 is refused"

serve() {
    in_root usr/bin/nbdkit -i 127.0.0.1 -p "$1" "$LIB/nbdkit/plugins/nbdkit-null-plugin.so" --run \
        'echo "$uri"; cat /proc/net/tcp'
}
taken=$(sed -n 's/^ *[0-9]*: 0100007F:869F .* 0A .*/taken/p' /proc/net/tcp)
[ -z "$taken" ] || skip "port 34463 is taken"
saw "--port 99999" "$(status_of serve 99999)" 0
saw "the address for clients" "$(head -n 1 out)" nbd://localhost:99999
saw "it listens on 34463, 869F" "$(grep -c '0100007F:869F 00000000:0000 0A' out)" 1
saw "--port nosuch" "$(status_of serve nosuch)" 1
end
