#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# `promtool check metrics` looks at names and help texts, not at what the samples say. It passes a
# series that is there twice, also once with an empty label, a histogram whose buckets fall or that
# lacks +Inf, and a negative counter. A lint of names ends with 3, not 1. So a test of an exporter
# must look for these itself.
. "$(dirname "$0")/lib.sh"
get prometheus=2.42.0+ds-5+deb12u1
guess "each of these is an error"

check() {
    cat >"$T/metrics"
    rc=0
    "$R/usr/bin/promtool" check metrics <"$T/metrics" >"$T/out" 2>&1 || rc=$?
    echo "$rc, $(wc -l <"$T/out") lines"
}

saw "a series twice" "$(printf '# HELP a a\n# TYPE a gauge\na 1\na 2\n' | check)" "0, 0 lines"
saw "the same by an empty label" \
    "$(printf '# HELP a a\n# TYPE a gauge\na 1\na{x=""} 2\n' | check)" "0, 0 lines"
saw "falling buckets" "$(check <<'M'
# HELP h h
# TYPE h histogram
h_bucket{le="1"} 5
h_bucket{le="2"} 3
h_bucket{le="+Inf"} 2
h_sum 1
h_count 9
M
)" "0, 0 lines"
saw "no +Inf" "$(printf '# HELP h h\n# TYPE h histogram\nh_bucket{le="1"} 5\nh_sum 1\nh_count 5\n' |
    check)" "0, 0 lines"
saw "negative counter" \
    "$(printf '# HELP a_total a\n# TYPE a_total counter\na_total -5\n' | check)" "0, 0 lines"
saw "counter without _total" \
    "$(printf '# HELP a a\n# TYPE a counter\na 5\n' | check)" "3, 1 lines"
end
