# SPDX-License-Identifier: GPL-2.0-or-later
"""A mediator for tests of its clients: it speaks vgpu_protocol.h and misbehaves on demand.

    with FakeMediator(path, behaviour) as mediator:
        ...run a client against path...
    mediator.requests    # every request that came: [Request]

`behaviour` is called with a Request and gives what to do with it:
    bytes                send them and go on (answer() and refuse() make frames)
    CLOSE                close the connection
    SILENCE              send nothing
    (bytes, CLOSE)       send, then close
Without one, every request is answered as a mediator does.
"""
import contextlib
import dataclasses
import os
import socket
import struct
import threading

MAGIC = 0x56475055
REQUEST, RESPONSE, PING, PONG, BUSY, QUARANTINED, CONFIG, HELLO = range(1, 9)

ERR_TIMEOUT, ERR_CUDA_ERROR, ERR_QUEUE_FULL, ERR_UNSUPPORTED_OP = 4, 5, 7, 8
ERR_RATE_LIMITED, ERR_VM_QUARANTINED, ERR_VM_NOT_REGISTERED = 0x0A, 0x0B, 0x0C

OP_NOP, OP_ADD, OP_INFO, OP_VADD_I32, OP_VADD_F32 = 0, 1, 5, 0x10, 0x11
OP_SPIN = 0x20

VERSION = 0x00010000
HEADER = struct.Struct("<IIIIBBHI")
BODY = struct.Struct("<8I")

CLOSE = object()
SILENCE = object()


@dataclasses.dataclass
class Request:
    """One REQUEST frame, taken apart."""

    number: int  # 0 for the first that this mediator saw
    vm_id: int
    request_id: int
    pool: str
    priority: int
    opcode: int
    params: tuple
    data: bytes
    payload: bytes


def frame(kind, request, payload=b"", *, magic=MAGIC, request_id=None, length=None):
    """A frame in reply to `request`, or a wrong one if told so."""
    return HEADER.pack(magic, kind, request.vm_id,
                       request.request_id if request_id is None else request_id,
                       ord(request.pool), request.priority, 0,
                       len(payload) if length is None else length) + payload


def body(status=0, results=(), data=b"", exec_us=0, version=VERSION):
    """A VGPUResponse with its results and data."""
    offset = 32 + 4 * len(results) if data else 0
    return (BODY.pack(version, status, len(results), offset, len(data), exec_us, 0, 0)
            + struct.pack(f"<{len(results)}I", *results) + data)


def answer(request, results=(), data=b"", status=0, exec_us=7):
    return frame(RESPONSE, request, body(status, results, data, exec_us))


def refuse(request, status):
    kind = QUARANTINED if status == ERR_VM_QUARANTINED else BUSY
    return frame(kind, request, body(status))


def honest(request):
    """What a mediator with a CPU worker answers."""
    if request.opcode in (OP_NOP, OP_SPIN):
        return answer(request)
    if request.opcode == OP_ADD:
        return answer(request, [sum(request.params) & 0xFFFFFFFF])
    if request.opcode == OP_INFO:
        return answer(request, [0, 0, 0, 2, 512], b"a fake \"CPU\"")
    if request.opcode in (OP_VADD_I32, OP_VADD_F32):
        n = len(request.data) // 8
        if request.opcode == OP_VADD_I32:
            values = struct.unpack(f"<{2 * n}I", request.data)
            sums = struct.pack(f"<{n}I", *((values[i] + values[n + i]) & 0xFFFFFFFF
                                           for i in range(n)))
        else:
            # Doubles hold the exact sum of two floats of these sizes; packing rounds it once.
            values = struct.unpack(f"<{2 * n}f", request.data)
            sums = struct.pack(f"<{n}f", *(values[i] + values[n + i] for i in range(n)))
        return answer(request, data=sums)
    return answer(request, status=ERR_UNSUPPORTED_OP)


class FakeMediator:
    """Listens from the moment it is made until the `with` block ends."""

    def __init__(self, path, behaviour=honest, config=None):
        self.path = str(path)
        self.behaviour = behaviour
        self.config = config  # (vm_id, pool, priority) to send after HELLO
        self.requests = []
        self.others = []  # (type, payload) of the frames that were no requests
        self.connections = 0
        self.lock = threading.Lock()
        self.threads = []
        self.sockets = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self.acceptor.start()
        return self

    def __exit__(self, *_):
        # shutdown() is what wakes a thread that waits in accept() or recv().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join(10)
        for connection in self.sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while self._serve_one(connection):
                pass

    @staticmethod
    def _read(connection, size):
        data = b""
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                raise OSError("end of stream")
            data += part
        return data

    def _serve_one(self, connection):
        head = HEADER.unpack(self._read(connection, HEADER.size))
        magic, kind, vm_id, request_id, pool, priority, pad, length = head
        assert magic == MAGIC and pad == 0 and length <= 1024, head
        payload = self._read(connection, length)
        if kind != REQUEST:
            with self.lock:
                self.others.append((kind, payload))
            if kind == HELLO:
                self._greet(connection, vm_id, payload)
            return True
        version, opcode, flags, params, offset, data_length = BODY.unpack(payload[:32])[:6]
        assert version == VERSION and flags == 0, payload[:32]
        with self.lock:
            request = Request(len(self.requests), vm_id, request_id, chr(pool), priority, opcode,
                              struct.unpack(f"<{params}I", payload[32:32 + 4 * params]),
                              payload[offset:offset + data_length] if data_length else b"",
                              payload)
            self.requests.append(request)
        return self._act(connection, self.behaviour(request))

    def _greet(self, connection, vm_id, payload):
        granted = struct.unpack("<4I", payload)[1] & (1 if self.config else 0)
        greeting = (HEADER.pack(MAGIC, HELLO, vm_id, 0, ord("A"), 0, 0, 16)
                    + struct.pack("<4I", VERSION, granted, 0, 0))
        if granted:
            new_id, pool, priority = self.config
            greeting += (HEADER.pack(MAGIC, CONFIG, new_id, 0, ord(pool), priority, 0, 16)
                         + struct.pack("<IBB10x", new_id, ord(pool), priority))
        connection.sendall(greeting)  # at once: no request comes in between

    @staticmethod
    def _act(connection, action):
        for step in action if isinstance(action, tuple) else (action,):
            if step is CLOSE:
                return False
            if step is not SILENCE:
                connection.sendall(step)
        return True
