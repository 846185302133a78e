# SPDX-License-Identifier: GPL-2.0-or-later
"""The mediator with a database: who is served, live changes, what is written back."""
import pathlib
import signal
import sqlite3
import subprocess

import pytest

import wire
from fake_qemu import FakeQemu
from mediator import Mediator, program, wait_for

UUIDS = {n: f"00000000-0000-0000-0000-{n:012d}" for n in range(1, 20)}


@pytest.fixture
def db(lab):
    path = lab / "vgpu.db"
    schema = pathlib.Path(__file__).resolve().parents[2] / "store/schema/init_db.sql"
    lines = schema.read_text().splitlines()
    connection = sqlite3.connect(path)
    # Lines with a dot are for the sqlite3 program alone.
    connection.executescript("\n".join(line for line in lines if not line.startswith(".")))
    connection.close()
    return path


def execute(db, text, *values):
    connection = sqlite3.connect(db, timeout=wire.PATIENCE_S)
    with connection:
        rows = connection.execute(text, values).fetchall()
    connection.close()
    return rows


def register(db, vm_id, pool="A", priority=1, weight=50, rate=0):
    execute(db, "INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority, weight, "
                "max_jobs_per_sec) VALUES (?, ?, ?, ?, ?, ?, ?)",
            vm_id, UUIDS[vm_id], f"vm{vm_id}", pool, priority, weight, rate)


def reload(mediator):
    with mediator.admin() as admin:
        return admin.call(wire.RELOAD_CONFIG)


def test_registered_and_not(lab, db):
    register(db, 1, weight=80, priority=2)
    with Mediator(lab, "--vm", f"{UUIDS[1]}={lab}/1.sock", "--vm", f"{UUIDS[2]}={lab}/2.sock",
                  db=db) as mediator:
        with wire.Device(lab / "1.sock", vm_id=1) as one:
            assert one.add(1, 2) == 3
            vm = mediator.vm(1)
            assert vm["registered"] and (vm["weight"], vm["priority"], vm["name"]) == (80, 2, "vm1")
        with wire.Device(lab / "2.sock", vm_id=2) as two:
            assert two.run(wire.ADD, (1, 2)).status == wire.NOT_REGISTERED
            assert "vgpu-admin register-vm" in mediator.log() and UUIDS[2] in mediator.log()
            # Registering takes effect at once, on the same connection.
            register(db, 2)
            assert reload(mediator) == {"changed": 0, "added": 1, "removed": 0,
                                        "restart_needed": []}
            assert two.add(1, 2) == 3


def test_unregistered_may_be_allowed(lab, db):
    with Mediator(lab, "--unregistered", "allow", "--vm", f"{UUIDS[2]}={lab}/2.sock",
                  db=db) as mediator:
        with wire.Device(lab / "2.sock", vm_id=2) as device:
            assert device.add(1, 2) == 3
            assert not mediator.vm(2)["registered"]


def test_live_changes(lab, db):
    register(db, 1)
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        device.hello()
        assert device.read().msg == wire.MSG_CONFIG
        assert device.add(1, 2) == 3
        execute(db, "UPDATE vms SET weight = 77.25, pool_id = 'B', priority = 2 WHERE vm_id = 1")
        answer = reload(mediator)
        assert answer["changed"] == 1 and answer["restart_needed"] == []
        config = device.read()
        assert config.msg == wire.MSG_CONFIG
        device.send(device.frame(wire.MSG_CONFIG, config.data, pool="B", priority=2))
        device.pool, device.priority = "B", 2
        assert device.add(1, 2) == 3
        vm = mediator.vm(1)
        assert (vm["weight"], vm["pool"], vm["priority"]) == (77.25, "B", 2)
        execute(db, "UPDATE vms SET quarantined = 1 WHERE vm_id = 1")
        reload(mediator)
        assert device.run(wire.NOP).status == wire.VM_QUARANTINED
        execute(db, "UPDATE vms SET quarantined = 0 WHERE vm_id = 1")
        reload(mediator)
        assert device.add(1, 2) == 3


def test_a_new_memory_limit_cuts_no_job_off(lab, db):
    """The limit changes during a job of 6 s: the job ends well, the next one has a new worker."""
    register(db, 1)
    with Mediator(lab, "--enable-test-ops", "--job-timeout-ms", "0", db=db) as mediator, \
            mediator.device(1) as device:
        device.add(1, 1)
        worker = mediator.vm(1)["worker_pid"]
        long = device.submit(wire.SPIN, (6000000,))
        wait_for(lambda: mediator.vm(1)["in_flight"], "the job to run")
        execute(db, "UPDATE vms SET memory_limit_bytes = 1 << 30 WHERE vm_id = 1")
        assert reload(mediator)["changed"] == 1
        assert mediator.vm(1)["state"] == "stopping"
        after = device.submit(wire.ADD, (3, 4))
        answer = device.read()
        assert (answer.request_id, answer.status) == (long, 0)
        answer = device.read()
        assert (answer.request_id, answer.status, answer.results) == (after, 0, (7,))
        vm = mediator.vm(1)
        assert vm["worker_pid"] != worker and vm["fault_count"] == 0
        log = mediator.log()
        assert "killed" not in log and "fault" not in log


@pytest.mark.parametrize("configured, enforced", [(0, 256), (300, 256), (65536, 256), (3, 3)])
def test_the_queue_depth_shown_is_the_one_enforced(lab, db, configured, enforced):
    """0 is no limit but the mediator's own, which also holds for what is configured above it."""
    register(db, 1)
    execute(db, "UPDATE vms SET max_queue_depth = ?", configured)
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        device.add(1, 1)
        with mediator.admin() as admin:
            admin.call(wire.PAUSE)
        for _ in range(enforced):
            device.submit(wire.ADD, (1, 2))
        refused = device.submit(wire.ADD, (1, 2))
        answer = device.read()
        assert (answer.request_id, answer.msg, answer.status) == \
            (refused, wire.MSG_BUSY, wire.QUEUE_FULL)
        vm = mediator.vm(1)
        assert vm["queue_depth"] == enforced and vm["max_queue_depth"] == configured
        assert vm["enforced"] == {"jobs_per_sec": 0, "burst": 0, "queue_depth": enforced,
                                  "queue_depth_is_hard": configured != enforced}


def test_an_old_device_must_be_restarted(lab, db):
    register(db, 1)
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        device.add(1, 1)
        execute(db, "UPDATE vms SET pool_id = 'B' WHERE vm_id = 1")
        assert reload(mediator)["restart_needed"] == [1]
        assert device.add(1, 1) == 2


def test_sighup_reads_again(lab, db):
    register(db, 1)
    with Mediator(lab, db=db) as mediator:
        execute(db, "UPDATE vms SET weight = 33 WHERE vm_id = 1")
        mediator.process.send_signal(signal.SIGHUP)
        wait_for(lambda: mediator.vm(1)["weight"] == 33, "the new weight")


def test_rate_limit(lab, db):
    register(db, 1, rate=10)
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        answers = [device.run(wire.NOP) for _ in range(50)]
        limited = [answer for answer in answers if answer.status == wire.RATE_LIMITED]
        assert limited and all(answer.msg == wire.MSG_BUSY for answer in limited)
        assert mediator.vm(1)["rejected_rate"] == len(limited)


def test_faults_and_quarantine_are_written(lab, db):
    register(db, 1)
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "3", db=db) as mediator:
        with mediator.device(1) as device:
            for _ in range(3):
                assert device.run(wire.CRASH).status == wire.CUDA_ERROR
            assert device.run(wire.NOP).status == wire.VM_QUARANTINED
        wait_for(lambda: execute(db, "SELECT quarantined, error_count FROM vms") == [(1, 3)],
                 "the quarantine to be written")
        assert mediator.vm(1)["fault_count"] == 3
    # It is known after a restart.
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        assert device.run(wire.NOP).status == wire.VM_QUARANTINED
        with mediator.admin() as admin:
            admin.call(wire.UNQUARANTINE_VM, 1)
        assert device.add(1, 2) == 3
        wait_for(lambda: execute(db, "SELECT quarantined, error_count FROM vms") == [(0, 0)],
                 "the end of the quarantine to be written")
    kinds = {kind for kind, in execute(db, "SELECT DISTINCT kind FROM events")}
    assert any("fault" in kind for kind in kinds)


def test_a_locked_database_holds_nobody_up(lab, db):
    register(db, 1)
    register(db, 2)
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0", db=db) as mediator:
        writer = sqlite3.connect(db, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with mediator.device(1) as device, mediator.device(2) as neighbour:
            device.run(wire.CRASH)
            for i in range(50):
                assert neighbour.add(i, i) == 2 * i
        writer.execute("ROLLBACK")
        writer.close()
        wait_for(lambda: execute(db, "SELECT error_count FROM vms WHERE vm_id = 1") == [(1,)]
                 or "fault is not in the database" in mediator.log(), "the fault, or a word of it")


def test_a_broken_database_keeps_the_last_configuration(lab, db):
    register(db, 1, weight=61)
    with Mediator(lab, db=db) as mediator, mediator.device(1) as device:
        device.add(1, 1)
        execute(db, "ALTER TABLE vms RENAME TO elsewhere")
        with pytest.raises(wire.AdminError) as failure:
            reload(mediator)
        assert "last good configuration" in failure.value.text
        assert mediator.vm(1)["weight"] == 61 and device.add(1, 1) == 2
        with mediator.admin() as admin:
            health = admin.call(wire.SHOW_HEALTH)["mediator"]
        assert not health["ok"] and not health["database"]["ok"]
        execute(db, "ALTER TABLE elsewhere RENAME TO vms")
        reload(mediator)
        assert mediator.is_ready()


def test_what_is_no_database(lab):
    path = lab / "vgpu.db"
    path.write_bytes(b"this is no database at all, it only looks like a file" * 100)
    result = subprocess.run([program("vgpu-mediator"), "--db", path, "--backend", "cpu",
                             "--socket-path", lab / "s", "--admin-socket", lab / "a"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and str(path) in result.stderr


def test_a_newer_database_is_refused(lab, db):
    execute(db, "PRAGMA user_version = 99")
    result = subprocess.run([program("vgpu-mediator"), "--db", db, "--backend", "cpu",
                             "--socket-path", lab / "s", "--admin-socket", lab / "a"],
                            capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1 and "newer" in result.stderr


def test_pools_have_their_gpus(lab, db):
    register(db, 1, pool="A")
    register(db, 2, pool="B")
    execute(db, "INSERT INTO pool_gpus VALUES ('A', 'CPU-1')")
    execute(db, "INSERT INTO pool_gpus VALUES ('B', '2')")
    with Mediator(lab, "--gpus", "3", db=db) as mediator:
        with mediator.device(1) as one, mediator.device(2, pool="B") as two:
            assert one.add(1, 1) == 2 and two.add(1, 1) == 2
            assert mediator.vm(1)["gpu"] == 1 and mediator.vm(2)["gpu"] == 2
            pools = {pool["pool"]: pool["gpus"] for pool in mediator.status()["pools"]}
            assert pools == {"A": [1], "B": [2]}


def test_a_qemu_is_known_by_its_uuid(lab, db):
    register(db, 1)
    with Mediator(lab, trust=False, db=db) as mediator:
        with FakeQemu("-uuid", UUIDS[1].upper(), "-device", "vgpu-stub,vm_id=1",
                      path=mediator.socket) as qemu, qemu.connect(1) as device:
            assert device.add(1, 2) == 3
        with FakeQemu("-uuid", UUIDS[2], "-device", "vgpu-stub,vm_id=1",
                      path=mediator.socket) as liar, liar.connect(1) as device:
            try:
                assert device.run(wire.NOP).status == wire.NOT_REGISTERED
            except wire.Closed:
                pass


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_removed_or_replaced(lab, db, replaced):
    """The open file is nobody's any more: said at once, and the last configuration stays."""
    register(db, 1, weight=80)
    copy = lab / "copy.db"
    with Mediator(lab, "--vm", f"{UUIDS[1]}={lab}/1.sock", db=db) as mediator:
        with wire.Device(lab / "1.sock", vm_id=1) as device:
            assert device.add(1, 2) == 3
            connection = sqlite3.connect(db)
            connection.execute("VACUUM INTO ?", (str(copy),))
            connection.close()
            if replaced:
                copy.rename(db)
            else:
                db.unlink()
            with pytest.raises(wire.AdminError, match="removed or replaced"):
                reload(mediator)
            with mediator.admin() as admin:
                health = admin.call(wire.SHOW_HEALTH)["mediator"]["database"]
            assert not health["ok"] and "removed or replaced" in health["error"]
            assert device.add(2, 2) == 4 and mediator.vm(1)["weight"] == 80
