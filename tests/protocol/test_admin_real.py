# SPDX-License-Identifier: GPL-2.0-or-later
"""The real vgpu-admin with the real mediator: every command in text and in JSON, changes
that take effect at once, and kill -9 of either at any moment."""
import json
import os
import random
import re
import shlex
import signal
import sqlite3
import subprocess
import threading
import time

import pytest

import wire
from adminkit import BIN, UUID
from mediator import Mediator, wait_for
from test_admin_general import EXPECTED

ARGS = "-device vgpu-stub,pool_id=A,priority=medium,vm_id=1,chardev=c0"


@pytest.fixture
def host(kit, lab):
    """Two registered VMs and one that is not, each with a socket of its own; two GPUs."""
    kit.init("web", "batch")
    sockets = [argument for n in (1, 2, 3)
               for argument in ("--vm", f"{UUID[n]}={lab}/{n}.sock")]
    kit.real = Mediator(lab, "--gpus", "2", "--enable-test-ops", *sockets, db=kit.db, shared=False,
                        trust=False)
    kit.at = lambda n, **options: wire.Device(lab / f"{n}.sock", **{"vm_id": n, **options})
    with kit.real:
        yield kit


def modern(host, n):
    """A device that understands CONFIG, which has been told who it is."""
    device = host.at(n)
    device.hello()
    follow(device)
    return device


def follow(device):
    """Takes the next CONFIG over, as vgpu-stub does."""
    config = device.read()
    assert config.msg == wire.MSG_CONFIG
    device.vm_id, device.pool, device.priority = config.vm_id, config.pool, config.priority
    device.send(device.frame(wire.MSG_CONFIG, config.data))
    return device.pool, device.priority, device.vm_id


# One use of each command, in an order in which each has something to do; {json key: value}
# says what the JSON document has, the regular expression what the text has.
NO_CHANGE = {"changed": False}
APPLIED = {"changed": True, "mediator": "applied", "restart_needed": False}
EVERY = [
    (["status"], r"web .*active|web .*idle", {}),
    (["scan-vms"], r"Not registered", {"toolstack": "xe"}),
    (["register-vm", "--vm-name=fresh"], r"Registered fresh as vm_id", APPLIED),
    (["list-vms"], r"fresh", {}),
    (["show-vm", "--vm-name=web"], UUID[1], {}),
    (["set-pool", "--vm-name=web", "--pool=B"], r"pool A -> B", APPLIED),
    (["set-priority", "--vm-name=web", "--priority=high"], r"priority medium -> high", APPLIED),
    (["set-vm-id", "--vm-name=web", "--vm-id=31"], r"vm_id 1 -> 31", APPLIED),
    (["update-vm", "--vm-name=web", "--pool=A", "--priority=low"],
     r"pool B -> A, priority high -> low", APPLIED),
    (["set-weight", "--vm-name=web", "--weight=80"], r"weight 50 -> 80", APPLIED),
    (["show-weights"], r"web +low +80", {}),
    (["set-rate-limit", "--vm-name=web", "--rate=100", "--queue-depth=8"],
     r"rate no limit -> 100, queue depth no limit -> 8", APPLIED),
    (["set-memory-limit", "--vm-name=web", "--limit=1G"], r"1 GiB", APPLIED),
    (["set-program-limits", "--vm-name=web", "--max-processes=3", "--max-kernel-ms=500"],
     r"programs no limit -> 3, kernel ms no limit -> 500", APPLIED),
    (["show-cuda"], r"No VM has had a CUDA program", {}),
    (["show-rate-limits"], r"100/s", {}),
    (["quarantine-vm", "--vm-name=web"], r"is quarantined", APPLIED),
    (["clear-quarantine", "--vm-name=web"], r"is released", APPLIED),
    (["create-pool", "--pool=C", "--name=fast"], r"Created pool C", {"mediator": "applied"}),
    (["assign-gpu", "--pool=C", "--gpu=1"], r"GPU 1 to pool C", {"mediator": "applied"}),
    (["show-pools"], r"fast", {}),
    (["assign-gpu", "--pool=C", "--gpu=1", "--remove"], r"out of pool C", {"mediator": "applied"}),
    (["remove-pool", "--pool=C"], r"Removed pool C", {"mediator": "applied"}),
    (["set-policy", "--policy=urgency"], r"urgency", {}),
    (["prefer-vm", "--vm-name=batch"], r"batch .*preferred", {}),
    (["pause"], r"paused", {}),
    (["resume"], r"at work", {}),
    (["test-mode", "--seconds=1"], r"", {}),
    (["show-metrics"], r"P99", {}),
    (["show-health"], r"good", {}),
    (["show-connections"], r"1\.0\+hello", {}),
    (["trace-job", "--vm-name=web"], r"", {}),
    (["reload-config"], r"read the database again", {}),
    (["events"], r"weight 50 -> 80", {}),
    (["migrate"], r"up to date", NO_CHANGE),
    (["init-db"], r"there already", NO_CHANGE),
    (["check-config"], r"0 errors", {"ok": True}),
    (["remove-vm", "--vm-name=batch", "--yes"], r"Removed batch", APPLIED),
]
# What needs a terminal (test_admin_top.py) or a VM's configuration (test_admin_toolstack.py).
ELSEWHERE = {"top", "attach-vm", "detach-vm", "restore-db"}


def test_the_list_is_whole():
    assert {arguments[0] for arguments, _, _ in EVERY} == set(EXPECTED) - ELSEWHERE


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_every_command(host, as_json):
    host.toolstack("xe", [{"uuid": UUID[4], "name": "fresh", "state": "running"}])
    with modern(host, 1) as web:
        web.add(1, 2)
        for arguments, text, values in EVERY:
            if as_json:
                document = host.json(*arguments)
                for key, value in values.items():
                    assert document[key] == value, (arguments, document)
            else:
                r = host.ok(*arguments)
                assert re.search(text, r.out), (arguments, r.out)
                note = "note: a device that attach-vm gave" if arguments[0] == "remove-vm" else ""
                assert r.err.startswith(note) and r.err.count("\n") == bool(note), (arguments,
                                                                                    r.err)
    prometheus = host.ok("show-metrics", "--prometheus").out
    assert re.search(r"^# TYPE vgpu_\w+ counter", prometheus, re.M)


def test_a_change_reaches_device_and_scheduler(host):
    with modern(host, 1) as web:
        assert web.add(1, 2) == 3
        host.ok("update-vm", "--vm-name=web", "--pool=B", "--priority=high", "--vm-id=31",
                "--weight=99")
        assert follow(web) == ("B", 2, 31)
        assert web.add(3, 4) == 7
        vm = host.real.vm(31)
        assert (vm["pool"], vm["priority"], vm["weight"], vm["connected"]) == ("B", 2, 99, True)
        host.ok("quarantine-vm", "--vm-name=web")
        assert web.run(wire.NOP).status == wire.VM_QUARANTINED
        host.ok("clear-quarantine", "--vm-name=web")
        assert web.add(5, 6) == 11
        host.ok("set-rate-limit", "--vm-name=web", "--rate=10")
        statuses = {web.run(wire.NOP).status for _ in range(50)}
        assert wire.RATE_LIMITED in statuses


def test_unregistered_until_the_logs_command_is_run(host):
    with host.at(3) as device:
        assert device.run(wire.ADD, (1, 2)).status == wire.NOT_REGISTERED
        command = re.search(r"vgpu-admin (register-vm .*?) event=", host.real.log()).group(1)
        document = host.json(*shlex.split(command))
        assert document["vm"]["uuid"] == UUID[3] and document["mediator"] == "applied"
        assert device.add(1, 2) == 3


def test_a_clone_is_not_filed_under_its_original(host):
    """A copy of a VM has a UUID of its own, and its device the vm_id of the original."""
    with host.at(3, vm_id=1) as clone:
        assert clone.run(wire.ADD, (1, 2)).status == wire.NOT_REGISTERED
        line = next(line for line in host.real.log().splitlines() if "not registered" in line)
        assert UUID[3] in line and "VM 1:" not in line and "vm_id=1 " not in line
        assert "the vm_id 1 that its device has is another VM's" in line
        command = re.search(r"vgpu-admin (register-vm .*?) event=", line).group(1)
        assert "--vm-id" not in command
        document = host.json(*shlex.split(command))
        assert document["vm"]["uuid"] == UUID[3] and document["vm"]["vm_id"] not in (1, 2)
        with host.real.admin() as admin:
            admin.send(wire.EVENTS, 512)
            while (event := admin.read())["kind"] != "unregistered":
                pass
            assert event["vm_id"] is None and UUID[3] in event["detail"]


def test_an_old_device_is_restarted_through_the_toolstack(host):
    """The answer comes from the mediator's own look at the device, not from a stand-in."""
    host.toolstack("xe", [{"uuid": UUID[1], "name": "web", "state": "running", "args": ARGS}])
    with host.at(1) as web:
        assert web.add(1, 2) == 3
        assert not host.json("set-weight", "--vm-name=web", "--weight=3")["restart_needed"]
        document = host.json("set-pool", "--vm-name=web", "--pool=B")
        assert document["restart_needed"] and not document["restarted"]
        assert "vm-shutdown" not in host.calls()
        r = host.ok("set-priority", "--vm-name=web", "--priority=high", "--yes")
        assert "must be restarted" in r.out and "was restarted" in r.out
        assert host.calls()[-2:] == ["vm-shutdown", "vm-start"]
    args = host.state()["vms"][0]["args"]
    assert args == ARGS.replace("pool_id=A,priority=medium", "pool_id=B,priority=high")
    # What the toolstack starts has the new values, and is served with them.
    with host.at(1, pool="B", priority=2) as web:
        assert web.add(1, 2) == 3
        assert not host.json("set-weight", "--vm-name=web", "--weight=4")["restart_needed"]


def test_a_gpu_that_is_not_there(host):
    assert host.ok("assign-gpu", "--pool=A", "--gpu=1").err == ""
    assert host.ok("assign-gpu", "--pool=A", "--gpu=CPU-0").err == ""
    r = host.ok("assign-gpu", "--pool=A", "--gpu=7")
    assert "no GPU 7" in r.err and "--gpu=7 --remove" in r.err
    r = host.ok("show-pools")
    assert "pool A has GPU 7, which this host lacks\n" in r.err
    host.ok("create-pool", "--pool=T")
    gpu = "GPU-5a2b0c1e-0000-1111-2222-333344445555"
    host.ok("assign-gpu", "--pool=T", f"--gpu={gpu}")
    assert f"pool T has GPU {gpu}, which this host lacks, and no other" in host.ok("show-pools").err
    assert "INVALID_POOL" in str(host.json("show-pools")["notes"])
    # One that has another GPU, and one without VMs: to be looked at, and nobody suffers.
    found = host.ok("check-config")
    assert "warning: pool A has GPU 7, which this host lacks; to take it out" in found.out
    assert f"warning: pool T has GPU {gpu}" in found.out and "0 errors, 2 warnings" in found.out
    assert "pool A has GPU 7, which this host lacks\n" in host.ok("status").err
    host.ok("--yes", "update-vm", "--vm-name=web", "--pool=T")
    r = host.run("check-config", check=1)
    assert "error:   pool T has 1 VM and no GPU of this host, so that gets INVALID_POOL" in r.out
    assert "no GPU 7" not in host.ok("assign-gpu", "--pool=A", "--gpu=7", "--remove").err
    host.real.kill()  # nobody says which GPUs there are
    assert "0 errors, 0 warnings" in host.ok("check-config").out
    host.real.start()


def test_changed_while_the_mediator_is_down(host):
    host.real.kill()
    r = host.ok("set-weight", "--vm-name=web", "--weight=90")
    assert "takes effect when it starts" in r.err
    host.real.start()
    assert host.real.vm(1)["weight"] == 90


def test_events_as_they_happen(host):
    process = subprocess.Popen([str(BIN / "vgpu-admin"), "events", "--follow", "--json"],
                               env=host.env, stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True)
    reader.start()
    try:
        def seen(kind):
            return [line for line in lines if f'"{kind}"' in line.replace(" ", "")]
        wait_for(lambda: host.ok("set-policy", "--policy=fifo") and seen("policy"), "an event")
        host.ok("quarantine-vm", "--vm-name=web")
        wait_for(lambda: seen("quarantined"), "the quarantine")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        reader.join(60)


def test_no_administrator_stops_the_scheduler(host):
    """Clients that send nothing, half a request, or read nothing, and 32 of them."""
    clients = [host.real.admin() for _ in range(30)]
    try:
        for client in clients[:10]:
            client.sock.sendall(b"\x55\x50")
        for client in clients[10:20]:
            for _ in range(200):
                client.send(wire.SHOW_STATUS)
        with modern(host, 1) as web:
            for n in range(500):
                assert web.add(n, 1) == n + 1
        host.ok("status")
    finally:
        for client in clients:
            client.sock.close()


def weights(db):
    with sqlite3.connect(db) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = dict(connection.execute("SELECT vm_name, weight FROM vms"))
    connection.close()
    return found


def test_killed_at_any_moment(host):
    """kill -9 of the mediator and of vgpu-admin while both write: the database opens, and
    what was acknowledged is in it.  A change that was killed before it could say so is there
    or not; which of the two may show only when the next program has opened the file."""
    rng = random.Random(4)
    with sqlite3.connect(host.db) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    possible = {50}
    killed = 0
    for _ in range(12):
        stop = threading.Event()

        def faults():
            """The mediator writes too: each failed job is a fault in the database."""
            while not stop.is_set():
                try:
                    with host.at(2) as device:
                        device.run(wire.FAIL)
                except (OSError, wire.Closed):
                    time.sleep(0.01)

        other = threading.Thread(target=faults)
        other.start()
        try:
            for _ in range(4):
                wanted = rng.randint(1, 100)
                process = subprocess.Popen([str(BIN / "vgpu-admin"), "set-weight", "--vm-name=web",
                                            f"--weight={wanted}"], env=host.env,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                if rng.random() < 0.5:
                    # The moment is the point of this test, not something to wait for.
                    time.sleep(rng.random() * 0.02)
                    process.kill()
                out, err = process.communicate(timeout=60)
                if b"vm_id" in out:
                    possible = {wanted}
                else:
                    assert process.returncode == -signal.SIGKILL, err
                    possible |= {wanted}
                    killed += 1
                assert weights(host.db)["web"] in possible
            host.real.kill()
        finally:
            stop.set()
            other.join(60)
        assert weights(host.db)["web"] in possible
        assert host.json("check-config")["errors"] == 0
        host.real.start()
        assert host.real.vm(1)["weight"] == weights(host.db)["web"] in possible
        host.ok("clear-quarantine", "--vm-name=batch")
    assert killed


def gpus(host):
    return host.json("status")["gpus"]


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP, signal.SIGPIPE])
def test_test_mode_that_ends_leaves_nothing_paused(host, end):
    """Whatever ends it: its terminal, its reader, SIGKILL."""
    process = subprocess.Popen([str(BIN / "vgpu-admin"), "test-mode", "--seconds=600",
                                "--prefer-vm=web"], env=host.env, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert "Holding" in process.stdout.readline()
    wait_for(lambda: all(gpu["state"] == "paused" and gpu["pause"]["held"] and
                         gpu["pause"]["pid"] == process.pid for gpu in gpus(host)), "the hold")
    assert f"held by process {process.pid}" in host.run("show-health").out
    process.send_signal(end)
    process.communicate(timeout=60)
    wait_for(lambda: all(gpu["state"] == "ok" and gpu["pause"] is None for gpu in gpus(host)),
             "the GPUs to be at work")
    with modern(host, 1) as device:
        assert device.add(1, 2) == 3


def test_test_mode_does_not_end_a_maintenance(host):
    host.ok("pause", "--gpu=1")
    since = gpus(host)[1]["pause"]["since"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", since)
    host.ok("test-mode", "--seconds=1")
    assert [gpu["state"] for gpu in gpus(host)] == ["ok", "paused"]
    text = host.run("show-health").out
    assert re.search(rf"^GPU 1 +paused by an administrator .* since {since}, held by nobody", text,
                     re.M)
    host.ok("resume")
    assert [gpu["state"] for gpu in gpus(host)] == ["ok", "ok"]


def crash_until_quarantined(device):
    for _ in range(3):
        assert device.run(wire.CRASH).status == wire.CUDA_ERROR
    assert device.run(wire.NOP).status == wire.VM_QUARANTINED


def test_without_a_database_a_quarantine_is_shown_and_lifted(kit, lab):
    """In the mediator's memory alone; also of a VM that has left meanwhile."""
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "3") as kit.real:
        with kit.real.device(5) as device:
            crash_until_quarantined(device)
        wait_for(lambda: not kit.real.vm(5)["connected"], "the device to be gone")
        text = kit.ok("status").out
        assert re.search(r"^ +5 .* quarantined", text, re.M), text
        r = kit.ok("clear-quarantine", "--vm-id=5")
        assert "vm_id 5 is released" in r.out and "until it stops" in r.out
        with kit.real.device(5) as device:
            assert device.add(1, 2) == 3
            assert kit.json("quarantine-vm", "--vm-id=5") == \
                {"changed": True, "vm_id": 5, "quarantined": True}
            assert device.run(wire.NOP).status == wire.VM_QUARANTINED
            assert not kit.json("quarantine-vm", "--vm-id=5")["changed"]
            assert "already quarantined" in kit.ok("quarantine-vm", "--vm-id=5").out
        r = kit.run("clear-quarantine", "--vm-id=6", check=1)
        assert "--no-db" in r.err and "vgpu-admin status" in r.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_who_may_ask_the_mediator_and_not_read_the_database(host):
    """The group vgpu gets no file: what the mediator has of it is shown instead."""
    host.ok("set-rate-limit", "--vm-name=web", "--rate=50", "--burst=7", "--queue-depth=9")
    host.ok("set-memory-limit", "--vm-name=web", "--limit=2G")
    host.ok("--yes", "quarantine-vm", "--vm-name=batch")
    host.ok("assign-gpu", "--pool=B", "--gpu=1")
    with host.at(3, vm_id=3):  # nobody registered it
        status = host.real.status()
    told = {command: host.json(*command.split()) for command in
            ("list-vms", "list-vms --pool=A", "show-rate-limits", "show-vm --vm-name=web")}
    host.real.kill()
    host.real.admin_socket.unlink()

    def as_nobody(*arguments):
        return subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               str(BIN / "vgpu-admin"), *arguments], text=True, env=host.env,
                              capture_output=True, check=False)

    host.folder.chmod(0o755)
    host.db.chmod(0o640)
    for command in told:
        r = as_nobody(*command.split())
        assert r.returncode == 1 and not r.stdout and "ermission" in r.stderr
    host.start_mediator({wire.SHOW_STATUS: status})
    host.socket.chmod(0o666)
    only_in_database = {"created_at", "updated_at", "quarantined_at", "quarantine_reason"}
    for command, document in told.items():
        r = as_nobody("--json", *command.split())
        assert r.returncode == 0, r.stderr
        shown = json.loads(r.stdout)
        assert "is not for this user" in str(shown.pop("notes"))
        for ours, theirs in zip(vms_of(document), vms_of(shown), strict=True):
            assert {k: v for k, v in ours.items() if k not in only_in_database} == \
                {k: v for k, v in theirs.items() if k not in only_in_database}
    pools = json.loads(as_nobody("--json", "show-pools").stdout)["pools"]
    assert [(pool["pool"], pool["vm_count"], pool["gpus"]) for pool in pools] == \
        [("A", 2, ["0", "1"]), ("B", 0, ["1"])]
    r = as_nobody("status")
    assert r.returncode == 0 and "web" in r.stdout and "quarantined" in r.stdout
    r = as_nobody("--yes", "set-weight", "--vm-name=web", "--weight=3")
    assert r.returncode == 1 and "run this as root" in r.stderr


def vms_of(document):
    return document["vms"] if "vms" in document else [document["vm"]]
