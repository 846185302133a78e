#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian 12's sqlite3 has the command .recover in its help, but its library is built without the
# virtual table that the command reads (SQLITE_ENABLE_DBPAGE_VTAB), so .recover fails on every
# database, sound or not, after some lines that look like a start. `.dump` works on a sound one;
# to save a damaged one another build of sqlite3 is needed.
. "$(dirname "$0")/lib.sh"
get_all sqlite3=3.40.1-2+deb12u2
guess ".recover writes the SQL of the whole database and ends with 0"

sqlite() {
    in_root usr/bin/sqlite3 -batch -init /dev/null "$T/a.db" "$1"
}

sqlite 'CREATE TABLE t(a); INSERT INTO t VALUES(42);'
saw "integrity" "$(sqlite 'PRAGMA integrity_check')" ok
saw "named in .help" "$(sqlite .help | grep -c '^\.recover')" 1
saw "exit status" "$(status_of sqlite .recover)" 1
saw "message" "$(cat "$T/err")" "sql error: SQL logic error (1)"
saw "the row is in its output" "$(grep -c 42 "$T/out" || :)" 0
saw "the row is in .dump's" "$(sqlite .dump | grep -c 'VALUES(42)')" 1
status_of sqlite 'SELECT count(*) FROM sqlite_dbpage' >"$T/status"
saw "the table that it reads" "$(grep -o 'no such table' "$T/err")" "no such table"
end
