# SPDX-License-Identifier: GPL-2.0-or-later
"""The scripts around the device: the shim, the layout check, the patches, the guest image."""
import os
import shutil
import subprocess

import pytest

from conftest import BUILDS, TREE

QEMU = TREE / "qemu"
MODULE = TREE / "build" / "qemu"

needs_module = pytest.mark.skipif("module" not in BUILDS, reason="VGPU_VM_BUILDS leaves it out")


def run(*command, **environment):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
                          env={**os.environ, **environment})


@pytest.fixture(scope="module")
def module():
    assert run(QEMU / "vgpu-qemu", "--version").returncode == 0
    return MODULE


def test_patches_are_those_of_the_source():
    done = run(QEMU / "make-patches.sh", "--check")
    assert done.returncode == 0, done.stdout


@needs_module
def test_the_shim_leaves_other_programs_alone(module):
    done = run("/bin/sh", "-c", "echo $LD_PRELOAD; exec /bin/echo fine",
               LD_PRELOAD=f"{module}/vgpu-preload.so")
    assert (done.returncode, done.stdout) == (0, f"{module}/vgpu-preload.so\nfine\n")


@needs_module
def test_the_shim_does_not_reach_qemus_children(module, folder):
    """The migration stream of a machine without the device goes to a shell, which tells."""
    from qtest import Machine
    with Machine([str(QEMU / "vgpu-qemu")], folder) as vm:
        vm.qmp("migrate", uri=f"exec:cat >/dev/null; echo \"[$LD_PRELOAD]\" >{folder}/seen")
        from qemu_process import wait_for
        wait_for(lambda: (folder / "seen").exists() and (folder / "seen").read_text(), "it ran")
    assert (folder / "seen").read_text() == "[]\n"


@needs_module
def test_a_module_of_another_qemu_is_refused(module, tmp_path):
    """Headers whose PCIDevice is larger, as another patch level's would be."""
    version = (module / "qemu-version").read_text().strip()
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    name = "".join(c if c.isalnum() or c in ".+~-" else "_" for c in version)
    headers = tmp_path / "cache" / "vgpu-mediator" / "headers" / name
    shutil.copytree(os.path.join(cache, "vgpu-mediator", "headers", name), headers)
    changed = 0
    for file in ("pci.h", "pci_device.h"):
        path = headers / "include" / "hw" / "pci" / file
        if path.exists():
            text = path.read_text()
            changed += text.count("struct PCIDevice {")
            path.write_text(text.replace("struct PCIDevice {",
                                         "struct PCIDevice {\n    char grown[16];"))
    assert changed == 1
    built = run(QEMU / "build-module.sh", tmp_path / "out", XDG_CACHE_HOME=tmp_path / "cache")
    assert built.returncode == 0, built.stdout
    done = run(QEMU / "vgpu-qemu", "-device", "vgpu-stub,help",
               VGPU_MODULE_DIR=str(tmp_path / "out"))
    assert done.returncode == 1
    assert "vgpu-stub was built for another QEMU" in done.stdout
    assert "build-module.sh" in done.stdout


@needs_module
def test_a_missing_device_file_is_explained(module, tmp_path):
    shutil.copy(module / "vgpu-preload.so", tmp_path)
    done = run("/usr/bin/qemu-system-x86_64", "--version", LD_PRELOAD=f"{tmp_path}/vgpu-preload.so")
    assert done.returncode == 1
    assert "can't load the device into this QEMU" in done.stdout


def test_mkguest_explains_itself(tmp_path):
    mkguest = TREE / "tests" / "vm" / "mkguest"
    done = run(mkguest, "--output", tmp_path, "--add", "no-such-file=/bin/x")
    assert done.returncode == 2 and "no-such-file" in done.stdout
    done = run(mkguest, "--output", tmp_path / "guest", "--add", "/usr/bin/env=/opt/bin/env")
    assert done.returncode == 0, done.stdout
    names = subprocess.run(["cpio", "-t", "--quiet"], check=True, text=True,
                           stdin=open(tmp_path / "guest" / "initrd", "rb"),
                           stdout=subprocess.PIPE).stdout.split()
    assert {"init", "bin/busybox", "bin/sh", "opt/bin/env"} <= set(names)
    assert any(name.endswith("/libc.so.6") for name in names)  # env is not static
    assert (tmp_path / "guest" / "vmlinuz").stat().st_size > 1 << 20


@pytest.mark.parametrize("script,arguments,message", [
    ("build-qemu.sh", ["9.9"], "unknown argument '9.9'"),
    ("build-qemu.sh", ["7.2", "--source", "/nowhere"], "no folder '/nowhere'"),
    ("build-module.sh", ["--fast"], "unknown option --fast"),
    ("fetch-source.sh", ["sid"], "unknown source 'sid'"),
    ("make-patches.sh", ["--wrong"], "--check"),
])
def test_wrong_arguments(script, arguments, message):
    done = run(QEMU / script, *arguments)
    assert done.returncode != 0
    assert message in done.stdout
