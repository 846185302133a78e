# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels of devices, whose memory is a guest's: real mediator, real worker; the test is the
device, also one that lies."""

import mmap
import os
import select
import socket
import struct
import time

import pytest

import host_channel as hc
import wire
from host_channel import Host
from mediator import wait_for
from test_channels import with_vms

@pytest.fixture
def running(lab):
    with with_vms(lab) as mediator:
        yield mediator


BYTES = 4096 * 3 + 131072  # control page, one mailbox, notices, commands


class Device(Host):
    """A device's session: it offers guest memory, which here is a memfd."""

    def __init__(self, path, features=hc.FEATURE_CHANNELS | 3, vm_id=None):
        super().__init__(path, features, vm_id)
        self.lease, self.leased = os.pipe()

    def close(self):
        super().close()
        for fd in (self.lease, self.leased):
            os.close(fd)

    def frame(self, kind, payload, fds, pad=None):
        data = bytearray(wire.frame(kind, payload, vm_id=self.vm_id))
        struct.pack_into("<H", data, 18, len(fds) if pad is None else pad)
        socket.send_fds(self.sock, [data], fds)

    def ask(self, number=0, transports=1 << hc.SHARED, fds=None, geometry=(1, 0, 4096, 131072, 0),
            features=hc.BULK_FEATURE, **more):
        self.frame(hc.CHANNEL_OPEN,
                   hc.OPEN.pack(number, 1, transports, features, *geometry, 1, 0, b"t"),
                   [self.leased] if fds is None else fds, **more)

    def part(self, fd, pieces, number=0, flags=0, size=BYTES, page=4096, count=None, chunk=0,
             **more):
        payload = hc.ADD.pack(number, chunk, flags, len(pieces) if count is None else count, size,
                              page) + b"".join(struct.pack("<2Q", *piece) for piece in pieces)
        self.frame(hc.CHUNK_ADD, payload, [fd] if fd is not None else [], **more)

    def ready(self, ram):
        """An open channel, number 0."""
        self.ask()
        self.part(ram, [(1 << 20, BYTES)])
        assert self.answer()[0][1] == wire.OK

    def answer(self, kind=hc.CHANNEL_OPENED):
        """The next frame of this type: its words and descriptors."""
        while True:
            got, payload, fds = self.receive()
            if got == kind:
                return struct.unpack(f"<{len(payload) // 4}I", payload), fds

    def let_go(self, limit_s=wire.PATIENCE_S):
        """Whether nobody but this test has the lease any more."""
        os.close(self.leased)
        poll = select.poll()
        poll.register(self.lease, 0)
        gone = poll.poll(limit_s * 1000)
        self.leased = os.dup(self.lease)
        return bool(gone)

    def alive(self):
        self.send(wire.MSG_PING, b"word")
        self.answer(wire.MSG_PONG)
        return True


@pytest.fixture
def ram():
    """64 MiB of guest memory."""
    fd = os.memfd_create("ram", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, 64 << 20)
    yield fd
    os.close(fd)


def test_a_device_shares_guest_memory(running, lab, ram):
    with Device(lab / "vm1.sock") as device:
        assert device.features == hc.FEATURE_CHANNELS | 3
        device.ask(3)
        device.part(ram, [(0x5000, 4096), (0x100000, 8192)], 3, flags=1)
        device.part(ram, [(0x9000, 131072)], 3)
        words, fds = device.answer()
        assert words[:3] == (3, wire.OK, hc.SHARED) and len(fds) == 2 and words[10] == BYTES
        with mmap.mmap(ram, 64 << 20) as memory:
            memory[0x9000:0x9020] = hc.RECORD.pack(0, hc.ANSWER, 32, 1, 0, 0, 0) + bytes(8)
            memory[0x5000:0x5008] = struct.pack("<Q", 32)
            os.write(fds[0], struct.pack("<Q", 1))
            end = time.monotonic() + hc.PATIENCE
            while memory[0x100000:0x100004] != b"\1\0\0\0":
                assert time.monotonic() < end
        device.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(3, 0))
        assert device.answer(hc.CHANNEL_CLOSED)[0] == (3, hc.ASKED)
        assert device.let_go()


def test_reset_of_a_device(running, lab, ram):
    """Whatever is open, or half open, ends; then the answer comes."""
    with Device(lab / "vm1.sock") as device:
        for number in (1, 2, 3):
            device.ask(number)
            device.part(ram, [(number << 20, BYTES - 4096)], number, flags=1)
        for number in (1, 2):
            device.part(ram, [(8 << 20 | number << 12, 4096)], number)
        device.send(hc.CHANNEL_RESET)
        seen = []
        while (got := device.receive())[0] != hc.CHANNEL_RESET:
            seen.append((got[0], struct.unpack_from("<2I", got[1])))
        ended = {number for kind, (number, status) in seen
                 if kind == hc.CHANNEL_CLOSED or status != wire.OK}
        assert ended == {1, 2, 3}
        assert device.let_go() and device.alive()
        device.send(hc.CHANNEL_RESET)
        assert device.receive()[0] == hc.CHANNEL_RESET


@pytest.mark.parametrize("transports", [0, 1 << 0, 1 << 3, 0xFFFFFFF0])
def test_a_device_without_a_transport(running, lab, transports):
    with Device(lab / "vm1.sock") as device:
        device.ask(transports=transports)
        assert device.answer()[0][1] == wire.UNSUPPORTED_OP
        assert device.let_go() and device.alive()


def opened_files():
    read, write = os.pipe()
    os.close(write)
    return {"a pipe": read, "a folder": os.open("/", os.O_RDONLY),
            "a socket": socket.socket().detach(), "a file on disk": os.open(__file__, os.O_RDONLY),
            "nothing": os.open("/dev/null", os.O_RDWR)}


def test_memory_that_is_none(running, lab, ram):
    """What a worker must not map: it could block it, or end under its hands."""
    with Device(lab / "vm1.sock") as device:
        for number, (what, fd) in enumerate(opened_files().items()):
            device.ask(number)
            device.part(fd, [(0, BYTES)], number)
            assert device.answer()[0][:2] == (number, wire.INVALID_REQUEST), what
            os.close(fd)
        device.ask(20)
        device.part(ram, [((64 << 20) - 4096, BYTES)], 20)
        assert device.answer()[0][:2] == (20, wire.INVALID_REQUEST)
        assert device.let_go() and device.alive()


LIES = {
    "no lease": lambda d, ram: d.ask(fds=[]),
    "two leases": lambda d, ram: d.ask(fds=[d.leased, d.leased]),
    "fewer descriptors than it says": lambda d, ram: d.ask(pad=2),
    "more than it says": lambda d, ram: d.ask(fds=[d.leased, d.leased], pad=1),
    "descriptors that no frame has": lambda d, ram: d.ask(pad=0),
    "a part without memory": lambda d, ram: (d.ask(), d.part(None, [(0, BYTES)])),
    "a part of nothing": lambda d, ram: (d.ask(), d.part(ram, [])),
    "an empty piece": lambda d, ram: (d.ask(), d.part(ram, [(0, 0), (0, BYTES)])),
    "more than the chunk": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES + 4096)])),
    "less than the chunk": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES - 4096)])),
    "all, and more to come": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], flags=1)),
    "another size": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], size=BYTES + 4096)),
    "no alignment": lambda d, ram: (d.ask(), d.part(ram, [(8, BYTES)])),
    "pages of no size": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], page=0)),
    "pages of odd size": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], page=12288)),
    "pages that do not fit": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], page=2 << 20)),
    "an offset that wraps": lambda d, ram: (d.ask(), d.part(ram, [((1 << 64) - 4096, BYTES)])),
    "a negative offset": lambda d, ram: (d.ask(), d.part(ram, [(1 << 63, BYTES)])),
    "more pieces than it has": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], count=2)),
    "pieces without end": lambda d, ram: (d.ask(), d.part(ram, [(0, BYTES)], count=0xFFFFFFFF)),
    "a number too large": lambda d, ram: d.ask(256),
    "a number twice": lambda d, ram: (d.ask(1), d.ask(1)),
    "no pieces of a chunk": lambda d, ram: (d.ready(ram), d.part(None, [], chunk=1)),
    "a chunk's size changes": lambda d, ram: (
        d.ready(ram), d.part(ram, [(0, 4096)], chunk=1, flags=1),
        d.part(ram, [(0, BYTES)], chunk=1, size=BYTES + 4096)),
    "a chunk twice": lambda d, ram: (d.ready(ram), d.part(ram, [(0, BYTES)], chunk=1),
                                     d.part(ram, [(0, BYTES)], chunk=1)),
    "a chunk without end": lambda d, ram: (
        d.ready(ram), [d.part(ram, [(4096 * i, 4096)], chunk=1, flags=1) for i in range(17)]),
    "chunk 256": lambda d, ram: (d.ready(ram), d.part(ram, [(0, BYTES)], chunk=256)),
    "a chunk that is no memory": lambda d, ram: (
        d.ready(ram), d.part(opened_files()["nothing"], [(0, BYTES)], chunk=1)),
    "a chunk beyond the memory": lambda d, ram: (
        d.ready(ram), d.part(ram, [(64 << 20, BYTES)], chunk=1)),
    "an unknown chunk's end": lambda d, ram: (
        d.ready(ram), d.send(hc.CHUNK_REMOVE, hc.CLOSE.pack(0, 1))),
    "chunk 0's end": lambda d, ram: (d.ready(ram), d.send(hc.CHUNK_REMOVE, hc.CLOSE.pack(0, 0))),
    "REQUEST_RESET with a payload": lambda d, ram: d.send(hc.CHANNEL_RESET, b"x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_device_that_lies(running, lab, ram, lie):
    """Its connection ends, and nothing of it stays in the mediator."""
    with Device(lab / "vm2.sock") as neighbour, Device(lab / "vm1.sock") as device:
        before = len(os.listdir(f"/proc/{running.process.pid}/fd"))
        LIES[lie](device, ram)
        with pytest.raises((wire.Closed, ConnectionResetError)):
            while True:
                device.receive()
        assert device.let_go()
        assert neighbour.alive()
        assert len(os.listdir(f"/proc/{running.process.pid}/fd")) <= before + 1  # a worker's


INTERRUPT, SLOTS = 3, 64


class CopiedChannel(hc.Channel):
    """Of a device whose copy engine this test is: the ring and the arena are the memfd's."""

    def __init__(self, device):
        device.ask(transports=1 << hc.COPIED, geometry=(1, 0, 4096, 131072, 1 << 20))
        while (got := device.receive())[0] != hc.CHANNEL_OPENED:
            pass
        super().__init__(device, 0, got[2][:3], hc.OPENED.unpack(got[1]))
        self.page = mmap.mmap(got[2][3], 4096)
        os.close(got[2][3])

    def asked(self):
        """The kinds of the requests that the engine has not done."""
        tail, = struct.unpack_from("<Q", self.page)
        head, = struct.unpack_from("<Q", self.page, 128)
        return [struct.unpack_from("<I", self.page, 2048 + at % SLOTS * 32)[0]
                for at in range(head, tail)]

    def serve(self):
        """All of them are done."""
        self.page[128:136] = self.page[:8]
        os.eventfd_write(self.doorbell, 1)


def test_no_position_goes_ahead_of_its_data(running, lab):
    """The engine copies what a word is when it comes to it: so no new position is stored while one
    waits for the engine, and what the later records wrote is asked for behind it."""
    with Device(lab / "vm1.sock") as device:
        channel = CopiedChannel(device)
        assert channel.bulk(hc.ALLOC, target=hc.handle(1), count=4096) == 0
        wait_for(lambda: INTERRUPT in channel.asked(), "the positions to be told")
        before = channel.word(hc.RETIRED)
        for value in range(1, 4):
            at = channel.arena + 4096 * value
            channel.put(channel.bulk_record(hc.FILL, target=hc.handle(1), count=1024, value=value,
                                            flags=0))
            channel.put(channel.bulk_record(hc.DOWNLOAD, a=hc.handle(1), count=4096, flags=0,
                                            chunk_offset=at))
            channel.publish()
            wait_for(lambda: channel.memory[at] == value, "the record to be executed")
            assert channel.word(hc.RETIRED) == before == 1
            assert channel.asked().count(INTERRUPT) == 1
        for _ in range(20):
            channel.serve()
            if channel.word(hc.RETIRED) == 7:
                break
            wait_for(channel.asked, "more requests")
        assert channel.word(hc.RETIRED) == 7
        channel.page.close()
        channel.close_fds()
