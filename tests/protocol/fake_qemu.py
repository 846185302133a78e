# SPDX-License-Identifier: GPL-2.0-or-later
"""A process whose command line is a QEMU's. It goes into a chroot and to another user if
told so, and connects for us: the device at the other end is ours, the peer is that process.
It writes over its own command line too, as one that was taken over can.

Its program is Python, so no mediator takes it for a QEMU but those of the same test: they look at
a /proc of their own, in which its program has a QEMU's name."""

import os
import pathlib
import shutil
import socket
import struct
import subprocess

import wire

QEMU_UID = 65536  # of those in chroots; no user of the host has it

PROGRAM = "/usr/bin/qemu-system-x86_64"
ENTRIES = ("stat", "status", "cmdline", "root", "ns")


class Proc:
    """A folder that shows some processes of /proc; entries appear and go as a whole."""
    current = None  # the running test's

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.show(os.getpid(), f"/proc/{os.getpid()}/exe")
        Proc.current = self

    def show(self, pid, program=PROGRAM):
        entry = self.folder / f"new-{pid}"
        entry.mkdir()
        for name in ENTRIES:
            (entry / name).symlink_to(f"/proc/{pid}/{name}")
        if program.startswith("/proc/"):
            program = os.readlink(program)
        (entry / "exe").symlink_to(program)
        entry.rename(self.folder / str(pid))

    def hide(self, pid):
        gone = (self.folder / str(pid)).rename(self.folder / f"gone-{pid}")
        shutil.rmtree(gone)


BODY = """
import ctypes, os, socket, struct, sys
begin, end = map(int, open("/proc/self/stat").read().rpartition(")")[2].split()[45:47])
root, uid, path = os.environ["QEMU_ROOT"], int(os.environ["QEMU_UID"]), os.environ["QEMU_SOCKET"]
passed = socket.socket(fileno=int(os.environ["QEMU_FD"]))
if root:
    os.chroot(root)
    os.chdir("/")
if uid:
    os.setgid(uid)
    os.setuid(uid)
passed.send(b"r")
while order := passed.recv(1):
    if order == b"w":
        old = passed.recv(struct.unpack("=H", passed.recv(2))[0])
        new = passed.recv(len(old), socket.MSG_WAITALL)
        at = begin + ctypes.string_at(begin, end - begin).rindex(old)
        ctypes.memmove(at, new, len(new))
        passed.send(b"r")
        continue
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
        socket.send_fds(passed, [b"y"], [sock.fileno()])
    except OSError as error:
        passed.send(b"n")
    sock.close()
"""


class FakeQemu:
    def __init__(self, *arguments, path="/tmp/vgpu-mediator.sock", root="", uid=0,
                 program=PROGRAM):
        self.ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-c", BODY, *arguments], executable="/usr/bin/python3",
            stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            env={**os.environ, "QEMU_SOCKET": str(path), "QEMU_FD": str(theirs.fileno()),
                 "QEMU_ROOT": str(root), "QEMU_UID": str(uid)})
        theirs.close()
        self.ours.settimeout(wire.PATIENCE_S)
        assert self.ours.recv(1) == b"r"
        self.proc = Proc.current
        self.proc.show(self.process.pid, program)

    def connect(self, vm_id=1):
        """A device whose peer is this process, or None: it could not connect."""
        self.ours.send(b"c")
        data, fds, _, _ = socket.recv_fds(self.ours, 1, 1)
        if data != b"y":
            return None
        device = wire.Device.__new__(wire.Device)
        device.vm_id, device.pool, device.priority, device.next_id = vm_id, "A", 1, 1
        device.sock = socket.socket(fileno=fds[0])
        device.sock.settimeout(wire.PATIENCE_S)
        return device

    def rewrite(self, old, new):
        """Bytes of its command line, where a NUL ends each argument."""
        assert len(old) == len(new) and old in self.cmdline()
        self.ours.sendall(b"w" + struct.pack("=H", len(old)) + old + new)
        assert self.ours.recv(1) == b"r" and new in self.cmdline()

    def cmdline(self):
        with open(f"/proc/{self.process.pid}/cmdline", "rb") as file:
            return file.read()

    def found_by(self, mediator):
        return f"QEMU {self.process.pid} found" in mediator.log()

    def end(self):
        self.ours.close()
        self.process.wait(60)
        self.proc.hide(self.process.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()
