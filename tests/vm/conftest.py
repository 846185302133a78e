# SPDX-License-Identifier: GPL-2.0-or-later
"""What the VM tests share.  Each runs twice: with the device loaded into the
distribution's QEMU ("module") and with the device compiled in ("builtin", QEMU 7.2).

Tests that boot a guest take half a minute each, and see the same device in both: these run once,
in the one and the other by turns; VGPU_VM_EVERY=1 has them run twice, too.

VGPU_VM_BUILDS=module (or builtin) runs only one of them.  VGPU_XEN_ROOT=FOLDER, as
tests/xen/fetch-packages.sh prints it: "builtin" is the QEMU that tests/xen uses, too.
"""
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile

import pytest

import regs
from channel_host import begin, copied, opened  # noqa: F401  (fixtures)
from fake_mediator import FakeMediator
from qemu_process import wait_for
from qtest import Machine, PciDevice

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILDS = os.environ.get("VGPU_VM_BUILDS", "module,builtin").split(",")
SLOT = 5


def pytest_configure(config):
    config.addinivalue_line("markers", "boots: boots a guest; runs in one of the builds only")


def pytest_collection_modifyitems(config, items):
    if len(BUILDS) < 2 or os.environ.get("VGPU_VM_EVERY"):
        return
    numbers, dropped = {}, []
    for item in items:
        if item.get_closest_marker("boots"):
            build = item.callspec.params["qemu"]
            number = numbers.setdefault(item.nodeid.replace(build, ""), len(numbers))
            if build != BUILDS[number % len(BUILDS)]:
                dropped.append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def build_qemu(name):
    """The command that runs the QEMU of that name; builds what is missing."""
    if name == "module":
        command = [str(TREE / "qemu" / "vgpu-qemu")]
        # Once, before several tests at a time would do it.
        subprocess.run([*command, "--version"], check=True, stdout=subprocess.DEVNULL)
        return command
    assert name == "builtin", f"VGPU_VM_BUILDS: unknown build '{name}'"
    root = os.environ.get("VGPU_XEN_ROOT")
    built = subprocess.run([TREE / "qemu" / "build-qemu.sh", "7.2"] +
                           (["--xen", root] if root else []), check=True,
                           stdout=subprocess.PIPE, text=True)
    return [built.stdout.strip()]


@pytest.fixture(scope="session", params=BUILDS)
def qemu(request):
    return build_qemu(request.param)


@pytest.fixture
def folder():
    # Short: the path of a Unix socket has at most 107 bytes.
    path = tempfile.mkdtemp(prefix="vgpu-vm-")
    yield pathlib.Path(path)
    shutil.rmtree(path)


@pytest.fixture
def mediator(folder):
    mediator = FakeMediator(folder / "mediator.sock")
    yield mediator
    mediator.close()


class Device(PciDevice):
    """A vgpu-stub as a guest's driver sees it."""

    def reg(self, register):
        return self.read(register)

    def submit(self, request=b"\0" * 32):
        self.write_bytes(regs.REQUEST, request)
        self.write(regs.REQUEST_LEN, len(request))
        self.write(regs.DOORBELL, 1)

    def finished(self):
        """Waits until the request has ended; returns (STATUS, ERROR_CODE)."""
        wait_for(lambda: self.reg(regs.STATUS) != regs.BUSY, "the request ends")
        return self.reg(regs.STATUS), self.reg(regs.ERROR_CODE)

    def result(self):
        """The response's words, after a request that ended well."""
        status, error = self.finished()
        assert (status, error) == (regs.DONE, 0)
        count = struct.unpack("<I", self.read_bytes(regs.RESPONSE + 8, 4))[0]
        return struct.unpack(f"<{count}I", self.read_bytes(regs.RESPONSE + 32, 4 * count))


def chardev(path, name="link"):
    return ["-chardev", f"socket,id={name},path={path},reconnect=1"]


@pytest.fixture
def start(qemu, folder):
    """start() -> (machine, device), the device enabled in slot 5 and its chardev at
    the path of the fixture `mediator`, whether anybody listens there or not."""
    machines = []

    def run(properties="", *arguments, machine="pc", path=None, **more):
        joined = f"vgpu-stub,id=gpu0,addr={SLOT:#x},chardev=link" + \
            ("," + properties if properties else "")
        vm = Machine(qemu, folder, *chardev(path or folder / "mediator.sock"),
                     "-device", joined, *arguments, machine=machine, **more)
        machines.append(vm)
        return vm, Device(vm, SLOT).enable()

    yield run
    for vm in machines:
        vm.__exit__(None)


@pytest.fixture(scope="session")
def guest_mmio(tmp_path_factory):
    """The register test program, for the guest."""
    program = tmp_path_factory.mktemp("guest") / "guest_mmio"
    subprocess.run(["cc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror",
                    "-I", TREE / "include", "-o", program, TREE / "tests/vm/guest_mmio.c"],
                   check=True)
    return program
