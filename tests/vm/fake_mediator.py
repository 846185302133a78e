# SPDX-License-Identifier: GPL-2.0-or-later
"""A mediator under the test's control: it says exactly what the test tells it to.

The test accepts a connection, receives frames and sends frames (or garbage), all
synchronously and with one generous time limit, so a device that does nothing makes
the test fail instead of hanging it.
"""
import collections
import os
import socket
import struct

MAGIC = 0x56475055
VERSION = 0x00010000
REQUEST, RESPONSE, PING, PONG, BUSY, QUARANTINED, CONFIG, HELLO = range(1, 9)
HEADER = struct.Struct("<IIIIBBHI")
WAIT_S = 180

Frame = collections.namedtuple("Frame", "type vm_id request_id pool_id priority payload fds",
                               defaults=((),))


def frame(msg_type, request_id=0, payload=b"", vm_id=0, pool_id="A", priority=1,
          magic=MAGIC, payload_len=None, pad=0):
    length = len(payload) if payload_len is None else payload_len
    return HEADER.pack(magic, msg_type, vm_id, request_id, ord(pool_id), priority, pad,
                       length) + payload


def response(status=0, results=(), data=b"", exec_time_us=0):
    """A VGPUResponse and its body."""
    words = struct.pack(f"<{len(results)}I", *results)
    return struct.pack("<8I", VERSION, status, len(results), 32 + len(words) if data else 0,
                       len(data), exec_time_us, 0, 0) + words + data


def config(vm_id, pool_id, priority):
    return struct.pack("<IBB10x", vm_id, ord(pool_id), priority)


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(WAIT_S)
        self.buffered = b""
        self.fds = []  # that came and belong to no frame yet

    def recv(self):
        """The next frame, or None when the device has closed the connection."""
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        magic, msg_type, vm_id, request_id, pool, priority, pad, length = HEADER.unpack(head)
        assert magic == MAGIC, f"the device sent magic {magic:#x}"
        assert length <= 1024
        payload = self._exactly(length)
        assert payload is not None, "the device closed in the middle of a frame"
        assert pad in (0, len(self.fds)), (pad, self.fds)
        fds = self.fds[:pad]
        del self.fds[:pad]
        return Frame(msg_type, vm_id, request_id, chr(pool), priority, payload, tuple(fds))

    def _exactly(self, count):
        while len(self.buffered) < count:
            try:
                more, fds = socket.recv_fds(self.sock, 65536, 16)[:2]
                self.fds += fds
            except ConnectionResetError:
                more = b""
            if not more:
                assert not self.buffered, "the device closed in the middle of a frame"
                return None
            self.buffered += more
        data, self.buffered = self.buffered[:count], self.buffered[count:]
        return data

    def expect(self, msg_type):
        got = self.recv()
        assert got is not None, f"closed; expected message type {msg_type}"
        assert got.type == msg_type, f"expected message type {msg_type}, got {got}"
        return got

    def expect_close(self):
        got = self.recv()
        assert got is None, f"expected the device to close, got {got}"

    def send(self, data, fds=()):
        """All of it; descriptors go with the first byte."""
        sent = socket.send_fds(self.sock, [data], fds) if fds else 0
        self.sock.sendall(data[sent:])

    def sync(self):
        """Returns when the device knows that it is connected (a kernel may know sooner)."""
        self.send(frame(PING, 0xFFFF, b"sync"))
        self.expect(PONG)

    def answer(self, request, status=0, results=(), data=b"", msg_type=RESPONSE):
        self.send(frame(msg_type, request.request_id, response(status, results, data)))

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)
        self.fds = []


class FakeMediator:
    def __init__(self, path):
        self.path = str(path)
        self.listener = None
        self.listen()

    def listen(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.listener.settimeout(WAIT_S)

    def accept(self, hello=True):
        """The device's next connection; with hello, after its HELLO has been answered."""
        conn = Connection(self.listener.accept()[0])
        if hello:
            offered = conn.expect(HELLO)
            version, features = struct.unpack("<II8x", offered.payload)
            assert version == VERSION
            conn.send(frame(HELLO, offered.request_id, struct.pack("<II8x", version, features)))
        return conn

    def close(self):
        if self.listener:
            self.listener.close()
            self.listener = None
        if os.path.exists(self.path):
            os.unlink(self.path)
