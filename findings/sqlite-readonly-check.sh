#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# PRAGMA integrity_check and quick_check look at CHECK constraints, unless the connection was opened
# to read only: then a row against one is "ok". So a checker that is careful not to write passes a
# file that its program, which writes, finds damaged.
. "$(dirname "$0")/lib.sh"
get_all sqlite3=3.40.1-2+deb12u2
guess "a check says the same to whoever asks"

sql() { in_root usr/bin/sqlite3 "$@"; }
sql "$T/db" "CREATE TABLE share (weight INTEGER CHECK (weight <= 100));
    PRAGMA ignore_check_constraints = ON; INSERT INTO share VALUES (500);"

for pragma in integrity_check quick_check; do
    saw "$pragma" "$(sql "$T/db" "PRAGMA $pragma")" "CHECK constraint failed in share"
    saw "$pragma, read-only" "$(sql -readonly "$T/db" "PRAGMA $pragma")" ok
done
sql "$T/db" ".backup $T/copy"
saw "a copy, read and written" "$(sql "$T/copy" "PRAGMA quick_check")" \
    "CHECK constraint failed in share"
end
