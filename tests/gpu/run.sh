#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs every GPU check of this bundle, one after the other:
#
#   OUT=results ./run.sh [NAME...]        e.g.  ./run.sh worker_check
#
# Each check NAME leaves NAME.json and NAME.log in $OUT (default: results, here).
# The last line says how many passed, failed and were skipped; the exit status
# is 0 if none failed.
set -u

here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$here/results}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PYTHONUNBUFFERED=1
export LD_LIBRARY_PATH PYTHONUNBUFFERED

if [ $# -eq 0 ]; then
    set -- worker_check keeper_check mediator_check channel_check guest_check
fi

passed=0 failed=0 skipped=0
for name in "$@"; do
    echo "== $name"
    {
        python3 "$here/tests/gpu/$name.py" --bin-dir "$here/bin" --out "$OUT/$name.json"
        echo $? >"$OUT/.status"
    } 2>&1 | tee "$OUT/$name.log"
    case $(cat "$OUT/.status") in
    0) passed=$((passed + 1)) ;;
    77) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) ;;
    esac
    rm -f "$OUT/.status"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
