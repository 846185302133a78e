# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin trace-job, and looking at a mediator that has no database."""
import re

import pytest

import wire
from adminkit import UUID
from mediator import Mediator


# ---- without a database

@pytest.mark.parametrize("command", ["status", "show-connections", "show-metrics", "show-health",
                                     "trace-job", "top --once"])
def test_looking_needs_no_database(kit, mediator, command):
    with mediator.device(7) as device:
        device.add(1, 2)
        for arguments in ([], ["--json"]):
            r = kit.run(*command.split(), *arguments)
            assert (r.status, r.err) == (0, ""), r.err
            assert "7" in r.out


def test_status_says_that_there_is_none(kit, mediator):
    with mediator.device(7) as device:
        device.add(1, 2)
        text = kit.ok("status").out
        assert re.search(r"^Database +none: the mediator runs with --no-db$", text, re.M)
        assert re.search(r"^ +7 +- +A +medium +50 +idle ", text, re.M)
        assert "not registered" not in text
        document = kit.json("status")
        assert document["database"] is None and document["vms"][0]["vm_id"] == 7
        assert document["notes"] == ["there is no database: the mediator runs with --no-db"]


def test_a_database_that_is_not_in_force(kit, mediator):
    asked = kit.env["VGPU_ADMIN_SOCKET"]
    kit.env["VGPU_ADMIN_SOCKET"] = str(kit.folder / "nobody.sock")  # not the host's mediator either
    kit.init("web")
    text = kit.ok("status", VGPU_ADMIN_SOCKET=asked).out
    assert "--no-db, what the database says is not in force" in text and "web" in text


def test_another_database_than_the_mediators(kit):
    kit.start_mediator({wire.SHOW_STATUS: {
        "version": "9", "uptime_s": 1, "policy": "wfq", "gpus": [], "vms": [], "pools": [],
        "database": "/there/vgpu.db"}})
    r = kit.run("status")
    assert r.status == 1 and "there is no database at" in r.err
    assert "the mediator uses /there/vgpu.db" in r.err
    assert "running, version 9" in r.out


def test_neither_database_nor_mediator(kit):
    r = kit.run("status")
    assert r.status == 1 and "there is no database at" in r.err and r.out == ""


# ---- trace-job

def test_one_job(kit, mediator):
    with mediator.device(7) as device:
        device.add(1, 2)
        job = kit.json("trace-job", "--vm-id=7")["jobs"][0]
        text = kit.ok("trace-job", job["job_id"]).out
        assert kit.ok("trace-job", f"--job={job['job_id']}").out.split()[1] == str(job["job_id"])
    steps = re.findall(r"^ +\+([0-9.]+) ms +(\w+)", text, re.M)
    assert [name for _, name in steps if name != "urgency"] == \
        ["accepted", "queued", "chosen", "dispatched", "started", "finished", "done"]
    times = [float(time) for time, _ in steps]
    assert times == sorted(times) and times[0] == 0
    assert "alone: no other VM had a job waiting" in text and "answered well" in text
    assert "its worker had to start first" in text


def test_a_failed_job_and_one_that_waits(kit, mediator):
    with mediator.device(7) as device:
        device.run(0x23)
        job = kit.json("trace-job", "--vm-id=7")["jobs"][-1]["job_id"]
        assert "answered CUDA_ERROR" in kit.ok("trace-job", job).out
        kit.ok("pause")
        device.submit(wire.ADD, (1, 2))
        device.submit(wire.ADD, (1, 2))
        while len(kit.json("trace-job", "--vm-id=7")["jobs"]) < 3:
            pass
        job = kit.json("trace-job", "--vm-id=7")["jobs"][-1]["job_id"]
        text = kit.ok("trace-job", job).out
        assert "behind 1 job of its VM" in text and "it is waiting now" in text
        assert "chosen" not in text
        kit.ok("resume")
        device.read(), device.read()


def test_list(kit, mediator):
    with mediator.device(7) as device, mediator.device(8) as other:
        for n in range(5):
            device.add(n, n)
        other.add(1, 1)
        text = kit.ok("trace-job", "--last=3").out
        assert len(text.splitlines()) == 4 and "vm_id 8" in text.splitlines()[-1]
        assert len(kit.ok("trace-job", "--vm-id", "7").out.splitlines()) == 6
        request = kit.json("trace-job", "--vm-id=8")["jobs"][0]["request_id"]
        assert "Accepted" in kit.ok("trace-job", "--vm-id=8", f"--request-id={request}").out
        assert "No such job" in kit.ok("trace-job", "--vm-id=8", "--request-id=4000000000").out


def test_by_name(kit, lab):
    kit.init("web", "db")
    with Mediator(lab, db=kit.db) as running:
        with running.device(2) as device:
            device.add(1, 2)
            text = kit.ok("trace-job", "--vm-name=db").out
            assert " db " in text and len(text.splitlines()) == 2
            assert "No such job" in kit.ok("trace-job", f"--vm-uuid={UUID[1]}").out
            assert "did you mean" in kit.run("trace-job", "--vm-name=dc", check=1).err


@pytest.mark.parametrize("arguments, status, text", [
    (["0"], 2, "--job must be"), (["soon"], 2, "--job must be"), (["5", "6"], 2, "given twice"),
    (["5", "--last=3"], 2, "give it alone"), (["--request-id=3"], 2, "each VM counts its own"),
    (["--last=257"], 2, "--last must be"), (["4000000"], 1, "there was no job 4000000 yet"),
    (["--vm-name=web"], 1, "--vm-id names a VM without one"),
])
def test_wrong_questions(kit, mediator, arguments, status, text):
    r = kit.run("trace-job", *arguments)
    assert r.status == status and text in r.err


def test_without_mediator(kit):
    assert kit.run("trace-job").status == 3


# ---- show-health and show-metrics at a glance

def test_health_of_every_part(kit):
    gpu = {"index": 0, "name": "NVIDIA H200", "state": "failed", "memory_bytes": 2 ** 37,
           "health": {
        "temperature_c": 91, "power_mw": 350400, "gpu_percent": 88, "memory_used_bytes": 2 ** 31,
        "memory_total_bytes": 2 ** 37, "ecc_uncorrected": 3, "needs_reset": True,
        "reason": "the driver says: reset", "warning": "hot"}}
    health = {"mediator": {"ok": False, "version": "9", "uptime_s": 7200, "sessions": 3,
                           "workers": 2,
                           "qemus": 4, "backend": "cuda", "backend_reason": "",
                           "nvml_error": "NVML hangs",
                           "database": {"path": "/x.db", "ok": False, "error": "disk full",
                                        "dropped": 4}},
              "gpus": [gpu], "workers": [{"vm_id": 1, "gpu": 0, "pid": 77, "state": "ready",
                                          "restarts": 2, "gpu_memory_bytes": 2 ** 29}]}
    kit.start_mediator({wire.SHOW_HEALTH: health})
    r = kit.run("show-health")
    assert r.status == 1
    for part in ("NOT GOOD", "91 C", "350 W", "88 %", "2 GiB / 128 GiB", "needed", "disk full",
                 "4 faults were not written", "NVML hangs", "the driver says: reset", "hot",
                 "512 MiB", "3 sessions, 2 workers, 4 QEMUs"):
        assert part in r.out, part


def test_metrics_with_the_split(kit):
    part = {"samples": 9, "p50_ns": 1000, "p95_ns": 2000, "p99_ns": 3000}
    vm = {"vm_id": 1, "name": "web", "completed": 9, "latency": {
        "total": {**part, "p50_ns": 60e6}, "queue": {**part, "p99_ns": 41e6},
        "transport": {**part, "p99_ns": 42e6}, "gpu": {**part, "p99_ns": 43e6}}}
    kit.start_mediator({wire.SHOW_METRICS: {"vms": [vm]}})
    text = kit.ok("show-metrics").out
    for shown in ("60.0 ms", "41.0 ms", "42.0 ms", "43.0 ms", "WAITED", "HANDED", "ON GPU"):
        assert shown in text
