# SPDX-License-Identifier: GPL-2.0-or-later
"""A generated stream of accesses and memory against the device's channels, with a mediator and a
worker that answer as they like.  Whatever comes of it, QEMU lives on and a channel opens.

VGPU_FUZZ_SEEDS=first-last plays more of them.  For a device with sanitizers: qemu/build-module.sh
with CFLAGS, and VGPU_FUZZ_STEPS for longer streams.
"""
import mmap
import os
import random
import select
import struct

import pytest

import channel_regs as cr
import guest_channel as gc
from channel_host import Opened, memfd
from fake_mediator import frame

FIRST, LAST = (int(one) for one in os.environ.get("VGPU_FUZZ_SEEDS", "1-6").split("-"))
STEPS = int(os.environ.get("VGPU_FUZZ_STEPS", "600"))
GEOMETRIES = [cr.SMALLEST, (4, 1024, 4096, 128 << 10, 64 << 10), (2, 0, 8192, 256 << 10, 1 << 20)]
WORDS = [0, 1, 2, 7, 8, 24, 4095, 4096, 1 << 16, 1 << 20, (1 << 31) - 8, 1 << 31, (1 << 32) - 1,
         1 << 32, (1 << 63) - 8, 1 << 63, (1 << 64) - 8, (1 << 64) - 1]


class Host:
    """The mediator and all workers: what is right, mostly."""

    def __init__(self, conn, rng):
        self.conn, self.rng = conn, rng
        self.open = []  # (Opened, memfd mapping, copy page) of channels that were granted

    def serve(self):
        """Takes what has come.  False: the device has hung up."""
        while self.conn.buffered or select.select([self.conn.sock], [], [], 0)[0]:
            got = self.conn.recv()
            if got is None:
                return False
            if got.type == cr.MSG_OPEN:
                self.answer(got)
            elif got.type == cr.MSG_CLOSE:
                number = cr.CLOSE_FRAME.unpack(got.payload)[0]
                self.end([one for one in self.open if one[0].number == number], cr.R_ASKED)
            elif got.type == cr.MSG_RESET:
                self.end(list(self.open), cr.R_RESET)
                self.conn.send(frame(cr.MSG_RESET))
            for fd in () if got.type == cr.MSG_OPEN else got.fds:
                os.close(fd)
        return True

    def answer(self, opening):
        one = Opened(self.conn, opening, [])
        size = cr.layout_bytes(*cr.GEOMETRY.unpack(one.geometry))
        if self.rng.random() < 0.2:
            one.let_go()
            one.reply(self.rng.choice([1, 7, 8, 13]), fds=(), size=0)
            one.close()
        elif one.transports == 1 << cr.SHARED:
            one.reply(size=size)
            self.open.append((one, None, None))
        else:
            chunk, page = memfd(size), memfd(4096)
            one.reply(transport=cr.COPIED, size=size,
                      fds=(one.doorbell, one.interrupt, chunk, page))
            self.open.append((one, mmap.mmap(chunk, size), mmap.mmap(page, 4096)))
            os.close(chunk)
            os.close(page)

    def end(self, which, reason):
        for one in which:
            one[0].let_go()
            one[0].closed(reason)
            self.forget(one)

    def forget(self, one):
        self.open.remove(one)
        one[0].close()
        for memory in one[1:]:
            if memory:
                memory.close()

    def act(self):
        """A step of some worker, which may be anybody's."""
        if not self.open:
            return
        one = self.rng.choice(self.open)
        kind = self.rng.random()
        if kind < 0.1:
            self.end([one], self.rng.choice([2, 5, 7, 4000]))
        elif kind < 0.4:
            os.eventfd_write(one[0].interrupt, self.rng.choice([1, 3]))
        elif one[2] and kind < 0.95:
            self.request(one)
        elif one[2]:
            struct.pack_into("<Q", one[2], 0, self.rng.choice(WORDS))
            os.eventfd_write(one[0].interrupt, 1)
        else:
            os.write(one[0].lease or 0, b"x")

    def request(self, one):
        _, memory, page = one
        size, rng = len(memory), self.rng
        head = struct.unpack_from("<Q", page, 128)[0]
        tail = head
        for _ in range(rng.choice([1, 2, 64])):
            at = rng.choice([rng.randrange(size), 0, 0x100, size - 8, rng.choice(WORDS)])
            count = rng.choice([8, 16, 4096, rng.randrange(size), size - min(at, size),
                                rng.choice(WORDS)])
            if rng.random() < 0.9:  # within the chunk
                at = min(at, size)
                count = min(count, size - at)
            struct.pack_into("<IIQQQ", page, 2048 + tail % 64 * 32,
                             rng.choice([1, 2, 2, 3] * 9 + [0, 9]), rng.choice([0] * 40 + [1]), at,
                             count, 0)
            tail += 1
        struct.pack_into("<Q", page, 0, tail)
        os.eventfd_write(one[0].interrupt, 1)

    def close(self):
        for one in list(self.open):
            self.forget(one)
        self.conn.close()


def random_setup(rng):
    geometry = rng.choice(GEOMETRIES)
    size = cr.layout_bytes(*geometry)
    at = rng.choice([0x1000000, 0x1400000, 0x1800000]) + rng.choice([0, 0, 4096])
    pieces = cr.pieces_at(at, size, rng.choice([4096, 1 << 16, 1 << 20]))[:256]
    setup = bytearray(cr.setup_bytes(geometry, pieces))
    while rng.random() < 0.3:
        place = rng.choice([rng.randrange(0, 96, 8), 80 + rng.randrange(0, 64, 8)])
        struct.pack_into("<Q", setup, place, rng.choice(WORDS))
    return bytes(setup)


def guest_step(rng, dev, driver, memory):
    vm, kind = dev.machine, rng.random()
    if kind < 0.3:
        driver.open(rng.randrange(8), random_setup(rng))
    elif kind < 0.4:
        driver.command(rng.choice([0, 1, 2, 7, 8, 1 << 31]), rng.choice([0, 2, 2, 2, 3, 4, 5, 77]))
    elif kind < 0.55:
        dev.write(rng.randrange(0x840, 0x880, 4), rng.choice(WORDS) & 0xFFFFFFFF)
        dev.read(rng.randrange(0x83C, 0x888), rng.choice([1, 2, 4, 8]))
    elif kind < 0.75:
        size = rng.choice([1, 2, 4, 4, 4, 8])
        vm.write(gc.BAR2 + rng.choice([0, 4096 * rng.randrange(8), rng.randrange(8 * 4096 - 8)]),
                 rng.choice(WORDS) & ((1 << 8 * size) - 1), size)
    elif kind < 0.95:
        at = rng.choice([0x1000000, 0x1400000, 0x1800000])
        offset = rng.choice([0, 0, 0x80, 0x88, rng.randrange(8192)])
        struct.pack_into("<Q", memory.bytes, at + offset, rng.choice(WORDS))
    elif kind < 0.955:
        dev.config_write(4, rng.choice([0, 2, 4, 6]), 2)
    elif kind < 0.98:
        dev.config_write(rng.choice([0x10, 0x18, 0x20]),
                         rng.choice([0, 0x1000000, 0x1400000, 0xE0050000, 0xFFFFFFFF]), 4)
    else:
        gc.enable(dev)
        dev.enable()


@pytest.fixture
def memory():
    made = gc.GuestMemory()
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(FIRST, LAST + 1))
def test_a_stream(start, mediator, memory, seed):
    rng = random.Random(seed)
    transport = ["auto", "copied", "copied,copy-thread=off"][seed % 3]
    vm, dev = start(f"channels=8,transport={transport}", *memory.arguments())
    gc.enable(dev)
    driver = cr.Driver(dev)
    host = Host(mediator.accept(), rng)
    for _ in range(STEPS):
        guest_step(rng, dev, driver, memory)
        assert host.serve(), "the device hung up"
        host.act()
    gc.enable(dev)
    dev.enable()
    for number in range(8):
        driver.command(number, cr.CLOSE)
    for number in range(8):
        cr.wait_for(lambda: host.serve() and driver.of(number, cr.STATE) == cr.FREE,
                    f"channel {number} is free")
    assert not driver.reg(cr.STATE)
    memory.bytes[0x1000000:0x2000000] = bytes(0x1000000)
    size = cr.layout_bytes(*cr.SMALLEST)
    assert driver.open(0, cr.setup_bytes(pieces=[(0x1000000, size)])) == cr.PENDING
    cr.wait_for(lambda: host.serve() and driver.of(0, cr.RESULT) != cr.PENDING, "an answer")
    host.close()
