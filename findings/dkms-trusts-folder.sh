#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `dkms add NAME/VERSION` takes name and version from the folder in /usr/src, not from the dkms.conf
# in it: PACKAGE_NAME and PACKAGE_VERSION may be anything, and a misspelt directive isn't mentioned.
# Given the folder's path instead, the same dkms.conf counts and the folder's name doesn't.
# `dkms status` of a module that isn't there prints nothing and ends with 0.
. "$(dirname "$0")/lib.sh"
need bash
get dkms=3.0.10-8+deb12u1
guess "an error where folder and dkms.conf disagree; a word on an unknown directive"

src=$T/src
mkdir -p "$src/one-1" "$T/tree"
cat >"$src/one-1/dkms.conf" <<'D'
PACKAGE_NAME=two
PACKAGE_VERSION=9
BUILT_MODULE_NAME[0]=m
DEST_MODULE_LOCATION[0]=/updates
AUTOINSTAL=yes
D
dkms() {
    bash "$R/usr/sbin/dkms" "$@" --dkmstree "$T/tree" --sourcetree "$src"
}

saw "add one/1" "$(status_of dkms add one/1)" 0
saw "words on it" "$(grep -ciE 'two|autoinstal|warn' "$T/out" "$T/err" | grep -vc ':0' || :)" 0
saw "status" "$(dkms status | tr '\n' ' ')" "one/1: added "
saw "add by path" "$(status_of dkms add "$src/one-1")" 0
saw "status" "$(dkms status | sort | tr '\n' ' ')" "one/1: added two/9: added "
saw "status of what isn't there" "$(status_of dkms status three/1)" 0
saw "bytes printed" "$(cat "$T/out" "$T/err" | wc -c)" 0
end
