#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Day 7 of the week is Sunday in Xen Orchestra's cron patterns, as 0 is, but not at the end of a
# range: 5-7, Friday to Sunday, is taken and means every day. A range that starts later than it
# ends, 6-1, is every day, too. So is what was to run at weekends.
. "$(dirname "$0")/lib.sh"
get_npm @xen-orchestra/cron@1.0.7
guess "Friday, Saturday, Sunday; an error for 6-1, or Saturday to Monday"

cat >"$T/days.js" <<'C'
const { createSchedule } = require('@xen-orchestra/cron')
const next = createSchedule(`0 12 * * ${process.argv[2]}`, 'UTC').next(14)
const days = next.map(date => date.getUTCDay())
console.log([...new Set(days)].sort().join(' '))
C
days() {
    TZ=UTC node "$T/days.js" "$1"
}
saw "7" "$(days 7)" 0
saw "5-6" "$(days 5-6)" "5 6"
saw "5-7" "$(days 5-7)" "0 1 2 3 4 5 6"
saw "6-1" "$(days 6-1)" "0 1 2 3 4 5 6"
saw "5,6,7" "$(days 5,6,7)" "0 5 6"
end
