# SPDX-License-Identifier: GPL-2.0-or-later
"""One Xen host for all tests: a boot costs more than any of them.  It has two guests, g1 and
g2; one that a test has ended is made again when another wants it.

  VGPU_BUILD   the build folder (default build); VGPU_BIN its programs (default build/bin)
  VGPU_XEN_KEEP=FOLDER   keep the consoles and logs there
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TREE / "tests" / "xen"), str(TREE / "tests" / "vm")]

import dom0_image  # noqa: E402
from xen_lab import UUIDS, XenHost  # noqa: E402

BUILD = pathlib.Path(os.environ.get("VGPU_BUILD", TREE / "build")).resolve()
BIN = pathlib.Path(os.environ.get("VGPU_BIN", BUILD / "bin")).resolve()
MEMORY_NEEDED_GIB = 8
VM_IDS = {"g1": 7, "g2": 8}
# Jobs take tens of milliseconds here, for one access of a guest to its device takes
# milliseconds: a VM that is owed is waited for in proportion.
# WORKER is a shell first, which asks for more than a worker's list of system calls has.
MEDIATOR = ("vgpu-mediator --backend cpu --no-nvml --enable-test-ops --fault-threshold 3 "
            "--seccomp log "
            "--anticipation-us 2000000 --overrun-ms 0 --patience-ms 5000 "
            "--worker /bin/gpu-worker")
# A GPU at work leaves the host's processor alone; what stands in for it yields it.
WORKER = "#!/bin/sh\n/bin/renice 19 $$ >/dev/null\nexec /usr/bin/vgpu-worker \"$@\"\n"


def memory_available_gib():
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(text.split("MemAvailable:")[1].split()[0]) / 2**20


def compile_for_guest(source, folder):
    program = folder / pathlib.Path(source).stem
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror",
                    "-static", "-I", TREE / "include", "-o", program, TREE / source], check=True)
    return program


class Mediator:
    """The daemon in Dom0."""

    def __init__(self, dom0):
        self.dom0 = dom0

    def start(self):
        self.dom0.check(f"({MEDIATOR} >>/tmp/mediator.log 2>&1 & echo $! >/run/mediator.pid)")
        self.dom0.wait("vgpu-admin show-health 2>&1 >/dev/null || "
                       "{ tail -5 /tmp/mediator.log; false; }", "the mediator is ready")

    def kill(self):
        self.dom0.check("kill -9 $(cat /run/mediator.pid)")
        self.dom0.wait("! kill -0 $(cat /run/mediator.pid) 2>/dev/null", "the mediator is gone")

    def log(self):
        return self.dom0.check("cat /tmp/mediator.log")

    def json(self, command):
        return json.loads(self.dom0.check(f"vgpu-admin {command} --json"))

    def vm(self, name):
        return next(vm for vm in self.json("status")["vms"] if vm["vm_id"] == VM_IDS[name])

    def connection(self, name):
        found = [c for c in self.json("show-connections")["connections"]
                 if c["vm_id"] == VM_IDS[name]]
        assert len(found) <= 1, found
        return found[0] if found else None

    def wait_connected(self, name, pid, limit_s=90):
        deadline = time.monotonic() + limit_s
        while True:
            found = self.connection(name)
            if found and found["pid"] == pid:
                return found
            assert time.monotonic() < deadline, f"{name} does not connect:\n{self.log()}"
            time.sleep(0.5)


@pytest.fixture(scope="session")
def dom0():
    free = memory_available_gib()
    if free < MEMORY_NEEDED_GIB:
        pytest.skip(f"the Xen lab needs {MEMORY_NEEDED_GIB} GiB of free memory, "
                    f"here are {free:.1f}")
    try:
        dom0_image.packages()
    except dom0_image.ImageError as error:
        pytest.skip(f"Xen's packages can't be had here: {error}")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-xen-"))
    try:
        programs = {"/bin/" + path.name: path for path in (
            compile_for_guest("tests/vm/guest_mmio.c", folder),
            compile_for_guest("tests/xen/mmio_time.c", folder))}
        client = BUILD / "guest/client/vgpu-client-static"
        assert client.exists(), f"{client} is missing: run make (static linking needs libc6-dev)"
        with XenHost(folder, BIN, {"/bin/vgpu-client": client, **programs}) as host:
            print(f"\nimages {host.image_s:.0f} s; Xen, Dom0 and two guests "
                  f"{'restored' if host.restored else 'booted and saved'} in {host.start_s:.0f} s")
            host.write("/bin/gpu-worker", WORKER)
            host.check("chmod +x /bin/gpu-worker && vgpu-admin init-db" + "".join(
                f" && vgpu-admin register-vm --vm-name={name} --vm-uuid={uuid} "
                f"--vm-id={VM_IDS[name]}" for name, uuid in UUIDS.items()))
            yield host
    finally:
        keep = os.environ.get("VGPU_XEN_KEEP")
        if keep:
            pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
            for path in folder.glob("*.log"):
                shutil.copy(path, f"{keep}/xen-{path.name}")
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def mediator(dom0):
    mediator = Mediator(dom0)
    mediator.start()
    yield mediator
    log = mediator.log()
    keep = os.environ.get("VGPU_XEN_KEEP")
    if keep:
        pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
        (pathlib.Path(keep) / "xen-mediator.log").write_text(log)


@pytest.fixture(scope="session")
def guests(dom0, mediator):
    """guests(name): the running guest of that name, connected."""

    connected = {}

    def get(name="g1"):
        started = time.monotonic()
        guest = dom0.guest(name)
        if connected.get(name) != guest.pid:
            mediator.wait_connected(name, guest.pid)
            connected[name] = guest.pid
            if guest.domid > len(UUIDS):
                print(f"\n{name} is domain {guest.domid}, waited for "
                      f"{time.monotonic() - started:.0f} s")
        return guest

    return get


@pytest.fixture
def guest(guests):
    return guests("g1")
