#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# @baurine/grafana-value-formats, which other dashboards take for Grafana's way to show values,
# rounds halves up, also below 0: 90 s are "2 min", and -90 s "-1 min". The unit is chosen before
# the rounding, so just under a minute is "60 s". A duration of the kind "dtdurations" is an empty
# text unless a number of decimals is given. "Bps" is in steps of 1,024, "bytes" too.
. "$(dirname "$0")/lib.sh"
get_npm @baurine/grafana-value-formats@1.0.5
guess "the same text but for the sign; 1 min; a duration; B/s in steps of 1,000"

cat >"$T/show.cjs" <<'C'
const { getValueFormat } = require('@baurine/grafana-value-formats')
const [, , unit, value, decimals] = process.argv
console.log(getValueFormat(unit)(Number(value), decimals && Number(decimals)) || 'nothing')
C
show() { node "$T/show.cjs" "$@"; }
saw "90 s" "$(show s 90)" "2 min"
saw "-90 s" "$(show s -90)" "-1 min"
saw "59.9999 s" "$(show s 59.9999)" "60 s"
saw "a duration of 3661 s" "$(show dtdurations 3661)" nothing
saw "with 2 decimals" "$(show dtdurations 3661 2)" "1 hour, 1 minute, 1 second"
saw "1000000 Bps" "$(show Bps 1000000)" "977 KiB/s"
end
