# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting, stopping, sockets, identity: everything around the jobs."""
import contextlib
import json
import os
import pathlib
import signal
import socket
import stat
import subprocess
import tempfile

import pytest

import wire
from fake_qemu import FakeQemu
from mediator import Mediator, alive, program, wait_for

UUID = "11111111-2222-3333-4444-555555555555"


def run(*arguments):
    return subprocess.run([program("vgpu-mediator"), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, check=False)


def lab_arguments(lab, *more):
    return ["--no-db", "--backend", "cpu", "--no-discovery", "--socket-path", lab / "vgpu.sock",
            "--admin-socket", lab / "admin.sock", *more]


# ---- command line ----


def test_help_and_version():
    result = run("--help")
    assert result.returncode == 0
    assert "Example" in result.stdout and "--vm UUID=PATH" in result.stdout
    result = run("--version")
    assert result.returncode == 0 and result.stdout.startswith("vgpu-mediator ")


@pytest.mark.parametrize("arguments, word", [
    (["--nonsense"], "nonsense"),
    (["--polcy", "wfq"], "Did you mean --policy?"),
    (["--no-discovry"], "Did you mean --no-discovery?"),
    (["extra"], "extra"),
    (["--depth", "0"], "1 to 16"),
    (["--depth", "2x"], "2x"),
    (["--policy", "lottery"], "wfq"),
    (["--vm", "no-uuid=/tmp/x"], "UUID"),
    (["--vm", f"{UUID}="], "UUID=PATH"),
    (["--backend", "tpu"], "cuda"),
    (["--db", "/x", "--no-db"], "exclude"),
    (["--log-level", "loud"], "debug"),
    (["--quantum-us", "99999999999999999999"], "number"),
])
def test_wrong_usage(arguments, word):
    result = run(*arguments)
    assert result.returncode == 2
    assert word in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments, word", [
    (["--worker", "/nonexistent/worker"], "--worker"),
    (["--worker", "/bin/true"], "no usable answer"),
    (["--worker", "/bin/false"], "failed"),
])
def test_worker_that_is_none(lab, arguments, word):
    result = run(*lab_arguments(lab, *arguments))
    assert result.returncode == 1 and word in result.stderr


def test_socket_in_a_missing_folder(lab):
    result = run(*lab_arguments(lab, "--vm", f"{UUID}={lab}/missing/too/vm.sock"))
    assert result.returncode == 1 and "missing/too/vm.sock" in result.stderr
    assert not (lab / "vgpu.sock").exists() and not (lab / "admin.sock").exists()


def test_missing_database(lab):
    result = run("--db", lab / "none.db", "--backend", "cpu", "--admin-socket", lab / "admin.sock",
                 "--socket-path", lab / "vgpu.sock")
    assert result.returncode == 1 and "none.db" in result.stderr and "--no-db" in result.stderr


# ---- sockets ----


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_modes(lab):
    with Mediator(lab, "--vm", f"{UUID}={lab}/vm.sock") as mediator:
        assert mode_of(mediator.socket) == 0o600 and mode_of(lab / "vm.sock") == 0o600
        assert mode_of(mediator.admin_socket) in (0o600, 0o660)


def test_a_second_mediator_is_refused(lab):
    with Mediator(lab) as mediator:
        result = run(*lab_arguments(lab))
        assert result.returncode == 1
        assert "vgpu.sock" in result.stderr and "running already" in result.stderr
        with mediator.device() as device:
            assert device.add(1, 2) == 3


def test_dead_sockets_are_replaced(lab):
    for name in ("vgpu.sock", "admin.sock"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(lab / name))
        sock.close()
    with Mediator(lab) as mediator, mediator.device() as device:
        assert device.add(1, 2) == 3


def test_what_is_no_socket_is_left_alone(lab):
    (lab / "vgpu.sock").write_text("precious")
    result = run(*lab_arguments(lab))
    assert result.returncode == 1 and "no socket" in result.stderr
    assert (lab / "vgpu.sock").read_text() == "precious"


def test_a_foreign_socket_is_not_removed_at_the_end(lab):
    with Mediator(lab) as mediator:
        moved = lab / "moved.sock"
        mediator.admin_socket.rename(moved)
        mediator.socket.unlink()
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        other.bind(str(lab / "vm.sock"))
        os.link(lab / "vm.sock", mediator.socket)
        mediator.process.send_signal(signal.SIGTERM)
        assert mediator.process.wait(60) == 0
        assert mediator.socket.exists()
        other.close()


def test_a_vm_s_own_socket(lab):
    with Mediator(lab, "--vm", f"{UUID}={lab}/vm.sock", shared=False, trust=False) as mediator:
        with wire.Device(lab / "vm.sock", vm_id=3) as device:
            assert device.add(1, 2) == 3
            vm = mediator.vm(3)
            assert vm["uuid"] == UUID and vm["connected"]
            with mediator.admin() as admin:
                connections = admin.call(wire.SHOW_CONNECTIONS)["connections"]
            connection, = connections
            assert connection["pid"] == os.getpid() and connection["path"].endswith("vm.sock")


def test_long_socket_paths(lab):
    folder = lab / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    result = run(*lab_arguments(lab, "--vm", f"{UUID}={folder}/vm.sock"))
    assert result.returncode == 2 and "1 to 107" in result.stderr
    assert not (folder / "vm.sock").exists()


# ---- identity ----


def test_peers_that_are_no_qemu_are_refused(lab):
    with Mediator(lab, trust=False) as mediator:
        with mediator.device() as device:
            assert device.ended()
        wait_for(lambda: "--trust-claims" in mediator.log(), "the log line")


@contextlib.contextmanager
def qemu_device(path, *arguments, vm_id=1):
    with FakeQemu(*arguments, path=path) as qemu:
        with qemu.connect(vm_id) as device:
            yield device


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("device", ["vgpu-stub,vm_id=8,pool_id=A",
                                    '{"driver":"vgpu-stub","vm_id":8,"id":"gpu0"}'])
def test_a_qemu_is_known_by_its_command_line(lab, device, trust):
    with Mediator(lab, trust=trust, proc=True) as mediator:
        with qemu_device(mediator.socket, "-name", "guest=web,debug-threads=on", "-uuid", UUID,
                      "-device", device, vm_id=8) as qemu:
            assert qemu.add(20, 22) == 42
            vm = mediator.vm(8)
            assert vm["uuid"] == UUID and vm["name"] == "web"


def test_a_qemu_without_uuid_is_known_by_its_vm_ids(lab):
    with Mediator(lab, trust=False) as mediator:
        arguments = ["-device", "vgpu-stub,vm_id=8", "-device", "e1000", "-device",
                     "vgpu-stub,vm_id=9,chardev=c"]
        with qemu_device(mediator.socket, *arguments, vm_id=9) as qemu:
            assert qemu.add(1, 2) == 3
        with qemu_device(mediator.socket, *arguments, vm_id=10) as qemu:
            try:
                assert qemu.run(wire.NOP).status != wire.OK
            except (wire.Closed, BrokenPipeError):
                pass
        assert mediator.vm(10) is None


def test_a_qemu_that_nobody_can_know_is_refused(lab):
    with Mediator(lab, trust=False) as mediator:
        with qemu_device(mediator.socket, "-device", "vgpu-stub") as qemu:
            assert qemu.ended()
        wait_for(lambda: "neither -uuid nor vm_id" in mediator.log(), "the log line")


def test_a_device_that_was_plugged_in_later(lab):
    """device_add vgpu-stub in a QEMU that was started without one: its UUID says who it is."""
    with Mediator(lab, trust=False) as mediator:
        with qemu_device(mediator.socket, "-name", "web", "-uuid", UUID, vm_id=8) as qemu:
            assert qemu.add(20, 22) == 42
            vm = mediator.vm(8)
            assert vm["uuid"] == UUID and vm["name"] == "web"
        with qemu_device(mediator.socket, "-device", "e1000") as qemu:
            assert qemu.ended()
        wait_for(lambda: "neither -uuid nor vm_id" in mediator.log(), "the log line")


# ---- stopping ----


def test_sigterm_with_work_going_on(lab):
    with Mediator(lab, "--enable-test-ops") as mediator:
        devices = [mediator.device(vm_id) for vm_id in (1, 2, 3)]
        for device in devices:
            device.add(1, 1)
        for device in devices:
            device.submit(wire.HANG)
        wait_for(lambda: mediator.vm(1)["in_flight"], "a job to run")
        workers = mediator.workers()
        assert len(workers) == 3
        mediator.process.send_signal(signal.SIGTERM)
        assert mediator.process.wait(60) == 0
        assert not any(alive(worker) for worker in workers)
        assert not mediator.socket.exists() and not mediator.admin_socket.exists()
        for device in devices:
            assert device.ended()


def test_kill_and_restart(lab):
    mediator = Mediator(lab, "--enable-test-ops").start()
    with mediator.device() as device:
        device.add(1, 1)
        device.submit(wire.HANG)
        wait_for(mediator.workers, "the worker")
        workers = mediator.workers()
        mediator.kill()
        assert device.ended()
    wait_for(lambda: not any(alive(worker) for worker in workers), "the workers to die with it")
    mediator.log_file.close()
    with Mediator(lab) as again, again.device() as device:
        assert device.add(1, 2) == 3


def test_readiness_is_told(lab):
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.settimeout(60)
    notify.bind(str(lab / "notify"))
    os.environ["NOTIFY_SOCKET"] = str(lab / "notify")
    try:
        with Mediator(lab):
            assert notify.recv(64) == b"READY=1"
    finally:
        del os.environ["NOTIFY_SOCKET"]
    assert notify.recv(64) == b"STOPPING=1"
    notify.close()


def test_log_as_json(lab):
    with Mediator(lab, "--log-format", "json") as mediator, mediator.device() as device:
        device.add(1, 1)
        lines = [json.loads(line) for line in mediator.log().splitlines() if "mediator" in line]
        assert any("is ready" in line["text"] for line in lines)


def test_several_gpus_stood_for_by_the_cpu(lab):
    with Mediator(lab, "--gpus", "3") as mediator:
        devices = [mediator.device(vm_id) for vm_id in range(1, 7)]
        for device in devices:
            assert device.add(1, device.vm_id) == 1 + device.vm_id
        status = mediator.status()
        assert [gpu["uuid"] for gpu in status["gpus"]] == ["CPU-0", "CPU-1", "CPU-2"]
        assert sorted(vm["gpu"] for vm in status["vms"]) == [0, 0, 1, 1, 2, 2]
        for device in devices:
            device.close()


def test_a_process_that_hangs_its_reader_does_not_keep_it_from_stopping(lab):
    """A /proc whose entry of the peer can be opened, but not read to its end."""
    proc = lab / "proc"
    entry = proc / str(os.getpid())
    entry.mkdir(parents=True)
    (entry / "stat").write_text("1 (x) S" + " 1" * 19 + "\n")
    os.mkfifo(entry / "cmdline")
    mediator = Mediator(lab, "--proc", proc, trust=False).start()
    stuck = mediator.device()
    assert mediator.is_ready()
    mediator.process.send_signal(signal.SIGTERM)
    assert mediator.process.wait(60) == 0
    assert "stopping without it" in mediator.log()
    assert not mediator.socket.exists()
    stuck.close()
    mediator.log_file.close()


def test_sockets_in_folders_that_are_not_there_yet(lab):
    """As below /run after a boot: the last folder is made, for all to pass, and taken away."""
    uuid = "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001"
    own, shared = lab / "run" / "vm.sock", lab / "shared" / "vgpu.sock"
    mediator = Mediator(lab, "--vm", f"{uuid}={own}", "--socket-path", shared, shared=False)
    mediator.admin_socket = lab / "admin" / "admin.sock"
    mediator.command[mediator.command.index("--admin-socket") + 1] = str(mediator.admin_socket)
    with mediator:
        for path in (own, shared, mediator.admin_socket):
            assert path.is_socket()
            assert path.parent.stat().st_mode & 0o777 == 0o755
    assert not any(path.parent.exists() for path in (own, shared, mediator.admin_socket))


# ---- the default sockets, with a /tmp and a /run of the test's own ----

PRIVATE = ["unshare", "--mount", "sh", "-c",
           'mount --bind "$BUILT" "$OUTSIDE/bin" && mount -t tmpfs x /tmp && '
           'mount -t tmpfs x /run && eval "$IN_THE_WAY" && exec "$@"', "sh"]


@pytest.fixture(name="outside")
def outside_of_tmp():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield pathlib.Path(folder)


def default_mediator(outside, monkeypatch, in_the_way):
    """Its programs are seen below `outside`: they may lie in the /tmp that is hidden."""
    built = pathlib.Path(program("vgpu-mediator"))
    (outside / "bin").mkdir()
    monkeypatch.setenv("BUILT", str(built.parent))
    monkeypatch.setenv("OUTSIDE", str(outside))
    monkeypatch.setenv("IN_THE_WAY", in_the_way)
    mediator = Mediator(outside, shared=False, prefix=PRIVATE)
    mediator.command[len(PRIVATE)] = str(outside / "bin" / built.name)
    return mediator


def seen_by(mediator, path):
    return pathlib.Path(f"/proc/{mediator.process.pid}/root{path}")


def socket_problems(mediator):
    with mediator.admin() as admin:
        return {problem["subject"]: problem["text"]
                for problem in admin.call(wire.SHOW_HEALTH)["problems"]
                if problem["kind"] == "socket"}


def adds(path):
    try:
        with wire.Device(path) as device:
            return device.add(1, 2) == 3
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a /tmp of its own and serves in /run")
@pytest.mark.parametrize("in_the_way", [
    "mkdir /tmp/vgpu-mediator.sock", "mkfifo /tmp/vgpu-mediator.sock",
    "echo >/tmp/vgpu-mediator.sock", "ln -s nowhere /tmp/vgpu-mediator.sock"])
def test_whoever_is_in_the_way_in_tmp_keeps_nobody_from_starting(outside, monkeypatch, in_the_way):
    with default_mediator(outside, monkeypatch, in_the_way) as mediator:
        of_all = seen_by(mediator, "/tmp/vgpu-mediator.sock")
        of_root = seen_by(mediator, "/run/vgpu/mediator.sock")
        assert stat.S_IMODE(of_root.parent.stat().st_mode) == 0o755
        assert adds(of_root) and not adds(of_all)
        problems = socket_problems(mediator)
        assert list(problems) == ["/tmp/vgpu-mediator.sock"]
        assert "is no socket; it was left alone" in problems["/tmp/vgpu-mediator.sock"]
        assert "going on without /tmp/vgpu-mediator.sock" in mediator.log()
        of_all.rmdir() if "mkdir" in in_the_way else of_all.unlink()
        wait_for(lambda: adds(of_all), "the socket in /tmp")
        wait_for(lambda: not socket_problems(mediator), "health to be good again")
        # Another one of root's is no stranger: the second one says so and ends.
        second = subprocess.run(
            ["nsenter", "-t", str(mediator.process.pid), "--mount", mediator.command[len(PRIVATE)],
             "--no-db", "--backend", "cpu", "--no-discovery", "--admin-socket",
             str(outside / "second.sock")], capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1 and "is a vgpu-mediator running already?" in second.stderr
        assert adds(of_all) and adds(of_root)
