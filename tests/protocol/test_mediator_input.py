# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input on the devices' sockets: a clear error or a closed connection, and the other
VMs' jobs go on."""
import random
import resource
import socket
import struct
import time

import pytest

import wire
from mediator import Mediator, wait_for


@pytest.fixture
def neighbour(mediator):
    """A VM that works before, during and after."""
    with mediator.device(99) as device:
        assert device.add(1, 2) == 3
        yield device
        assert device.add(3, 4) == 7


BROKEN_STREAMS = {
    "zeros": b"\0" * 64,
    "text": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "wrong magic": wire.frame(wire.MSG_REQUEST, wire.request_body(wire.NOP), magic=0x12345678),
    "oversized": wire.frame(wire.MSG_REQUEST, b"", length=1025),
    "huge": wire.frame(wire.MSG_REQUEST, b"", length=0xFFFFFFFF),
}


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_broken_stream_is_closed(mediator, neighbour, name):
    with mediator.device() as device:
        device.send(BROKEN_STREAMS[name])
        assert device.ended()


@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_a_stream_that_breaks_later(mediator, neighbour, name):
    with mediator.device() as device:
        assert device.add(1, 1) == 2
        device.send(BROKEN_STREAMS[name])
        assert device.ended()
    with mediator.device() as device:
        assert device.add(1, 1) == 2


def test_a_truncated_frame_harms_nobody(mediator, neighbour):
    whole = wire.frame(wire.MSG_REQUEST, wire.request_body(wire.ADD, (1, 2)))
    for length in (1, 3, 23, 24, 25, len(whole) - 1):
        with mediator.device() as device:
            device.send(whole[:length])
        assert neighbour.add(length, 1) == length + 1


def test_random_bytes(mediator, neighbour):
    rng = random.Random(20)
    for _ in range(200):
        with mediator.device() as device:
            try:
                device.send(rng.randbytes(rng.randrange(1, 3000)))
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert neighbour.add(1, 1) == 2


def test_mutated_frames(mediator, neighbour):
    rng = random.Random(21)
    whole = wire.frame(wire.MSG_REQUEST, wire.request_body(wire.ADD, (1, 2)))
    for _ in range(300):
        mutated = bytearray(whole * 3)
        for _ in range(rng.randrange(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        with mediator.device() as device:
            try:
                device.send(bytes(mutated))
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert neighbour.add(1, 1) == 2


@pytest.mark.parametrize("payload, status", [
    (b"", wire.INVALID_LENGTH),
    (b"\0" * 31, wire.INVALID_LENGTH),
    (wire.request_body(0x77), wire.UNSUPPORTED_OP),
    (wire.request_body(wire.ADD, (1,)), wire.INVALID_REQUEST),
    (wire.request_body(wire.NOP, version=0x00020000), wire.INVALID_REQUEST),
])
def test_a_wrong_request_is_answered(mediator, neighbour, payload, status):
    with mediator.device() as device:
        device.send(device.frame(wire.MSG_REQUEST, payload, request_id=3))
        answer = device.read()
        assert (answer.request_id, answer.status) == (3, status)
        assert device.add(1, 2) == 3
        assert mediator.vm(1)["invalid"] == 1


@pytest.mark.parametrize("field, value", [(3, 0xFFFFFFFF), (3, 249), (5, 993), (5, 0xFFFFFFFF),
                                          (4, 0xFFFFFFF0), (4, 0)])
def test_lengths_that_lie(mediator, neighbour, field, value):
    words = list(struct.unpack("<8I", wire.request_body(wire.VECTOR_ADD_I32, (), b"\0" * 8)[:32]))
    words[field] = value
    payload = struct.pack("<8I", *words) + b"\0" * 8
    with mediator.device() as device:
        device.send(device.frame(wire.MSG_REQUEST, payload))
        assert device.read().status in (wire.INVALID_REQUEST, wire.INVALID_LENGTH, wire.TOO_LARGE)
        assert device.add(1, 2) == 3


def test_a_vm_id_that_is_not_the_socket_s(lab):
    """One VM's socket, and frames that claim to be of two: nothing is done for the second."""
    uuid = "11111111-2222-3333-4444-555555555555"
    path = lab / "vm.sock"
    with Mediator(lab, "--vm", f"{uuid}={path}") as mediator:
        with wire.Device(path, vm_id=5) as device:
            assert device.add(1, 2) == 3
            device.send(device.frame(wire.MSG_REQUEST, wire.request_body(wire.NOP), vm_id=6,
                                     request_id=77))
            try:
                answer = device.read()
                assert answer.status != wire.OK
            except wire.Closed:
                pass
        assert mediator.vm(6) is None
        assert mediator.vm(5)["uuid"] == uuid


def test_one_session_for_each_vm(mediator, neighbour):
    with mediator.device(7) as first:
        assert first.add(1, 1) == 2
        with mediator.device(7) as second:
            try:
                second.submit(wire.NOP)
                second.ended()
            except (BrokenPipeError, ConnectionResetError):
                pass
        assert first.add(2, 2) == 4
    wait_for(lambda: not mediator.vm(7)["connected"], "the session to end")
    with mediator.device(7) as third:
        assert third.add(3, 3) == 6


def test_a_silent_client_is_closed(lab):
    with Mediator(lab, "--first-frame-ms", "300") as mediator:
        with mediator.device(2) as busy, mediator.device(1) as silent:
            assert busy.add(1, 1) == 2
            assert silent.ended()
            assert busy.add(1, 1) == 2


@pytest.mark.parametrize("first", ["ping", "request"])
def test_one_vm_cannot_take_all_sessions(lab, first):
    """Connections that serve no VM: PINGs alone, or requests of a VM that is not registered."""
    uuids = [f"00000000-0000-0000-0000-{n:012d}" for n in (1, 2)]
    frames = {"ping": wire.frame(wire.MSG_PING, b"x"),
              "request": wire.frame(wire.MSG_REQUEST, wire.request_body(wire.NOP))}
    sockets = [option for uuid in uuids for option in ("--vm", f"{uuid}={lab}/{uuid[-1]}.sock")]
    with Mediator(lab, *sockets, "--unregistered", "deny", shared=False, trust=False) as mediator:
        greedy = []
        refused = False
        while not refused and len(greedy) < 100:
            device = wire.Device(lab / "1.sock", 1)
            greedy.append(device)
            try:
                device.send(frames[first])
                device.read()
            except (wire.Closed, OSError):
                refused = True
        assert refused
        with wire.Device(lab / "2.sock", 2) as other:
            assert other.run(wire.NOP).status == wire.NOT_REGISTERED
        for device in greedy:
            device.close()

        def served():
            with wire.Device(lab / "1.sock", 1) as device:
                try:
                    return device.run(wire.NOP).status == wire.NOT_REGISTERED
                except (wire.Closed, OSError):
                    return False
        wait_for(served, "room for the VM again")
        assert "connections that serve nothing" in mediator.log()


def test_a_thousand_connections(mediator, neighbour):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"this needs 2048 open files, {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    before = mediator.fds()
    crowd = []
    try:
        for i in range(1000):
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(str(mediator.socket))
            crowd.append(sock)
            if i % 50 == 0:
                assert neighbour.add(i, 1) == i + 1
        assert mediator.fds() < before + 600
        # Those of one process that say nothing are bounded, so that others still get in.
        assert neighbour.add(5, 5) == 10
    finally:
        for sock in crowd:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for(lambda: mediator.fds() <= before, "the connections to be closed")
    with mediator.device(3) as device:
        assert device.add(1, 2) == 3


def test_out_of_descriptors(lab):
    """Connections beyond the limit are refused; those that are there go on; then all is well."""
    with Mediator(lab, prefix=("prlimit", "--nofile=80:80")) as mediator:
        with mediator.device(1) as device:
            assert device.add(1, 2) == 3
            crowd = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(150)]
            for sock in crowd:
                sock.connect(str(mediator.socket))
            wait_for(lambda: "out of file descriptors" in mediator.log(), "the refusal")
            for i in range(20):
                assert device.add(i, i) == 2 * i
            for sock in crowd:
                sock.close()
        wait_for(mediator.is_ready, "free descriptors")
        with mediator.device(2) as device:
            assert device.add(1, 2) == 3


def test_out_of_descriptors_on_the_admin_socket(lab):
    """Who cannot be served is sent away: one left waiting would keep the loop busy."""
    with Mediator(lab, prefix=("prlimit", "--nofile=60:60")) as mediator:
        crowd = []
        for vm_id in range(1, 60):
            device = mediator.device(vm_id)
            crowd.append(device)
            try:
                device.run(99)
            except (wire.Closed, OSError):
                break
        sent_away = False
        for _ in range(20):
            device = mediator.admin()
            crowd.append(device.sock)
            try:
                device.call(wire.SHOW_HEALTH)
            except (wire.AdminError, BrokenPipeError, ConnectionResetError):
                sent_away = True
                break
        assert sent_away
        for device in crowd:
            device.close()
        wait_for(mediator.is_ready, "free descriptors")


def test_a_thousand_vms_connect_and_leave(mediator):
    before = mediator.fds()
    for vm_id in range(1, 1001):
        with mediator.device(vm_id) as device:
            device.send(device.frame(wire.MSG_PING, b"x"))
            assert device.read().msg == wire.MSG_PONG
    wait_for(lambda: mediator.fds() <= before, "the connections to be closed")


def test_no_descriptor_is_left(mediator, neighbour):
    before = mediator.fds()
    for round_number in range(30):
        with mediator.device(1) as device:
            if round_number % 3 == 0:
                device.send(b"garbage" * 20)
                device.ended()
            elif round_number % 3 == 1:
                device.send(device.frame(wire.MSG_REQUEST, wire.request_body(0x99)))
                device.read()
        with mediator.admin() as admin:
            admin.call(wire.SHOW_HEALTH)
    wait_for(lambda: mediator.fds() <= before, "the descriptors to be closed")


def test_a_peer_that_does_not_read(mediator, neighbour):
    """Its answers are bounded, it is no longer read, and nobody else waits for it."""
    with mediator.device(1) as device:
        device.add(1, 1)
        ping = device.frame(wire.MSG_PING, b"p" * 64)
        device.sock.setblocking(False)
        sent, stalled_since = 0, None
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                sent += device.sock.send(ping * 100)
                stalled_since = None
            except BlockingIOError:
                stalled_since = stalled_since or time.monotonic()
                if time.monotonic() - stalled_since > 1:
                    break
                time.sleep(0.01)
        assert stalled_since, "a peer that reads nothing was read without end"
        assert neighbour.add(1, 2) == 3
        # Reading again, it gets every answer of what was taken.
        device.sock.settimeout(wire.PATIENCE_S)
        for _ in range(sent // len(ping)):
            assert device.read().msg == wire.MSG_PONG


def test_a_flood_of_wrong_requests_does_not_fill_the_log(mediator, neighbour):
    with mediator.device(1) as device:
        for _ in range(50):
            device.send(device.frame(wire.MSG_REQUEST, wire.request_body(0x99)) * 20)
            for _ in range(20):
                assert device.read().status == wire.UNSUPPORTED_OP
        assert mediator.vm(1)["invalid"] == 1000
    assert mediator.log().count("\n") < 300
