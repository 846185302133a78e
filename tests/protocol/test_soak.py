# SPDX-License-Identifier: GPL-2.0-or-later
"""A few seconds of scripts/soak: faults, and what is the same behind them."""
import json
import subprocess
import sys

from mediator import TREE

SOAK = TREE / "tests" / "soak" / "soak.py"


def soak(*arguments):
    return subprocess.run([sys.executable, "-B", SOAK, *map(str, arguments)], capture_output=True,
                          text=True, timeout=500, check=False)


def test_some_faults(lab):
    faults = "worker_killed,client_killed,mediator_restarted,mediator_killed"
    done = soak("--each-once", "--seed", 7, "--window", 0.2, "--vms", 3, "--faults", faults,
                "--json", lab / "soak.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 faults, 0 problems, seed 7" in done.stdout
    records = json.loads((lab / "soak.json").read_text())["records"]
    assert {record["fault"] for record in records} == set(faults.split(","))
    for record in records:
        assert record["accepted"] > 0 and record["lost"] == record["wrong"] == 0


def test_a_fault_that_there_is_not():
    done = soak("--faults", "flood")
    assert done.returncode == 2 and "worker_killed" in done.stderr
