# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels in the device: registers, frames and descriptors, with a mediator that the test plays.

The test is also the guest's driver (channel_regs.Driver) and, where there is one, the worker.
"""
import mmap
import os
import select
import struct
import subprocess
import threading

import pytest

import channel_regs as cr
from channel_regs import Driver, eventfd, memfd_machine, pieces_at, setup_bytes
from conftest import Device
from fake_mediator import frame
from qemu_process import wait_for
from test_life import unplug

BAR2, BAR4 = 0xE1000000, 0xE1100000
CHUNK_AT = 0x1000000
INVALID, UNSUPPORTED = 1, 8
BYTES = cr.layout_bytes(*cr.SMALLEST)
MESSAGE_AT, CONFIG_DATA, CHANNEL_DATA = 0x100000, 0x5151, 0x6262


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

    def send(self, data, fds=()):
        try:
            self.conn.send(data, fds)
        except BrokenPipeError:
            pass  # the device has seen enough

    def reply(self, status=0, transport=cr.SHARED, fds=None, geometry=None, size=BYTES):
        fds = (self.doorbell, self.interrupt) if fds is None else fds
        self.send(frame(cr.MSG_OPENED, 0, cr.OPENED_FRAME.pack(
            self.number, status, transport, 1, geometry or self.geometry, size),
            pad=len(fds)), fds)

    def closed(self, reason):
        self.conn.send(frame(cr.MSG_CLOSED, 0, cr.CLOSE_FRAME.pack(self.number, reason)))

    def let_go(self):
        if self.lease is not None:
            os.close(self.lease)
        self.lease = None

    def close(self):
        self.let_go()
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

    def run(driver, conn, number=0, setup=None, vector=None):
        if vector is not None:
            driver.select(number).device.write(cr.VECTOR, vector)
        setup = setup or setup_bytes(pieces=pieces_at(CHUNK_AT + number * 0x200000, BYTES))
        assert driver.open(number, setup) == cr.PENDING
        made.append(take_open(conn))
        made[-1].reply()
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
    seen = vm.read(MESSAGE_AT + 4 * vector, 4)
    vm.write(MESSAGE_AT + 4 * vector, 0, 4)
    return seen


# ---- registers


def test_identity(begin):
    _, dev, driver = begin()
    assert driver.reg(cr.ID) == cr.CHANNEL_ID
    assert driver.reg(cr.CHANNELS) == 64
    assert driver.reg(cr.FEATURES) & 1
    dev.config_write(0x18, 0xFFFFFFFF, 4)
    assert dev.config_read(0x18, 4) == 0xFFFC0000  # 64 pages
    assert dev.config_read(dev.capability(0x11) + 2, 2) == 64  # 65 vectors
    assert driver.changed() == []


@pytest.mark.parametrize("count,vectors", [(1, 2), (16, 17), (128, 128), (256, 128)])
def test_count_of_channels(begin, count, vectors):
    _, dev, driver = begin(f"channels={count}")
    assert driver.reg(cr.CHANNELS) == count
    dev.config_write(0x18, 0xFFFFFFFF, 4)
    assert dev.config_read(0x18, 4) == 0x100000000 - count * 4096
    assert dev.config_read(dev.capability(0x11) + 2, 2) == vectors - 1


def test_a_device_without_channels(begin, mediator):
    _, dev, driver = begin("channels=0")
    hello = mediator.accept(hello=False).expect(8)
    assert struct.unpack_from("<2I", hello.payload)[1] == 1
    assert all(driver.reg(register) == 0 for register in range(cr.ID, cr.GRANTED + 4, 4))
    assert dev.capability(0x11) is None
    dev.config_write(0x18, 0xFFFFFFFF, 4)
    assert dev.config_read(0x18, 4) == 0


@pytest.mark.parametrize("register,value,expected", [
    (cr.SELECT, 0xFFFFFFFF, 0xFFFFFFFF), (cr.SETUP_LO, 0x12345678, 0x12345678),
    (cr.SETUP_HI, 0x9ABCDEF0, 0x9ABCDEF0), (cr.DRIVER_FEATURES, 3, 3), (cr.VECTOR, 64, 64),
    (cr.VECTOR, 65, cr.VECTOR_NONE), (cr.VECTOR, 0xFFFFFFFF, cr.VECTOR_NONE),
    (cr.ID, 1, cr.CHANNEL_ID),
    (cr.STATE, 3, 0), (cr.RESULT, 9, 0), (cr.REASON, 9, 0)])
def test_values(begin, register, value, expected):
    _, dev, driver = begin()
    dev.write(register, value)
    assert driver.reg(register) == expected


def test_only_whole_registers_count(begin):
    _, dev, driver = begin()
    for size in (1, 2, 8):
        for offset in range(0, 0x40, size):
            assert dev.read(cr.ID + offset, size) == 0
            dev.write(cr.ID + offset, (1 << 8 * size) - 1, size)
    for offset in (1, 2, 3):
        assert dev.read(cr.ID + offset, 4) == 0
    assert driver.reg(cr.SELECT) == 0 and driver.reg(cr.SETUP_LO) == 0


def test_a_channel_that_the_device_has_not(begin, mediator):
    _, _, driver = begin()
    mediator.accept().sync()
    for number in (64, 255, 0xFFFFFFFF):
        assert driver.command(number, cr.OPEN) == 0
        assert driver.of(number, cr.STATE) == 0


# ---- opening and closing


def test_open_sends_what_the_driver_said(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn, 5)
    number, profile, transports, features, geometry, process, _, name = \
        cr.OPEN_FRAME.unpack(channel.opening.payload)
    assert (number, profile, transports, features, process) == (5, 1, 1 << cr.SHARED, 1, 4711)
    assert geometry == cr.GEOMETRY.pack(*cr.SMALLEST) and name.rstrip(b"\0") == b"test"
    assert driver.changed() == [5] and driver.changed() == []
    assert driver.of(5, cr.TRANSPORT) == cr.SHARED and driver.of(5, cr.GRANTED) == 1


def test_the_host_sees_the_guests_memory(begin, mediator, opened):
    vm, _, driver = begin()
    conn = mediator.accept()
    pieces = [(CHUNK_AT + 0x40000, 0x1000), (CHUNK_AT, 0x10000),
              (CHUNK_AT + 0x100000, BYTES - 0x11000)]
    for index, (at, _) in enumerate(pieces):
        vm.write(at, 0x1111 * (index + 1), 4)
    channel = opened(driver, conn, 0, setup_bytes(pieces=pieces))
    add, = channel.adds
    number, chunk, flags, count, size, page = cr.ADD_FRAME.unpack_from(add.payload)
    assert (number, chunk, flags, count, size, page) == (0, 0, 0, 3, BYTES, 4096)
    for index in range(3):
        offset, length = cr.PIECE.unpack_from(add.payload, cr.ADD_FRAME.size + 16 * index)
        assert length == pieces[index][1]
        with mmap.mmap(add.fds[0], length, offset=offset) as memory:
            assert struct.unpack_from("<I", memory)[0] == 0x1111 * (index + 1)
            memory[4:8] = struct.pack("<I", 0xABCD0000 + index)
        assert vm.read(pieces[index][0] + 4, 4) == 0xABCD0000 + index


def test_many_pieces_go_in_several_frames(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    geometry = (1, 0, 4096, 128 << 10, 256 * 4096 - 0x23000)
    size = cr.layout_bytes(*geometry)
    pieces = pieces_at(CHUNK_AT, size, 4096)
    assert len(pieces) == 256 and driver.open(0, setup_bytes(geometry, pieces)) == cr.PENDING
    channel = take_open(conn)
    heads = [cr.ADD_FRAME.unpack_from(add.payload) for add in channel.adds]
    assert [head[3] for head in heads] == [62, 62, 62, 62, 8]
    assert [head[2] for head in heads] == [1, 1, 1, 1, 0]
    assert all(len(add.fds) == 1 for add in channel.adds)
    channel.reply(size=size)
    assert driver.wait_result(0) == 0
    channel.close()


def test_close(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn, 3)
    driver.changed()
    assert driver.command(3, cr.CLOSE) == cr.PENDING
    assert driver.reg(cr.STATE) == cr.CLOSING
    assert cr.CLOSE_FRAME.unpack(conn.expect(cr.MSG_CLOSE).payload) == (3, 0)
    channel.closed(cr.R_ASKED)
    conn.sync()
    assert driver.of(3, cr.STATE) == cr.CLOSING  # somebody still holds its memory
    assert driver.reg(cr.RESULT) == cr.PENDING and driver.changed() == []
    channel.let_go()
    assert driver.wait_result(3) == 0
    assert driver.reg(cr.STATE) == cr.FREE and driver.reg(cr.REASON) == cr.R_ASKED
    assert driver.changed() == [3]
    opened(driver, conn, 3)


def test_the_lease_alone_frees_nothing(begin, mediator, opened):
    """The number is free when the last word has come."""
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    driver.command(0, cr.CLOSE)
    conn.expect(cr.MSG_CLOSE)
    channel.let_go()
    conn.sync()
    assert driver.of(0, cr.STATE) == cr.CLOSING
    channel.closed(cr.R_ASKED)
    assert driver.wait_result(0) == 0


def test_the_host_ends_a_channel(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel, other = opened(driver, conn, 1), opened(driver, conn, 2)
    driver.changed()
    channel.let_go()
    channel.closed(cr.R_BAD_RECORD)
    driver.wait_state(1, cr.FREE)
    assert driver.reg(cr.REASON) == cr.R_BAD_RECORD
    assert driver.changed() == [1]
    assert driver.of(2, cr.STATE) == cr.OPENED
    assert not select.select([other.doorbell], [], [], 0)[0]


@pytest.mark.parametrize("status", [1, 7, 11, 0xFFFF])
def test_refused_by_the_mediator(begin, mediator, status):
    _, _, driver = begin()
    conn = mediator.accept()
    setup = setup_bytes(pieces=pieces_at(CHUNK_AT, BYTES))
    for _ in range(3):
        assert driver.open(0, setup) == cr.PENDING
        channel = take_open(conn)
        channel.reply(status, fds=(), size=0)
        assert driver.wait_result(0) == status
        assert driver.reg(cr.STATE) == cr.CLOSING  # the lease is still out
        channel.close()
        driver.wait_state(0, cr.FREE)


def test_doorbell_and_interrupt(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    enable_msix(dev, {0: CONFIG_DATA, 7: CHANNEL_DATA})
    channel = opened(driver, conn, 2, vector=7)
    assert take_message(vm, 0) == CONFIG_DATA and take_message(vm, 7) == 0
    page = BAR2 + 2 * 4096
    for offset, value, size in ((4, 1, 4), (0, 1, 2), (0, 1, 1), (8, 1, 8), (0, 1, 8),
                                (4092, 1, 4)):
        vm.write(page + offset, value, size)
        assert vm.read(page + offset, size) == 0
    vm.write(BAR2, 1, 4)  # another channel's page
    assert not select.select([channel.doorbell], [], [], 0)[0]
    vm.write(page, 0, 4)
    vm.write(page, 99, 4)
    assert os.eventfd_read(channel.doorbell) == 2
    os.eventfd_write(channel.interrupt, 1)
    wait_for(lambda: take_message(vm, 7) == CHANNEL_DATA, "the interrupt arrives")
    assert take_message(vm, 0) == 0
    driver.select(2).device.write(cr.VECTOR, cr.VECTOR_NONE)
    os.eventfd_write(channel.interrupt, 1)
    conn.sync()
    vm.qmp("query-status")
    assert take_message(vm, 7) == 0
    channel.let_go()
    channel.closed(cr.R_TIMEOUT)
    driver.wait_state(2, cr.FREE)
    vm.write(page, 1, 4)
    assert not select.select([channel.doorbell], [], [], 0)[0]


def test_no_interrupt_while_the_machine_is_stopped(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    enable_msix(dev, {0: CONFIG_DATA, 1: CHANNEL_DATA})
    channel = opened(driver, conn, vector=1)
    vm.qmp("stop")
    os.eventfd_write(channel.interrupt, 1)
    conn.sync()
    assert take_message(vm, 1) == 0
    vm.qmp("cont")
    wait_for(lambda: take_message(vm, 1) == CHANNEL_DATA, "the interrupt arrives")


# ---- what a hostile guest writes


def too_many(pieces):
    return setup_bytes(pieces=pieces, count=257)


GOOD = pieces_at(CHUNK_AT, BYTES)
LARGE = (1, 0, 4096, 128 << 10, 8 << 20)
WRONG = {
    "no pieces": setup_bytes(pieces=[]),
    "257 pieces": too_many(GOOD),
    "4 billion pieces": setup_bytes(pieces=GOOD, count=0xFFFFFFFF),
    "an empty piece": setup_bytes(pieces=[*GOOD, (CHUNK_AT + 0x800000, 0)]),
    "a byte too many": setup_bytes(pieces=[(CHUNK_AT, BYTES + 1)]),
    "not aligned": setup_bytes(pieces=[(CHUNK_AT + 8, BYTES)]),
    "too short": setup_bytes(pieces=[(CHUNK_AT, BYTES - 4096)]),
    "too long": setup_bytes(pieces=[(CHUNK_AT, BYTES + 4096)]),
    "another size than the layout": setup_bytes(pieces=[(CHUNK_AT, BYTES + 4096)],
                                                size=BYTES + 4096),
    "a piece over 4 MiB": setup_bytes(LARGE, [(CHUNK_AT, cr.layout_bytes(*LARGE))]),
    "the sum wraps": setup_bytes(pieces=[(CHUNK_AT, 0xFFFFFFFFFFFFF000), (CHUNK_AT, BYTES + 4096)]),
    "around the end": setup_bytes(pieces=[(0xFFFFFFFFFFFFF000, 4096), (CHUNK_AT, BYTES - 4096)]),
    "overlap itself": setup_bytes(pieces=[(CHUNK_AT, 4096), (CHUNK_AT, BYTES - 4096)]),
    "in a hole": setup_bytes(pieces=[(0x80000000, BYTES)]),
    "over the end of RAM": setup_bytes(pieces=[((64 << 20) - 4096, BYTES)]),
    "in a BAR of its own": setup_bytes(pieces=[(BAR2, BYTES)]),
    "in the APIC": setup_bytes(pieces=[(0xFEE00000, BYTES)]),
    "above all memory": setup_bytes(pieces=[(1 << 52, BYTES)]),
    "no lanes": setup_bytes((0, 0, 4096, 128 << 10, 4096), GOOD),
    "a ring of no size": setup_bytes((1, 0, 4096, 0, 4096), GOOD),
    "events that wrap": setup_bytes((1, 0xFFFFFC00, 4096, 128 << 10, 4096), GOOD, size=BYTES),
    "an arena without end": setup_bytes((1, 0, 4096, 128 << 10, 0xFFFFFFFFFFFFF000), GOOD,
                                        size=BYTES),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setup(begin, mediator, opened, what):
    _, _, driver = begin()
    conn = mediator.accept()
    assert driver.open(0, WRONG[what]) == INVALID, what
    assert driver.reg(cr.STATE) == cr.FREE
    conn.sync()  # not a frame was sent
    opened(driver, conn)  # and nothing is left of it


def test_the_setup_lies_nowhere(begin, mediator):
    _, _, driver = begin()
    mediator.accept().sync()
    for at in (0x80000000, BAR2, (64 << 20) - 8, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF00, 1 << 52):
        assert driver.open_at(0, at) not in (0, cr.PENDING)
        assert driver.reg(cr.STATE) == cr.FREE


def test_chunks_of_two_channels_overlap(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn, 0)
    for at in (CHUNK_AT, CHUNK_AT - BYTES + 4096, CHUNK_AT + BYTES - 4096):
        assert driver.open(1, setup_bytes(pieces=[(at, BYTES)])) == 1
    channel.let_go()
    channel.closed(cr.R_REMOVED)
    driver.wait_state(0, cr.FREE)
    opened(driver, conn, 1, setup_bytes(pieces=[(CHUNK_AT, BYTES)]))


def test_commands_out_of_place(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    assert driver.command(0, cr.CLOSE) == 0
    for unknown in (0, 6, 0xFFFFFFFF):
        assert driver.command(0, unknown) not in (0, cr.PENDING)
    channel = opened(driver, conn)
    assert driver.open(0, setup_bytes(pieces=pieces_at(CHUNK_AT + 0x800000, BYTES))) == 1
    assert driver.reg(cr.STATE) == cr.OPENED
    assert driver.command(0, cr.CLOSE) == cr.PENDING
    for again in (cr.OPEN, cr.CLOSE, cr.CHUNK_ADD):
        assert driver.command(0, again) == cr.PENDING
    conn.expect(cr.MSG_CLOSE)
    channel.let_go()
    channel.closed(cr.R_ASKED)
    assert driver.wait_result(0) == 0
    conn.sync()


def test_all_channels_at_once(begin, mediator, opened):
    """As many as there are, opened before one is answered: each is refused or sent."""
    _, _, driver = begin("channels=256")
    conn = mediator.accept()
    pending = [number for number in range(256)
               if driver.open(number, setup_bytes(pieces=[(CHUNK_AT + number * BYTES, BYTES)]))
               == cr.PENDING]
    assert len(pending) == 256
    for number in pending:
        channel = take_open(conn)
        assert channel.number == number
        channel.reply(7, fds=(), size=0)
        channel.close()
    for number in pending:
        driver.wait_state(number, cr.FREE)
        assert driver.of(number, cr.RESULT) == 7
    opened(driver, conn, 255, setup_bytes(pieces=[(CHUNK_AT, BYTES)]))


# ---- memory that the host can't map


@pytest.mark.parametrize("memory", [
    [], memfd_machine(share="off"),
    ["-object", "memory-backend-ram,id=ram,size=64M,share=on", "-machine", "memory-backend=ram"]])
def test_memory_that_is_not_shared(begin, mediator, memory):
    _, _, driver = begin("transport=shared", memory=memory)
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == UNSUPPORTED
    conn.sync()


def test_memory_of_another_device(qemu, begin, mediator):
    """ivshmem's BAR is RAM with a descriptor, and not the machine's."""
    known = subprocess.run([*qemu, "-device", "help"], capture_output=True, text=True, check=True)
    if "ivshmem-plain" not in known.stdout:
        pytest.skip("this QEMU is built without ivshmem")
    vm, _, driver = begin("transport=shared", "-object",
                          "memory-backend-memfd,id=other,size=4M,share=on",
                          "-device", "ivshmem-plain,memdev=other,addr=7")
    conn = mediator.accept()
    other = Device(vm, 7)
    other.config_write(0x18, 0xD0000000, 4)
    other.config_write(0x1C, 0, 4)
    other.config_write(0x04, 6, 2)
    vm.write(0xD0000000, 0x1234, 4)
    assert vm.read(0xD0000000, 4) == 0x1234
    assert driver.open(0, setup_bytes(pieces=[(0xD0000000, BYTES)])) == UNSUPPORTED
    conn.sync()


# ---- resets, unplug, a mediator that goes or lies


def answer_reset(conn, *channels, let_go=True):
    """The mediator's part, for a device that waits meanwhile."""
    conn.expect(cr.MSG_RESET)
    for channel in channels:
        channel.closed(cr.R_RESET)
    conn.send(frame(cr.MSG_RESET))


def test_reset_command(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    enable_msix(dev, {0: CONFIG_DATA})
    one, two = opened(driver, conn, 1), opened(driver, conn, 2)
    driver.changed()
    take_message(vm, 0)
    generation = driver.reg(cr.GENERATION)
    driver.command(0, cr.RESET)
    assert driver.reg(cr.GENERATION) == generation
    assert driver.of(1, cr.STATE) == cr.CLOSING == driver.of(2, cr.STATE)
    one.let_go()
    two.let_go()
    answer_reset(conn, one, two)
    wait_for(lambda: driver.reg(cr.GENERATION) == generation + 1, "the reset is over")
    assert driver.changed() == [1, 2] and take_message(vm, 0) == CONFIG_DATA
    assert driver.of(1, cr.STATE) == cr.FREE and driver.of(1, cr.REASON) == cr.R_RESET
    driver.command(0, cr.RESET)  # nothing is open: over at once
    assert driver.reg(cr.GENERATION) == generation + 2
    opened(driver, conn, 1)


def test_the_machines_reset_waits_for_the_host(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    generation = driver.reg(cr.GENERATION)
    done = threading.Event()
    asking = threading.Thread(target=lambda: (vm.qmp("system_reset"), done.set()))
    asking.start()
    conn.expect(cr.MSG_RESET)
    assert not done.wait(0.3)  # QMP has no answer while the device waits
    channel.let_go()
    asking.join()
    vm.wait_event("RESET")
    assert "has not let go" not in vm.output()
    dev.enable()
    place_bars(dev)
    assert driver.reg(cr.GENERATION) == generation  # the last word on it has not come
    assert driver.open(1, setup_bytes(pieces=GOOD)) == 7
    channel.closed(cr.R_RESET)
    driver.wait_state(0, cr.FREE)
    assert driver.reg(cr.GENERATION) == generation + 1
    opened(driver, conn)


def test_the_wait_at_reset_has_a_bound(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    assert "has not let go of the guest's memory within 3000 ms" in vm.output()
    dev.enable()
    assert driver.of(0, cr.STATE) == cr.CLOSING
    assert driver.open(1, setup_bytes(pieces=GOOD)) == 7
    conn.expect(cr.MSG_RESET)
    channel.closed(cr.R_RESET)
    channel.let_go()
    driver.wait_state(0, cr.FREE)


def test_reset_while_opening(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == cr.PENDING
    channel = take_open(conn)
    channel.let_go()
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    dev.enable()
    place_bars(dev)
    channel.reply()  # it had been on its way
    conn.expect(cr.MSG_RESET)
    channel.closed(cr.R_RESET)
    driver.wait_state(0, cr.FREE)
    opened(driver, conn)
    channel.close()


def test_bus_master_off(begin, mediator, opened):
    _, dev, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    channel.let_go()
    dev.config_write(0x04, 0x0002, 2)
    answer_reset(conn, channel)
    driver.wait_state(0, cr.FREE)
    assert driver.open(0, setup_bytes(pieces=GOOD)) not in (0, cr.PENDING)
    dev.config_write(0x04, 0x0006, 2)
    opened(driver, conn)


def test_unplug(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    channel.let_go()
    unplug(vm)
    conn.expect_close()
    assert dev.config_read(0, 4) == 0xFFFFFFFF
    before = len(os.listdir(f"/proc/{vm.process.pid}/fd"))
    for _ in range(5):
        vm.qmp("device_add", driver="vgpu-stub", id="gpu0", addr="5", chardev="link")
        conn = mediator.accept()
        dev.enable()
        place_bars(dev)
        channel = opened(driver, conn)
        channel.let_go()
        unplug(vm)
        conn.expect_close()
    assert len(os.listdir(f"/proc/{vm.process.pid}/fd")) <= before + 1


def test_the_mediator_goes_and_comes_back(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    assert driver.open(1, setup_bytes(pieces=pieces_at(CHUNK_AT + 0x800000, BYTES))) == cr.PENDING
    second = take_open(conn)
    conn.close()
    driver.wait_state(0, cr.CLOSING)
    assert driver.wait_result(1) == 3
    conn = mediator.accept()
    assert driver.of(0, cr.STATE) == cr.CLOSING  # a worker may live on
    channel.let_go()
    second.close()
    for number, reason in ((0, cr.R_SESSION), (1, 0)):
        driver.wait_state(number, cr.FREE)
        assert driver.of(number, cr.REASON) == reason
    opened(driver, conn)


def test_no_mediator(begin, mediator):
    mediator.close()
    _, _, driver = begin()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == 3


def test_a_mediator_without_channels(begin, mediator):
    _, _, driver = begin()
    conn = mediator.accept(hello=False)
    hello = conn.expect(8)
    conn.send(frame(8, hello.request_id, struct.pack("<4I", 0x10000, 1, 0, 0)))
    conn.sync()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == UNSUPPORTED
    conn.sync()


LIES = {
    "opened twice": lambda c: (c.reply(), c.reply()),
    "no descriptors": lambda c: c.reply(fds=()),
    "one descriptor": lambda c: c.reply(fds=(c.doorbell,)),
    "three descriptors": lambda c: c.reply(fds=(c.doorbell, c.interrupt, c.doorbell)),
    "another transport": lambda c: c.reply(transport=cr.COPIED),
    "another geometry": lambda c: c.reply(geometry=cr.GEOMETRY.pack(2, 0, 4096, 128 << 10, 4096)),
    "another size": lambda c: c.reply(size=BYTES + 4096),
    "fewer than it says": lambda c: c.send(frame(cr.MSG_OPENED, 0, cr.OPENED_FRAME.pack(
        0, 0, cr.SHARED, 1, c.geometry, BYTES), pad=2), (c.doorbell,)),
    "descriptors without a word": lambda c: c.send(frame(5, 99), (c.doorbell,)),
    "descriptors in a PONG": lambda c: c.send(frame(4, 0, b"x", pad=1), (c.doorbell,)),
    "a channel that is not there": lambda c: c.send(
        frame(cr.MSG_CLOSED, 0, cr.CLOSE_FRAME.pack(64, 1))),
    "closed before it was opened": lambda c: c.closed(1),
    "a short frame": lambda c: c.send(frame(cr.MSG_CLOSED, 0, b"abc")),
    "a long frame": lambda c: c.send(frame(cr.MSG_OPENED, 0, bytes(1024))),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_mediator_that_lies(begin, mediator, opened, lie):
    """The connection ends, nothing else does."""
    vm, _, driver = begin()
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == cr.PENDING
    channel = take_open(conn)
    LIES[lie](channel)
    conn.expect_close()
    channel.close()
    driver.wait_state(0, cr.FREE)
    assert "disconnecting from the mediator" in vm.output()
    conn.close()
    opened(driver, mediator.accept())
