# SPDX-License-Identifier: GPL-2.0-or-later
"""Plays vgpu-mediator to one real vgpu-worker process: starts it with one end of
a packet socket as descriptor 3, and speaks include/vgpu/vgpu_worker.h with it.

Standard library only, so that it also runs on a bare GPU host."""

import collections
import os
import select
import signal
import socket
import struct
import subprocess
import time

from wire import (ADD, CRASH, CUDA_ERROR, DEVICE_INFO, FAIL, HANG, INVALID_REQUEST, NOP, OK,
                  PATIENCE_S, SPIN, UNSUPPORTED_OP, VECTOR_ADD_F32, VECTOR_ADD_I32)  # noqa: F401

MAGIC = 0x4B574756
VERSION = 1
READY, RUN, DONE, QUIT = 1, 2, 3, 4
HEADER = struct.Struct("<IHHIIQ")
READY_BODY = struct.Struct("<6IQ48s64s")
RUN_BODY = struct.Struct("<4I")
DONE_BODY = struct.Struct("<4I3Q")
FRAME_MAX = 24 + 144 + 1024

EXIT_OK, EXIT_BACKEND, EXIT_PROTOCOL, EXIT_GPU_FAULT = 0, 1, 2, 3

Ready = collections.namedtuple(
    "Ready",
    "backend flags compute_major compute_minor multiprocessors pad memory_bytes gpu_uuid name",
)
Done = collections.namedtuple(
    "Done", "job_id status results data gpu_time_ns started_ns finished_ns"
)


class Closed(Exception):
    """The worker closed its end."""


def worker_path():
    default = os.path.join(os.path.dirname(__file__), "..", "..", "build", "bin")
    folder = os.environ.get("VGPU_BIN_DIR") or os.environ.get("VGPU_BIN") or default
    return os.path.join(folder, "vgpu-worker")


def run_frame(job_id, opcode, params=(), data=b""):
    body = RUN_BODY.pack(opcode, len(params), len(data), 0)
    body += struct.pack("<%dI" % len(params), *params) + data
    return HEADER.pack(MAGIC, VERSION, RUN, HEADER.size + len(body), 0, job_id) + body


def quit_frame():
    return HEADER.pack(MAGIC, VERSION, QUIT, HEADER.size, 0, 0)


def send_mix(worker, count):
    """Jobs that take their time, are refused, fail and add; returns what must come back, in
    this order: [(job_id, status, results)]."""
    expected = []
    for i in range(count):
        opcode, params, status, results = (
            (SPIN, (200,), OK, ()),
            (0x7777, (), UNSUPPORTED_OP, ()),
            (FAIL, (), CUDA_ERROR, ()),
            (ADD, (i, 1000), OK, (i + 1000,)),
            (ADD, (i, 7), OK, (i + 7,)),
        )[i % 5]
        expected.append((worker.send(opcode, params), status, results))
    return expected


class Worker:
    """One running worker; `with Worker(...) as w` never leaves it behind."""

    def __init__(self, *args, backend="cpu", wait_ready=True, timeout=PATIENCE_S, env=None,
                 path=None):
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.timeout = timeout
        self.next_id = 1
        fd = theirs.fileno()

        def place_fd():
            # The child's end becomes descriptor 3, whatever was there.
            if fd == 3:
                os.set_inheritable(3, True)
            else:
                os.dup2(fd, 3, inheritable=True)

        self.started_at = time.monotonic()
        self.process = subprocess.Popen(
            [path or worker_path(), "--backend", backend, *args],
            preexec_fn=place_fd,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=env,
        )
        theirs.close()
        self.ready = None
        if wait_ready:
            try:
                self.ready = self.receive_ready()
            except BaseException:
                self.stop()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.sock.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()

    def receive_frame(self, timeout=None):
        ready, _, _ = select.select([self.sock], [], [], timeout or self.timeout)
        if not ready:
            raise TimeoutError("no frame from the worker in %s s" % (timeout or self.timeout))
        try:
            frame = self.sock.recv(FRAME_MAX + 1)
        except ConnectionResetError:
            frame = b""
        if not frame:
            raise Closed()
        magic, version, kind, length, pad, job_id = HEADER.unpack_from(frame)
        assert magic == MAGIC and version == VERSION and length == len(frame) and pad == 0
        return kind, job_id, frame[HEADER.size :]

    def receive_ready(self):
        try:
            kind, job_id, body = self.receive_frame()
        except Closed:
            status = self.process.wait(self.timeout)
            text = self.process.stderr.read().decode(errors="replace")
            raise RuntimeError("worker left with status %s: %s" % (status, text)) from None
        assert kind == READY and job_id == 0 and len(body) == READY_BODY.size
        self.ready_after_s = time.monotonic() - self.started_at
        fields = READY_BODY.unpack(body)
        texts = [text.split(b"\0", 1)[0].decode("ascii") for text in fields[-2:]]
        return Ready(*fields[:-2], *texts)

    def receive(self, timeout=None):
        kind, job_id, body = self.receive_frame(timeout)
        assert kind == DONE
        status, results, data_length, pad, gpu, started, finished = DONE_BODY.unpack_from(body)
        rest = body[DONE_BODY.size :]
        assert pad == 0 and len(rest) == results * 4 + data_length
        words = struct.unpack_from("<%dI" % results, rest)
        return Done(job_id, status, words, rest[results * 4 :], gpu, started, finished)

    def send(self, opcode, params=(), data=b""):
        job_id = self.next_id
        self.next_id += 1
        self.sock.send(run_frame(job_id, opcode, params, data))
        return job_id

    def run(self, opcode, params=(), data=b"", timeout=None):
        job_id = self.send(opcode, params, data)
        done = self.receive(timeout)
        assert done.job_id == job_id
        return done

    def quit(self):
        self.sock.send(quit_frame())

    def exit_status(self, timeout=None):
        return self.process.wait(timeout or self.timeout)

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)

    def stderr_text(self):
        """What it said, once it has left."""
        return self.process.stderr.read().decode(errors="replace")
