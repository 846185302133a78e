# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole path: vgpu-client in real guests, the device, the real mediator and workers.

The programs are taken from $VGPU_BIN, by default build/bin (run make before).
"""
import json
import os
import pathlib
import signal
import struct
import subprocess
import tempfile

import pytest

from conftest import SLOT, TREE, Device, chardev
from qemu_process import TIED, wait_for
from qtest import Machine
from vm import Guest

BIN = pathlib.Path(os.environ.get("VGPU_BIN", TREE / "build" / "bin"))


pytestmark = pytest.mark.boots


@pytest.fixture(scope="module", autouse=True)
def programs():
    for name in ("vgpu-mediator", "vgpu-keeper", "vgpu-worker", "vgpu-client"):
        assert os.access(BIN / name, os.X_OK), f"{BIN / name} is missing: run make"


class Mediator:
    """The real one, on a socket in the test's folder, and nothing of it left behind."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.options = options
        self.path = folder / "mediator.sock"
        self.log = open(folder / "mediator.log", "ab")
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [*TIED, BIN / "vgpu-mediator", "--no-db", "--no-nvml", "--no-discovery", "--backend",
             "cpu",
             "--socket-path", self.path, "--admin-socket", self.folder / "admin.sock",
             *self.options], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.process.terminate()
        try:
            assert self.process.wait(180) == 0, self.output()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.log.close()

    def output(self):
        return (self.folder / "mediator.log").read_text(errors="replace")


@pytest.fixture
def mediate(folder):
    made = []

    def run(*options):
        made.append(Mediator(folder, *options))
        return made[-1]

    yield run
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def phase3_client(tmp_path_factory):
    """A client as the deployed guests have it."""
    program = tmp_path_factory.mktemp("guest") / "phase3_client"
    subprocess.run(["cc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program,
                    TREE / "tests/vm/phase3_client.c"], check=True)
    return program


@pytest.fixture
def boot(qemu, folder, guest_mmio, phase3_client):
    made = []

    def run(mediator, properties):
        place = pathlib.Path(tempfile.mkdtemp(dir=folder))
        guest = Guest(qemu, place, ["-chardev", f"socket,id=l,path={mediator.path},reconnect=1",
                                    "-device", f"vgpu-stub,chardev=l,{properties}"],
                      files={"/bin/vgpu-client": BIN / "vgpu-client",
                             "/bin/phase3_client": phase3_client,
                             "/bin/guest_mmio": guest_mmio})
        made.append(guest)
        # The chardev connects after a second when the mediator was slower than QEMU.
        wait_for(lambda: guest.run("vgpu-client --op nop")[0] == 0, "the first job", 60)
        return guest

    yield run
    for guest in made:
        guest.close()


def client(guest, arguments, limit_s=120):
    """Runs vgpu-client --json; returns its exit status and its last line, decoded."""
    code, output = guest.run("vgpu-client --json " + arguments, limit_s)
    return code, json.loads(output.splitlines()[-1])


def test_one_sum(mediate, boot):
    guest = boot(mediate(), "vm_id=5,pool_id=B,priority=high")
    assert guest.run("vgpu-client 100 200") == (0, "100 + 200 = 300")
    code, result = client(guest, "4294967295 2")
    assert (code, result["sum"], result["correct"]) == (0, 1, True)


def test_the_deployed_client(mediate, boot):
    """It was written before libvgpu, and goes on working unmodified: alone, beside today's
    client, and when it is refused."""
    mediator = mediate("--enable-test-ops", "--fault-threshold", "1")
    guest = boot(mediator, "vm_id=5,pool_id=B,priority=high")
    assert guest.run("phase3_client") == (0, "pool B, priority 2, vm_id 5")
    assert guest.run("phase3_client 100 200") == (0, "100 + 200 = 300")
    # What another left behind is no hindrance: longer requests, enabled interrupts, answers.
    for a, b in ((4294967295, 2), (0, 0), (7, 35)):
        assert guest.run("vgpu-client --op vadd-i32")[0] == 0
        assert guest.run(f"phase3_client {a} {b}") == (0, f"{a} + {b} = {(a + b) % 2 ** 32}")
    assert client(guest, "1 2")[1]["sum"] == 3
    guest.run("vgpu-client --op fail")
    assert guest.run("phase3_client 1 2") == (1, "error 11")  # quarantined
    mediator.kill()
    wait_for(lambda: guest.run("phase3_client 1 2") == (1, "error 3"), "no mediator", 60)
    mediator.start()
    wait_for(lambda: guest.run("phase3_client 1 2") == (0, "1 + 2 = 3"), "the mediator", 60)


def test_a_device_that_is_plugged_in_later(mediate, qemu, folder):
    """Nothing on the QEMU's command line says that it has one: the mediator knows it by its
    program and its -uuid."""
    mediator = mediate()
    wait_for(mediator.path.exists, "the socket")
    with Machine(qemu, folder, "-uuid", "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001",
                 *chardev(mediator.path)) as vm:
        vm.qmp("device_add", driver="vgpu-stub", id="gpu0", addr=str(SLOT), chardev="link",
               vm_id=7)
        device = Device(vm, SLOT).enable()
        device.submit(struct.pack("<IIIII", 0, 0, 0, 0, 0))  # NOP
        wait_for(lambda: "VM 7: connected" in mediator.output(), "the device")
        assert "connection refused" not in mediator.output()


def test_three_guests_at_once(mediate, boot):
    mediator = mediate()
    guests = [boot(mediator, f"vm_id={n},pool_id={'AB'[n % 2]},priority={n - 1}")
              for n in (1, 2, 3)]
    for guest in guests:
        guest.start("vgpu-client --json --op vadd-i32 --count 500")
    for guest in guests:
        code, output = guest.finish(120)
        summary = json.loads(output.splitlines()[-1])
        assert (code, summary["jobs"], summary["wrong"], summary["errors"]) == (0, 500, 0, 0)


def test_a_hostile_guest_harms_nobody(mediate, boot):
    """Bad lengths, writes all over the BAR and crashing jobs beside an honest guest."""
    mediator = mediate("--enable-test-ops")
    honest = boot(mediator, "vm_id=1")
    hostile = boot(mediator, "vm_id=2")
    honest.start("vgpu-client --json --op vadd-f32 --seconds 5")
    for _ in range(5):
        code, output = hostile.run("guest_mmio")
        assert code == 0, output
        # What guest_mmio left in the request buffer is no request: refused, not executed.
        code, output = hostile.run("vgpu-client --json --op crash")
        assert code != 0 and ("CUDA_ERROR" in output or "QUARANTINED" in output), output
    code, output = honest.finish(120)
    summary = json.loads(output.splitlines()[-1])
    assert code == 0 and summary["wrong"] == 0 and summary["errors"] == 0, summary
    assert summary["jobs"] > 0


def test_quarantine_reaches_the_guest(mediate, boot):
    guest = boot(mediate("--enable-test-ops", "--fault-threshold", "2"), "vm_id=1")
    for _ in range(2):
        guest.run("vgpu-client --op fail")
    code, output = guest.run("vgpu-client --json 1 2")
    assert code != 0
    assert "VM_QUARANTINED" in output


@pytest.mark.parametrize("wait", ["off", "on"])
def test_mediator_killed_under_load(mediate, boot, wait):
    """No reboot, no stuck request: the guests go on by themselves."""
    mediator = mediate()
    guests = [boot(mediator, f"vm_id={n},wait-mediator={wait}") for n in (1, 2, 3)]
    for guest in guests:
        guest.start("vgpu-client --json --op vadd-i32 --seconds 5 --keep-going --progress")
    for guest in guests:
        guest.first_line()  # a line of progress: it works
    mediator.kill()
    mediator.start()
    for guest in guests:
        code, output = guest.finish(120)
        summary = json.loads(output.splitlines()[-1])
        assert summary["event"] == "summary", output
        assert summary["wrong"] == 0
        if wait == "on":
            assert (code, summary["errors"]) == (0, 0), summary
        assert client(guest, "20 22")[1]["sum"] == 42
