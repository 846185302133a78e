# SPDX-License-Identifier: GPL-2.0-or-later
"""Health is never green while a VM that should be served is not: show-health, /healthz, the metric
and the log say the same."""
import json
import re
import sqlite3
import urllib.error
import urllib.request

import pytest

import wire
from adminkit import UUID
from mediator import Mediator, program, wait_for

PORT = re.compile(r"metrics for Prometheus on http://127\.0\.0\.1:(\d+)/metrics")


class Watched(Mediator):
    """A mediator whose HTTP is on a port of its own, with a database and vgpu-admin."""

    def __init__(self, kit, *arguments, **options):
        super().__init__(kit.folder, "--metrics-listen", "127.0.0.1:0", *arguments,
                         **{"db": kit.db, **options})
        self.kit = kit

    def get(self, path):
        port = PORT.search(self.log()).group(1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def problems(self):
        """By kind: (severity, subject, text), after all four ways to see them have agreed."""
        shown = self.kit.run("show-health", "--json")
        health = shown.json
        problems = health["problems"]
        serious = any(problem["severity"] == "error" for problem in problems)
        assert health["healthy"] == health["mediator"]["ok"] == (not problems)
        assert shown.status == (1 if problems else 0)
        status, body = self.get("/healthz")
        assert status == (503 if serious else 200), body
        said = [f"{problem['subject']}: {problem['text']}" for problem in problems]
        assert json.loads(body)["problems"] == said
        text = self.kit.run("show-health")
        assert text.status == shown.status
        assert ("NOT GOOD" in text.out) == bool(problems)
        counts = dict(re.findall(r'^vgpu_health_problems\{kind="(\w+)"\} (\d+)$',
                                 self.get("/metrics")[1], re.M))
        assert {kind for kind, count in counts.items() if count != "0"} == \
            {problem["kind"] for problem in problems}
        return {p["kind"]: (p["severity"], p["subject"], p["text"]) for p in problems}


@pytest.fixture
def registered(kit):
    kit.ok("init-db")
    kit.ok("register-vm", "--vm-name=web", f"--vm-uuid={UUID[1]}", "--pool=B", "--priority=medium")
    return kit


def execute(kit, text, *values):
    with sqlite3.connect(kit.db, timeout=30) as connection:
        connection.execute(text, values)


def test_good(registered):
    with Watched(registered) as mediator:
        assert mediator.problems() == {}
        assert json.loads(mediator.get("/healthz")[1])["status"] == "ok"


def test_a_pool_with_vms_and_no_gpu(registered):
    execute(registered, "INSERT INTO pool_gpus (pool_id, gpu) VALUES ('B', 'GPU-elsewhere')")
    with Watched(registered) as mediator:
        severity, subject, text = mediator.problems()["pool"]
        assert (severity, subject) == ("error", "pool B")
        assert text.startswith("it has 1 VM and no GPU of this host") and "assign-gpu" in text
        assert mediator.log().count("pool B: it has 1 VM and no GPU") == 1
        with mediator.admin() as admin:
            execute(registered, "DELETE FROM pool_gpus")
            admin.call(wire.RELOAD_CONFIG)
        assert mediator.problems() == {}
        assert mediator.log().count("pool B: no longer a problem") == 1
        # A pool without VMs harms nobody.
        with mediator.admin() as admin:
            execute(registered, "INSERT INTO pool_gpus (pool_id, gpu) VALUES ('A', '99')")
            admin.call(wire.RELOAD_CONFIG)
        assert mediator.problems() == {}


def test_a_pause_that_nobody_holds(registered):
    with Watched(registered) as mediator:
        with mediator.admin() as admin:
            admin.call(wire.PAUSE, 0, {"hold": True})
            assert mediator.problems() == {}  # test-mode: it ends with the connection
        wait_for(lambda: mediator.status()["paused"] is False, "the hold's end")
        registered.ok("pause")
        severity, subject, text = mediator.problems()["paused"]
        assert (severity, subject) == ("error", "GPU 0") and "vgpu-admin resume" in text
        registered.ok("resume")
        assert mediator.problems() == {}


def test_a_worker_that_does_not_start(registered):
    script = registered.folder / "worker"
    script.write_text("#!/bin/sh\n"
                      f'case "$*" in *--probe*) exec {program("vgpu-worker")} "$@" ;; esac\n'
                      f'test -e {registered.folder}/mended && exec {program("vgpu-worker")} "$@"\n'
                      "exit 1\n")
    script.chmod(0o755)
    own = registered.folder / "vm.sock"
    with Watched(registered, "--worker", script, "--vm", f"{UUID[1]}={own}") as mediator:
        with wire.Device(own, vm_id=1) as device:
            assert mediator.problems() == {}
            assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
            severity, subject, text = mediator.problems()["worker"]
            assert (severity, subject) == ("error", "VM 1") and "does not start" in text
            (registered.folder / "mended").touch()
            wait_for(lambda: device.run(wire.ADD, (1, 2)).status == 0, "the worker")
            assert mediator.problems() == {}


def test_problems_of_vms_that_go(registered):
    script = registered.folder / "worker"
    script.write_text("#!/bin/sh\n"
                      f'case "$*" in *--probe*) exec {program("vgpu-worker")} "$@" ;; esac\n'
                      "exit 1\n")
    script.chmod(0o755)
    own = registered.folder / "vm.sock"
    with Watched(registered, "--worker", script, "--vm", f"{UUID[1]}={own}") as mediator:
        with wire.Device(own, vm_id=1) as device:
            assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
            assert "worker" in mediator.problems()
        registered.ok("--yes", "remove-vm", "--vm-name=web")
        wait_for(lambda: mediator.vm(1) is None, "the VM to be forgotten")
        assert mediator.problems() == {}
