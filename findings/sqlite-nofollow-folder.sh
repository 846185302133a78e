#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# SQLITE_OPEN_NOFOLLOW, -nofollow of sqlite3, isn't O_NOFOLLOW: a link in any part of the path is
# refused, not one in its last part alone. So a program that opens its database with it fails below
# a folder that an administrator has moved to a larger disk, or below /var/run, with "unable to open
# database file", though nobody can have put a link there. vgpu-mediator's upgrade did: it opens the
# file in its folder's real place now.
. "$(dirname "$0")/lib.sh"
get_all sqlite3=3.40.1-2+deb12u2
guess "a link in the database's own place is refused; a linked folder is fine, as for open(2)"

sqlite() {
    in_root usr/bin/sqlite3 -batch -init /dev/null "$@"
}

mkdir "$T/real"
ln -s real "$T/folder"
ln -s real/a.db "$T/link.db"
sqlite "$T/real/a.db" 'CREATE TABLE t(a); INSERT INTO t VALUES(42);'
saw "the file itself" "$(sqlite -nofollow "$T/real/a.db" 'SELECT a FROM t' 2>&1)" 42
saw "a link to it" "$(status_of sqlite -nofollow "$T/link.db" 'SELECT a FROM t')" 1
saw "in a linked folder" "$(status_of sqlite -nofollow "$T/folder/a.db" 'SELECT a FROM t')" 1
saw "message" "$(grep -o 'unable to open database' "$T/err" | sort -u)" \
    "unable to open database"
saw "the same without it" "$(sqlite "$T/folder/a.db" 'SELECT a FROM t')" 42
saw "with O_NOFOLLOW, by dd" "$(status_of dd if="$T/folder/a.db" iflag=nofollow of=/dev/null)" 0
end
