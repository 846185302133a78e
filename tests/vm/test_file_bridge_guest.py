# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-file-bridge and a real guest, whose kernel mounts its folder by 9p, and by NFS 4 where
nfs-ganesha is installed. The guest has nothing of ours: a shell, two files.

The programs are taken from $VGPU_BIN, by default build/bin (run make before).
"""
import os
import shutil
import sys

import pytest

import guest_image
from conftest import TREE
from vm import Guest

sys.path.append(str(TREE / "tests" / "protocol"))
import test_file_bridge_nfs as nfs  # noqa: E402
from mediator import Mediator, program, wait_for  # noqa: E402
from test_file_bridge import Bridge, set_up  # noqa: E402

QEMU = shutil.which("qemu-system-x86_64")
MODULES = ("virtio_pci", "9pnet_virtio", "9p", "virtio_net", "nfsv4")
PROGRAMS = ("vgpu-mediator", "vgpu-keeper", "vgpu-worker", "vgpu-file-bridge")
# What a guest of Phase 2 does: a line into a file; and another file is read until it has one.
ASK = """#!/bin/sh
echo "$2" >"$1/request.txt"
while [ -n "$(cat "$1/request.txt")" ] || ! grep -q . "$1/response.txt"; do usleep 20000; done
cat "$1/response.txt"
"""
# As a guest should: all of the line at once.
ASK_BY_RENAME = """#!/bin/sh
>"$1/response.txt"
echo "$2" >"$1/new" && mv "$1/new" "$1/request.txt"
until grep -q . "$1/response.txt"; do usleep 20000; done
cat "$1/response.txt"
"""
pytestmark = [
    pytest.mark.skipif(not QEMU, reason="no qemu-system-x86_64 here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="guests' root writes as root of the host"),
]


@pytest.fixture(name="root")
def served_folders(folder):
    root = folder / "files"
    set_up(root, 1, 2)
    with Mediator(folder, "--bridge-socket", folder / "bridge.sock"):
        with Bridge(root, folder / "bridge.sock"):
            yield root


@pytest.fixture(name="boot")
def boot_guest(folder):
    def boot(*arguments, programs=False):
        try:
            kernel, loaded = guest_image.kernel_with_modules(MODULES)
        except guest_image.GuestImageError as error:
            pytest.skip(str(error))
        files = {f"/modules/{path.name}": path for path in loaded}
        if programs:
            files.update({f"/bin/{name}": program(name) for name in PROGRAMS})
        for name, text in (("ask", ASK), ("ask-by-rename", ASK_BY_RENAME)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
            files[f"/bin/{name}"] = folder / name
        guest = Guest([QEMU], folder, arguments, files=files, kernel=kernel)
        for path in loaded:
            code, said = guest.run(f"insmod /modules/{path.name}")
            assert code == 0, said
        return guest
    return boot


def ask_for_all(guest, mounted):
    """mounted: the guest's path of VM 1's folder."""
    assert guest.run(f"cat {mounted}/response.txt") == (0, "0:Ready")
    assert guest.run(f"ask {mounted} A:2:1:100:200") == (0, "1:300")
    code, said = guest.run(f"ask {mounted} A:1:1:VECTOR_ADD")
    assert (code, said) == (0, "1:Vector add completed on Pool A (vm=1, prio=1)")
    # The folder says which VM it is.
    code, said = guest.run(f"ask {mounted} A:2:2:1:1")
    assert code == 0 and said.startswith("2:this folder is VM 1's"), said
    assert guest.run(f"ask-by-rename {mounted} A:0:1:-40:-2") == (0, "1:-42")


def refused(root, why):
    wait_for(lambda: why in (root / "vm1" / "response.txt").read_text(), f"{why}: refused")


def test_a_guest_asks_by_9p(root, boot):
    with boot("-fsdev", f"local,id=f,path={root}/vm1,security_model=none", "-device",
              "virtio-9p-pci,fsdev=f,mount_tag=vgpu") as guest:
        code, said = guest.run("mkdir /vgpu && "
                               "mount -t 9p -o trans=virtio,version=9p2000.L vgpu /vgpu")
        assert code == 0, said
        ask_for_all(guest, "/vgpu")
        # The guest's root makes real links in the host's folder: none is followed.
        assert guest.run("cd /vgpu && rm request.txt && ln -s /etc/passwd request.txt")[0] == 0
        assert (root / "vm1" / "request.txt").is_symlink()
        refused(root, "symbolic link")
        assert guest.run("cd /vgpu && rm -f request.txt && mkdir request.txt")[0] == 0
        refused(root, "no plain file")
        assert guest.run("cd /vgpu && rm -r request.txt && ask /vgpu A:2:1:3:4") == (0, "1:7")


def bridge_on_a_mounted_root(guest, here):
    """The guest is the host of another bridge, whose root is a mount: it sees no events."""
    set_up(here, 3)
    (here / "vm3" / "response.txt").write_text("")
    guest.start("mkdir -p /run; vgpu-mediator --no-db --backend cpu --no-nvml --no-discovery "
                "--metrics-listen off --socket-path /tmp/s --admin-socket /tmp/a "
                "--bridge-socket /tmp/b >/tmp/log 2>&1 & "
                "until [ -S /tmp/b ]; do usleep 20000; done; "
                "vgpu-file-bridge --root /vgpu/away --socket /tmp/b --poll-ms 100 2>&1")
    assert "serving the VMs' folders" in guest.first_line(180)
    wait_for(lambda: (here / "vm3" / "response.txt").read_text() == "0:Ready\n", "the bridge")
    for numbers, answer in (("20:22", "1:42\n"), ("1:-8", "1:-7\n")):
        (here / "vm3" / "request.txt").write_text(f"A:1:3:{numbers}\n")
        wait_for(lambda: (here / "vm3" / "response.txt").read_text() == answer, "the answer")
        assert (here / "vm3" / "request.txt").read_text() == ""


@pytest.mark.skipif(not shutil.which("ganesha.nfsd"), reason="not installed: nfs-ganesha-vfs")
def test_a_guest_asks_by_nfs(root, folder, boot):
    server = nfs.Guest(folder, root)
    try:
        wait_for(lambda: server.server.poll() is not None or server.listens(), "the server")
        assert server.server.poll() is None, (folder / "ganesha.log").read_text(errors="replace")
        with boot("-netdev", "user,id=n", "-device",
                  "virtio-net-pci,netdev=n,romfile=", programs=True) as guest:
            code, said = guest.run(
                "ip link set lo up && ip address add 10.0.2.15/24 dev eth0 && "
                "ip link set eth0 up && mkdir /vgpu && mount -t nfs4 -o vers=4.2,addr=10.0.2.2,"
                f"clientaddr=10.0.2.15,port={server.port},proto=tcp,sec=sys 10.0.2.2:/vgpu /vgpu")
            assert code == 0, (said, guest.run("dmesg | tail")[1])
            ask_for_all(guest, "/vgpu/vm1")
            bridge_on_a_mounted_root(guest, root / "away")
    finally:
        server.close()
