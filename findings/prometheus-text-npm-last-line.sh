#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The package parse-prometheus-text-format leaves out the last line of a text that doesn't end with
# a line end, without an error: a text of one sample has none.
. "$(dirname "$0")/lib.sh"
get_npm parse-prometheus-text-format@1.1.1
guess "the last sample is read, or an error says that the text is cut"

cat >"$T/values.js" <<'C'
const parse = require('parse-prometheus-text-format')
const values = parse(require('fs').readFileSync(0, 'utf8')).flatMap(family => family.metrics)
console.log(values.map(({ value }) => value).join(' ') || 'nothing')
C
values() {
    printf "$1" | node "$T/values.js"
}
saw "one line" "$(values 'vgpu_up 1\n')" 1
saw "one line, no line end" "$(values 'vgpu_up 1')" nothing
saw "two lines, the second without" "$(values 'vgpu_up 1\nvgpu_jobs 5')" 1
end
