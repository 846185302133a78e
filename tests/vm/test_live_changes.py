# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes by vgpu-admin reach the registers of a device that runs.

The device in a real QEMU, the real mediator with a database, its workers and the real
vgpu-admin; the test plays the guest (qtest).  The mediator knows the VM by the UUID on
QEMU's command line, as on a host.  The programs are taken from $VGPU_BIN, by default
build/bin (run make before).
"""
import json
import os
import pathlib
import shlex
import signal
import struct
import subprocess

import pytest

import regs
from conftest import TREE
from qemu_process import TIED, wait_for

BIN = pathlib.Path(os.environ.get("VGPU_BIN", TREE / "build" / "bin"))
UUID = "7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d00%02d"
ONE, TWO = UUID % 1, UUID % 2
ADD = 1
NOT_REGISTERED = 0x0C


@pytest.fixture(scope="module", autouse=True)
def programs():
    for name in ("vgpu-mediator", "vgpu-keeper", "vgpu-worker", "vgpu-admin"):
        assert os.access(BIN / name, os.X_OK), f"{BIN / name} is missing: run make"


class Host:
    """A mediator and its administrator, in the test's folder."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {**os.environ, "VGPU_DB": str(folder / "vgpu.db"), "VGPU_TOOLSTACK": "none",
                    "VGPU_ADMIN_SOCKET": str(folder / "admin.sock")}
        self.log = open(folder / "mediator.log", "ab")
        self.process = None
        self.admin("init-db")

    def start(self):
        self.process = subprocess.Popen(
            [*TIED, BIN / "vgpu-mediator", "--db", self.env["VGPU_DB"], "--no-nvml", "--backend",
             "cpu", "--gpus", "2", "--no-discovery", "--metrics-listen", "off",
             "--socket-path", self.folder / "mediator.sock", "--admin-socket",
             self.env["VGPU_ADMIN_SOCKET"]],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        wait_for(lambda: self.run("status").returncode == 0 or self.process.poll() is not None,
                 "the mediator answers")
        assert self.process.poll() is None, self.output()

    def run(self, *arguments):
        return subprocess.run([BIN / "vgpu-admin", *arguments, "--json"], env=self.env, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)

    def admin(self, *arguments):
        """Runs vgpu-admin --json, which must succeed; what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr, self.output())
        return json.loads(done.stdout)

    def change(self, *arguments):
        """A change that the running mediator takes over, without a restart of the VM."""
        document = self.admin(*arguments)
        assert document["mediator"] == "applied" and not document["restart_needed"], document
        return document

    def connections(self):
        return self.admin("show-connections")["connections"]

    def output(self):
        return (self.folder / "mediator.log").read_text(errors="replace")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def close(self):
        try:
            if self.process:
                self.process.terminate()
                assert self.process.wait(180) == 0, self.output()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.log.close()


@pytest.fixture
def host(folder):
    host = Host(folder)
    yield host
    host.close()


def add(device, a, b):
    """Has the mediator add two numbers; the sum, or the error code."""
    device.submit(struct.pack("<8I2I", 0x00010000, ADD, 0, 2, 40, 0, 0, 0, a, b))
    status, error = device.finished()
    if status == regs.DONE:
        count, = struct.unpack("<I", device.read_bytes(regs.RESPONSE + 8, 4))
        assert (error, count) == (0, 1)
        return struct.unpack("<I", device.read_bytes(regs.RESPONSE + 32, 4))[0]
    assert status == regs.ERROR
    return error


def identity(device):
    return chr(device.reg(regs.POOL_ID)), device.reg(regs.PRIORITY), device.reg(regs.VM_ID)


def shows(device, pool, priority, vm_id):
    wait_for(lambda: identity(device) == (pool, priority, vm_id),
             f"the registers show {pool}, {priority}, {vm_id}")


def connected(host):
    wait_for(host.connections, "the device connects")


def test_registers_follow_the_database(host, start):
    """Each command that changes what the device shows, on a device that runs."""
    host.admin("register-vm", f"--vm-uuid={ONE}", "--vm-name=one", "--pool=B", "--priority=high",
               "--vm-id=11")
    host.start()
    # What is on QEMU's command line is of no account: the database says what the VM is.
    _, device = start("pool_id=A,priority=low,vm_id=99", "-uuid", ONE)
    shows(device, "B", 2, 11)
    assert add(device, 20, 22) == 42
    device.write(regs.IRQ_STATUS, 0xFFFFFFFF)

    for arguments, expected in (
            (["set-pool", "--vm-name=one", "--pool=A"], ("A", 2, 11)),
            (["set-priority", "--vm-name=one", "--priority=low"], ("A", 0, 11)),
            (["set-vm-id", "--vm-name=one", "--vm-id=4000000000"], ("A", 0, 4000000000)),
            (["update-vm", "--vm-name=one", "--pool=B", "--priority=medium", "--vm-id=3"],
             ("B", 1, 3))):
        host.change(*arguments)
        shows(device, *expected)
        # The guest is told that something changed, and its work goes on.
        assert device.reg(regs.IRQ_STATUS) & regs.IRQ_CONFIG
        assert add(device, 1, 2) == 3
        device.write(regs.IRQ_STATUS, 0xFFFFFFFF)
    connection, = host.connections()
    assert (connection["vm_id"], connection["uuid"]) == (3, ONE)
    assert len(host.connections()) == 1 and "disconnected" not in host.output()

    # What a device does not show changes nothing in it.
    host.change("set-weight", "--vm-name=one", "--weight=7")
    host.change("set-rate-limit", "--vm-name=one", "--rate=100000")
    vm, = host.admin("status")["vms"]
    assert (vm["weight"], vm["max_jobs_per_sec"]) == (7, 100000)
    assert add(device, 3, 4) == 7
    assert device.reg(regs.IRQ_STATUS) == regs.IRQ_COMPLETION
    assert identity(device) == ("B", 1, 3)


def test_the_vm_moves_to_the_pools_gpu(host, start):
    """The new pool is not only a letter: the work goes to its GPU."""
    for pool, gpu in (("A", 0), ("B", 1)):
        host.admin("assign-gpu", f"--pool={pool}", f"--gpu={gpu}")
    host.admin("register-vm", f"--vm-uuid={ONE}", "--vm-name=one")
    host.start()
    _, device = start("", "-uuid", ONE)
    for pool, gpu in (("A", 0), ("B", 1), ("A", 0)):
        host.change("set-pool", "--vm-name=one", f"--pool={pool}")
        shows(device, pool, 1, 1)
        assert add(device, 1, 1) == 2
        vm, = host.admin("status")["vms"]
        assert (vm["pool"], vm["gpu"]) == (pool, gpu)


@pytest.mark.parametrize("properties", ["", "vm_id=5"])
def test_registering_and_removing_a_running_vm(host, start, properties):
    host.start()
    _, device = start(properties, "-uuid", ONE)
    connected(host)
    assert add(device, 1, 2) == NOT_REGISTERED
    # The command that the log names is one that works as it stands.
    line, = [line for line in host.output().splitlines() if "vgpu-admin register-vm" in line]
    command = shlex.split(line.split("vgpu-admin ", 1)[1].split(" event=")[0])
    assert host.change(*command)["vm"]["uuid"] == ONE
    assert add(device, 1, 2) == 3
    host.change("update-vm", f"--vm-uuid={ONE}", "--pool=B", "--vm-id=8")
    shows(device, "B", 1, 8)
    assert add(device, 1, 2) == 3
    host.change("remove-vm", f"--vm-uuid={ONE}", "--yes")
    assert add(device, 1, 2) == NOT_REGISTERED


def test_two_vms_exchange_their_numbers(host, start):
    """No moment at which one is taken for the other."""
    for name, uuid in (("one", ONE), ("two", TWO)):
        host.admin("register-vm", f"--vm-uuid={uuid}", f"--vm-name={name}")
    host.start()
    _, device = start("", "-uuid", ONE)
    shows(device, "A", 1, 1)
    host.change("set-vm-id", "--vm-name=two", "--vm-id=9")
    host.change("set-vm-id", "--vm-name=one", "--vm-id=2")
    host.change("set-vm-id", "--vm-name=two", "--vm-id=1")
    shows(device, "A", 1, 2)
    assert add(device, 5, 6) == 11
    vms = {vm["vm_id"]: vm for vm in host.admin("status")["vms"]}
    assert vms[2]["connected"] and vms[2]["uuid"] == ONE and not vms[1]["connected"]


def test_quarantine(host, start):
    host.admin("register-vm", f"--vm-uuid={ONE}", "--vm-name=one")
    host.start()
    _, device = start("", "-uuid", ONE)
    connected(host)
    assert add(device, 1, 2) == 3
    host.change("quarantine-vm", "--vm-name=one", "--reason=looked at")
    assert add(device, 1, 2) == regs.E_QUARANTINED
    host.change("clear-quarantine", "--vm-name=one")
    assert add(device, 1, 2) == 3


def test_changed_while_the_mediator_is_down(host, start):
    """The database is the truth: the device learns it when the mediator is back."""
    host.admin("register-vm", f"--vm-uuid={ONE}", "--vm-name=one")
    host.start()
    _, device = start("", "-uuid", ONE)
    connected(host)
    assert add(device, 1, 2) == 3
    host.kill()
    document = host.admin("update-vm", "--vm-name=one", "--pool=B", "--priority=low", "--vm-id=77")
    assert document["mediator"] == "unreachable" and document["changed"]
    assert add(device, 1, 2) == regs.E_MEDIATOR_UNAVAILABLE
    assert identity(device) == ("A", 1, 1)
    host.start()
    shows(device, "B", 0, 77)
    assert add(device, 1, 2) == 3
