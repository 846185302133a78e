#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# fdtput stores what strtol makes of a word and says nothing: a number beyond 32 bits is 0, a word
# that is no number is 0, and what follows a number is left out. dtc refuses all of them. And fdtget
# without a type shows a number whose bytes are letters as text.
. "$(dirname "$0")/lib.sh"
get_all device-tree-compiler=1.6.1-4+b1
cd "$T"
guess "an error, as dtc's; a number that was put as a number is shown as one"

tool() {
    program=$1
    shift
    in_root "usr/bin/$program" "$@"
}
tree() { printf '/dts-v1/;\n/ { a = <%s>; };\n' "$1" | tool dtc -q -I dts -O dtb -o tree.dtb -; }
put() { tool fdtput -t i tree.dtb / a "$1" && tool fdtget -t i tree.dtb / a; }
tree 7
saw "fdtput 4294967296" "$(put 4294967296)" 0
saw "dtc" "$(status_of tree 4294967296)" 1
saw "fdtput 12MiB" "$(put 12MiB)" 12
saw "dtc" "$(status_of tree 12MiB)" 1
saw "fdtput high" "$(put high)" 0
saw "fdtput -t bi 300" \
    "$(tool fdtput -t bi tree.dtb / a 300 && tool fdtget -t bi tree.dtb / a)" 44
tool fdtput -t i tree.dtb / a 1094861568
saw "1094861568 without a type" "$(tool fdtget tree.dtb / a)" ABC
saw "with -t i" "$(tool fdtget -t i tree.dtb / a)" 1094861568
end
