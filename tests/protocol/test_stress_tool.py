# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/stress_test.sh itself: it passes where it should, fails where it should, and leaves
nothing behind."""
import json
import os
import pathlib
import subprocess

import pytest

from adminkit import BIN
from mediator import Mediator

TOOL = pathlib.Path(__file__).resolve().parents[1] / "stress_test.sh"


def stress(kit, *arguments, **env):
    return subprocess.run([str(TOOL), "--bin", str(BIN), *map(str, arguments)], text=True,
                          capture_output=True, timeout=300, check=False, stdin=subprocess.DEVNULL,
                          env={**os.environ, **kit.env, "TMPDIR": str(kit.folder), **env})


def assert_failed_by_times_only(status, document, shown):
    """Shares and rates are the host's too: where it has other work, they may fail, and nothing
    else."""
    failed = [check for s in document["scenarios"] for check in s["checks"] if not check["passed"]]
    assert all(check["of_times"] for check in failed), shown
    assert status == (1 if failed else 0) and document["failed"] == len(failed), shown
    assert all(s["outcome"] == ("pass" if all(c["passed"] for c in s["checks"]) else "FAIL")
               for s in document["scenarios"])


def test_on_its_own(kit):
    report = kit.folder / "report.json"
    r = stress(kit, "--seconds", 2, "--backend", "cpu", "--json", report)
    document = json.loads(report.read_text())
    assert [s["name"] for s in document["scenarios"]] == \
        ["baseline", "fairness", "rate limit", "back-pressure", "quarantine"]
    assert_failed_by_times_only(r.returncode, document, r.stdout + r.stderr)
    assert document["passed"] == r.stdout.count("\n   pass  ") > 40
    assert document["failed"] == r.stdout.count("\n   FAIL  ")
    assert document["scenarios"][4]["numbers"]["faults_until_quarantine"] == 5
    assert r.stdout.endswith(f"{document['passed']} passed, {document['failed']} failed\n")
    assert not list(kit.folder.glob("vgpu-stress-*"))


@pytest.fixture
def live(kit, lab):
    kit.init("web")
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "3", db=kit.db) as running:
        running.arguments = ["--live", "--db", kit.db, "--admin-socket", running.admin_socket,
                             "--socket", running.socket]
        yield running


def test_live(kit, live):
    r = stress(kit, *live.arguments, "--only", "baseline,4,quarantine", "--json", "-")
    document = json.loads(r.stdout)
    assert_failed_by_times_only(r.returncode, document, document)
    assert [s["number"] for s in document["scenarios"]] == [1, 4, 5]
    assert document["scenarios"][2]["numbers"]["faults_until_quarantine"] == 3
    assert [vm["name"] for vm in kit.json("list-vms")["vms"]] == ["web"]


def test_it_can_fail(kit, lab):
    """A mediator that never quarantines."""
    kit.init()
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0", db=kit.db) as running:
        r = stress(kit, "--live", "--db", kit.db, "--admin-socket", running.admin_socket,
                   "--socket",
                   running.socket, "--only", "quarantine")
    assert r.returncode == 1 and "FAIL  the mediator quarantines it" in r.stdout
    assert kit.json("list-vms")["vms"] == []


def test_live_without_believed_claims(kit, lab):
    kit.init()
    with Mediator(lab, db=kit.db, trust=False) as running:
        r = stress(kit, "--live", "--db", kit.db, "--admin-socket", running.admin_socket,
                   "--socket",
                   running.socket)
    assert r.returncode == 3 and "--trust-claims" in r.stderr
    assert kit.json("list-vms")["vms"] == []


@pytest.mark.parametrize("arguments, status, text", [
    (["--only", "speed"], 2, "the scenarios are"), (["--pool", "AB"], 2, "--pool must be"),
    (["--live", "--admin-socket", "/nowhere.sock"], 3, "no database"),
    (["--bin", "/nowhere", "--frobnicate"], 2, "unrecognized"),
])
def test_wrong_usage(kit, arguments, status, text):
    r = stress(kit, *arguments, "--db", "/nowhere.db")
    assert r.returncode == status and text in r.stderr + r.stdout


def test_no_db(kit, lab):
    with Mediator(lab) as running:
        r = stress(kit, "--live", "--admin-socket", running.admin_socket, "--socket",
                   running.socket)
    assert r.returncode == 3 and "--no-db" in r.stderr


def test_help():
    text = subprocess.run([str(TOOL), "--help"], text=True, capture_output=True, check=True).stdout
    for part in ("--live", "--vms", "examples:", "exit status:", "back-pressure"):
        assert part in text
