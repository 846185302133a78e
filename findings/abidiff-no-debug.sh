#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# abidiff compares types only where both files have debug information. Where one has none, it
# compares names of symbols, says nothing of that, and ends with 0, which means "no change": a
# stripped build beside one with debug information passes whatever became of its structures.
. "$(dirname "$0")/lib.sh"
need cc
get_all abigail-tools=2.2-2
cd "$T"
guess "an error or a warning when types can't be compared"

abidiff() {
    in_root usr/bin/abidiff "$@"
}
echo 'struct s { int a; }; int f(struct s *s) { return s->a; }' >old.c
echo 'struct s { long new; int a; }; int f(struct s *s) { return s->a; }' >new.c
for name in old new; do
    cc -g -shared -fPIC "$name.c" -o "lib$name.so"
    cc -shared -fPIC "$name.c" -o "lib$name-stripped.so"
done
saw "both with debug information" "$(status_of abidiff libold.so libnew.so)" 4
saw "told of" "$(grep -c "long int new" out)" 1
saw "the new one without" "$(status_of abidiff libold.so libnew-stripped.so)" 0
saw "bytes of messages" "$(cat out err | wc -c)" 0
saw "both without" "$(status_of abidiff libold-stripped.so libnew-stripped.so)" 0
saw "bytes of messages" "$(cat out err | wc -c)" 0
end
