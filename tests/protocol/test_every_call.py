# SPDX-License-Identifier: GPL-2.0-or-later
"""Each call of the mediator that asks the host for something fails once, alone: an allocation, a
descriptor, a mapping. It then serves, or ends with an error that is said. Nothing hangs.

A few of them by default; VGPU_EVERY_CALL=1: each that a start, a job and a command reach."""
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import wire
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
