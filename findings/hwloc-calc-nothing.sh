#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# hwloc-calc ends with 0 when a core doesn't exist, and when it doesn't know a word: it prints the
# set of the rest, 0x0 if there is no rest. So a service that is started with such a set as its
# processors either fails later or gets fewer than were asked for. hwloc-info ends with 0 as well,
# and prints nothing; only hwloc-bind refuses.
. "$(dirname "$0")/lib.sh"
get_all hwloc-nox=2.9.0-1
cd "$T"
guess "something else than 0 for an object that isn't there, or for a word that isn't known"

calc() { in_root usr/bin/hwloc-calc -i "node:2 core:2 pu:2" "$@"; }
saw "core 1, which is there" "$(status_of calc core:1) $(cat out)" "0 0x0000000c"
saw "core 99" "$(status_of calc core:99) $(cat out)" "0 0x0"
saw "is that said?" "$(grep -c 'does not exist' err)" 1
saw "a misspelt type" "$(status_of calc coer:1) $(cat out)" "0 0x0"
saw "cores 0 and 99" "$(status_of calc core:0 core:99) $(cat out)" "0 0x00000003"
saw "a file's name for the processors" "$(status_of calc -N pu nosuch) $(cat out)" "0 0"
info() { in_root usr/bin/hwloc-info -i "node:2 core:2 pu:2" "$@"; }
saw "hwloc-info of core 99" "$(status_of info core:99) $(cat out)" "0 "
bind() { in_root usr/bin/hwloc-bind core:9999 -- /bin/true; }
saw "hwloc-bind to core 9999" "$(status_of bind)" 1
end
