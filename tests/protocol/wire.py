# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames between vgpu-stub and vgpu-mediator, as docs/protocol.md has them,
and the administration socket's. A client of both for tests; standard library only."""

import collections
import json
import pathlib
import re
import socket
import struct

# For what must happen: on a busy host, with sanitizers, it may take this long.
PATIENCE_S = 180

MAGIC = 0x56475055
HEADER = struct.Struct("<IIIIBBHI")
REQUEST = struct.Struct("<8I")
RESPONSE = struct.Struct("<8I")
VERSION = 0x00010000

(MSG_REQUEST, MSG_RESPONSE, MSG_PING, MSG_PONG, MSG_BUSY, MSG_QUARANTINED, MSG_CONFIG,
 MSG_HELLO) = range(1, 9)

Operation = collections.namedtuple("Operation",
                                   "code text option params results unit gives most test")


def operations():
    """The rows of VGPU_OPERATIONS by name, their numbers as numbers."""
    header = pathlib.Path(__file__).resolve().parents[2] / "include/vgpu/vgpu_protocol.h"
    known = {"VGPU_INFO_COUNT": 5, "VGPU_AS_TEXT": None, "VGPU_TEST_SPIN_MAX_US": 60000000}
    rows = {}
    for name, rest in re.findall(r"^\s+X\((\w+), (.*)\)", header.read_text(), re.MULTILINE):
        cells = [cell.strip() for cell in rest.split(",")]
        rows[name] = Operation(*(cell.strip('"') if cell[0] == '"' else
                                 known[cell] if cell in known else int(cell, 0) for cell in cells))
    return rows


OPERATIONS = operations()
NOP, ADD, DEVICE_INFO, VECTOR_ADD_I32, VECTOR_ADD_F32, SPIN, HANG, CRASH, FAIL = (
    OPERATIONS[name].code for name in (
        "NOP", "CUDA_KERNEL", "GET_DEVICE_INFO", "VECTOR_ADD_I32", "VECTOR_ADD_F32",
        "TEST_SPIN", "TEST_HANG", "TEST_CRASH", "TEST_FAIL"))

(OK, INVALID_REQUEST, TOO_LARGE, UNAVAILABLE, TIMEOUT, CUDA_ERROR, INVALID_POOL, QUEUE_FULL,
 UNSUPPORTED_OP, INVALID_LENGTH, RATE_LIMITED, VM_QUARANTINED, NOT_REGISTERED, GPU_UNAVAILABLE,
 MEMORY_LIMIT) = range(15)

Answer = collections.namedtuple("Answer", "msg request_id status results data vm_id pool priority")

ADMIN_REQUEST = struct.Struct("<4I")
ADMIN_RESPONSE = struct.Struct("<3I")
(SHOW_METRICS, SHOW_HEALTH, RELOAD_CONFIG, QUARANTINE_VM, UNQUARANTINE_VM, SHOW_CONNECTIONS,
 SET_POLICY, PAUSE, RESUME, PREFER_VM, EVENTS, SHOW_STATUS, SHOW_SCHEDULE,
 TRACE_JOB, SHOW_CUDA) = range(0x10, 0x1F)


def request_body(opcode, params=(), data=b"", version=VERSION):
    head = REQUEST.pack(version, opcode, 0, len(params), 32 + 4 * len(params), len(data), 0, 0)
    return head + struct.pack("<%dI" % len(params), *params) + data


def frame(msg, payload=b"", vm_id=1, request_id=1, pool="A", priority=1, magic=MAGIC, length=None):
    return HEADER.pack(magic, msg, vm_id, request_id, ord(pool), priority, 0,
                       len(payload) if length is None else length) + payload


class Closed(Exception):
    """The other end closed the connection."""


def receive(sock, count):
    parts = []
    while count:
        try:
            part = sock.recv(count)
        except (ConnectionResetError, BrokenPipeError):
            part = b""
        if not part:
            raise Closed
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class Connection:
    def __init__(self, path, timeout):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.sock.settimeout(timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()


class Device(Connection):
    """What a vgpu-stub of protocol 1.0 is to the mediator."""

    def __init__(self, path, vm_id=1, pool="A", priority=1, timeout=PATIENCE_S):
        self.vm_id, self.pool, self.priority = vm_id, pool, priority
        self.next_id = 1
        super().__init__(path, timeout)

    def send(self, data):
        self.sock.sendall(data)

    def frame(self, msg, payload=b"", **changes):
        values = {"vm_id": self.vm_id, "pool": self.pool, "priority": self.priority, **changes}
        return frame(msg, payload, **values)

    def submit(self, opcode, params=(), data=b""):
        request_id = self.next_id
        self.next_id += 1
        self.send(self.frame(MSG_REQUEST, request_body(opcode, params, data),
                             request_id=request_id))
        return request_id

    def read(self):
        head = receive(self.sock, HEADER.size)
        magic, msg, vm_id, request_id, pool, priority, _, length = HEADER.unpack(head)
        assert magic == MAGIC and length <= 1024
        payload = receive(self.sock, length)
        status, results, data = None, (), payload
        if msg in (MSG_RESPONSE, MSG_BUSY, MSG_QUARANTINED):
            version, status, count, offset, data_length, _, _, _ = RESPONSE.unpack_from(payload)
            assert version == VERSION
            results = struct.unpack_from("<%dI" % count, payload, RESPONSE.size)
            data = payload[offset:offset + data_length] if data_length else b""
        return Answer(msg, request_id, status, results, data, vm_id, chr(pool), priority)

    def run(self, opcode, params=(), data=b""):
        request_id = self.submit(opcode, params, data)
        answer = self.read()
        assert answer.request_id == request_id
        return answer

    def add(self, a, b):
        answer = self.run(ADD, (a, b))
        assert answer.status == OK, answer
        return answer.results[0]

    def hello(self, features=3):
        self.send(self.frame(MSG_HELLO, struct.pack("<4I", VERSION, features, 0, 0)))
        answer = self.read()
        assert answer.msg == MSG_HELLO
        return struct.unpack("<4I", answer.data)

    def ended(self):
        """Waits for the end of the connection, reading over what is still sent."""
        try:
            while True:
                receive(self.sock, 1)
        except Closed:
            return True


class AdminError(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Admin(Connection):
    def __init__(self, path, timeout=PATIENCE_S):
        super().__init__(path, timeout)

    def send(self, command, param1=0, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.sock.sendall(ADMIN_REQUEST.pack(MAGIC, command, param1, len(data)) + data)

    def read_raw(self):
        magic, status, length = ADMIN_RESPONSE.unpack(receive(self.sock, ADMIN_RESPONSE.size))
        assert magic == MAGIC
        return status, receive(self.sock, length)

    def read(self):
        status, data = self.read_raw()
        value = json.loads(data)
        if status:
            raise AdminError(status, value["error"])
        return value

    def call(self, command, param1=0, body=None):
        self.send(command, param1, body)
        return self.read()
