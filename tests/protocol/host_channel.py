# SPDX-License-Identifier: GPL-2.0-or-later
"""A process of the host with a channel, byte by byte, as include/vgpu/vgpu_channel.h has it: so
that tests can write what no library would.  Standard library only."""

import mmap
import os
import select
import socket
import struct
import time

import wire

(CHANNEL_OPEN, CHANNEL_OPENED, CHANNEL_CLOSE, CHANNEL_CLOSED, CHUNK_ADD, CHUNK_ADDED, CHUNK_REMOVE,
 CHUNK_REMOVED, CHANNEL_RESET, CHANNEL_RESUME) = range(9, 19)
BULK_FEATURE, LIFE = 1, 4  # of OPEN
HOST, SHARED, COPIED = range(3)
ADD = CHUNK = struct.Struct("<4I2Q")
ADDED = struct.Struct("<4IQ")
FEATURE_CHANNELS, FEATURE_HOST, FEATURE_RESUME = 4, 8, 16
HELLO = struct.Struct("<4I")
GEOMETRY = struct.Struct("<4IQ")
OPEN = struct.Struct("<4I4IQ2I16s")
OPENED = struct.Struct("<4I4IQQ")
CLOSE = struct.Struct("<2I")
RECORD = struct.Struct("<HHIIHHQ")
MAILBOX = struct.Struct("<4I2Q")
BULK = struct.Struct("<3Q3QQQ2I3I2II")
ANSWER = 1
(ALLOC, FREE, UPLOAD, DOWNLOAD, FILL, ADD_I32, ADD_F32, SAXPY, SGEMM) = range(0x100, 0x109)

(NONE, ASKED, SESSION, RESET, BAD_POSITION, BAD_RECORD, BAD_CHUNK, WORKER_LOST, TIMEOUT,
 QUARANTINED, REMOVED, SHUTDOWN, COPY_FAILED, GPU_LOST, LIMITS) = range(15)

TAIL, PARKED, HEAD, RETIRED, WORKER_PARKED, STATE, REASON = (
    0x000, 0x080, 0x100, 0x108, 0x180, 0x210, 0x214)
PATIENCE = wire.PATIENCE_S


def handle(index, generation=1, kind=1):
    return 1 << 46 | kind << 41 | generation << 24 | index


class Host:
    """A connection with HELLO said; `features` is what was granted."""

    def __init__(self, path, features=FEATURE_CHANNELS | FEATURE_HOST, vm_id=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(path))
        self.sock.settimeout(PATIENCE)
        # vm2.sock; what an unregistered VM is called
        self.vm_id = vm_id if vm_id is not None else int(path.stem[2:])
        self.send(wire.MSG_HELLO, HELLO.pack(wire.VERSION, features, 0, 0))
        _, payload, _ = self.receive()
        self.features = HELLO.unpack(payload)[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, kind, payload=b""):
        self.sock.sendall(wire.frame(kind, payload, vm_id=self.vm_id))

    def receive(self):
        """(type, payload, descriptors); the header says how many these are."""
        data, fds, _, _ = socket.recv_fds(self.sock, wire.HEADER.size, 16)
        if not data:
            raise wire.Closed
        data += wire.receive(self.sock, wire.HEADER.size - len(data))
        head = wire.HEADER.unpack(data)
        assert head[0] == wire.MAGIC and head[6] == len(fds), (head, fds)
        return head[1], wire.receive(self.sock, head[7]), fds

    def ask(self, number=0, lanes=4, events=0, notices=65536, commands=1 << 20, arena=1 << 20,
            profile=1, transports=1, features=1):
        """Wants a channel: opened() has the answer."""
        self.asked = (number, lanes, events, notices, commands, arena)
        self.send(CHANNEL_OPEN, OPEN.pack(number, profile, transports, features, lanes, events,
                                          notices, commands, arena, os.getpid(), 0, b"test"))

    def opened(self):
        """A Channel, or the error code."""
        kind, payload, fds = self.receive()
        assert kind == CHANNEL_OPENED
        opened = OPENED.unpack(payload)
        assert opened[0] == self.asked[0]
        if opened[1] != wire.OK:
            assert not fds and opened[9] == 0
            return opened[1]
        assert opened[4:9] == self.asked[1:]
        return Channel(self, opened[0], fds, opened)

    def open(self, number=0, **wish):
        self.ask(number, **wish)
        return self.opened()

    def ping(self):
        """Returns when the peer has taken all that was sent before."""
        self.send(wire.MSG_PING, b"word")
        kind, payload, _ = self.receive()
        assert (kind, payload) == (wire.MSG_PONG, b"word")

    def add_chunk(self, chunk, size, number=0):
        """Its mapping, or the error code."""
        self.send(CHUNK_ADD, CHUNK.pack(number, chunk, 0, 0, size, 0))
        kind, payload, fds = self.receive()
        assert kind == CHUNK_ADDED
        added = ADDED.unpack(payload)
        assert added[:2] == (number, chunk)
        if added[2] != wire.OK:
            assert not fds and added[4] == 0
            return added[2]
        assert added[4] == size == os.fstat(fds[0]).st_size
        memory = mmap.mmap(fds[0], size)
        os.close(fds[0])
        return memory

    def remove_chunk(self, chunk, number=0):
        self.send(CHUNK_REMOVE, CLOSE.pack(number, chunk))

    def removed(self):
        """The next frame, which is CHUNK_REMOVED: its channel and chunk."""
        kind, payload, fds = self.receive()
        assert kind == CHUNK_REMOVED and not fds
        return CLOSE.unpack(payload)

    def closed(self):
        """The next frame, which is CLOSED: its channel and reason."""
        kind, payload, fds = self.receive()
        assert kind == CHANNEL_CLOSED and not fds
        return CLOSE.unpack(payload)


class Channel:
    def __init__(self, host, number, fds, opened):
        self.host, self.number = host, number
        self.doorbell, self.interrupt, memory, *life = fds
        self.life = life[0] if life else None
        assert bool(life) == bool(opened[3] & LIFE)
        lanes, events, notices, self.ring_bytes, arena, size = opened[4:10]
        self.mailboxes = 4096 + events * 4
        self.ring = self.mailboxes + lanes * 4096 + notices
        self.arena = self.ring + self.ring_bytes
        assert size == self.arena + arena == os.fstat(memory).st_size
        self.memory = mmap.mmap(memory, size)
        self.memory_fd = memory
        # Whole words at once: struct writes "<Q" byte by byte, and the worker looks meanwhile.
        self.words = memoryview(self.memory)
        self.tail = self.seq = 0

    def close_fds(self):
        for fd in (self.doorbell, self.interrupt, self.memory_fd, self.life):
            if fd is not None:
                os.close(fd)
        self.words.release()
        self.memory.close()

    def word(self, offset, kind="Q"):
        size = struct.calcsize(kind)
        return self.words[offset:offset + size].cast(kind)[0]

    def store(self, offset, value, kind="Q"):
        self.words[offset:offset + struct.calcsize(kind)].cast(kind)[0] = value

    def put(self, data):
        """Bytes into the ring, not published."""
        at = self.tail % self.ring_bytes
        first = data[:self.ring_bytes - at]
        self.memory[self.ring + at:self.ring + at + len(first)] = first
        self.memory[self.ring:self.ring + len(data) - len(first)] = data[len(first):]
        self.tail += len(data)

    def publish(self, tail=None):
        self.store(TAIL, self.tail if tail is None else tail)
        os.write(self.doorbell, struct.pack("<Q", 1))

    def record(self, op, body=b"", flags=ANSWER, lane=0, length=None, seq=None):
        self.seq += 1
        body += bytes(-len(body) % 8)
        return RECORD.pack(op, flags, RECORD.size + len(body) if length is None else length,
                           self.seq if seq is None else seq, lane, 0, 0) + body

    def wait(self, condition, what):
        """Looks at the memory, sleeping on the interrupt as a process does."""
        end = time.monotonic() + PATIENCE
        while True:
            self.store(PARKED, 1, "I")
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"waited {PATIENCE} s for {what}: {self.state()}"
            # A second look each 0.1 s: Python has no fences.
            if self.signalled(0.1):
                os.read(self.interrupt, 8)

    def signalled(self, limit_s):
        """Whether the interrupt is there within that time."""
        poll = select.poll()  # select() knows no descriptor from 1024 on
        poll.register(self.interrupt, select.POLLIN)
        return bool(poll.poll(limit_s * 1000))

    def answer(self, lane=0, seq=None):
        """(status, results, data) of the lane's last record."""
        box = self.mailboxes + lane * 4096
        seq = self.seq if seq is None else seq
        self.wait(lambda: self.word(box, "I") == seq, "the answer")
        _, status, results, data, _, _ = MAILBOX.unpack_from(self.memory, box)
        body = box + MAILBOX.size
        words = struct.unpack_from("<%dI" % results, self.memory, body)
        return status, words, bytes(self.memory[body + results * 4:body + results * 4 + data])

    def op(self, opcode, params=(), data=b"", lane=0):
        body = struct.pack("<2I%dI" % len(params), len(params), len(data), *params) + data
        self.put(self.record(opcode, body, lane=lane))
        self.publish()
        return self.answer(lane)

    def bulk_record(self, op, target=0, a=0, b=0, count=0, offsets=(0, 0, 0), chunk_offset=0,
                    chunk=0, value=0, mnk=(0, 0, 0), alpha=1.0, beta=0.0, flags=ANSWER):
        bits = struct.unpack("<2I", struct.pack("<2f", alpha, beta))
        return self.record(op, BULK.pack(target, a, b, *offsets, count, chunk_offset, chunk, value,
                                         *mnk, *bits, 0), flags=flags)

    def bulk(self, op, **fields):
        """The status of one bulk operation."""
        self.put(self.bulk_record(op, **fields))
        self.publish()
        return self.answer()[0]

    def state(self):
        return self.word(STATE, "I"), self.word(REASON, "I")
