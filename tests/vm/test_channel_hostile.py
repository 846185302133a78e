# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker that was taken over, and a guest that is hostile, against a device with open channels:
QEMU goes on, whatever they do to what they share with it."""
import os
import struct

import pytest

import channel_regs as cr
import regs
from channel_host import (BAR2, BAR4, BYTES, CHANNEL_DATA, CHUNK_AT, CONFIG_DATA, INTERRUPT,
                          PULL, PUSH, enable_msix, place_bars, take_message)
from channel_regs import pieces_at, setup_bytes
from guest_channel import GuestMemory
from qemu_process import need_device, wait_for
from qtest import rom_that_writes
from test_life import begin_unplug
from vtd import VtdTables

FREED_IS_FILLED = "glibc.malloc.tcache_count=0:glibc.malloc.perturb=165"
FULL = (1 << 64) - 2
IOVA = 0x10000000
PROCESS_PARKED, WORKER_PARKED = 0x80, 0x180  # in the control page
PAGE_WORKER_PARKED = 3 * 128  # in the copy page


def fill_and_block(fd):
    """From now on a write() to it waits for ever, and a read() does when it is empty."""
    os.eventfd_write(fd, FULL)
    os.set_blocking(fd, True)


def take_count(fd):
    """What another reader may take first; None: nothing is there."""
    buffer = bytearray(8)
    try:
        os.preadv(fd, [buffer], -1, os.RWF_NOWAIT)
    except BlockingIOError:
        return None
    return struct.unpack("<Q", buffer)[0]


# ---- descriptors that the worker shares


@pytest.fixture
def memory():
    made = GuestMemory()
    yield made
    made.close()


def test_a_doorbell_that_is_full_and_blocks(begin, mediator, opened):
    vm, _, driver = begin()
    conn = mediator.accept()
    channel, other = opened(driver, conn, 0), opened(driver, conn, 1)
    fill_and_block(channel.doorbell)
    for _ in range(20):
        vm.write(BAR2, 1, 4)
    vm.write(BAR2 + 4096, 1, 4)
    assert os.eventfd_read(other.doorbell) == 1
    vm.qmp("query-status")
    take_count(channel.doorbell)
    vm.write(BAR2, 1, 4)
    assert os.eventfd_read(channel.doorbell) == 1


def test_an_interrupt_that_blocks_and_is_taken_by_another(begin, mediator, opened):
    """At all moments, so also between QEMU's seeing it and looking after it."""
    vm, dev, driver = begin()
    conn = mediator.accept()
    enable_msix(dev, {0: CONFIG_DATA, 1: CHANNEL_DATA})
    channel = opened(driver, conn, vector=1)
    os.set_blocking(channel.interrupt, True)
    for turn in range(2000):
        os.eventfd_write(channel.interrupt, 1)
        for _ in range(turn * 7 % 5000):
            pass
        take_count(channel.interrupt)
        vm.qmp("query-status")
    take_message(vm, 1)
    os.eventfd_write(channel.interrupt, 1)
    wait_for(lambda: take_message(vm, 1) == CHANNEL_DATA, "the interrupt arrives")


@pytest.mark.parametrize("thread", ["on", "off"])
def test_a_worker_that_blocks_the_copy_engine(begin, mediator, copied, thread):
    vm, _, driver = begin(f"transport=copied,copy-thread={thread}")
    conn = mediator.accept()
    channel = copied(driver, conn)
    fill_and_block(channel.doorbell)
    os.set_blocking(channel.interrupt, True)
    struct.pack_into("<I", channel.page, PAGE_WORKER_PARKED, 1)  # each request rings
    struct.pack_into("<I", channel.chunk, WORKER_PARKED, 1)
    for tail in range(24, 24 * 30, 24):
        vm.write(CHUNK_AT, tail, 8)
        vm.write(BAR2, 1, 4)
        channel.ask((PULL, 0, 8))
    wait_for(lambda: channel.done() == 29, "the requests are done")
    wait_for(lambda: struct.unpack_from("<Q", channel.chunk)[0] == 24 * 29, "the position comes")
    assert driver.command(0, cr.CLOSE) == cr.PENDING
    conn.expect(cr.MSG_CLOSE)
    channel.let_go()
    channel.closed(cr.R_ASKED)
    assert driver.wait_result(0) == 0


# ---- requests of the worker's


@pytest.mark.parametrize("thread", ["on", "off"])
def test_a_request_that_is_made_shorter_half_way(begin, mediator, copied, memory, thread):
    """At the end of the chunk: a slice more would leave it."""
    _, _, driver = begin(f"transport=copied,copy-thread={thread}", memory=memory.arguments())
    conn = mediator.accept()
    arena = 8 << 20
    geometry = (1, 0, 4096, 128 << 10, arena)
    size = cr.layout_bytes(*geometry)
    slice_bytes = 1 << 20
    for number in range(30):
        channel = copied(driver, conn, number % 8, geometry,
                         setup_bytes(geometry, pieces_at(CHUNK_AT, size)))
        start = size - slice_bytes - 16
        at = CHUNK_AT + size - 8 - 1
        memory.bytes[at] = 0
        channel.chunk[size - 9] = 1
        channel.ask((PUSH, start, slice_bytes + 16))
        while not memory.bytes[at] and channel.done() == 0:
            pass
        channel.write_request(0, PUSH, start, slice_bytes + 4)
        wait_for(lambda: channel.done() == 1 or driver.of(number % 8, cr.STATE) != cr.OPENED,
                 "the request is over")
        if driver.of(number % 8, cr.STATE) == cr.OPENED:
            driver.command(number % 8, cr.CLOSE)
        conn.expect(cr.MSG_CLOSE)
        channel.let_go()
        channel.closed(cr.R_ASKED)
        driver.wait_state(number % 8, cr.FREE)


# ---- a guest whose interrupts hit the device


def test_an_interrupt_that_ends_its_engine(begin, mediator, copied, monkeypatch):
    """The message is a write to the device's own command register, by memory: no bus master."""
    monkeypatch.setenv("GLIBC_TUNABLES", FREED_IS_FILLED)
    vm, dev, driver = begin("transport=copied", machine="q35")
    conn = mediator.accept()
    ecam = 0xB0000000
    vm.port_out(0xCF8, 0x80000060, 4)
    vm.port_out(0xCFC, ecam | 1, 4)  # the host bridge's PCIEXBAR
    command = ecam + (dev.slot << 15) + 4
    assert vm.read(command, 2) == 6
    channel = copied(driver, conn, vector=1)
    vm.write(BAR4 + 16, command, 4)
    vm.write(BAR4 + 20, 0, 4)
    vm.write(BAR4 + 24, 2, 4)
    vm.write(BAR4 + 28, 0, 4)
    dev.config_write(dev.capability(0x11) + 2, 0x8000, 2)
    vm.write(CHUNK_AT + PROCESS_PARKED, 1, 4)
    channel.ask((INTERRUPT,))
    conn.expect(cr.MSG_RESET)
    channel.let_go()
    channel.closed(cr.R_BUS_MASTER)
    driver.wait_state(0, cr.FREE)
    assert driver.of(0, cr.REASON) == cr.R_BUS_MASTER


def pause_processor(vm):
    """One without interrupts ends its RCU reading section for this only."""
    vm.qmp("stop")
    vm.qmp("cont")
    return True


def test_a_processor_that_rings_while_the_device_is_unplugged(begin, monkeypatch):
    """It has found BAR2 and waits for the big lock: what BAR2 leads to must still be there."""
    monkeypatch.setenv("GLIBC_TUNABLES", FREED_IS_FILLED)
    vm, dev, _ = begin("", "-d", "nochain", code=rom_that_writes(BAR2))
    for _ in range(60):
        begin_unplug(vm)
        wait_for(lambda: pause_processor(vm) and "DEVICE_DELETED" in
                 [event["event"] for event in vm.events], "the device is gone")
        vm.qmp("device_add", driver="vgpu-stub", id="gpu0", addr="5", chardev="link")
        dev.enable()
        place_bars(dev)


# ---- a worker that hangs


def test_a_worker_that_hangs_is_waited_for_once(begin, mediator, opened):
    vm, dev, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn)
    for turn in range(3):
        vm.events.clear()
        vm.qmp("system_reset")
        vm.wait_event("RESET")
        dev.enable()
        dev.config_write(0x04, 0x0002, 2)
        dev.config_write(0x04, 0x0006, 2)
        place_bars(dev)
        assert driver.of(0, cr.STATE) == cr.CLOSING
    assert vm.output().count("has not let go of the guest's memory") == 1
    channel.let_go()
    conn.expect(cr.MSG_RESET)
    channel.closed(cr.R_RESET)
    driver.wait_state(0, cr.FREE)
    # A new channel is waited for again.
    channel = opened(driver, conn, 0)
    vm.events.clear()
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    assert vm.output().count("has not let go of the guest's memory") == 2


# ---- behind a virtual IOMMU


@pytest.fixture
def behind(qemu, begin, mediator):
    """behind(properties) -> (machine, device, driver, connection, tables): a machine with an IOMMU
    that gives the device the setup and the chunk's memory, IOVA higher."""
    need_device(qemu, "intel-iommu")

    def run(properties=""):
        vm, dev, driver = begin(properties, "-device", "intel-iommu", machine="q35")
        tables = VtdTables(vm, dev.slot << 3)
        tables.map(IOVA + driver.SETUP_AT, driver.SETUP_AT, 2)
        tables.map(IOVA + CHUNK_AT, CHUNK_AT, BYTES >> 12)
        tables.enable()
        driver.iova = IOVA
        return vm, dev, driver, mediator.accept(), tables
    return run


def iova_setup():
    return setup_bytes(pieces=pieces_at(IOVA + CHUNK_AT, BYTES))


def threads(vm):
    return len(os.listdir(f"/proc/{vm.process.pid}/task"))


def test_behind_an_iommu_memory_is_copied_and_by_no_thread(behind, copied):
    """The IOMMU may ask a device, which wants the big lock."""
    vm, _, driver, conn, _ = behind()
    before = threads(vm)
    channel = copied(driver, conn, setup=iova_setup())
    channel.chunk[BYTES - 4096:] = b"\x42" * 4096
    tail = channel.ask((PUSH, BYTES - 4096, 4096))
    wait_for(lambda: channel.done() == tail, "the range is copied")
    assert vm.read_bytes(CHUNK_AT + BYTES - 4096, 4096) == b"\x42" * 4096
    vm.write_bytes(CHUNK_AT + BYTES - 4096, b"\x17" * 4096)
    tail = channel.ask((PULL, BYTES - 4096, 4096))
    wait_for(lambda: channel.done() == tail, "the range is copied")
    assert channel.chunk[BYTES - 4096:] == b"\x17" * 4096
    assert threads(vm) == before


@pytest.mark.parametrize("kind", [PUSH, PULL])
@pytest.mark.parametrize("bar", ["BAR0", "BAR2", "BAR4", "nothing"])
def test_the_devices_own_registers_are_no_memory(behind, copied, bar, kind):
    """The guest puts them where its pieces were."""
    vm, dev, driver, conn, tables = behind()
    channel = copied(driver, conn, setup=iova_setup())
    dev.write(regs.SCRATCH, 0x1234)
    arena = BYTES - 4096
    # At the scratch register a value, at the channels' command register CLOSE of number 0.
    channel.chunk[arena:] = b"\x02\0\0\0" * 1024
    where = {"BAR0": dev.base, "BAR2": BAR2, "BAR4": BAR4, "nothing": 0x80000000}[bar]
    tables.map(IOVA + CHUNK_AT + arena, where)
    tables.forget()
    channel.ask((kind, arena, 4096))
    conn.expect(cr.MSG_CLOSE)
    assert driver.of(0, cr.STATE) == cr.CLOSING and driver.reg(cr.REASON) == cr.R_COPY_FAILED
    assert dev.reg(regs.SCRATCH) == 0x1234
    channel.let_go()
    channel.closed(cr.R_COPY_FAILED)
    driver.wait_state(0, cr.FREE)
