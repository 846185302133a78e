# SPDX-License-Identifier: GPL-2.0-or-later
"""A real vgpu-keeper process for tests, and the messages of include/vgpu/vgpu_keeper.h."""
import array
import os
import pathlib
import signal
import socket
import struct
import subprocess

import wire
from mediator import alive, children, program, wait_for

MAGIC, VERSION = 0x4B504756, 1
(WELCOME, REFUSED, HELD, LISTED, START, KILL, PROBE, STARTED, ENDED, HELP, RESET, PARK, FETCH,
 PARKED, MEMORY) = range(1, 16)
OWN_ALL, PRIVATE, HELPS, RESETS = 15, 1 << 8, 1 << 9, 1 << 10
HAS_UUID, CUDA, TEST_OPS = 1, 2, 4
HEADER = struct.Struct("<IHHIIQ")
WORKER = struct.Struct("<IIIIQ16s64s")
WORKER_FD = 3


class Keeper:
    """On a socket in its folder."""

    def __init__(self, folder, *arguments, prefix=()):
        self.path = pathlib.Path(folder) / "keeper.sock"
        self.log_path = pathlib.Path(folder) / "keeper.log"
        self.command = [*prefix, program("vgpu-keeper"), "--socket", str(self.path), "--no-cache",
                        *map(str, arguments)]
        self.process = None

    def __enter__(self):
        env = {"ASAN_OPTIONS": "handle_segv=0:handle_sigbus=0", **os.environ}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=env)
        wait_for(lambda: self.process.poll() is not None or self.listens(), "the keeper")
        assert self.process.poll() is None, self.log()
        return self

    def __exit__(self, *failure):
        workers = self.workers()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        if failure[0]:
            print(self.log())
            return
        assert status in (0, -signal.SIGKILL), self.log()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
        wait_for(lambda: not any(map(alive, workers)), "the workers to end with it")

    def listens(self):
        """Its socket has a name a moment before it can be connected to."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as look:
            return look.connect_ex(str(self.path)) == 0

    def log(self):
        return self.log_path.read_text(errors="replace")

    def workers(self):
        return children(self.process.pid)

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Link:
    """Plays vgpu-mediator to it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(wire.PATIENCE_S)
        self.socket.connect(str(path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def say(self, kind, number=0, body=b"", fds=(), **changes):
        header = {"magic": MAGIC, "version": VERSION, "length": HEADER.size + len(body), "pad": 0,
                  **changes}
        data = HEADER.pack(header["magic"], header["version"], kind, header["length"],
                           header["pad"], number) + body
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], control)

    def hear(self):
        """(kind, number, body, fds); None: it has closed."""
        try:
            data, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(64))
        except ConnectionResetError:
            return None
        if not data:
            return None
        fds = array.array("i")
        for _, _, part in control:
            fds.frombytes(part[:len(part) // 4 * 4])
        magic, version, kind, length, pad, number = HEADER.unpack_from(data)
        assert (magic, version, length, pad) == (MAGIC, VERSION, len(data), 0)
        return kind, number, data[HEADER.size:], list(fds)

    def hello(self):
        """What it says first: WELCOME's words, and those that it HELD."""
        kind, _, body, _ = self.hear()
        assert kind == WELCOME
        welcome, held = struct.unpack("<6I", body), []
        while True:
            message = self.hear()
            if message[0] == LISTED:
                assert len(held) == welcome[5]
                return welcome, held
            assert message[0] == HELD
            held.append(message)

    def start(self, number, vm_id=1, gpu="CPU-0", flags=0, depth=2, fds=None, pad=0):
        """Our end of the worker's socket."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(wire.PATIENCE_S)
        body = WORKER.pack(vm_id, flags, depth, pad, 0, bytes(16), gpu.encode())
        self.say(START, number, body, fds if fds is not None else [its.fileno(), ours.fileno()])
        its.close()
        return ours

    def ended(self):
        """True when it has closed the connection."""
        while True:
            message = self.hear()
            if message is None:
                return True
            for fd in message[3]:
                os.close(fd)
