# SPDX-License-Identifier: GPL-2.0-or-later
"""One request: what the mediator gets, what the guest gets, and every way to fail."""
import struct

import pytest

import regs
from fake_mediator import (BUSY, QUARANTINED, REQUEST, RESPONSE, frame, response)


def test_round_trip(start, mediator):
    _, dev = start("vm_id=7,pool_id=B,priority=low")
    conn = mediator.accept()
    payload = struct.pack("<8I", 0x10000, 1, 0, 2, 0, 0, 0, 0) + struct.pack("<2I", 100, 200)
    dev.write(regs.REQUEST_ID, 0xCAFE)
    dev.submit(payload)
    got = conn.expect(REQUEST)
    assert got.payload == payload
    assert (got.vm_id, got.pool_id, got.priority) == (7, "B", 0)
    assert dev.reg(regs.STATUS) == regs.BUSY
    assert dev.reg(regs.ERROR_CODE) == 0 and dev.reg(regs.RESPONSE_LEN) == 0
    conn.answer(got, results=[300])
    assert dev.result() == (300,)
    assert dev.reg(regs.RESPONSE_LEN) == 36
    assert dev.reg(regs.REQUEST_ID) == 0xCAFE  # the guest's, never the device's tag
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_COMPLETION


@pytest.mark.parametrize("length", [1, 31, 32, 33, 1023, 1024])
def test_every_length_travels_whole(start, mediator, length):
    _, dev = start()
    conn = mediator.accept()
    payload = bytes(i * 7 % 251 for i in range(length))
    dev.submit(payload)
    got = conn.expect(REQUEST)
    assert got.payload == payload
    body = bytes(range(248)) * 4
    conn.answer(got, data=body)
    assert dev.finished() == (regs.DONE, 0)
    assert dev.reg(regs.RESPONSE_LEN) == 1024
    assert dev.read_bytes(regs.RESPONSE + 32, 992) == body


def test_a_short_response_leaves_nothing_of_the_last(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    conn.answer(conn.expect(REQUEST), data=b"\xaa" * 992)
    dev.finished()
    dev.submit()
    conn.answer(conn.expect(REQUEST))
    dev.finished()
    assert dev.reg(regs.RESPONSE_LEN) == 32
    assert dev.read_bytes(regs.RESPONSE + 32, 992) == bytes(992)


def test_many_requests_have_different_tags(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    tags = set()
    for i in range(50):
        dev.submit(struct.pack("<I", i))
        got = conn.expect(REQUEST)
        tags.add(got.request_id)
        conn.answer(got, results=[i * 3])
        assert dev.result() == (i * 3,)
    assert len(tags) == 50


def test_error_status(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    conn.answer(conn.expect(REQUEST), status=regs.E_CUDA, results=[1, 2])
    assert dev.finished() == (regs.ERROR, regs.E_CUDA)
    assert dev.reg(regs.RESPONSE_LEN) == 40
    assert dev.read(regs.RESPONSE + 36) == 2
    # The next one starts clean.
    dev.submit()
    got = conn.expect(REQUEST)
    assert (dev.reg(regs.ERROR_CODE), dev.reg(regs.RESPONSE_LEN)) == (0, 0)
    conn.answer(got, results=[5])
    assert dev.result() == (5,)


@pytest.mark.parametrize("msg_type,status,expected", [
    (BUSY, regs.E_QUEUE_FULL, regs.E_QUEUE_FULL),
    (BUSY, regs.E_RATE_LIMITED, regs.E_RATE_LIMITED),
    (BUSY, 0, regs.E_QUEUE_FULL),
    (BUSY, None, regs.E_QUEUE_FULL),
    (QUARANTINED, regs.E_QUARANTINED, regs.E_QUARANTINED),
    (QUARANTINED, 0, regs.E_QUARANTINED),
    (QUARANTINED, None, regs.E_QUARANTINED),
])
def test_refusals(start, mediator, msg_type, status, expected):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    got = conn.expect(REQUEST)
    payload = b"" if status is None else response(status)
    conn.send(frame(msg_type, got.request_id, payload))
    assert dev.finished() == (regs.ERROR, expected)
    assert dev.reg(regs.RESPONSE_LEN) == len(payload)


@pytest.mark.parametrize("length,expected", [
    (0, regs.E_INVALID_LENGTH),
    (1025, regs.E_REQUEST_TOO_LARGE),
    (0x80000000, regs.E_REQUEST_TOO_LARGE),
    (0xFFFFFFFF, regs.E_REQUEST_TOO_LARGE),
])
def test_bad_lengths(start, mediator, length, expected):
    _, dev = start()
    conn = mediator.accept()
    dev.write(regs.REQUEST_LEN, length)
    dev.write(regs.DOORBELL, 1)
    assert dev.reg(regs.STATUS) == regs.ERROR  # at once
    assert dev.reg(regs.ERROR_CODE) == expected
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_COMPLETION
    dev.submit(b"next")
    assert conn.expect(REQUEST).payload == b"next"  # nothing was sent in between


def test_doorbell_while_busy_changes_nothing(start, mediator):
    vm, dev = start()
    conn = mediator.accept()
    dev.submit(b"first")
    got = conn.expect(REQUEST)
    for length in (0, 5, 1025):
        dev.write_bytes(regs.REQUEST, b"other")
        dev.write(regs.REQUEST_LEN, length)
        dev.write(regs.DOORBELL, 1)
        assert dev.reg(regs.STATUS) == regs.BUSY
        assert dev.reg(regs.ERROR_CODE) == 0
    assert dev.reg(regs.IRQ_STATUS) == 0
    conn.answer(got, results=[1])
    assert dev.result() == (1,)
    assert vm.output().count("doorbell while busy") == 3
    dev.submit(b"second")
    assert conn.expect(REQUEST).payload == b"second"  # the ones in between never left


def test_the_request_is_copied_at_the_doorbell(start, mediator):
    """A mediator that does not read yet, and a guest that goes on writing."""
    _, dev = start()
    conn = mediator.accept()
    dev.submit(b"\x11" * 1024)
    dev.write_bytes(regs.REQUEST, b"\x22" * 1024)
    dev.write(regs.REQUEST_LEN, 3)
    assert conn.expect(REQUEST).payload == b"\x11" * 1024


def test_no_mediator(start):
    _, dev = start()
    dev.submit()
    assert dev.reg(regs.STATUS) == regs.ERROR  # at once
    assert dev.reg(regs.ERROR_CODE) == regs.E_MEDIATOR_UNAVAILABLE
    assert dev.reg(regs.RESPONSE_LEN) == 0


def test_answers_with_an_unknown_tag_are_ignored(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    conn.send(frame(RESPONSE, 12345, response(0, [9])))  # while idle
    dev.submit()
    got = conn.expect(REQUEST)
    for wrong in (got.request_id + 1, got.request_id - 1, got.request_id ^ 0x80000000, 0):
        if wrong != got.request_id:
            conn.send(frame(RESPONSE, wrong & 0xFFFFFFFF, response(0, [8])))
    conn.answer(got, results=[7])
    assert dev.result() == (7,)
    conn.answer(got, results=[6])  # twice: the second is one too many
    dev.submit()
    got = conn.expect(REQUEST)
    conn.answer(got, results=[5])
    assert dev.result() == (5,)


def test_timestamp_is_the_virtual_clock(start, mediator):
    vm, dev = start()
    conn = mediator.accept()
    stamps = []
    for _ in range(3):
        dev.submit()
        conn.answer(conn.expect(REQUEST))
        dev.finished()
        stamp = dev.read(regs.TIMESTAMP_LO, 8)
        assert stamp == dev.reg(regs.TIMESTAMP_LO) | dev.reg(regs.TIMESTAMP_HI) << 32
        stamps.append(stamp)
    assert 0 < stamps[0] < stamps[1] < stamps[2] < 600 * 1000000
    dev.write(regs.REQUEST_LEN, 0)
    dev.write(regs.DOORBELL, 1)  # an error is a completion too
    assert dev.finished() == (regs.ERROR, regs.E_INVALID_LENGTH)
    assert dev.read(regs.TIMESTAMP_LO, 8) > stamps[2]
