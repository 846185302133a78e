# SPDX-License-Identifier: GPL-2.0-or-later
"""The administration socket: every command, wrong requests, many and slow clients."""
import errno
import os
import random
import re
import subprocess
import sys

import pytest

import wire
from mediator import Mediator, wait_for

SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+')
COMMANDS = [wire.SHOW_METRICS, wire.SHOW_HEALTH, wire.SHOW_CONNECTIONS, wire.SHOW_STATUS,
            wire.SHOW_SCHEDULE]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_view_answers(mediator, command):
    with mediator.device() as device, mediator.admin() as admin:
        device.add(1, 1)
        assert isinstance(admin.call(command), dict)


def test_status(mediator):
    with mediator.device(vm_id=7) as device:
        for i in range(10):
            device.add(i, i)
        status = mediator.status()
    assert status["policy"] == "wfq" and status["backend"] == "cpu" and not status["paused"]
    assert [pool["pool"] for pool in status["pools"]] == ["A", "B"]
    assert status["gpus"][0]["state"] == "ok" and status["gpus"][0]["uuid"] == "CPU-0"
    vm, = status["vms"]
    assert vm["vm_id"] == 7 and vm["connected"] and not vm["registered"]
    assert vm["submitted"] == vm["completed"] == 10 and vm["errors"] == 0
    assert vm["gpu"] == 0 and vm["due_share"] == 1 and vm["worker_pid"] in mediator.workers()


def test_health(mediator):
    with mediator.device() as device, mediator.admin() as admin:
        device.add(1, 1)
        health = admin.call(wire.SHOW_HEALTH)
    assert health["mediator"]["ok"] and health["mediator"]["sessions"] == 1
    assert health["workers"][0]["state"] == "ready" and health["gpus"][0]["state"] == "ok"


def test_schedule(mediator):
    with mediator.device() as device, mediator.admin() as admin:
        for _ in range(5):
            device.add(1, 1)
        dispatches = admin.call(wire.SHOW_SCHEDULE)["dispatches"]
    assert [entry["seq"] for entry in dispatches] == [1, 2, 3, 4, 5]
    assert all(entry["vm_id"] == 1 and entry["reason"] == "alone" for entry in dispatches)


def test_metrics_count(mediator):
    with mediator.device() as device, mediator.admin() as admin:
        for _ in range(4):
            device.add(1, 1)
        device.run(wire.FAIL)
        metrics = admin.call(wire.SHOW_METRICS)
        vm, = metrics["vms"]
        assert (vm["submitted"], vm["completed"], vm["errors"]) == (5, 5, 1)
        admin.send(wire.SHOW_METRICS, 1)
        status, text = admin.read_raw()
    assert status == 0
    text = text.decode()
    labels = 'vm="vm 1",pool="A",gpu="0"'
    assert f'vgpu_jobs_total{{{labels}}} 5' in text
    assert f'vgpu_job_errors_total{{{labels},reason="cuda_error"}} 1' in text
    seen = set()
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            name = line.split()[2]
            assert name not in seen, "a family is in one piece"
            seen.add(name)
        elif not line.startswith("#"):
            assert SAMPLE.fullmatch(line)
            assert line.startswith(name)


def test_pause_and_resume(mediator):
    with mediator.device() as device, mediator.admin() as admin:
        device.add(1, 1)
        assert admin.call(wire.PAUSE) == {"ok": True}
        assert mediator.status()["paused"] and mediator.status()["gpus"][0]["state"] == "paused"
        device.submit(wire.ADD, (2, 3))
        wait_for(lambda: mediator.vm(1)["queue_depth"] == 1, "the job to wait")
        assert admin.call(wire.RESUME, 0, {"gpu": 0}) == {"ok": True}
        assert device.read().results == (5,)


def test_policy(mediator):
    with mediator.admin() as admin:
        for policy in ("urgency", "priority", "priority-all", "fifo", "wf2q", "wfq"):
            admin.call(wire.SET_POLICY, 0, {"policy": policy})
            assert mediator.status()["policy"] == policy


def test_the_order_of_the_priority_policy(mediator):
    """Phase 2's test mode: pile up while paused, then watch the order."""
    with mediator.admin() as admin:
        admin.call(wire.SET_POLICY, 0, {"policy": "priority"})
        devices = {p: mediator.device(vm_id=p + 1, priority=p) for p in (0, 1, 2)}
        for device in devices.values():
            device.add(1, 1)
        admin.call(wire.PAUSE)
        for device in devices.values():
            device.submit(wire.NOP)
        wait_for(lambda: sum(vm["queue_depth"] for vm in mediator.status()["vms"]) == 3, "the jobs")
        admin.call(wire.RESUME)
        for device in devices.values():
            device.read()
        order = [entry["vm_id"] for entry in admin.call(wire.SHOW_SCHEDULE)["dispatches"][-3:]]
        assert order == [3, 2, 1]
        for device in devices.values():
            device.close()


def test_quarantine_and_back(mediator):
    with mediator.device(5) as device, mediator.admin() as admin:
        device.add(1, 1)
        admin.call(wire.QUARANTINE_VM, 5)
        assert device.run(wire.NOP).status == wire.VM_QUARANTINED
        assert mediator.vm(5)["state"] == "quarantined"
        admin.call(wire.UNQUARANTINE_VM, 5)
        assert device.add(1, 1) == 2


def test_prefer(mediator):
    with mediator.device(5) as device, mediator.admin() as admin:
        device.add(1, 1)
        assert admin.call(wire.PREFER_VM, 5) == {"ok": True}
        assert admin.call(wire.PREFER_VM, 0) == {"ok": True}


def test_events(mediator):
    with mediator.admin() as admin, mediator.device(6) as device:
        admin.send(wire.EVENTS)
        device.add(1, 1)
        kinds = []
        while "worker_ready" not in kinds:
            event = admin.read()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
            kinds.append(event["kind"])
        assert "session_bound" in kinds
    with mediator.admin() as admin:
        admin.send(wire.EVENTS, 100)
        assert admin.read()["seq"] == 1


@pytest.mark.parametrize("command, param1, body, status", [
    (0x0F, 0, None, errno.ENOSYS),
    (0x4242, 0, None, errno.ENOSYS),
    (wire.SHOW_METRICS, 2, None, errno.EINVAL),
    (wire.QUARANTINE_VM, 12345, None, errno.ENOENT),
    (wire.UNQUARANTINE_VM, 12345, None, errno.ENOENT),
    (wire.PREFER_VM, 12345, None, errno.ENOENT),
    (wire.SET_POLICY, 0, None, errno.EINVAL),
    (wire.SET_POLICY, 0, {"policy": "lottery"}, errno.EINVAL),
    (wire.SET_POLICY, 0, {"policy": 3}, errno.EINVAL),
    (wire.SET_POLICY, 0, ["wfq"], errno.EINVAL),
    (wire.PAUSE, 0, {"gpu": 1}, errno.EINVAL),
    (wire.PAUSE, 0, {"gpu": -1}, errno.EINVAL),
    (wire.PAUSE, 0, {"gpu": "0"}, errno.EINVAL),
    (wire.RELOAD_CONFIG, 0, None, errno.ENOTSUP),
])
def test_wrong_requests_are_explained(mediator, command, param1, body, status):
    with mediator.admin() as admin:
        with pytest.raises(wire.AdminError) as failure:
            admin.call(command, param1, body)
        assert failure.value.status == status and len(failure.value.text) > 10
        assert admin.call(wire.SHOW_HEALTH)["mediator"]["ok"]


def test_body_that_is_no_json(mediator):
    with mediator.admin() as admin:
        request = wire.ADMIN_REQUEST.pack(wire.MAGIC, wire.SET_POLICY, 0, 5)
        admin.sock.sendall(request + b"\x80\xff{[x")
        with pytest.raises(wire.AdminError):
            admin.read()
        admin.sock.sendall(wire.ADMIN_REQUEST.pack(wire.MAGIC, wire.SET_POLICY, 0, 4097))
        with pytest.raises(wire.AdminError) as failure:
            admin.read()
        assert failure.value.status == errno.EMSGSIZE
        with pytest.raises(wire.Closed):
            admin.read()


def test_garbage(mediator):
    rng = random.Random(5)
    for _ in range(50):
        with mediator.admin() as admin:
            try:
                admin.sock.sendall(rng.randbytes(rng.randrange(16, 200)))
                with pytest.raises((wire.AdminError, wire.Closed)):
                    while True:
                        admin.read()
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert mediator.status()["version"]


def test_requests_in_pieces_and_in_a_row(mediator):
    with mediator.admin() as admin:
        one = wire.ADMIN_REQUEST.pack(wire.MAGIC, wire.SHOW_HEALTH, 0, 0)
        for byte in one:
            admin.sock.sendall(bytes([byte]))
        assert admin.read()["mediator"]["ok"]
        admin.sock.sendall(one * 50)
        for _ in range(50):
            assert admin.read()["mediator"]["ok"]


def test_many_clients(mediator):
    """32 are served; those beyond are turned away and come in when one leaves."""
    clients = [mediator.admin() for _ in range(32)]
    for client in clients:
        assert client.call(wire.SHOW_HEALTH)["mediator"]["ok"]
    late = mediator.admin()
    with pytest.raises((wire.AdminError, BrokenPipeError, ConnectionResetError)):
        late.call(wire.SHOW_HEALTH)
    late.sock.close()
    clients.pop().sock.close()
    wait_for(mediator.is_ready, "a place")
    for client in clients:
        client.sock.close()


def test_a_client_that_does_not_read_stops_nobody(mediator):
    with mediator.admin() as lazy, mediator.device() as device:
        lazy.sock.setblocking(False)
        request = wire.ADMIN_REQUEST.pack(wire.MAGIC, wire.SHOW_STATUS, 0, 0)
        try:
            for _ in range(10000):
                lazy.sock.send(request * 100)
        except BlockingIOError:
            pass
        assert device.add(1, 2) == 3
        assert mediator.is_ready()


def test_clients_that_leave_at_once(mediator):
    before = mediator.fds()
    for i in range(100):
        client = mediator.admin()
        client.send(wire.EVENTS if i % 2 else wire.SHOW_STATUS)
        client.sock.close()
    wait_for(lambda: mediator.fds() <= before, "the descriptors to be closed")


def test_a_quarantine_in_a_stream_of_events(lab):
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "1") as mediator:
        with mediator.admin() as admin, mediator.device(3) as device:
            admin.send(wire.EVENTS)
            device.run(wire.CRASH)
            while True:
                event = admin.read()
                if event["kind"] == "quarantined":
                    break
            assert event["vm_id"] == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="must be root to become somebody else")
def test_strangers_are_refused_whatever_the_mode(mediator):
    os.chmod(mediator.admin_socket, 0o666)
    for folder in mediator.admin_socket.parents:
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o005)
    program = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(180);"
               "s.connect(sys.argv[1]); sys.exit(0 if s.recv(1) == b'' else 1)")
    stranger = subprocess.run([sys.executable, "-c", program, str(mediator.admin_socket)],
                              user=65534, group=65534, extra_groups=[], timeout=60)
    assert stranger.returncode == 0
    assert "uid 65534" in mediator.log()
    assert mediator.status()["policy"] == "wfq"
