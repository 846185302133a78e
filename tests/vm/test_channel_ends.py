# SPDX-License-Identifier: GPL-2.0-or-later
"""How a device's channels end: resets, unplugging, a mediator that goes or lies."""
import os
import struct
import threading

import pytest

import channel_regs as cr
from channel_host import (CHUNK_AT, UNSUPPORTED, QUEUE_FULL, BYTES, GOOD,
                          CONFIG_DATA, place_bars, take_open, enable_msix, take_message)
from channel_regs import pieces_at, setup_bytes
from fake_mediator import frame
from qemu_process import wait_for
from test_life import unplug


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


# ---- a channel with a life outlives its connection

def resumed(conn, channel):
    """The device has shown the life of the channel."""
    got = conn.expect(cr.MSG_RESUME)
    assert got.payload == cr.CLOSE_FRAME.pack(channel.number, 0)
    life, = got.fds
    assert os.fstat(life).st_ino == os.fstat(channel.life).st_ino
    os.close(life)
    channel.conn = conn


def answer_resume(conn, channel, status):
    conn.send(frame(cr.MSG_RESUME, 0, cr.CLOSE_FRAME.pack(channel.number, status)))


def test_a_channel_goes_on_with_the_next_mediator(begin, mediator, opened):
    vm, _, driver = begin()
    conn = mediator.accept()
    one, two = (opened(driver, conn, number, life=True) for number in (0, 1))
    for _ in range(2):
        conn.close()
        conn = mediator.accept()
        resumed(conn, one)
        resumed(conn, two)
        answer_resume(conn, one, QUEUE_FULL)  # its worker is not taken over yet
        answer_resume(conn, two, 0)
        resumed(conn, one)
        answer_resume(conn, one, 0)
        conn.sync()
        assert [driver.of(n, cr.STATE) for n in (0, 1)] == [cr.OPENED] * 2
    driver.command(0, cr.CLOSE)
    assert conn.expect(cr.MSG_CLOSE).payload == cr.CLOSE_FRAME.pack(0, 0)
    assert one.is_wanted() and two.is_wanted()
    one.let_go()
    one.closed(cr.R_ASKED)
    driver.wait_state(0, cr.FREE)
    assert driver.of(0, cr.REASON) == cr.R_ASKED and not one.is_wanted() and two.is_wanted()
    assert "vgpu-stub" not in vm.output()


def test_a_channel_that_the_next_mediator_does_not_know(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn, life=True)
    conn.close()
    conn = mediator.accept()
    resumed(conn, channel)
    assert driver.of(0, cr.STATE) == cr.OPENED
    answer_resume(conn, channel, UNSUPPORTED)
    driver.wait_state(0, cr.CLOSING)
    assert not channel.is_wanted()  # so a worker that still has it lets go
    channel.let_go()
    driver.wait_state(0, cr.FREE)
    assert driver.of(0, cr.REASON) == cr.R_SESSION and not channel.is_wanted()
    opened(driver, conn)


def test_no_mediator_that_could_take_it_over(begin, mediator, opened):
    """The worker has ended, too; or the next one is an older one."""
    _, _, driver = begin()
    conn = mediator.accept()
    orphan, channel = (opened(driver, conn, number, life=True) for number in (1, 0))
    mediator.listener.close()
    conn.close()
    orphan.let_go()
    driver.wait_state(1, cr.FREE)
    assert driver.of(1, cr.REASON) == cr.R_SESSION and driver.of(0, cr.STATE) == cr.OPENED
    mediator.listen()
    conn = mediator.accept(hello=False)
    hello = conn.expect(8)
    conn.send(frame(8, hello.request_id, struct.pack("<4I", 0x10000, 5, 0, 0)))
    driver.wait_state(0, cr.CLOSING)
    assert not channel.is_wanted()
    channel.let_go()
    driver.wait_state(0, cr.FREE)
    assert driver.of(0, cr.REASON) == cr.R_SESSION and not channel.is_wanted()


def test_a_guest_closes_its_channel_between_question_and_answer(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    one, two = (opened(driver, conn, number, life=True) for number in (0, 1))
    conn.close()
    conn = mediator.accept()
    resumed(conn, one)
    resumed(conn, two)
    for number in (0, 1):
        driver.command(number, cr.CLOSE)
        assert driver.of(number, cr.STATE) == cr.CLOSING
    answer_resume(conn, one, 0)
    assert conn.expect(cr.MSG_CLOSE).payload == cr.CLOSE_FRAME.pack(0, 0)
    answer_resume(conn, two, QUEUE_FULL)  # nobody has to be asked any more
    wait_for(lambda: not two.is_wanted(), "its worker, whom nobody has taken over, lets go")
    for channel in (one, two):
        channel.let_go()
    one.closed(cr.R_ASKED)
    for number in (0, 1):
        driver.wait_state(number, cr.FREE)
        assert driver.of(number, cr.REASON) == cr.R_ASKED
    conn.sync()


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
    "a life that is none": lambda c: c.reply(features=1 | cr.LIFE),
    "an answer to no question": lambda c: c.send(
        frame(cr.MSG_RESUME, 0, cr.CLOSE_FRAME.pack(0, 0))),
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
