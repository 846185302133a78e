#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# prom2javascript reads +Inf and refuses NaN and -Inf, which are values of Prometheus' text format
# too: a summary without observations has NaN. The whole text is then lost, not that sample.
. "$(dirname "$0")/lib.sh"
get_npm prom2javascript@0.2.0
guess "all three are read, or all three are refused"

cat >"$T/values.cjs" <<'C'
const { getMetricsFromIterator } = require('prom2javascript')
const lines = require('fs').readFileSync(0, 'utf8').trim().split('\n')
getMetricsFromIterator(lines[Symbol.iterator]()).then(
  found => console.log(Object.values(found).map(({ data: [{ value }] }) => value).join(' ')),
  error => console.log(error.message))
C
values() { printf "$1" | node "$T/values.cjs"; }
saw "+Inf" "$(values 'a 1\nb +Inf\n')" "1 Infinity"
saw "NaN" "$(values 'a 1\nb NaN\n')" "Unable to parse metric [b NaN]"
saw "-Inf" "$(values 'a 1\nb -Inf\n')" "Unable to parse metric [b -Inf]"
end
