# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts of examples/, run as they are."""
import json
import os
import pathlib
import subprocess

import pytest

from mediator import program

TREE = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(lab):
    return {**os.environ, "VGPU_ADMIN": program("vgpu-admin"),
            "VGPU_ADMIN_SOCKET": str(pathlib.Path(lab) / "nobody.sock")}


def test_two_pools(lab, environment):
    db = pathlib.Path(lab) / "vms.db"

    def example():
        return subprocess.run([TREE / "examples/two-pools.sh", "--db", db], env=environment,
                              capture_output=True, text=True, timeout=120, check=False)

    def admin(*words):
        done = subprocess.run([program("vgpu-admin"), "--db", db, *words, "--json"],
                              env=environment, capture_output=True, text=True, timeout=60,
                              check=True)
        return json.loads(done.stdout)

    done = example()
    assert done.returncode == 0, done.stderr
    vms = {vm["name"]: vm for vm in admin("list-vms")["vms"]}
    assert [vm["pool"] for vm in vms.values()] == ["A"] * 3 + ["B"] * 4
    assert vms["web-1"]["weight"] == 62.5 and vms["web-1"]["priority"] == "high"
    assert (vms["tests"]["max_jobs_per_sec"], vms["tests"]["max_queue_depth"]) == (50, 16)
    # The table of examples/README.md says the same.
    table = (TREE / "examples/README.md").read_text(encoding="utf-8")
    for name, vm in vms.items():
        row = next(line for line in table.splitlines() if f"`{name}`" in line).split("|")
        assert row[2].strip() == vm["pool"] and row[3].strip() == vm["priority"]
        assert f"{vm['weight']:g}" in row[4]
    # A second time it says what is in the way, and changes nothing.
    again = example()
    assert again.returncode != 0 and "is registered already" in again.stderr
    assert len(admin("list-vms")["vms"]) == 7
