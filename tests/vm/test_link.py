# SPDX-License-Identifier: GPL-2.0-or-later
"""The socket: HELLO, PING, CONFIG, a mediator that dies, restarts or talks nonsense."""
import random
import struct

import pytest

import regs
from fake_mediator import (BUSY, CONFIG, HEADER, HELLO, MAGIC, PING, PONG, QUARANTINED, REQUEST,
                           RESPONSE, config, frame, response)
from qtest import Machine

UNAVAILABLE = (regs.ERROR, regs.E_MEDIATOR_UNAVAILABLE)


def works(dev, conn, value=42):
    dev.submit()
    conn.answer(conn.expect(REQUEST), results=[value])
    return dev.result() == (value,)


def test_hello_opens_the_connection(start, mediator):
    start("vm_id=9,pool_id=C,priority=2")
    conn = mediator.accept(hello=False)
    hello = conn.expect(HELLO)
    assert struct.unpack("<4I", hello.payload) == (0x10000, 1 | 4 | 16, 0, 0)
    assert (hello.vm_id, hello.pool_id, hello.priority) == (9, "C", 2)


@pytest.mark.parametrize("length", [0, 1, 64])
def test_ping(start, mediator, length):
    _, dev = start()
    conn = mediator.accept()
    conn.send(frame(PING, 77, b"p" * length))
    pong = conn.expect(PONG)
    assert (pong.request_id, pong.payload) == (77, b"p" * length)
    assert works(dev, conn)


def test_ping_while_busy(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    got = conn.expect(REQUEST)
    conn.send(frame(PING, 1, b"x"))
    conn.expect(PONG)
    assert dev.reg(regs.STATUS) == regs.BUSY
    conn.answer(got, results=[3])
    assert dev.result() == (3,)


def test_config(start, mediator):
    _, dev = start("vm_id=1,pool_id=A,priority=low")
    conn = mediator.accept()
    conn.send(frame(CONFIG, 5, config(31, "Z", 2), vm_id=31))
    echo = conn.expect(CONFIG)
    assert echo.payload == config(31, "Z", 2)
    assert (echo.request_id, echo.vm_id, echo.pool_id, echo.priority) == (5, 31, "Z", 2)
    assert [dev.reg(r) for r in (regs.VM_ID, regs.POOL_ID, regs.PRIORITY)] == [31, ord("Z"), 2]
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_CONFIG
    dev.submit()
    got = conn.expect(REQUEST)
    assert (got.vm_id, got.pool_id, got.priority) == (31, "Z", 2)
    conn.answer(got)
    dev.finished()
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_CONFIG | regs.IRQ_COMPLETION
    # What a reset must not undo: it is not the guest's.
    dev.machine.qmp("system_reset")
    dev.machine.wait_event("RESET")
    dev.enable()
    assert [dev.reg(r) for r in (regs.VM_ID, regs.POOL_ID, regs.PRIORITY)] == [31, ord("Z"), 2]


def test_config_that_changes_nothing_is_no_event(start, mediator):
    _, dev = start("vm_id=4")
    conn = mediator.accept()
    conn.send(frame(CONFIG, 1, config(4, "A", 1)))
    conn.expect(CONFIG)
    assert dev.reg(regs.IRQ_STATUS) == 0


def test_unknown_messages_are_skipped(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    for msg_type in (0, 9, 1000, 0xFFFFFFFF, REQUEST, PONG, HELLO):
        conn.send(frame(msg_type, 1, b"z" * 1024))
    assert works(dev, conn)


def test_frames_in_single_bytes_and_in_one_piece(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    for byte in frame(PING, 3, b"slow"):
        conn.send(bytes([byte]))
    assert conn.expect(PONG).payload == b"slow"
    conn.send(b"".join(frame(PING, i, b"%02d" % i) for i in range(100)))
    for i in range(100):
        pong = conn.expect(PONG)
        assert (pong.request_id, pong.payload) == (i, b"%02d" % i)
    assert works(dev, conn)


GARBAGE = {
    "zeros": b"\0" * 4096,
    "text": b"GET / HTTP/1.1\r\nHost: vgpu-mediator\r\n\r\n",
    "wrong magic": frame(PING, 0, b"", magic=MAGIC ^ 1),
    "big-endian": HEADER.pack(0x55505647, 0x02000000, 0, 0, 65, 1, 0, 0),
    "1025 bytes": frame(RESPONSE, 0, b"", payload_len=1025) + b"x" * 1025,
    "4 GiB": frame(RESPONSE, 0, b"", payload_len=0xFFFFFFFF),
    "long ping": frame(PING, 0, b"x" * 65),
    "short config": frame(CONFIG, 0, b"x" * 15),
    "config pool": frame(CONFIG, 0, struct.pack("<IBB10x", 1, 0x60, 1)),
    "config priority": frame(CONFIG, 0, struct.pack("<IBB10x", 1, 65, 3)),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_drops_the_connection(start, mediator, name):
    _, dev = start("vm_id=3")
    conn = mediator.accept()
    dev.submit()
    conn.expect(REQUEST)
    conn.send(GARBAGE[name])
    assert dev.finished() == UNAVAILABLE
    conn.expect_close()
    assert dev.reg(regs.VM_ID) == 3 and dev.reg(regs.PRIORITY) == 1
    assert works(dev, mediator.accept())


# BUSY and QUARANTINED may come without a body: see test_requests.py.
@pytest.mark.parametrize("msg_type,length", [(RESPONSE, 0), (RESPONSE, 31), (BUSY, 1), (BUSY, 31),
                                             (QUARANTINED, 1), (QUARANTINED, 31)])
def test_answers_shorter_than_their_header(start, mediator, msg_type, length):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    got = conn.expect(REQUEST)
    conn.send(frame(msg_type, got.request_id, b"\0" * length))
    assert dev.finished() == UNAVAILABLE
    conn.expect_close()
    assert works(dev, mediator.accept())


def test_random_garbage(start, mediator):
    """Valid frames with bytes changed at random: the device lives, and ends each request."""
    vm, dev = start()
    rng = random.Random(20)
    conn = mediator.accept()
    for _ in range(6):  # each takes the second after which the chardev connects again
        dev.submit()
        tag = conn.expect(REQUEST).request_id
        try:
            for _ in range(2000):
                data = bytearray(frame(rng.choice([RESPONSE, BUSY, PING, CONFIG, QUARANTINED]),
                                       rng.choice([tag, tag + 1]),
                                       response(0, [1])[:rng.choice([16, 31, 32, 36])]))
                for _ in range(rng.randrange(3)):
                    data[rng.randrange(len(data))] = rng.getrandbits(8)
                conn.send(bytes(data))
        except (BrokenPipeError, ConnectionResetError):
            pass  # the device had enough
        conn.close()
        dev.finished()
        conn = mediator.accept(hello=False)
        if conn.expect(HELLO):
            assert works(dev, conn)
    assert vm.process.poll() is None


def test_mediator_dies_with_a_request_in_flight(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    dev.submit()
    conn.expect(REQUEST)
    assert not dev.intx()
    conn.close()
    mediator.close()
    assert dev.finished() == UNAVAILABLE
    assert dev.intx()
    dev.submit()  # and nobody is there for the next one
    assert dev.finished() == UNAVAILABLE
    mediator.listen()
    assert works(dev, mediator.accept())


def test_mediator_dies_in_the_middle_of_an_answer(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    got = conn.expect(REQUEST)
    conn.send(frame(RESPONSE, got.request_id, response(0, [1, 2, 3]))[:-1])
    conn.close()
    assert dev.finished() == UNAVAILABLE
    # The half frame is forgotten: a new connection starts at a header.
    assert works(dev, mediator.accept())


def test_late_answer_of_an_earlier_connection(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.submit()
    old = conn.expect(REQUEST)
    conn.close()
    assert dev.finished() == UNAVAILABLE
    conn = mediator.accept()
    dev.submit()
    new = conn.expect(REQUEST)
    assert new.request_id != old.request_id
    conn.answer(old, results=[1])
    conn.answer(new, results=[2])
    assert dev.result() == (2,)


def test_mediator_that_knows_only_1_0(start, mediator):
    """It closes on HELLO; the device comes again without, and is served."""
    _, dev = start()
    conn = mediator.accept(hello=False)
    conn.expect(HELLO)
    conn.close()
    conn = mediator.accept(hello=False)
    conn.sync()  # the first frame is the PONG: there was no HELLO
    assert works(dev, conn)
    # CONFIG was not offered on this connection, so it means nothing.
    conn.send(frame(CONFIG, 0, config(99, "Q", 2)))
    assert works(dev, conn)
    assert dev.reg(regs.VM_ID) == 0
    # An upgrade of the mediator is noticed.
    conn.close()
    assert works(dev, mediator.accept())


def test_mediator_that_does_not_read(start, mediator):
    """The device's outgoing buffer is bounded and its main loop never blocks."""
    vm, dev = start()
    conn = mediator.accept()
    dev.submit()
    conn.expect(REQUEST)
    ping = frame(PING, 0, b"x" * 64) * 100
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(2000):  # 17 MB of pongs: more than any socket buffer
            conn.send(ping)
            assert vm.qmp("query-status")["running"]
    assert dev.finished() == UNAVAILABLE
    assert works(dev, mediator.accept())


def test_slow_reader_loses_nothing(start, mediator):
    """Pongs pile up in the socket for a while, then come out complete and in order."""
    vm, dev = start()
    conn = mediator.accept()
    count = 40  # fit the outgoing buffer even if the socket takes none
    conn.send(b"".join(frame(PING, i, b"y" * 64) for i in range(count)))
    vm.qmp("query-status")
    for i in range(count):
        assert conn.expect(PONG).request_id == i
    assert works(dev, conn)


def test_wait_mediator_in_flight(start, mediator):
    _, dev = start("wait-mediator=on")
    conn = mediator.accept()
    dev.submit(b"again")
    first = conn.expect(REQUEST)
    conn.close()
    conn = mediator.accept()
    assert dev.reg(regs.STATUS) == regs.BUSY
    second = conn.expect(REQUEST)
    assert (first.payload, second.payload) == (b"again", b"again")
    conn.answer(first, results=[1])  # the tag of the lost connection
    conn.answer(second, results=[2])
    assert dev.result() == (2,)


def test_wait_mediator_before_there_is_one(start, mediator):
    mediator.close()
    _, dev = start("wait-mediator=on")
    dev.submit(b"early")
    dev.write_bytes(regs.REQUEST, b"later")
    assert dev.reg(regs.STATUS) == regs.BUSY
    mediator.listen()
    conn = mediator.accept()
    got = conn.expect(REQUEST)
    assert got.payload == b"early"
    conn.answer(got, results=[6])
    assert dev.result() == (6,)


def test_wait_mediator_and_1_0(start, mediator):
    _, dev = start("wait-mediator=on")
    conn = mediator.accept(hello=False)
    conn.expect(HELLO)
    dev.submit(b"patient")
    conn.close()
    conn = mediator.accept(hello=False)
    got = conn.expect(REQUEST)
    assert got.payload == b"patient"
    conn.answer(got)
    assert dev.finished() == (regs.DONE, 0)


def test_wait_mediator_still_checks_lengths(start, mediator):
    mediator.close()
    _, dev = start("wait-mediator=on")
    dev.write(regs.DOORBELL, 1)
    assert dev.finished() == (regs.ERROR, regs.E_INVALID_LENGTH)


def test_default_socket_is_the_mediators(qemu, folder):
    """Without a chardev property the device makes its own; two devices make two."""
    with Machine(qemu, folder, "-device", "vgpu-stub,vm_id=1",
                 "-device", "vgpu-stub,vm_id=2") as vm:
        found = {c["label"]: c["filename"] for c in vm.qmp("query-chardev")
                 if c["label"].startswith("vgpu-stub-")}
    assert len(found) == 2
    for filename in found.values():
        # A connected client has no name; one may be, where a mediator happens to run.
        assert filename in ("disconnected:unix:/tmp/vgpu-mediator.sock", "unix:")
