#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `meson test` ends with 0 if the suite or the test that it's asked for doesn't exist: it says "No
# suitable tests defined." And a test with should_fail counts as it should if it dies by a signal,
# so a program that crashes instead of refusing its input passes.
. "$(dirname "$0")/lib.sh"
need python3
get meson=1.0.1-5 ninja-build=1.11.1-2~deb12u1
guess "an error for a name that doesn't exist; a crash is no expected failure"

mkdir "$T/source"
cd "$T/source"
printf '#!/bin/sh\nkill -SEGV $$\n' >crash.sh
chmod +x crash.sh
cat >meson.build <<'M'
project('p')
test('works', find_program('true'), suite: 'fast')
test('refuses', find_program('crash.sh'), suite: 'slow', should_fail: true)
M
PYTHONPATH=$R/usr/lib/python3/dist-packages NINJA=$R/usr/bin/ninja
export PYTHONPATH NINJA
meson() {
    python3 "$R/usr/bin/meson" "$@"
}
meson setup build >"$T/setup" 2>&1 || skip "meson doesn't start on this machine"

saw "a suite" "$(status_of meson test -C build --no-rebuild --suite fast)" 0
saw "tests run" "$(sed -n 's/^Ok: *//p' "$T/out" | tr -d ' ')" 1
saw "no such suite" "$(status_of meson test -C build --no-rebuild --suite fats)" 0
saw "its words" "$(tail -n 1 "$T/out")" "No suitable tests defined."
saw "no such test" "$(status_of meson test -C build --no-rebuild wroks)" 0
saw "should_fail that crashes" "$(status_of meson test -C build --no-rebuild refuses)" 0
saw "counted as" "$(grep -o 'EXPECTEDFAIL .*' "$T/out" | awk '{print $1, $NF}')" \
    "EXPECTEDFAIL SIGSEGV"
end
