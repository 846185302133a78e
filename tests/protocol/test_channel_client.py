# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-client on channels, and many processes at once."""

import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time

import pytest

import host_channel as hc
import wire
from host_channel import Host
from mediator import Mediator, program, wait_for
from test_channels import backend, running  # noqa: F401  (fixtures)
from test_channels import UUIDS, ready, with_vms


def client(lab, *arguments):
    return subprocess.run([program("vgpu-client"), "--host", str(lab / "vm1.sock"), *arguments],
                          capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("arguments, expected", [
    (("sgemm", "--n", "130", "--check"), {"event": "sgemm", "n": 130, "checked": True}),
    (("sgemm", "--n", "1", "--check"), {"event": "sgemm", "n": 1, "checked": True}),
    (("vadd", "--n", "5000001"), {"event": "vadd", "elements": 5000001, "checked": 5000001}),
    (("bandwidth",), {"event": "bandwidth", "bytes": 64 << 20}),
    (("latency", "--n", "500"), {"event": "latency", "jobs": 500}),
    (("--channel",), {"event": "channel", "transport": "host"}),
])
def test_client_work_on_buffers(running, lab, arguments, expected):
    done = client(lab, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {key: result[key] for key in expected} == expected
    assert all(value >= 0 for key, value in result.items() if key.endswith(("_s", "_us")))
    if arguments == ("bandwidth",):
        assert result["pinned_upload_gb_per_s"] > 0 and result["pinned_download_gb_per_s"] > 0


def test_client_jobs_of_1_0_through_a_channel(running, lab):
    for op in ("add", "vadd-i32", "vadd-f32", "nop", "info"):
        done = client(lab, "--op", op, "--count", "300", "--json")
        assert done.returncode == 0, done.stderr + done.stdout
    assert client(lab, "100", "200").stdout == "100 + 200 = 300\n"
    assert client(lab, "--op", "fail").returncode == 1


@pytest.mark.parametrize("killed", [False, True])
def test_client_goes_on_when_the_mediator_is_back(lab, killed):
    """A handle without buffers opens a new channel by itself."""
    with with_vms(lab) as running:
        running_client = subprocess.Popen(
            [program("vgpu-client"), "--host", str(lab / "vm1.sock"), "--op", "add", "--seconds",
             "600", "--keep-going", "--json", "--progress"], stdout=subprocess.PIPE, text=True)
        assert json.loads(running_client.stdout.readline())["errors"] == 0
        if killed:
            running.kill()
    with with_vms(lab) as running:
        # Jobs are answered again: a second without a new error.
        before = {"jobs": 0, "errors": 0}
        for line in running_client.stdout:
            now = json.loads(line)
            if now["event"] != "progress":
                continue
            if now["errors"] > 0 and now["errors"] == before["errors"]:
                assert now["jobs"] > before["jobs"]
                break
            before = now
        # A job that it has to sleep for: the channel is the new mediator's, and none is looked for.
        worker, = running.workers()
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(worker, signal.SIGCONT)
        running_client.send_signal(signal.SIGINT)
        rest, _ = running_client.communicate(timeout=60)
    summary = json.loads(rest.splitlines()[-1])
    assert summary["wrong"] == 0 and 0 < summary["reconnects"] < 4 and summary["jobs"] > 0, summary


def test_client_of_a_quarantined_vm(lab):
    with with_vms(lab, "--fault-threshold", "1"), Host(lab / "vm1.sock") as host:
        ready(host.open()).publish(4)
        assert host.closed() == (0, hc.BAD_POSITION)
        done = client(lab, "1", "2")
        assert done.returncode == 5 and "VM_QUARANTINED" in done.stderr


def test_client_progress_bar(running, lab):
    done = client(lab, "vadd", "--n", "9000000", "--progress")
    assert done.returncode == 0 and "every element right" in done.stdout
    assert "100 %" in done.stderr


def test_client_without_a_channel(running, lab):
    done = subprocess.run([program("vgpu-client"), "--socket", str(lab / "vm1.sock"), "sgemm"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "--host" in done.stderr
    done = subprocess.run([program("vgpu-client"), "--socket", str(lab / "vm1.sock"), "--channel"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "no channel" in done.stderr


def test_two_processes_of_three_vms_don_t_mix(lab, backend):
    """Six programs at a time, every result of theirs checked."""
    with with_vms(lab, count=3, backend=backend):
        programs = [subprocess.Popen(
            [program("vgpu-client"), "--host", f"{lab}/vm{vm}.sock", "--vm-id", str(vm),
             "--op", op, "--count", "3000", "--json"], stdout=subprocess.PIPE, text=True)
            for vm in (1, 2, 3) for op in ("add", "vadd-f32")]
        for running_program in programs:
            output, _ = running_program.communicate(timeout=300)
            summary = json.loads(output.splitlines()[-1])
            assert running_program.returncode == 0 and summary["wrong"] == 0, summary


def test_a_rate_limit_holds_records_back(lab, backend):
    """Records wait in their ring; they and requests have one bucket.  The limit may come and go."""
    db = lab / "vgpu.db"
    sql = (pathlib.Path(__file__).resolve().parents[2] / "store/schema/init_db.sql").read_text()
    connection = sqlite3.connect(db)
    connection.executescript("\n".join(line for line in sql.splitlines()
                                       if not line.startswith(".")))
    connection.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority, weight, "
                       "max_jobs_per_sec) VALUES (1, ?, 'web', 'A', 1, 50, 0)", (UUIDS[0],))
    connection.commit()

    def limit(jobs_per_sec):
        connection.execute("UPDATE vms SET max_jobs_per_sec = ?", (jobs_per_sec,))
        connection.commit()
        with running.admin() as admin:
            admin.call(wire.RELOAD_CONFIG)

    with Mediator(lab, "--vm", f"{UUIDS[0]}={lab}/vm1.sock", db=db, shared=False, trust=False,
                  backend=backend) as running, Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.op(wire.NOP)[0] == wire.OK
        limit(1)
        ready(host.open(1))  # behind what the worker was told of the limit
        host.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(1, 0))
        assert host.closed() == (1, hc.ASKED)
        for _ in range(500):
            channel.put(channel.record(wire.NOP, bytes(8), flags=0))
        channel.publish()
        # As many as the bucket had, then they wait.
        wait_for(lambda: channel.word(hc.RETIRED) > 1, "the first ones")
        assert channel.word(hc.RETIRED) < 400
        with wire.Device(lab / "vm1.sock", 1, timeout=60) as device:
            assert any(device.run(wire.NOP).status != wire.OK for _ in range(200))
        limit(0)
        channel.wait(lambda: channel.word(hc.RETIRED) == channel.seq, "all of them")
        limit(1000000)
        for _ in range(500):
            channel.put(channel.record(wire.NOP, bytes(8), flags=0))
        channel.publish()
        channel.wait(lambda: channel.word(hc.RETIRED) == channel.seq, "all of them")
        assert channel.state() == (0, 0)
        connection.execute("DELETE FROM vms")
        connection.commit()
        with running.admin() as admin:
            admin.call(wire.RELOAD_CONFIG)
        assert host.closed() == (0, hc.REMOVED)
        assert host.open() == wire.NOT_REGISTERED
    connection.close()
