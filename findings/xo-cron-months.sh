#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Months of Xen Orchestra's cron patterns are 0 to 11: 1 is February, and 12, December elsewhere, is
# refused. Days of the week are cron's. A pattern for "31 March" is taken, with 2 for the month.
. "$(dirname "$0")/lib.sh"
get_npm @xen-orchestra/cron@1.0.7
guess "as in crontab(5): 1 to 12"

cat >"$T/next.js" <<'C'
const { createSchedule } = require('@xen-orchestra/cron')
try {
  console.log(createSchedule(process.argv[2], 'UTC').next(1)[0].toISOString().slice(5, 10))
} catch (error) {
  console.log(error.message)
}
C
next() {
    node "$T/next.js" "$1"
}
saw "the first of month 1" "$(next '0 0 1 1 *')" 02-01
saw "the first of month 0" "$(next '0 0 1 0 *')" 01-01
saw "the first of month 12" "$(next '0 0 1 12 *')" "month: 12 is not between 0 and 11"
saw "the first of month jan" "$(next '0 0 1 jan *')" 01-01
saw "the 31st of month 2" "$(next '0 0 31 2 *')" 03-31
end
