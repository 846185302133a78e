# SPDX-License-Identifier: GPL-2.0-or-later
"""A real vgpu-mediator process for tests: starts it, waits until it is ready, looks at it,
and sees to it that nothing of it is left."""

import os
import pathlib
import signal
import subprocess
import time

import wire
from fake_qemu import Proc


TREE = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("VGPU_BIN_DIR") or os.environ.get("VGPU_BIN")
                   or TREE / "build" / "bin").resolve()


def program(name):
    path = BIN / name
    assert path.exists(), f"{path} is missing: build first, or set VGPU_BIN"
    return str(path)


def wait_for(condition, what, timeout=wire.PATIENCE_S):
    """The first true value of condition(); the time is for slow machines only."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.02)


def children(pid):
    """Pids of the living children (zombies do not count)."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return [child for child in found if alive(child)]


def keepers_below(pid):
    """Its own keeper: a process between the two has started it, and waits for its end."""
    return [keeper for launcher in children(pid) for starter in children(launcher)
            for keeper in children(starter)]


def alive(pid):
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def serves_a_vm(pid):
    """Not so: the process that compiles our kernels for a GPU, once, at a keeper's start."""
    try:
        return b"--vm-id" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Mediator:
    """In a folder of its own. Arguments are added to those that keep it there."""

    def __init__(self, folder, *arguments, db=None, shared=True, trust=True, backend="cpu",
                 discovery=False, prefix=(), proc=None, user=None):
        """user: its uid and gid, if it is another than ours. proc: True: it sees this test's fake
        QEMUs and no other process; False: all of this host's; None: True where it has to know
        QEMUs."""
        self.folder = pathlib.Path(folder)
        self.socket = self.folder / "vgpu.sock"
        self.admin_socket = self.folder / "admin.sock"
        self.log_path = self.folder / "mediator.log"
        self.command = [*prefix, program("vgpu-mediator"), "--admin-socket", str(self.admin_socket),
                        "--backend", backend, "--no-nvml"]
        if shared:
            self.command += ["--socket-path", str(self.socket)]
        if trust:
            self.command.append("--trust-claims")
        if not discovery:
            self.command.append("--no-discovery")
        if proc is None:
            proc = (discovery or not trust) and "--proc" not in map(str, arguments)
        if proc:
            self.command += ["--proc", str(Proc.current.folder)]
        self.command += ["--db", str(db)] if db else ["--no-db"]
        if backend != "cpu" and "--keeper-socket" not in arguments:
            self.command += ["--worker-cache", str(self.folder / "cache")]
        self.command += [str(argument) for argument in arguments]
        self.process = None
        self.identity = {"user": user, "group": user, "extra_groups": []} if user else {}

    def start(self):
        self.log_file = open(self.log_path, "ab")
        # Some tests have workers crash, which a sanitizer must not report as a finding.
        env = {"ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0", **os.environ}
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, env=env,
                                        stdout=self.log_file, stderr=self.log_file,
                                        **self.identity)
        wait_for(lambda: self.process.poll() is not None or self.is_ready(), "the mediator")
        assert self.process.poll() is None, self.log()
        return self

    def is_ready(self):
        try:
            with self.admin() as admin:
                return bool(admin.call(wire.SHOW_HEALTH))
        except (OSError, wire.Closed, wire.AdminError):
            return False

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.log_file.close()
        if self.process.poll() is not None:
            if failure[0]:
                print(self.log())
            return
        workers = self.workers()
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        if failure[0]:
            print(self.log())
            return
        assert status == 0, self.log()
        log = self.log()
        assert "Sanitizer" not in log and "runtime error" not in log, log
        assert not self.admin_socket.exists() and not self.socket.exists()
        assert not any(alive(worker) for worker in workers)

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def device(self, vm_id=1, **options):
        return wire.Device(self.socket, vm_id, **options)

    def admin(self):
        return wire.Admin(self.admin_socket)

    def status(self):
        with self.admin() as admin:
            return admin.call(wire.SHOW_STATUS)

    def vm(self, vm_id):
        for vm in self.status()["vms"]:
            if vm["vm_id"] == vm_id:
                return vm
        return None

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def keeper(self):
        """The pid of its own vgpu-keeper, whose children the workers are."""
        keeper, = keepers_below(self.process.pid)
        return keeper

    def workers(self):
        return [worker for keeper in keepers_below(self.process.pid)
                for worker in children(keeper) if serves_a_vm(worker)]
