# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of the mediator that asks the host for something fails once, alone: an allocation, a
descriptor, a mapping. It then serves, or ends with an error that is said. Nothing hangs. The same
for a worker with a job and a channel: what it can't do is refused with the error for that.

A few of them by default; VGPU_EVERY_CALL=1: each that a start, a job and a command reach."""
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

import host_channel as hc
import wire
import worker_link
from mediator import BIN, program

LIBRARY = (pathlib.Path(os.environ.get("VGPU_BUILD", BIN.parent)).resolve() / "tests" / "faults" /
           "libvgpu-fail-call.so")
SAMPLE, PATIENCE_S = 8, 60
# What libuv and the C library answer by abort(): the mediator says that it ends.
SAID = ("error: ", "Assertion")

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="not with sanitizers")


class Run:
    """One life of a mediator, from its start to SIGTERM; the call of this number fails."""

    def __init__(self, kind, number):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-call-"))
        self.admin, self.socket, self.count = folder / "a", folder / "s", folder / "count"
        env = {**os.environ, "LD_PRELOAD": str(LIBRARY), "VGPU_FAIL_KIND": kind,
               "VGPU_FAIL_CALL": str(number), "VGPU_FAIL_PROGRAM": "vgpu-mediator",
               "VGPU_FAIL_COUNT": str(self.count)}
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [program("vgpu-mediator"), "--no-db", "--backend", "cpu", "--no-nvml",
                 "--trust-claims", "--no-discovery", "--metrics-listen", "off", "--admin-socket",
                 self.admin, "--socket-path", self.socket, "--worker-confine", "never",
                 "--state", folder / "state"], env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        try:
            self.served = self.use()
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            self.status = self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.log = (folder / "log").read_text(errors="replace")
            self.calls = int(self.count.read_text()) if self.count.exists() else None
            shutil.rmtree(folder)

    def use(self):
        """A job and a command; the first try may be the one that fails."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with wire.Admin(self.admin) as admin:
                    admin.call(wire.SHOW_STATUS)
                with wire.Device(self.socket, 1) as device:
                    if device.run(wire.ADD, (1, 2)).results == (3,):
                        return True
            except (OSError, wire.Closed, wire.AdminError):
                pass
            time.sleep(0.02)
        return False


def judge(kind, number):
    run = Run(kind, number)
    where = f"{kind} call {number}: status {run.status}\n{run.log}"
    if (run.status, run.log) == (-signal.SIGSEGV, "") or "thread-local data: ABORT" in run.log:
        return  # the C library's own, in its name service and its loader
    if run.status == 0:
        assert run.served, where
    else:
        assert run.status in (1, -signal.SIGABRT), where
        assert any(text in run.log for text in SAID), where


@pytest.mark.parametrize("kind", ["calls", "memory"])
def test_each_call_that_fails(kind):
    usual = Run(kind, 0)
    assert usual.status == 0 and usual.served and usual.calls > 50, usual.log
    numbers = range(1, usual.calls + 1)
    if not os.environ.get("VGPU_EVERY_CALL"):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")
        numbers = random.Random(seed).sample(numbers, SAMPLE)
    for number in numbers:
        judge(kind, number)


class WorkerRun:
    """One life of a worker, with a job and a channel; the call of this number fails."""

    CHANNEL, OPENED = 5, 6
    GEOMETRY = (1, 0, 4096, 131072, 0)
    BYTES = 3 * 4096 + 131072

    def __init__(self, kind, number, folder):
        count = folder / "count"
        count.unlink(missing_ok=True)
        env = {**os.environ, "LD_PRELOAD": str(LIBRARY), "VGPU_FAIL_KIND": kind,
               "VGPU_FAIL_CALL": str(number), "VGPU_FAIL_PROGRAM": "vgpu-worker",
               "VGPU_FAIL_COUNT": str(count)}
        self.opened = self.answered = self.done = None
        said = ""
        # Without its list of system calls: it has to say how many calls there were.
        with worker_link.Worker("--seccomp", "none", wait_ready=False, env=env) as worker:
            try:
                self.use(worker)
                worker.quit()
            except RuntimeError as error:
                said = str(error)  # with what was on stderr
            except (worker_link.Closed, BrokenPipeError):
                pass  # it has left: its status says why
            self.status = worker.exit_status()
            self.log = said + worker.stderr_text()
        self.calls = int(count.read_text()) if count.exists() else None

    def use(self, worker):
        worker.receive_ready()
        self.done = worker.run(wire.ADD, (1, 2)).results
        eventfds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        memory = os.memfd_create("chunk", os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, self.BYTES)
        channel = hc.Channel(None, 0, [*eventfds, memory],
                             (0, 0, hc.HOST, 1, *self.GEOMETRY, self.BYTES))
        try:
            body = struct.pack("<2I4IQ2I", 1, 1, *self.GEOMETRY, hc.HOST, 0)
            head = worker_link.HEADER.pack(worker_link.MAGIC, 1, self.CHANNEL,
                                           worker_link.HEADER.size + len(body), 0, 7)
            socket.send_fds(worker.sock, [head + body], [*eventfds, memory])
            kind, handle, body = worker.receive_frame()
            assert (kind, handle) == (self.OPENED, 7)
            self.opened, = struct.unpack_from("<I", body)
            if self.opened == wire.OK:
                target = hc.handle(1)
                channel.put(channel.bulk_record(hc.ALLOC, target=target, count=4096))
                channel.publish()
                self.answered = channel.answer()[0]
        finally:
            channel.close_fds()


def judge_worker(kind, number, folder):
    run = WorkerRun(kind, number, folder)
    where = (f"{kind} call {number}: status {run.status}, opened {run.opened}, answered "
             f"{run.answered}\n{run.log}")
    if (run.status, run.log) == (-signal.SIGSEGV, "") or "thread-local data: ABORT" in run.log:
        return  # the C library's own
    if run.status == 0:
        assert run.done == (3,) and run.opened is not None, where
        # What was refused has a typed error; all else is right.
        assert run.opened in (wire.OK, wire.MEMORY_LIMIT, wire.GPU_UNAVAILABLE), where
        assert run.opened != wire.OK or run.answered in (wire.OK, wire.MEMORY_LIMIT), where
    else:
        assert run.status == worker_link.EXIT_BACKEND and "error" in run.log, where


@pytest.mark.parametrize("kind", ["calls", "memory"])
def test_each_call_of_a_worker_that_fails(kind, tmp_path):
    usual = WorkerRun(kind, 0, tmp_path)
    assert (usual.status, usual.done, usual.opened, usual.answered) == (0, (3,), 0, 0), usual.log
    assert usual.calls >= 3
    numbers = range(1, usual.calls + 1)
    if not os.environ.get("VGPU_EVERY_CALL"):
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")
        numbers = random.Random(seed).sample(numbers, min(SAMPLE, len(numbers)))
    for number in numbers:
        judge_worker(kind, number, tmp_path)
