# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-qemu out of folders whose paths LD_PRELOAD can't carry."""
import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import BUILDS, TREE
from qemu_process import wait_for

WRAPPER = str(TREE / "qemu" / "vgpu-qemu")

pytestmark = pytest.mark.skipif("module" not in BUILDS, reason="VGPU_VM_BUILDS leaves it out")


@pytest.fixture(params=["a blank", "a:colon", "$LIB", "all: of $ORIGIN  'them\""])
def module(request, tmp_path):
    """The module in such a folder."""
    subprocess.run([WRAPPER, "--version"], check=True, stdout=subprocess.DEVNULL)
    built = pathlib.Path(os.environ.get("VGPU_MODULE_DIR", TREE / "build" / "qemu"))
    return shutil.copytree(built, tmp_path / request.param)


def run(module, *arguments, shell=(), **options):
    return subprocess.run([*shell, WRAPPER, *arguments], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                          env={**os.environ, "VGPU_MODULE_DIR": str(module)}, **options)


@pytest.mark.parametrize("shell", [(), ("bash",), ("busybox", "sh")], ids=["sh", "bash", "busybox"])
def test_the_device_is_there(module, shell):
    if shell and not shutil.which(shell[0]):
        pytest.skip(f"no {shell[0]} here")
    done = run(module, "-device", "vgpu-stub,help", shell=shell)
    assert done.returncode == 0 and "vm_id=<uint32>" in done.stdout, done.stdout
    assert "ld.so" not in done.stdout


def test_the_folder_is_not_left_open(module, folder):
    """Nor is a descriptor of the caller's used for it: here those that come first are taken."""
    theirs = folder / "theirs"
    theirs.touch()
    pidfile = folder / "pid"
    with subprocess.Popen(["sh", "-c", f'exec "$@" 9<{theirs} 8<{theirs}', "sh", WRAPPER, "-M",
                           "none", "-nodefaults", "-display", "none", "-S", "-pidfile",
                           str(pidfile)], stdin=subprocess.DEVNULL,
                          env={**os.environ, "VGPU_MODULE_DIR": str(module)}) as process:
        try:
            wait_for(lambda: process.poll() is not None or pidfile.exists() and
                     pidfile.read_text().strip(), "QEMU")
            assert pidfile.read_text().strip() == str(process.pid)
            fds = {fd.name: os.readlink(fd)
                   for fd in pathlib.Path(f"/proc/{process.pid}/fd").iterdir()}
        finally:
            process.terminate()
    assert fds["9"] == fds["8"] == str(theirs)
    assert not [path for path in fds.values() if path.startswith(str(module))], fds


def test_no_descriptor_is_free(module, tmp_path):
    opened = " ".join(f"{fd}</dev/null" for fd in range(3, 10))
    done = run(module, "--version", shell=("sh", "-c", f'exec "$@" {opened}', "sh"))
    assert done.returncode == 1
    assert "no descriptor from 3 to 9 is free" in done.stdout and str(module) in done.stdout
