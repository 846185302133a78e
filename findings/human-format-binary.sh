#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# human-format, with which Xen Orchestra reads and shows sizes, drops a unit that isn't of the scale
# asked for: with the scale "binary", 16G is 16, without an error. With the default scale 16Gi is
# 16 G, and 1e3 is 1 with the prefix E: 10 to the 18.
. "$(dirname "$0")/lib.sh"
get_npm human-format@1.2.1
guess "an error for a prefix that the scale doesn't have; 1e3 is 1000"

cat >"$T/parse.js" <<'C'
const format = require('human-format')
try {
  console.log(format.parse(process.argv[2], process.argv[3] ? { scale: process.argv[3] } : {}))
} catch (error) {
  console.log('an error')
}
C
size() {
    node "$T/parse.js" "$@"
}
saw "16Gi, binary" "$(size 16Gi binary)" 17179869184
saw "16G, binary" "$(size 16G binary)" 16
saw "16GB, binary" "$(size 16GB binary)" 16
saw "16Gi" "$(size 16Gi)" 16000000000
saw "1e3" "$(size 1e3)" 1000000000000000000
end
