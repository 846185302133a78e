# SPDX-License-Identifier: GPL-2.0-or-later
"""Health is never green while a VM that should be served is not: show-health, /healthz, the metric
and the log say the same."""
import fcntl
import grp
import json
import os
import re
import sqlite3
import urllib.error
import urllib.request
import uuid

import pytest

import wire
from adminkit import UUID
from fake_qemu import QEMU_UID, FakeQemu
from mediator import BIN, Mediator, program, wait_for

PORT = re.compile(r"metrics for Prometheus on http://127\.0\.0\.1:(\d+)/metrics")


class Watched(Mediator):
    """A mediator whose HTTP is on a port of its own, with a database and vgpu-admin."""

    def __init__(self, kit, *arguments, **options):
        super().__init__(kit.folder, "--metrics-listen", "127.0.0.1:0", *arguments,
                         **{"db": kit.db, **options})
        self.kit = kit

    def get(self, path):
        port = PORT.findall(self.log())[-1]  # the log goes on from one run to the next
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


    def wait_for_problems(self, *kinds):
        """Until there are just these kinds: from then on nothing changes, and all agree."""
        def listed():
            problems = self.kit.run("show-health", "--json").json["problems"]
            return {problem["kind"] for problem in problems} == set(kinds)
        wait_for(listed, f"the problems {kinds}")
        return self.problems()


@pytest.fixture
def registered(kit):
    kit.ok("init-db")
    kit.ok("register-vm", "--vm-name=web", f"--vm-uuid={UUID[1]}", "--pool=B", "--priority=medium")
    return kit


def execute(kit, text, *values):
    with sqlite3.connect(kit.db, timeout=wire.PATIENCE_S) as connection:
        connection.execute(text, values)


def test_good(registered):
    with Watched(registered) as mediator:
        assert mediator.problems() == {}
        assert json.loads(mediator.get("/healthz")[1])["status"] == "ok"


def test_a_pool_with_vms_and_no_gpu(registered):
    execute(registered, "INSERT INTO pool_gpus (pool_id, gpu) VALUES ('B', 'GPU-elsewhere')")
    own = registered.folder / "vm.sock"
    with Watched(registered, "--vm", f"{UUID[1]}={own}") as mediator:
        severity, subject, text = mediator.problems()["pool"]
        assert (severity, subject) == ("error", "pool B")
        assert text.startswith("it has 1 VM and no GPU of this host") and "assign-gpu" in text
        assert mediator.log().count("pool B: it has 1 VM and no GPU") == 1
        with wire.Device(own, vm_id=1) as device:
            assert device.run(wire.ADD, (1, 2)).status == wire.INVALID_POOL
        assert "not served: INVALID_POOL" in mediator.log()
        assert "(its pool has no GPU of this host)" in mediator.log()
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
            # What the host can't do is not called the VM's mistake.
            assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
            wait_for(lambda: "VM 1: not served: GPU_UNAVAILABLE, which is no fault of the VM"
                     in mediator.log(), "it to be said")
            log = mediator.log()
            assert "(its worker does not start)" in log and "invalid request" not in log
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


def test_a_quarantine_that_cannot_be_written(registered):
    """It stays in force, whatever else is read from the database, and is written as soon as it
    can be."""
    own = registered.folder / "vm.sock"

    def written():
        with sqlite3.connect(registered.db, timeout=wire.PATIENCE_S) as connection:
            return connection.execute("SELECT quarantined FROM vms").fetchone()[0]

    with Watched(registered, "--vm", f"{UUID[1]}={own}", "--enable-test-ops", "--fault-threshold",
                 "1") as mediator:
        execute(registered, "CREATE TRIGGER full BEFORE UPDATE OF quarantined ON vms BEGIN "
                            "SELECT RAISE(ABORT, 'the disk is full'); END")
        with wire.Device(own, vm_id=1) as device:
            assert device.run(wire.FAIL).status == wire.CUDA_ERROR
            severity, _, text = mediator.wait_for_problems("database")["database"]
            assert severity == "warning" and "the disk is full" in text
            registered.ok("set-weight", "--vm-name=web", "--weight=70")
            assert device.run(wire.NOP).status == wire.VM_QUARANTINED
            assert mediator.vm(1)["quarantined"] and mediator.vm(1)["weight"] == 70
            assert "database" in mediator.problems() and not written()
            execute(registered, "DROP TRIGGER full")
            wait_for(written, "the next try")
            mediator.wait_for_problems()
            assert device.run(wire.NOP).status == wire.VM_QUARANTINED


# ---- the GPU driver: libcuda.so.1 is worker/cuda/test_libcuda.c

@pytest.fixture
def driver(registered, monkeypatch):
    """Says what cuInit answers from now on; None: all is well."""
    path = registered.folder / "cuinit"
    monkeypatch.setenv("LD_LIBRARY_PATH", os.environ.get("VGPU_STAND_IN_DIR")
                       or str(BIN.parent / "worker"))
    monkeypatch.setenv("STAND_IN_INIT", str(path))

    def answer(code):
        path.write_text(str(code or 0))

    return answer


@pytest.mark.parametrize("backend", ["auto", "cuda"])
@pytest.mark.parametrize("code", [803, 999, 100, 3])
def test_a_driver_that_fails_at_start(registered, driver, code, backend):
    """No silent CPU, no end: the VM is answered, and served as soon as the driver works."""
    own = registered.folder / "vm.sock"
    driver(code)
    with Watched(registered, "--vm", f"{UUID[1]}={own}", backend=backend) as mediator:
        severity, _, text = mediator.problems()["driver"]
        assert severity == "error" and "the NVIDIA driver does not start" in text
        assert ("its library and its kernel module differ" in text) == (code == 803)
        assert mediator.status()["backend"] == "cuda"
        with wire.Device(own, vm_id=1) as device:
            assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
            if code == 803:
                driver(None)
                wait_for(lambda: device.run(wire.ADD, (1, 2)).status == 0, "the driver")
                assert mediator.problems() == {}
                assert mediator.log().count("GPU driver: no longer a problem") == 1
        assert 'backend="cuda"' in mediator.get("/metrics")[1]


def test_a_driver_that_fails_later(registered, driver):
    own = registered.folder / "vm.sock"
    driver(None)
    with Watched(registered, "--vm", f"{UUID[1]}={own}", backend="auto") as mediator:
        assert mediator.problems() == {}
        driver(803)  # upgraded underneath: what runs goes on, what starts fails
        with wire.Device(own, vm_id=1) as device:
            assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
            mediator.wait_for_problems("driver", "worker")
            driver(None)
            wait_for(lambda: device.run(wire.ADD, (1, 2)).status == 0, "the worker")
            mediator.wait_for_problems()


def test_no_driver_is_no_problem_unless_it_is_wanted(registered, monkeypatch):
    (registered.folder / "libcuda.so.1").write_text("no library")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(registered.folder))
    with Watched(registered, backend="auto") as mediator:
        assert mediator.problems() == {} and mediator.status()["backend"] == "cpu"
    with Watched(registered, backend="cuda") as mediator:
        assert "no NVIDIA driver" in mediator.problems()["driver"][2]


# ---- sockets

def test_sockets_that_are_removed_are_made_again(registered):
    """By a cleaner of /tmp, say. Who is connected notices nothing."""
    own = registered.folder / "vm" / "vm.sock"
    with Watched(registered, "--vm", f"{UUID[1]}={own}") as mediator:
        with wire.Device(own, vm_id=1) as device:
            assert device.add(1, 2) == 3
            own.unlink()
            own.parent.rmdir()
            mediator.socket.unlink()
            mediator.admin_socket.unlink()
            wait_for(lambda: own.exists() and mediator.socket.exists(), "the sockets")
            wait_for(mediator.is_ready, "vgpu-admin's socket")
            assert device.add(3, 4) == 7
        with wire.Device(own, vm_id=1) as device:
            assert device.add(5, 6) == 11
        log = mediator.log()
        assert f"socket {own} was removed, and is made again (1. time)" in log
        assert f"socket {mediator.socket} was removed, and is made again (1. time)" in log
        assert f"vgpu-admin's socket {mediator.admin_socket} was removed, and is made again" in log
        assert mediator.problems() == {}
    assert not own.parent.exists()


def test_a_socket_that_cannot_be_made_again(registered):
    own = registered.folder / "vm.sock"
    with Watched(registered, "--vm", f"{UUID[1]}={own}") as mediator:
        own.unlink()
        own.mkdir()
        severity, subject, text = mediator.problems()["socket"]
        assert (severity, subject) == ("error", str(own)) and "is there and is no socket" in text
        own.rmdir()
        assert mediator.problems() == {}
        with wire.Device(own, vm_id=1) as device:
            assert device.add(5, 6) == 11
        assert mediator.log().count(f"{own}: no longer a problem (socket)") == 1


def test_vgpu_admins_socket_cannot_be_made_again(registered):
    """No VM misses it, but somebody should look."""
    with Watched(registered) as mediator:
        mediator.admin_socket.unlink()
        mediator.admin_socket.mkdir()
        status, body = mediator.get("/healthz")
        assert status == 200 and str(mediator.admin_socket) in body
        assert 'vgpu_health_problems{kind="socket"} 1' in mediator.get("/metrics")[1]
        mediator.admin_socket.rmdir()
        wait_for(mediator.is_ready, "vgpu-admin's socket")
        assert mediator.problems() == {}


NOBODY = 65534


@pytest.fixture
def apart(kit):
    """A VM of which no other test's QEMU is, and a folder that every user may enter."""
    vm = str(uuid.uuid4())
    kit.folder.chmod(0o755)
    kit.ok("init-db")
    kit.ok("register-vm", "--vm-name=apart", f"--vm-uuid={vm}", "--pool=A", "--priority=medium")
    return vm


def qemu_of(vm, path, uid=NOBODY):
    return FakeQemu("-uuid", vm, "-name", "apart", "-chardev", f"socket,id=c,path={path}",
                    "-device", "vgpu-stub,chardev=c,vm_id=1", path=path, uid=uid)


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts QEMUs as others")


@only_root
def test_a_qemu_that_may_not_open_the_shared_socket(kit, apart):
    with Watched(kit, discovery=True) as mediator, qemu_of(apart, mediator.socket) as qemu:
        subject = f"QEMU {qemu.process.pid} (apart)"
        severity, found, text = mediator.wait_for_problems("socket_access")["socket_access"]
        assert (severity, found) == ("error", subject)
        assert text.startswith(f"uid {NOBODY}, gid {NOBODY}, may not open its socket: "
                               f"{mediator.socket} (uid 0, gid 0, mode 0600) is in the way; start "
                               "vgpu-mediator with --socket-group")
        assert not qemu.connect()
        assert mediator.log().count(f"{subject}: uid {NOBODY}") == 1
        mediator.socket.chmod(0o666)
        mediator.wait_for_problems()
        with qemu.connect() as device:
            assert device.add(1, 2) == 3
        assert f"{subject}: {mediator.socket} is open to it now" in mediator.log()


@only_root
def test_a_qemu_that_nobody_registered_is_no_problem(kit, apart):
    with Watched(kit, discovery=True) as mediator, \
            qemu_of(str(uuid.uuid4()), mediator.socket) as qemu:
        wait_for(lambda: f"QEMU {qemu.process.pid} (apart): uid {NOBODY}" in mediator.log(),
                 "the line")
        assert mediator.problems() == {}


@only_root
def test_a_vms_own_socket_is_given_to_its_qemus_user(kit, apart):
    """--qemu-user says that nobody else runs as that user; libvirt-qemu is one by default."""
    own = kit.folder / "vm.sock"
    other = str(uuid.uuid4())
    arguments = ("--vm", f"{apart}={own}", "--vm", f"{other}={own}2")
    with Watched(kit, *arguments, discovery=True) as mediator, qemu_of(apart, own) as qemu:
        text = mediator.wait_for_problems("socket_access")["socket_access"][2]
        assert f"{own} (uid 0, gid 0, mode 0600) is in the way" in text
        assert text.endswith("or name the user with --qemu-user")
        assert not qemu.connect()
    with Watched(kit, *arguments, "--qemu-user", "nobody", discovery=True) as mediator, \
            qemu_of(apart, own) as qemu, qemu_of(apart, f"{own}2") as liar:
        wait_for(lambda: own.stat().st_uid == NOBODY, "the gift")
        with qemu.connect() as device:
            assert device.add(1, 2) == 3
        assert f"its socket {own} is given to its user, uid {NOBODY}" in mediator.log()
        # It stays so when it is made again; another VM's socket is not given.
        own.unlink()
        wait_for(lambda: own.exists() and own.stat().st_uid == NOBODY, "the socket")
        wait_for(lambda: liar.found_by(mediator), "the other one")
        wait_for(lambda: f"QEMU {liar.process.pid} (apart): uid {NOBODY}" in mediator.log(),
                 "its refusal")
        assert (kit.folder / "vm.sock2").stat().st_uid == 0 and not liar.connect()


@only_root
def test_one_mediator_looks_for_the_hosts_qemus(kit, registered):
    with open("/run/vgpu-discovery.lock", "a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except BlockingIOError:
            pass  # a mediator of this host has it already
        with Watched(registered, discovery=True, proc=False) as mediator:
            severity, subject, text = mediator.problems()["socket_access"]
            assert (severity, subject) == ("warning", "discovery")
            holder, = re.findall(r"another vgpu-mediator \(process (\d+)\)", text)
            assert os.path.exists(f"/proc/{holder}") and "--no-discovery" in text
            assert "this one goes on without" in mediator.log()
            with mediator.device() as device:  # it works otherwise
                assert device.add(1, 2) == 3
            if int(holder) == os.getpid():
                # It takes over, or a mediator does that is no part of this test.
                fcntl.flock(lock, fcntl.LOCK_UN)
                # What it then finds is this host's, and no part of this test either.
                wait_for(lambda: "this one does it from now on" in mediator.log() or
                         f"process {os.getpid()})" not in
                         registered.run("show-health", "--json").out, "its turn")
        with Watched(registered, proc=False) as mediator:
            assert mediator.problems() == {}


@only_root
def test_socket_group_is_for_all_sockets(kit):
    group = grp.getgrgid(NOBODY)
    own = kit.folder / "vm.sock"
    with Mediator(kit.folder, "--socket-group", group.gr_name, "--vm", f"{UUID[1]}={own}",
                  shared=False):
        found = own.stat()
        assert (found.st_gid, found.st_mode & 0o777) == (group.gr_gid, 0o660)
    with Mediator(kit.folder, "--socket-group", group.gr_name) as mediator:
        found = mediator.socket.stat()
        assert (found.st_gid, found.st_mode & 0o777) == (group.gr_gid, 0o660)


@only_root
def test_a_socket_that_a_qemu_removes_from_its_chroot(lab, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with Mediator(lab, trust=False, discovery=True) as mediator, \
            FakeQemu("-uuid", UUID[2], "-device", "vgpu-stub,vm_id=4", root=jail,
                     uid=QEMU_UID) as qemu:
        with wait_for(lambda: qemu.connect(4), "the socket to listen") as device:
            for turn in range(5):
                assert device.add(40, turn) == 40 + turn
                path.unlink()
                wait_for(path.exists, "the socket")
                with wait_for(lambda: qemu.connect(4), "the socket to listen"):
                    pass
        # Whoever does it without end makes few lines: the first, second and fourth time.
        assert mediator.log().count("was removed, and is made again") == 3
    assert not path.exists()
