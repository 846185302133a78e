# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin: what it shows of a running mediator and tells it."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import pytest

import wire
from adminkit import BIN, UUID
from fakeadmin import FakeAdmin
from test_admin_general import on_terminal

STATUS = {
    "version": "0.3.0", "uptime_s": 100.0, "policy": "wfq", "paused": False, "backend": "cuda",
    "pools": [{"pool": "A", "gpus": [0]}],
    "gpus": [{"index": 0, "uuid": "GPU-1", "name": "NVIDIA H200", "state": "ok", "running_vm": 1,
              "backlogged": 2, "in_flight": 1, "context_switches": 1234567, "busy_ns": 42e9}],
    "vms": [{"vm_id": 1, "uuid": UUID[1], "name": "web 1", "pool": "A", "priority": 1, "weight": 50,
             "connected": True, "gpu": 0, "state": "active", "queue_depth": 3, "in_flight": 1,
             "completed": 5000, "submitted": 5004, "errors": 2, "rejected_rate": 7,
             "rejected_queue": 1, "gpu_time_ns": 1, "due_share": 0.75, "share": 0.74, "lag_ns": 0},
            {"vm_id": 99, "uuid": UUID[9], "name": "stranger", "pool": "A", "priority": 0,
             "weight": 50, "connected": True, "state": "idle", "queue_depth": 0}],
}


def test_status(kit):
    kit.init("web 1", "off")
    kit.start_mediator({wire.SHOW_STATUS: STATUS})
    text = kit.ok("status").out
    for part in ("version 0.3.0", "wfq", "NVIDIA H200", "42 %", "1.23 M", "web 1", "active", "5000",
                 "75.0 %", "74.0 %", "not connected", "stranger", "not registered"):
        assert part in text, part
    document = kit.json("status")
    vms = {v["uuid"]: v for v in document["vms"]}
    assert document["mediator_reachable"] and document["gpus"][0]["index"] == 0
    assert vms[UUID[1]]["connected"] and vms[UUID[1]]["completed"] == 5000
    assert vms[UUID[2]]["connected"] is False and vms[UUID[2]]["registered"]
    assert vms[UUID[9]]["registered"] is False


@pytest.mark.parametrize("columns", [80, 100, 132])
def test_status_has_every_column_and_fits(kit, columns):
    kit.init("a very long name of a virtual machine, with commas, that goes on and on", "off")
    gpu = {**STATUS["gpus"][0], "uuid": "GPU-5a2b0c1e-0000-1111-2222-333344445555"}
    kit.start_mediator({wire.SHOW_STATUS: {**STATUS, "gpus": [gpu]}})
    out, status = on_terminal(kit, "status", columns=columns)
    assert status == 0
    plain = re.sub(r"\033\[\d*m", "", out)
    assert all(len(line) <= columns for line in plain.splitlines() if line.startswith(" ")), plain
    titles = " ".join(re.findall(r"^.*VM_ID .*$", plain, re.M)).split()
    assert sorted(set(titles)) == sorted(("VM_ID", "NAME", "POOL", "PRIORITY", "WEIGHT", "STATE",
                                          "GPU",
                                          "QUEUE", "DONE", "REFUSED", "ERRORS", "DUE", "GOT"))
    # What is left out is said.
    assert ("no room for" in plain) == (columns < 132) and ("no room for" in plain) != (
        gpu["uuid"] in plain)


def test_refused_counts_every_reason(kit):
    """Refused is what got an error instead of becoming a job, everywhere."""
    kit.init("web 1")
    vm = {**STATUS["vms"][0], "rejected_rate": 10, "rejected_queue": 200,
          "rejected_quarantined": 3000, "invalid": 40000, "rejections_by_reason":
          {"invalid_pool": 40000}, "errors_by_reason": {"timeout": 2}}
    kit.start_mediator({wire.SHOW_STATUS: {**STATUS, "vms": [vm]},
                        wire.SHOW_METRICS: {"vms": [vm]}})
    titles, row = [re.split("  +", line.strip()) for line in
                   kit.ok("status").out.split("\n\n")[-1].splitlines()]
    assert dict(zip(titles, row))["REFUSED"] == "43210"
    text = kit.ok("show-metrics").out
    titles, row = [re.split("  +", line.strip()) for line in text.splitlines()[:2]]
    assert dict(zip(titles, row))["REFUSED"] == "43210" and dict(zip(titles, row))["DONE"] == "5000"
    assert re.search(r"web 1 +refused +invalid_pool +40000$", text, re.M)
    assert re.search(r"web 1 +error +timeout +2$", text, re.M)


def test_status_reminds_of_a_restart(kit):
    kit.init("web 1")
    vm = {**STATUS["vms"][0], "restart_needed": True,
          "device": {"vm_id": 7, "pool": "B", "priority": 2}}
    kit.start_mediator({wire.SHOW_STATUS: {**STATUS, "vms": [vm]}})
    r = kit.ok("status")
    assert "web 1 (vm_id 1) still shows its guest vm_id 7, pool B, priority high" in r.err
    document = kit.json("status")
    assert document["vms"][0]["restart_needed"] and "web 1" in document["notes"][0]


def test_status_paused_and_quarantined(kit):
    kit.init("web 1")
    kit.ok("quarantine-vm", "--vm-name=web 1")
    kit.start_mediator({wire.SHOW_STATUS: {**STATUS, "paused": True}})
    text = kit.ok("status").out
    assert "PAUSED" in text and "quarantined" in text


def test_status_without_mediator(kit):
    kit.init("web 1")
    r = kit.run("status", check=3)
    assert "not reachable" in r.out and "web 1" in r.out
    document = kit.json("status", check=3)
    assert not document["mediator_reachable"] and document["vms"][0]["connected"] is None


def test_answers_with_nothing_in_them(kit):
    """A mediator of another version may leave anything out."""
    kit.init("web 1")
    kit.start_mediator({c: {} for c in range(0x10, 0x1D)})
    for command in (["status"], ["show-metrics"], ["show-connections"], ["reload-config"],
                    ["set-policy", "--policy=fifo"], ["pause"], ["resume"]):
        kit.ok(*command)
        kit.json(*command)
    for strange in ({"vms": 3, "gpus": "x", "connections": {}, "dispatches": None},
                    {"vms": [1, None, {"vm_id": "x", "due_share": []}], "gpus": [[]],
                     "connections": ["y"]}):
        kit.mediator.answers.update({c: strange for c in range(0x10, 0x1D)})
        for command in ("status", "show-metrics", "show-connections", "reload-config"):
            kit.ok(command)


def test_show_metrics(kit):
    kit.init("web 1")
    prometheus = '# TYPE vgpu_jobs_total counter\nvgpu_jobs_total{vm="web 1"} 5000\n'

    def metrics(param1, _body):
        return prometheus if param1 == 1 else {"vms": [
            {"vm_id": 1, "name": "web 1", "completed": 5000, "errors": 2, "rejected_rate": 7,
             "rejected_queue": 1, "gpu_time_ns": 12.5e9,
             "latency": {"p50_ns": 45000, "p95_ns": 90000, "p99_ns": 2.5e6}}]}

    kit.start_mediator({wire.SHOW_METRICS: metrics})
    text = kit.ok("show-metrics").out
    for part in ("web 1", "5000", "12.5 s", "45.0 us", "2.5 ms"):
        assert part in text
    assert kit.json("show-metrics")["vms"][0]["completed"] == 5000
    assert kit.ok("show-metrics", "--prometheus").out == prometheus
    kit.run("show-metrics", "--prometheus", "--json", check=2)
    assert "ENTITLED" not in text  # an older mediator


def test_show_metrics_says_what_a_vm_was_entitled_to(kit):
    kit.init("web 1")
    vm = {"vm_id": 1, "name": "web 1", "gpu_time_ns": 12.5e9, "entitled_ns": 13.1e9,
          "lag_ns": 4.2e6, "kept_idle_ns": 3.3e9, "switching_ns": 135000, "pausing": True}
    ahead = {**vm, "vm_id": 2, "name": "db", "lag_ns": -90e6, "suspended": True, "pausing": False}
    kit.start_mediator({wire.SHOW_METRICS: {"vms": [vm, ahead]}})
    text = kit.ok("show-metrics").out
    table = next(part for part in text.split("\n\n") if "ENTITLED" in part)
    titles, *rows = [re.split("  +", line.strip()) for line in table.splitlines()]
    assert titles == ["VM_ID", "NAME", "ENTITLED", "GPU TIME", "OWED", "KEPT IDLE", "SWITCHES",
                      "NOW"]
    assert rows == [["1", "web 1", "13.1 s", "12.5 s", "4.2 ms", "3.3 s", "135.0 us", "pausing"],
                    ["2", "db", "13.1 s", "12.5 s", "-90.0 ms", "3.3 s", "135.0 us", "suspended"]]


def test_vms_are_shown_with_their_shares(kit):
    kit.init("web 1", "db")
    live = {"gpu": 0, "state": "running", "due_share": 0.5, "share": 0.48, "entitled_ns": 13.1e9,
            "gpu_time_ns": 12.5e9, "lag_ns": 4.2e6, "kept_idle_ns": 3.3e9, "switching_ns": 135000,
            "suspended": False, "pausing": True}
    assert kit.json("show-vm", "--vm-name=web 1")["vm"]["live"] is None  # no mediator
    kit.start_mediator({wire.SHOW_STATUS: {"vms": [{"vm_id": 1, "completed": 7, **live}]}})
    assert kit.json("show-vm", "--vm-name=web 1")["vm"]["live"] == live
    assert [vm["live"] for vm in kit.json("list-vms")["vms"]] == [live, None]
    text = re.sub(" +", " ", kit.ok("show-vm", "--vm-name=web 1").out)
    for line in ("Now running, pausing", "Entitled 13.1 s", "GPU time 12.5 s", "Owed 4.2 ms",
                 "Kept idle 3.3 s", "Switches 135.0 us"):
        assert line in text
    assert "Entitled" not in kit.ok("show-vm", "--vm-name=db").out


def test_show_health(kit):
    kit.init("web 1")
    good = {"mediator": {"ok": True},
            "gpus": [{"index": 0, "name": "NVIDIA H200", "state": "ok", "temperature_c": 41,
                      "power_w": 120.5, "utilization_percent": 88, "memory_used_bytes": 2 << 30,
                      "memory_total_bytes": 141 << 30, "needs_reset": False}],
            "workers": [{"vm_id": 1, "gpu": 0, "pid": 77, "state": "ready", "restarts": 2}]}
    kit.start_mediator({wire.SHOW_HEALTH: good})
    text = kit.ok("show-health").out
    for part in ("good", "41 C", "2 GiB / 141 GiB", "77", "ready"):
        assert part in text
    assert kit.json("show-health")["healthy"] is True
    bad = json.loads(json.dumps(good))
    bad["gpus"][0].update(state="failed", needs_reset=True)
    kit.mediator.answers[wire.SHOW_HEALTH] = bad
    assert "NOT GOOD" in kit.run("show-health", check=1).out
    assert kit.json("show-health", check=1)["healthy"] is False


def test_show_connections(kit):
    kit.init("web 1")
    kit.start_mediator({wire.SHOW_CONNECTIONS: {"connections": [
        {"session": 4, "vm_id": 1, "uuid": UUID[1], "pid": 4711, "path": "/tmp/x.sock",
         "since_s": 3600.0, "protocol": "1.0+hello", "requests": 12}]}})
    text = kit.ok("show-connections").out
    for part in ("4711", UUID[1], "60 min", "1.0+hello", "/tmp/x.sock"):
        assert part in text
    assert kit.json("show-connections")["connections"][0]["pid"] == 4711
    kit.mediator.answers[wire.SHOW_CONNECTIONS] = {"connections": []}
    assert "No device is connected" in kit.ok("show-connections").out


def test_orders(kit):
    kit.init("web 1", "two")
    m = kit.start_mediator()
    kit.ok("set-policy", "--policy=PRIORITY")
    kit.ok("pause")
    kit.ok("pause", "--gpu=1")
    kit.json("resume", "--gpu=1")
    kit.json("resume")
    kit.ok("prefer-vm", "--vm-name=two")
    assert "message" in kit.json("prefer-vm", "--none")
    kit.ok("reload-config")
    assert m.requests == [
        (wire.SET_POLICY, 0, {"policy": "priority"}), (wire.PAUSE, 0, None),
        (wire.PAUSE, 0, {"gpu": 1}), (wire.RESUME, 0, {"gpu": 1}), (wire.RESUME, 0, None),
        (wire.PREFER_VM, 2, None), (wire.PREFER_VM, 0, None), (wire.RELOAD_CONFIG, 0, None)]
    assert "did you mean fifo?" in kit.run("set-policy", "--policy=fifi", check=2).err
    kit.run("set-policy", check=2)
    kit.run("prefer-vm", check=2)
    kit.run("prefer-vm", "--none", "--vm-name=two", check=2)
    kit.run("pause", "--gpu=x", check=2)


def test_refusal_of_the_mediator(kit):
    kit.init("web 1")
    kit.start_mediator({wire.PAUSE: ValueError("there is no GPU 7")})
    assert "the mediator refused: there is no GPU 7" in kit.run("pause", "--gpu=7", check=1).err
    assert "no GPU 7" in kit.json("pause", "--gpu=7", check=1)["error"]


@pytest.mark.parametrize("answer, text", [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", "admin protocol"),
    (struct.pack("<III", wire.MAGIC, 0, 0xFFFFFFFF), "admin protocol"),
    (struct.pack("<III", wire.MAGIC, 0, 4) + b"nope", "no JSON object"),
    (struct.pack("<III", wire.MAGIC, 0, 2) + b"[]", "no JSON object"),
    (None, "did not answer within 1 s"),
    (struct.pack("<III", wire.MAGIC, 0, 100) + b"{", "did not answer within 1 s"),
])
def test_mediator_that_talks_nonsense(kit, answer, text):
    kit.init("web 1")
    kit.start_mediator({wire.RESUME: answer})
    r = kit.run("resume", "--timeout=1", check=3)
    assert text in r.err, r.err


def test_refused_status_without_text(kit):
    kit.init("web 1")
    kit.start_mediator({wire.RESUME: struct.pack("<III", wire.MAGIC, 13, 0)})
    assert "Permission denied" in kit.run("resume", check=1).err


def test_mediator_that_hangs_up(kit):
    kit.init("web 1")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(kit.socket))
    listener.listen(4)
    stop = threading.Event()

    def hang_up():
        while not stop.is_set():
            try:
                listener.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=hang_up, daemon=True)
    thread.start()
    assert "closed the connection" in kit.run("resume", check=3).err
    # A change is saved all the same.
    r = kit.ok("set-weight", "--vm-name=web 1", "--weight=9")
    assert "saved" in r.err and "reload-config" in r.err
    stop.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_stale_socket(kit):
    kit.init("web 1")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(kit.socket))
    stale.close()
    assert "no mediator listens" in kit.run("resume", check=3).err


def test_events(kit):
    kit.init("web 1")
    kit.ok("set-weight", "--vm-name=web 1", "--weight=9")
    text = kit.ok("events").out
    assert "register" in text and "weight 50 -> 9" in text and "uid" in text
    assert len(kit.json("events", "--last=1")["events"]) == 1
    kit.run("events", "--last=-1", check=2)


def test_events_follow(kit):
    kit.init("web 1")
    live = [{"time": "2026-01-01T00:00:00Z", "kind": "fault", "vm_id": 1,
             "detail": "illegal address"},
            {"time": 1767225600.5, "kind": "policy", "detail": {"policy": "fifo"}}]
    kit.start_mediator({wire.EVENTS: live})
    r = kit.run("events", "--follow", check=3)
    assert "register" in r.out and "illegal address" in r.out and "web 1" in r.out
    assert "closed the connection" in r.err
    lines = [json.loads(line) for line in kit.run("events", "--follow", "--json", "--last=0").out
             .split("\n{\n")[0].splitlines()]
    assert [e["kind"] for e in lines] == ["fault", "policy"]
    assert "policy" not in kit.run("events", "--follow", "--vm-name=web 1", "--last=0").out


def test_events_follow_ends_with_a_signal(kit):
    kit.init("web 1")
    kit.start_mediator({wire.EVENTS: lambda *_: FakeAdmin.response(0, b'{"kind": "hello"}')})
    process = subprocess.Popen([str(BIN / "vgpu-admin"), "events", "--follow", "--last=0"],
                               env=kit.env, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    while "hello" not in line:
        line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    process.stdout.close()


class Scheduler:
    """Enough of a mediator for test-mode."""

    def __init__(self):
        self.paused = False
        self.waiting = 0
        self.preferred = 0
        self.dispatches = [{"seq": 10, "vm_id": 1, "job_seq": 1, "waited_ns": 5, "urgency": 1}]

    def answers(self):
        return {wire.PAUSE: self.pause, wire.RESUME: self.resume, wire.PREFER_VM: self.prefer,
                wire.SHOW_STATUS: self.status,
                wire.SHOW_SCHEDULE: lambda *_: {"dispatches": self.dispatches}}

    def pause(self, *_):
        self.paused = True
        return {}

    def status(self, *_):
        if self.paused:
            self.waiting += 1
        return {"vms": [{"vm_id": 1, "queue_depth": self.waiting}]}

    def prefer(self, vm_id, _):
        self.preferred = vm_id
        return {}

    def resume(self, *_):
        self.paused = False
        for n in range(self.waiting):
            self.dispatches = self.dispatches + [
                {"seq": 11 + n, "vm_id": 2 if n == 0 else 1, "job_seq": 100 + n, "gpu": 0,
                 "waited_ns": 1e6, "urgency": 2.5, "eligible_vms": 1, "waiting_vms": 2,
                 "reason": "preferred" if n == 0 and self.preferred == 2 else "most urgent"}]
        return {}


def test_test_mode(kit):
    kit.init("web 1", "two")
    scheduler = Scheduler()
    m = kit.start_mediator(scheduler.answers())
    r = kit.ok("test-mode", "--wait=3", "--prefer-vm=two")
    assert "Released with 3 requests waiting" in r.out
    rows = r.out.strip().splitlines()[-3:]
    assert "two (vm_id 2)" in rows[0] and "preferred" in rows[0] and "1 of 2" in rows[0]
    assert "web 1" in rows[1] and "most urgent" in rows[2]
    assert scheduler.preferred == 0 and not scheduler.paused
    order = [c for c in m.commands() if c not in (wire.SHOW_STATUS, wire.SHOW_SCHEDULE)]
    assert order == [wire.PREFER_VM, wire.PAUSE, wire.RESUME, wire.PREFER_VM]

    kit.mediator.answers.update(Scheduler().answers())
    document = kit.json("test-mode", "--wait=2")
    assert document["waiting"] == 2 and [d["seq"] for d in document["order"]] == [11, 12]
    kit.run("test-mode", "--prefer-vm=nobody", check=1)
    kit.run("test-mode", "--wait=0", check=2)


def test_test_mode_with_several_gpus(kit):
    """Each GPU numbers its own decisions; only what waited at the release is shown, by time."""
    kit.init("web 1", "two")
    scheduler = Scheduler()

    def decision(gpu, seq, vm_id, time_ns, waited_ns):
        return {"seq": seq, "gpu": gpu, "vm_id": vm_id, "job_seq": seq, "time_ns": time_ns,
                "waited_ns": waited_ns, "urgency": 1, "reason": "alone"}

    old = [decision(0, 900, 1, 50, 5), decision(1, 7, 2, 60, 5)]
    new = [decision(0, 901, 1, 210, 110), decision(0, 902, 1, 230, 125),
           decision(0, 903, 1, 240, 10),
           decision(1, 8, 2, 220, 120)]
    answers = scheduler.answers()
    answers[wire.SHOW_SCHEDULE] = lambda *_: {
        "now_ns": 200, "dispatches": old if scheduler.paused else old[:1] + new[:3] + old[1:]
                                              + new[3:]}
    kit.start_mediator(answers)
    order = kit.json("test-mode", "--wait=3")["order"]
    assert [(d["gpu"], d["seq"]) for d in order] == [(0, 901), (1, 8), (0, 902)]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE])
def test_test_mode_lets_go_when_interrupted(kit, end):
    kit.init("web 1")
    scheduler = Scheduler()
    m = kit.start_mediator(scheduler.answers())
    process = subprocess.Popen([str(BIN / "vgpu-admin"), "test-mode", "--wait=100000",
                                "--seconds=600"],
                               env=kit.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    assert "Holding" in process.stdout.readline()
    process.send_signal(end)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "at work again" in err
    assert (wire.PAUSE, 0, {"hold": True}) in m.requests
    assert wire.RESUME in m.commands() and not scheduler.paused


def test_no_permission_for_the_socket(kit):
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    kit.init("web 1")
    kit.start_mediator()
    os.chmod(kit.socket, 0o600)
    for folder in [kit.folder, *kit.folder.parents][:3]:
        if str(folder) != "/tmp":
            os.chmod(folder, 0o755)
    r = subprocess.run([str(BIN / "vgpu-admin"), "resume"], env=kit.env, text=True, check=False,
                       capture_output=True, user=65534, group=65534, extra_groups=[])
    if r.returncode == 126 or "cannot open shared" in r.stderr:
        pytest.skip("the build folder is not open to others")
    assert r.returncode == 3 and "group vgpu" in r.stderr
