# SPDX-License-Identifier: GPL-2.0-or-later
"""What a system call does that is not in a program's list: it ends that process alone."""
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from keeper import Keeper
import wire
from mediator import Mediator, alive, program, wait_for

NO_COMPILER = shutil.which(os.environ.get("CC", "cc")) is None
pytestmark = pytest.mark.skipif(NO_COMPILER, reason="the call is compiled here")

# In each program under test: it makes a call when it gets SIGUSR1, as one that is taken over would.
STRAY = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void stray(int number)
{
    char *const nothing[] = {0};
    (void)number;
    %s;
}

__attribute__((constructor)) static void begin(void)
{
    signal(SIGUSR1, stray);
}
"""

CALLS = {
    "execve": 'execve("/bin/true", nothing, nothing)',
    "ptrace": "ptrace(PTRACE_TRACEME, 0, 0, 0)",
    "inet": "socket(AF_INET, SOCK_STREAM, 0)",
    "fork": "syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)",
    "write_file": 'syscall(SYS_openat, -1, "/tmp/x", 0102, 0600)',
    "bpf": "syscall(SYS_bpf, 0, 0, 0)",
    "unshare": "syscall(SYS_unshare, 0)",
    "allowed": "(void)nothing, getpid()",
}


@pytest.fixture(name="astray")
def _astray(lab, monkeypatch):
    """A function: from now on the programs that are started make this call at SIGUSR1."""
    def begin(call):
        source, library = lab / "stray.c", lab / "stray.so"
        source.write_text(STRAY % CALLS[call])
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source],
                       check=True)
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(lab))  # what lies there is seen by workers, too
        monkeypatch.setenv("ASAN_OPTIONS", "verify_asan_link_order=0:handle_segv=0:handle_sigbus=0")
        for folder in (lab, *lab.parents):
            if os.stat(folder).st_uid == os.geteuid() and not os.stat(folder).st_mode & 0o001:
                os.chmod(folder, os.stat(folder).st_mode | 0o011)
    return begin


def sanitized():
    symbols = subprocess.run(["nm", "-D", program("vgpu-worker")], capture_output=True, text=True,
                             check=False)
    return "__asan_init" in symbols.stdout


def seccomp_of(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return [line.split()[1] for line in status.splitlines() if line.startswith("Seccomp:")][0]


@pytest.mark.parametrize("call", ["execve", "ptrace", "inet", "fork", "write_file", "bpf"])
def test_a_worker_that_goes_astray(lab, astray, call):
    if sanitized() and call in ("ptrace", "fork", "write_file"):
        pytest.skip("a sanitizer may do this")
    astray(call)
    with Mediator(lab) as mediator, mediator.device(1) as device, mediator.device(2) as other:
        assert device.add(1, 2) == 3 and other.add(1, 2) == 3
        worker, neighbour = mediator.vm(1)["worker_pid"], mediator.vm(2)["worker_pid"]
        assert seccomp_of(worker) == "2"
        os.kill(worker, signal.SIGUSR1)
        wait_for(lambda: "VM 1: its worker was ended by signal 31" in mediator.log(), "the word")
        assert "dmesg or the audit log" in mediator.log() and "--seccomp log" in mediator.log()
        assert other.add(2, 3) == 5 and mediator.vm(2)["worker_pid"] == neighbour
        assert device.add(3, 4) == 7 and mediator.vm(1)["worker_pid"] != worker


@pytest.mark.parametrize("mode", ["log", "none"])
def test_a_worker_that_may(lab, astray, mode):
    astray("unshare")
    with Mediator(lab, "--seccomp", mode) as mediator, mediator.device(1) as device:
        assert device.add(1, 2) == 3
        worker = mediator.vm(1)["worker_pid"]
        os.kill(worker, signal.SIGUSR1)
        assert device.add(2, 3) == 5 and mediator.vm(1)["worker_pid"] == worker
        assert seccomp_of(worker) == ("2" if mode == "log" else seccomp_of(os.getpid()))


def test_a_call_that_is_in_the_list(lab, astray):
    """The way to make a call astray harms nobody by itself."""
    astray("allowed")
    with Keeper(lab) as keeper, Mediator(lab, "--keeper-socket", keeper.path) as mediator, \
            mediator.device(1) as device:
        assert device.add(1, 2) == 3
        pids = [mediator.process.pid, keeper.process.pid, mediator.vm(1)["worker_pid"]]
        for pid in pids:
            assert seccomp_of(pid) == "2"
            os.kill(pid, signal.SIGUSR1)
        assert device.add(2, 3) == 5 and all(map(alive, pids))


@pytest.mark.parametrize("call", ["execve", "fork", "bpf", "unshare"])
def test_a_mediator_that_goes_astray(lab, astray, call):
    if sanitized() and call == "fork":
        pytest.skip("a sanitizer may do this")
    astray(call)
    with Keeper(lab) as keeper:
        mediator = Mediator(lab, "--keeper-socket", keeper.path).start()
        with mediator.device(1) as device:
            assert device.add(1, 2) == 3
            workers = keeper.workers()
            mediator.process.send_signal(signal.SIGUSR1)
            assert mediator.process.wait(60) == -signal.SIGSYS
        mediator.log_file.close()
        assert keeper.workers() == workers  # the next one finds them
        with Mediator(lab, "--keeper-socket", keeper.path) as again, again.device(1) as device:
            assert device.add(2, 3) == 5


def test_a_keeper_that_goes_astray(lab, astray):
    astray("bpf")
    with Keeper(lab) as keeper, Mediator(lab, "--keeper-socket", keeper.path) as mediator, \
            mediator.device(1) as device, mediator.device(2) as other:
        assert device.add(1, 2) == 3 and other.add(1, 2) == 3
        workers = keeper.workers()
        keeper.process.send_signal(signal.SIGUSR1)
        assert keeper.process.wait(60) == -signal.SIGSYS
        wait_for(lambda: not any(map(alive, workers)), "its workers to end with it")
        wait_for(lambda: "is lost, and its workers with it" in mediator.log(), "the word")
        keeper.path.unlink()
        keeper.__enter__()  # as systemd would
        assert device.add(2, 3) == 5 and other.add(2, 3) == 5
        assert mediator.vm(1)["fault_count"] == 0


def test_a_mediator_with_a_keeper_of_its_own_has_a_list(lab, astray):
    """What it has started, and starts again when that has ended, is not under it."""
    astray("execve")
    with Mediator(lab, "--seccomp", "kill", "--gpu-reset-command", "/bin/true") as mediator, \
            mediator.device(1) as device:
        assert device.add(1, 2) == 3
        assert seccomp_of(mediator.process.pid) == "2"
        os.kill(mediator.keeper(), signal.SIGKILL)
        wait_for(lambda: device.run(wire.NOP).status == wire.OK, "another keeper")
        assert device.add(2, 3) == 5
        os.kill(mediator.process.pid, signal.SIGUSR1)
        assert mediator.process.wait(60) == -signal.SIGSYS


def test_wrong_mode():
    for name in ("vgpu-mediator", "vgpu-keeper", "vgpu-worker"):
        result = subprocess.run([program(name), "--seccomp", "perhaps"], capture_output=True,
                                text=True, timeout=60, check=False)
        assert result.returncode == 2 and "kill, log or none" in result.stderr
