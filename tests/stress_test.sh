#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The proof that an administrator runs: five scenarios against a vgpu-mediator, each of
# which ends by comparing the mediator's metrics to what the load really was.
# `tests/stress_test.sh --help` has the options; the work is done by tests/stress/stress.py.
set -eu
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! command -v python3 >/dev/null; then
    echo "stress_test.sh: python3 is needed" >&2
    exit 3
fi
exec python3 -B "$folder/stress/stress.py" "$@"
