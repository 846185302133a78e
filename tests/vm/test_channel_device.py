# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels in the device: registers, frames and descriptors, with a mediator that the test plays.

The test is also the guest's driver (channel_regs.Driver) and, where there is one, the worker.
"""
import mmap
import os
import select
import struct

import pytest

import channel_regs as cr
from channel_host import (BAR2, BYTES, CHANNEL_DATA, CHUNK_AT, CONFIG_DATA, INTERRUPT, enable_msix,
                          take_message, take_open)
from channel_regs import pieces_at, setup_bytes
from qemu_process import wait_for


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
    assert (number, profile, transports, process) == (5, 1, 1 << cr.SHARED, 4711)
    assert features == 1 | cr.LIFE  # the device's own wish: HELLO has granted it
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


def test_the_engine_waits_for_doorbells(begin, mediator, copied):
    """Who rings clears worker_parked, and rings again when the engine has looked and set it."""
    vm, _, driver = begin("transport=copied")
    channel = copied(driver, mediator.accept())
    parked = CHUNK_AT + 0x180
    assert vm.read(parked, 4) == 1
    for turn in range(1, 50):
        vm.write(parked, 0, 4)
        vm.write(CHUNK_AT, 24 * turn, 8)
        vm.write(BAR2, 1, 4)
        wait_for(lambda: vm.read(parked, 4) == 1, "the engine waits again")
        wait_for(lambda: struct.unpack_from("<Q", channel.chunk)[0] == 24 * turn, "the position")


def test_an_interrupt_is_sent_once_to_who_waits(begin, mediator, copied):
    vm, dev, driver = begin("transport=copied")
    conn = mediator.accept()
    enable_msix(dev, {0: CONFIG_DATA, 1: CHANNEL_DATA})
    channel = copied(driver, conn, vector=1)
    parked = CHUNK_AT + 0x80
    vm.write(parked, 1, 4)
    tail = channel.ask((INTERRUPT,))
    wait_for(lambda: take_message(vm, 1) == CHANNEL_DATA, "the interrupt arrives")
    assert channel.done() == tail and vm.read(parked, 4) == 0
    tail = channel.ask((INTERRUPT,))
    wait_for(lambda: channel.done() == tail, "the request is done")
    vm.qmp("query-status")
    assert take_message(vm, 1) == 0
