# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-file-bridge behind a real NFS server, asked by a real NFS client: nfs-ganesha on loopback
and libnfs, neither of which needs the kernel's NFS.

    apt-get install nfs-ganesha-vfs libnfs13        # then: systemctl disable --now nfs-ganesha
"""
import ctypes
import ctypes.util
import os
import shutil
import socket
import subprocess

import pytest

from mediator import Mediator, wait_for
from test_file_bridge import Bridge, set_up

LIBNFS = os.environ.get("VGPU_LIBNFS") or ctypes.util.find_library("nfs")
MISSING = [name for name, there in (("ganesha.nfsd", shutil.which("ganesha.nfsd")),
                                    ("libnfs", LIBNFS)) if not there]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="the server opens files by handle: root"),
]

CONFIG = """
NFS_CORE_PARAM {{
    Protocols = 4; NFS_Port = {port}; Bind_addr = 127.0.0.1;
    Enable_NLM = false; Enable_RQUOTA = false;
}}
NFS_KRB5 {{ Active_krb5 = false; }}
NFSv4 {{ Graceless = true; RecoveryRoot = {folder}; }}
EXPORT {{
    Export_Id = 1; Path = {root}; Pseudo = /vgpu; Protocols = 4; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; Attr_Expiration_Time = 0;
    FSAL {{ Name = VFS; }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """libnfs, as much as this test needs of it."""

    def __init__(self, port):
        self.lib = ctypes.CDLL(LIBNFS)
        self.lib.nfs_init_context.restype = ctypes.c_void_p
        self.lib.nfs_get_error.restype = ctypes.c_char_p
        self.lib.nfs_parse_url_dir.restype = ctypes.c_void_p
        self.nfs = ctypes.c_void_p(self.lib.nfs_init_context())
        url = f"nfs://127.0.0.1/vgpu?version=4&nfsport={port}".encode()
        assert self.lib.nfs_parse_url_dir(self.nfs, url)
        self.mounted = self.lib.nfs_mount(self.nfs, b"127.0.0.1", b"/vgpu") == 0

    def call(self, name, *arguments):
        result = getattr(self.lib, name)(self.nfs, *arguments)
        assert result >= 0, (name, arguments, self.lib.nfs_get_error(self.nfs))
        return result

    def open(self, path, flags):
        handle = ctypes.c_void_p()
        self.call("nfs_open2", path.encode(), flags, 0o666, ctypes.byref(handle))
        return handle

    def read(self, path):
        handle = self.open(path, os.O_RDONLY)
        text = ctypes.create_string_buffer(4096)
        got = self.call("nfs_read", handle, ctypes.c_uint64(len(text)), text)
        self.call("nfs_close", handle)
        return text.raw[:got].decode()

    def write(self, path, text, flags=os.O_TRUNC):
        """libnfs 4.0 takes O_CREAT as if O_EXCL were with it."""
        handle = self.open(path, os.O_WRONLY | flags)
        data = text.encode()
        assert self.call("nfs_write", handle, ctypes.c_uint64(len(data)), data) == len(data)
        self.call("nfs_close", handle)

    def rename(self, old, new):
        self.call("nfs_rename", old.encode(), new.encode())


class Guest:
    """A guest that knows nothing but NFS: one folder, two files."""

    def __init__(self, folder, root):
        self.folder = folder
        self.port = free_port()
        (folder / "nfs").mkdir()
        config = folder / "ganesha.conf"
        config.write_text(CONFIG.format(port=self.port, folder=folder / "nfs", root=root))
        with open(folder / "ganesha.out", "wb") as out:
            self.server = subprocess.Popen(
                ["ganesha.nfsd", "-F", "-f", config, "-L", folder / "ganesha.log", "-p",
                 folder / "ganesha.pid", "-N", "EVENT"], stdout=out, stderr=out)

        self.client = None

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def read(self, vm_id, name="response.txt"):
        return self.client.read(f"/vm{vm_id}/{name}")

    def write(self, vm_id, text):
        self.client.write(f"/vm{vm_id}/request.txt", text)

    def rename(self, vm_id, text):
        """As a guest should: all of the line at once."""
        self.client.write(f"/vm{vm_id}/new", text, os.O_CREAT)
        self.client.rename(f"/vm{vm_id}/new", f"/vm{vm_id}/request.txt")

    def ask(self, vm_id, text, how=None):
        before = self.read(vm_id)
        (how or self.write)(vm_id, text)
        return wait_for(lambda: (lambda r: r if r and r.endswith("\n") and r != before else None)(
            self.read(vm_id)), "the answer over NFS")

    def close(self):
        self.server.kill()
        self.server.wait(60)


@pytest.fixture(name="guest")
def make_guest(lab):
    root = lab / "files"
    set_up(root, 1, 2)
    with Mediator(lab, "--bridge-socket", lab / "bridge.sock"):
        one = Guest(lab, root)
        try:
            wait_for(lambda: one.server.poll() is not None or one.listens(), "the server")
            assert one.server.poll() is None, (lab / "ganesha.log").read_text(errors="replace")
            one.client = Client(one.port)
            assert one.client.mounted, one.client.lib.nfs_get_error(one.client.nfs)
            one.root = root
            yield one
        finally:
            one.close()


# The look at all folders comes after minutes: only an event can be why the request is seen.
@pytest.mark.parametrize("poll_ms", [200, 60000])
def test_a_guest_asks_over_nfs(guest, lab, poll_ms):
    with Bridge(guest.root, lab / "bridge.sock", "--poll-ms", str(poll_ms)):
        assert guest.ask(1, "A:2:1:100:200\n") == "1:300\n"
        assert guest.read(1, "request.txt") == "", "it is taken"
        assert guest.ask(1, "A:2:1:VECTOR_ADD\n").startswith("1:Vector add completed")
        assert guest.ask(2, "A:2:2:7:-9\n") == "1:-2\n"
        # The folder says which VM it is, over NFS as well.
        assert guest.ask(2, "A:2:1:1:1\n").startswith("2:")
        assert guest.ask(1, "A:2:1:3:4\n", guest.rename) == "1:7\n"
        # Without an end of line it is taken when nothing changes any more.
        assert guest.ask(1, "A:2:1:40:2") == "1:42\n"
