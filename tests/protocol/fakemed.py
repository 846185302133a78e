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
import dataclasses
import struct
import threading

import wire
from fakeserver import FakeServer

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


def frame(kind, request, payload=b"", **wrong):
    """A frame in reply to `request`, or a wrong one if told so."""
    right = {"vm_id": request.vm_id, "request_id": request.request_id, "pool": request.pool,
             "priority": request.priority}
    return wire.frame(kind, payload, **{**right, **wrong})


def body(status=0, results=(), data=b"", exec_us=0, version=wire.VERSION):
    """A VGPUResponse with its results and data."""
    offset = 32 + 4 * len(results) if data else 0
    return (wire.RESPONSE.pack(version, status, len(results), offset, len(data), exec_us, 0, 0)
            + struct.pack(f"<{len(results)}I", *results) + data)


def answer(request, results=(), data=b"", status=0, exec_us=7):
    return frame(wire.MSG_RESPONSE, request, body(status, results, data, exec_us))


def refuse(request, status):
    kind = wire.MSG_QUARANTINED if status == wire.VM_QUARANTINED else wire.MSG_BUSY
    return frame(kind, request, body(status))


def honest(request):
    """What a mediator with a CPU worker answers."""
    if request.opcode in (wire.NOP, wire.SPIN):
        return answer(request)
    if request.opcode == wire.ADD:
        return answer(request, [sum(request.params) & 0xFFFFFFFF])
    if request.opcode == wire.DEVICE_INFO:
        return answer(request, [0, 0, 0, 2, 512], b"a fake \"CPU\"")
    if request.opcode in (wire.VECTOR_ADD_I32, wire.VECTOR_ADD_F32):
        n = len(request.data) // 8
        if request.opcode == wire.VECTOR_ADD_I32:
            values = struct.unpack(f"<{2 * n}I", request.data)
            sums = struct.pack(f"<{n}I", *((values[i] + values[n + i]) & 0xFFFFFFFF
                                           for i in range(n)))
        else:
            # Doubles hold the exact sum of two floats of these sizes; packing rounds it once.
            values = struct.unpack(f"<{2 * n}f", request.data)
            sums = struct.pack(f"<{n}f", *(values[i] + values[n + i] for i in range(n)))
        return answer(request, data=sums)
    return answer(request, status=wire.UNSUPPORTED_OP)


class FakeMediator(FakeServer):
    def __init__(self, path, behaviour=honest, config=None):
        self.behaviour = behaviour
        self.config = config  # (vm_id, pool, priority) to send after HELLO
        self.requests = []
        self.others = []  # (type, payload) of the frames that were no requests
        self.lock = threading.Lock()
        super().__init__(path)

    def serve(self, connection):
        while self._serve_one(connection):
            pass

    def _serve_one(self, connection):
        head = wire.HEADER.unpack(wire.receive(connection, wire.HEADER.size))
        magic, kind, vm_id, request_id, pool, priority, pad, length = head
        assert magic == wire.MAGIC and pad == 0 and length <= 1024, head
        payload = wire.receive(connection, length)
        if kind != wire.MSG_REQUEST:
            with self.lock:
                self.others.append((kind, payload))
            if kind == wire.MSG_HELLO:
                self._greet(connection, vm_id, payload)
            return True
        version, opcode, flags, params, offset, data_length = wire.REQUEST.unpack(payload[:32])[:6]
        assert version == wire.VERSION and flags == 0, payload[:32]
        with self.lock:
            request = Request(len(self.requests), vm_id, request_id, chr(pool), priority, opcode,
                              struct.unpack(f"<{params}I", payload[32:32 + 4 * params]),
                              payload[offset:offset + data_length] if data_length else b"",
                              payload)
            self.requests.append(request)
        return self._act(connection, self.behaviour(request))

    def _greet(self, connection, vm_id, payload):
        granted = struct.unpack("<4I", payload)[1] & (1 if self.config else 0)
        greeting = wire.frame(wire.MSG_HELLO, struct.pack("<4I", wire.VERSION, granted, 0, 0),
                              vm_id, 0, priority=0)
        if granted:
            new_id, pool, priority = self.config
            greeting += wire.frame(wire.MSG_CONFIG,
                                   struct.pack("<IBB10x", new_id, ord(pool), priority),
                                   new_id, 0, pool, priority)
        connection.sendall(greeting)  # at once: no request comes in between

    @staticmethod
    def _act(connection, action):
        for step in action if isinstance(action, tuple) else (action,):
            if step is CLOSE:
                return False
            if step is not SILENCE:
                connection.sendall(step)
        return True
