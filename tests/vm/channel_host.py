# SPDX-License-Identifier: GPL-2.0-or-later
"""The mediator and the worker of a device's channels, as a test plays them, and the machine for it.
"""
import fcntl
import mmap
import os
import select
import struct

import pytest

import channel_regs as cr
from channel_regs import Driver, eventfd, memfd_machine, pieces_at, setup_bytes
from fake_mediator import frame

BAR2, BAR4 = 0xE1000000, 0xE1100000
CHUNK_AT = 0x1000000
INVALID, QUEUE_FULL, UNSUPPORTED = 1, 7, 8
BYTES = cr.layout_bytes(*cr.SMALLEST)
GOOD = pieces_at(CHUNK_AT, BYTES)
MESSAGE_AT, CONFIG_DATA, CHANNEL_DATA = 0x100000, 0x5151, 0x6262
SEALS = 0x0001 | 0x0002 | 0x0004  # SEAL, SHRINK, GROW
F_ADD_SEALS = 1033


def memfd(size, seals=SEALS):
    fd = os.memfd_create("chunk", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, F_ADD_SEALS, seals)
    return fd


def place_bars(dev):
    dev.config_write(0x18, BAR2, 4)
    dev.config_write(0x20, BAR4, 4)


@pytest.fixture
def begin(start):
    """begin(properties, arguments...) -> (machine, device, driver)"""
    def run(properties="", *arguments, memory=None, **more):
        vm, dev = start(properties, *(memfd_machine() if memory is None else memory), *arguments,
                        **more)
        place_bars(dev)
        return vm, dev, Driver(dev)
    return run


class Opened:
    """A channel that this test has opened as the mediator; it holds the lease."""

    def __init__(self, conn, opening, adds):
        self.conn, self.opening, self.adds = conn, opening, adds
        words = cr.OPEN_FRAME.unpack(opening.payload)
        self.number, self.transports, self.geometry = words[0], words[2], words[4]
        self.lease, = opening.fds
        self.doorbell, self.interrupt = eventfd(), eventfd()
        self.life = None  # our end of its pipe, where it has one

    def send(self, data, fds=()):
        try:
            self.conn.send(data, fds)
        except BrokenPipeError:
            pass  # the device has seen enough

    def reply(self, status=0, transport=cr.SHARED, fds=None, geometry=None, size=BYTES, features=1):
        fds = (self.doorbell, self.interrupt) if fds is None else fds
        self.send(frame(cr.MSG_OPENED, 0, cr.OPENED_FRAME.pack(
            self.number, status, transport, features, geometry or self.geometry, size),
            pad=len(fds)), fds)

    def reply_with_life(self):
        self.life, theirs = os.pipe()
        self.reply(fds=(self.doorbell, self.interrupt, theirs), features=1 | cr.LIFE)
        os.close(theirs)

    def is_wanted(self):
        """Does the device have its end of the life?"""
        poll = select.poll()
        poll.register(self.life, 0)
        return not poll.poll(0)

    def closed(self, reason):
        self.conn.send(frame(cr.MSG_CLOSED, 0, cr.CLOSE_FRAME.pack(self.number, reason)))

    def let_go(self):
        if self.lease is not None:
            os.close(self.lease)
        self.lease = None

    def close(self):
        self.let_go()
        if self.life is not None:
            os.close(self.life)
        for fd in (self.doorbell, self.interrupt, *(fd for add in self.adds for fd in add.fds)):
            os.close(fd)


def take_open(conn):
    """The frames of an OPEN whose chunk is shared."""
    opening = conn.expect(cr.MSG_OPEN)
    adds = []
    while True:
        adds.append(conn.expect(cr.MSG_CHUNK_ADD))
        if not cr.ADD_FRAME.unpack_from(adds[-1].payload)[2]:
            return Opened(conn, opening, adds)


@pytest.fixture
def opened():
    """opened(driver, conn, number) -> a channel that is open."""
    made = []

    def run(driver, conn, number=0, setup=None, vector=None, life=False):
        if vector is not None:
            driver.select(number).device.write(cr.VECTOR, vector)
        setup = setup or setup_bytes(pieces=pieces_at(CHUNK_AT + number * 0x200000, BYTES))
        assert driver.open(number, setup) == cr.PENDING
        made.append(take_open(conn))
        made[-1].reply_with_life() if life else made[-1].reply()
        assert driver.wait_result(number) == 0
        assert driver.of(number, cr.STATE) == cr.OPENED
        return made[-1]

    yield run
    for one in made:
        one.close()


def enable_msix(dev, messages):
    """messages: {vector: data}; each is written to MESSAGE_AT + 4 * vector."""
    for vector, data in messages.items():
        at = BAR4 + 16 * vector
        for offset, value in ((0, MESSAGE_AT + 4 * vector), (4, 0), (8, data), (12, 0)):
            dev.machine.write(at + offset, value, 4)
    cap = dev.capability(0x11)
    dev.config_write(cap + 2, 0x8000, 2)


def take_message(vm, vector):
    """What has arrived.  Nothing is wiped out that comes after the look."""
    seen = vm.read(MESSAGE_AT + 4 * vector, 4)
    if seen:
        vm.write(MESSAGE_AT + 4 * vector, 0, 4)
    return seen


PULL, PUSH, INTERRUPT = 1, 2, 3
SLOTS = 64


class Copied(Opened):
    """An open `copied` channel: this test is its worker, too."""

    def __init__(self, conn, opening, size):
        super().__init__(conn, opening, [])
        chunk, page = memfd(size), memfd(4096)
        self.chunk, self.page = mmap.mmap(chunk, size), mmap.mmap(page, 4096)
        self.reply(transport=cr.COPIED, size=size, fds=(self.doorbell, self.interrupt, chunk, page))
        os.close(chunk)
        os.close(page)

    def write_request(self, number, kind, offset=0, count=0):
        struct.pack_into("<IIQQQ", self.page, 2048 + number % SLOTS * 32, kind, 0, offset, count, 0)

    def done(self):
        return struct.unpack_from("<Q", self.page, 128)[0]

    def ask(self, *requests):
        """requests: (kind, offset, bytes).  The position behind them."""
        tail = struct.unpack_from("<Q", self.page)[0]
        for request in requests:
            self.write_request(tail, *request)
            tail += 1
        struct.pack_into("<Q", self.page, 0, tail)
        self.kick()
        return tail

    def kick(self):
        os.eventfd_write(self.interrupt, 1)

    def close(self):
        super().close()
        self.chunk.close()
        self.page.close()


@pytest.fixture
def copied():
    """copied(driver, conn, number, setup, vector) -> a Copied that is open.  The pieces lie at
    CHUNK_AT."""
    made = []

    def run(driver, conn, number=0, geometry=cr.SMALLEST, setup=None, vector=None):
        size = cr.layout_bytes(*geometry)
        if vector is not None:
            driver.select(number).device.write(cr.VECTOR, vector)
        assert driver.open(number, setup or setup_bytes(
            geometry, pieces_at(CHUNK_AT + number * 0x200000, size))) == cr.PENDING
        opening = conn.expect(cr.MSG_OPEN)
        assert cr.OPEN_FRAME.unpack(opening.payload)[2] == 1 << cr.COPIED
        made.append(Copied(conn, opening, size))
        assert driver.wait_result(number) == 0
        return made[-1]

    yield run
    for one in made:
        one.close()
