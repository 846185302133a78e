# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels of host processes: real mediator, real worker, hostile memory."""

import os
import pathlib
import signal
import struct

import pytest

import host_channel as hc
import wire
from host_channel import Host, handle
from mediator import Mediator, program, wait_for

UUIDS = ["11111111-2222-3333-4444-00000000000%d" % n for n in range(1, 4)]


STAND_IN = os.environ.get("VGPU_STAND_IN_DIR",
                          os.path.join(os.path.dirname(program("vgpu-worker")), "..", "worker"))


def with_vms(lab, *arguments, count=2, backend="cpu"):
    vms = []
    for n in range(count):
        vms += ["--vm", f"{UUIDS[n]}={lab}/vm{n + 1}.sock"]
    return Mediator(lab, "--enable-test-ops", *vms, *arguments, shared=False, trust=False,
                    backend=backend)


@pytest.fixture(params=["cpu", "cuda"])
def backend(request, monkeypatch):
    """Both kinds of worker; that of a GPU has a stand-in for the driver, and no cuBLAS."""
    if request.param == "cuda":
        monkeypatch.setenv("LD_LIBRARY_PATH", STAND_IN)
        monkeypatch.setenv("VGPU_CUBLAS", "none")
    return request.param


@pytest.fixture
def running(lab, backend):
    with with_vms(lab, backend=backend) as mediator:
        yield mediator


def fds_of(pid):
    return sorted(os.readlink(f"/proc/{pid}/fd/{fd}").split(":")[0]
                  for fd in os.listdir(f"/proc/{pid}/fd"))


def ready(channel):
    assert not isinstance(channel, int), f"refused with {channel}"
    return channel


# ---- opening ----

def test_operations_of_1_0(running, lab, backend):
    with Host(lab / "vm1.sock") as host:
        assert host.features == hc.FEATURE_CHANNELS | hc.FEATURE_HOST
        channel = ready(host.open())
        assert channel.op(wire.NOP) == (wire.OK, (), b"")
        assert channel.op(wire.ADD, (0xFFFFFFFF, 3), lane=3) == (wire.OK, (2,), b"")
        status, info, name = channel.op(wire.DEVICE_INFO)
        assert status == wire.OK and len(info) == 5
        assert (b"CPU" if backend == "cpu" else b"Stand-in") in name
        data = struct.pack("<4i", 1, -2, 10, 20)
        assert channel.op(wire.VECTOR_ADD_I32, data=data) == (wire.OK, (),
                                                              struct.pack("<2i", 11, 18))
        assert channel.op(wire.FAIL)[0] == wire.CUDA_ERROR
        assert channel.op(0x77)[0] == wire.UNSUPPORTED_OP
        assert channel.op(wire.ADD, (1,))[0] == wire.INVALID_REQUEST
        assert channel.word(hc.RETIRED) == channel.seq
        host.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(0, 0))
        assert host.closed() == (0, hc.ASKED)
        assert channel.state() == (1, hc.ASKED)
        # The number is free again.
        assert ready(host.open()).op(wire.NOP)[0] == wire.OK


@pytest.mark.parametrize("wish, status", [
    ({"lanes": 0}, wire.INVALID_REQUEST), ({"lanes": 257}, wire.INVALID_REQUEST),
    ({"commands": 1 << 16}, wire.INVALID_REQUEST), ({"commands": 3 << 18}, wire.INVALID_REQUEST),
    ({"arena": 100}, wire.INVALID_REQUEST), ({"arena": 2 << 30}, wire.INVALID_REQUEST),
    ({"events": 5}, wire.INVALID_REQUEST), ({"notices": 0}, wire.INVALID_REQUEST),
    ({"profile": 2}, wire.UNSUPPORTED_OP), ({"profile": 0}, wire.UNSUPPORTED_OP),
    ({"transports": 0xE}, wire.UNSUPPORTED_OP), ({"arena": 1 << 30}, wire.MEMORY_LIMIT),
])
def test_refused(running, lab, wish, status):
    with Host(lab / "vm1.sock") as host:
        assert host.open(**wish) == status
        assert ready(host.open()).op(wire.NOP)[0] == wire.OK


def test_memory_is_charged_and_given_back(running, lab):
    with Host(lab / "vm1.sock") as host, Host(lab / "vm1.sock") as second:
        ready(host.open(0, arena=600 << 20))
        assert second.open(0, arena=600 << 20) == wire.MEMORY_LIMIT
        host.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(0, 0))
        assert host.closed() == (0, hc.ASKED)
        ready(second.open(0, arena=600 << 20))


def test_a_number_twice_closes_the_connection(running, lab):
    with Host(lab / "vm1.sock") as host:
        ready(host.open(7))
        with pytest.raises(wire.Closed):
            host.open(7)
    for number in (256, 0xFFFFFFFF):
        with Host(lab / "vm1.sock") as host, pytest.raises(wire.Closed):
            host.open(number)


def test_requests_are_not_for_host_sessions(running, lab):
    with Host(lab / "vm1.sock") as host:
        host.send(wire.MSG_REQUEST, wire.request_body(wire.NOP))
        with pytest.raises(wire.Closed):
            host.receive()


def test_chunks(running, lab):
    """Memory that is added while the channel works, and taken away in the middle of it."""
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=8192) == wire.OK
        assert channel.bulk(hc.UPLOAD, target=handle(0), chunk=1, count=64) == wire.INVALID_REQUEST
        memory = ready(host.add_chunk(1, 8192))
        last = ready(host.add_chunk(255, 4096))
        assert memory[:] == bytes(8192) and last[:] == bytes(4096)
        memory[:] = bytes(range(256)) * 32
        assert channel.bulk(hc.UPLOAD, target=handle(0), chunk=1, count=8192) == wire.OK
        assert channel.bulk(hc.DOWNLOAD, a=handle(0), offsets=(0, 4096, 0), chunk=255,
                            count=4096) == wire.OK
        assert last[:] == memory[4096:]
        for fields in ({"chunk": 255, "count": 4100}, {"chunk": 255, "chunk_offset": 4096},
                       {"chunk": 255, "chunk_offset": (1 << 64) - 4}, {"chunk": 2},
                       {"chunk": 256}, {"chunk": 0xFFFFFFFF}):
            fields = {"count": 4, **fields}
            assert channel.bulk(hc.UPLOAD, target=handle(0), **fields) == wire.INVALID_REQUEST
        # What was taken from the ring before is done, what comes later can't name it.
        for _ in range(32):
            channel.put(channel.bulk_record(hc.DOWNLOAD, a=handle(0), chunk=1, count=8192, flags=0))
        channel.publish()
        assert channel.op(wire.NOP)[0] == wire.OK
        host.remove_chunk(1)
        assert host.removed() == (0, 1)
        assert channel.bulk(hc.UPLOAD, target=handle(0), chunk=1, count=4) == wire.INVALID_REQUEST
        again = ready(host.add_chunk(1, 4096))  # its number is free, its memory new
        assert again[:] == bytes(4096)
        assert channel.bulk(hc.UPLOAD, target=handle(0), chunk=1, count=4096) == wire.OK
    worker, = running.workers()
    wait_for(lambda: "vgpu-channel" not in pathlib.Path(f"/proc/{worker}/maps").read_text(),
             "the memory to be let go of")


def test_a_chunk_is_removed_while_copies_use_it(lab, backend, monkeypatch):
    """REMOVED comes when the worker has let go, and not a copy later."""
    monkeypatch.setenv("STAND_IN_COPY_US", "2000")
    with with_vms(lab, backend=backend), Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=1 << 20) == wire.OK
        for _ in range(10):
            memory = ready(host.add_chunk(7, 1 << 20))
            for _ in range(12):
                channel.put(channel.bulk_record(hc.DOWNLOAD, a=handle(0), chunk=7, count=1 << 20,
                                                flags=0))
            channel.publish()
            host.remove_chunk(7)
            assert host.removed() == (0, 7)
            memory[:4] = b"mine"
            assert channel.op(wire.NOP)[0] == wire.OK
            assert memory[:4] == b"mine"


def test_chunks_are_charged(lab, backend):
    limits = ("--channel-memory-vm-mib", "8", "--channel-memory-mib", "12")
    with with_vms(lab, *limits, backend=backend), Host(lab / "vm1.sock") as host, \
            Host(lab / "vm2.sock") as other:
        ready(host.open(arena=0))
        ready(other.open(arena=0))
        assert host.add_chunk(1, 8 << 20) == wire.MEMORY_LIMIT
        ready(host.add_chunk(1, 6 << 20))
        assert host.add_chunk(2, 1 << 20) == wire.MEMORY_LIMIT
        assert other.add_chunk(1, 4 << 20) == wire.MEMORY_LIMIT  # of all together
        host.remove_chunk(1)
        assert host.removed() == (0, 1)
        ready(other.add_chunk(1, 4 << 20))
        for size in (0, 100, 4095, (1 << 30) + 4096, 1 << 62):
            assert host.add_chunk(1, size) == wire.INVALID_REQUEST
        assert host.add_chunk(1, 4096, number=5) == wire.INVALID_REQUEST  # no such channel


@pytest.mark.parametrize("kind, payload", [
    (hc.CHUNK_ADD, b""), (hc.CHUNK_ADD, hc.CHUNK.pack(0, 1, 0, 0, 4096, 0) + b"more"),
    (hc.CHUNK_ADD, hc.CHUNK.pack(0, 0, 0, 0, 4096, 0)),
    (hc.CHUNK_ADD, hc.CHUNK.pack(0, 256, 0, 0, 4096, 0)),
    (hc.CHUNK_ADD, hc.CHUNK.pack(0, 2, 0, 0, 4096, 0)),  # it is there already
    (hc.CHUNK_ADD, hc.CHUNK.pack(0, 1, 1, 0, 4096, 0)),  # pieces are for devices
    (hc.CHUNK_ADD, hc.CHUNK.pack(0, 1, 0, 1, 4096, 4096)),
    (hc.CHUNK_ADD, hc.CHUNK.pack(256, 1, 0, 0, 4096, 0)),
    (hc.CHUNK_REMOVE, hc.CLOSE.pack(0, 0)), (hc.CHUNK_REMOVE, hc.CLOSE.pack(0, 1)),
    (hc.CHUNK_REMOVE, hc.CLOSE.pack(0, 256)), (hc.CHUNK_REMOVE, b"1234"),
])
def test_bad_frames_about_chunks(lab, kind, payload):
    with with_vms(lab), Host(lab / "vm1.sock") as other:
        kept = ready(other.open())
        with Host(lab / "vm1.sock") as host:
            ready(host.open())
            ready(host.add_chunk(2, 4096))
            host.send(kind, payload)
            with pytest.raises(wire.Closed):
                host.receive()
        assert kept.op(wire.NOP)[0] == wire.OK


def test_unregistered(lab):
    with with_vms(lab, "--unregistered", "deny") as _, Host(lab / "vm1.sock") as host:
        assert host.open() == wire.NOT_REGISTERED


# ---- buffers ----

def test_buffers(running, lab):
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        x, y, z = handle(0), handle(1), handle(2)
        for buffer in (x, y, z):
            assert channel.bulk(hc.ALLOC, target=buffer, count=24) == wire.OK
        channel.memory[channel.arena:channel.arena + 24] = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
        assert channel.bulk(hc.UPLOAD, target=x, chunk_offset=channel.arena, count=24) == wire.OK
        assert channel.bulk(hc.FILL, target=y, count=6,
                            value=struct.unpack("<I", struct.pack("<f", 10))[0]) == wire.OK
        assert channel.bulk(hc.SAXPY, target=y, a=x, count=6, alpha=2) == wire.OK
        # z[2][2] = x[2][3] * y[3][2]
        assert channel.bulk(hc.SGEMM, target=z, a=x, b=y, mnk=(2, 2, 3)) == wire.OK
        assert channel.bulk(hc.DOWNLOAD, a=z, chunk_offset=channel.arena + 64, count=24) == wire.OK
        expected = [1 * 12 + 2 * 16 + 3 * 20, 1 * 14 + 2 * 18 + 3 * 22,
                    4 * 12 + 5 * 16 + 6 * 20, 4 * 14 + 5 * 18 + 6 * 22, 0, 0]
        assert list(struct.unpack_from("<6f", channel.memory, channel.arena + 64)) == expected
        assert channel.bulk(hc.ADD_I32, target=x, a=x, b=x, count=6) == wire.OK
        assert channel.bulk(hc.FREE, target=x) == wire.OK
        assert channel.bulk(hc.FREE, target=x) == wire.INVALID_REQUEST


@pytest.mark.parametrize("op, fields", [
    (hc.FILL, {"target": handle(0), "count": 17}),
    (hc.FILL, {"target": handle(0), "count": 1 << 62}),
    (hc.FILL, {"target": handle(0), "count": (1 << 64) - 1}),
    (hc.FILL, {"target": handle(0), "count": 16, "offsets": (4, 0, 0)}),
    (hc.FILL, {"target": handle(0), "count": 1, "offsets": (2, 0, 0)}),
    (hc.FILL, {"target": handle(0), "count": 1, "offsets": ((1 << 64) - 4, 0, 0)}),
    (hc.FILL, {"target": handle(0, generation=2), "count": 1}),
    (hc.FILL, {"target": handle(0, kind=2), "count": 1}),
    (hc.FILL, {"target": handle(0) ^ 1 << 46, "count": 1}),
    (hc.FILL, {"target": handle(0) | 1 << 50, "count": 1}),
    (hc.FILL, {"target": handle(4096), "count": 1}),
    (hc.FILL, {"target": 0, "count": 1}),
    (hc.ALLOC, {"target": handle(0), "count": 64}),
    (hc.ALLOC, {"target": handle(4096), "count": 64}),
    (hc.ALLOC, {"target": handle(1), "count": 0}),
    (hc.UPLOAD, {"target": handle(0), "count": 64, "chunk_offset": 0}),
    (hc.UPLOAD, {"target": handle(0), "count": 64, "chunk": 1}),
    (hc.UPLOAD, {"target": handle(0), "count": 64, "chunk_offset": (1 << 64) - 32}),
    (hc.UPLOAD, {"target": handle(0), "count": 65}),
    (hc.DOWNLOAD, {"a": handle(0), "count": 64, "chunk_offset": 4096}),
    (hc.ADD_I32, {"target": handle(0), "a": handle(0), "b": handle(0), "count": 8,
                  "offsets": (4, 0, 0)}),
    (hc.SGEMM, {"target": handle(0), "a": handle(0), "b": handle(0), "mnk": (1, 1, 1)}),
    (hc.SGEMM, {"target": handle(0), "a": handle(0), "b": handle(0), "mnk": (65537, 1, 1)}),
    (hc.SGEMM, {"target": handle(0), "a": handle(0), "b": handle(0),
                "mnk": (65536, 65536, 65536)}),
    (hc.SGEMM, {"target": handle(0), "a": handle(0), "b": handle(0), "mnk": (0, 1, 1)}),
])
def test_bad_values_are_answered(running, lab, op, fields):
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=64) == wire.OK
        if op in (hc.UPLOAD, hc.DOWNLOAD) and "chunk_offset" not in fields:
            fields = {**fields, "chunk_offset": channel.arena}
        assert channel.bulk(op, **fields) == wire.INVALID_REQUEST
        assert channel.bulk(0x1FF) == wire.UNSUPPORTED_OP
        assert channel.bulk(hc.FILL, target=handle(0), count=16) == wire.OK


def test_more_memory_than_there_is(running, lab):
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=1 << 60) == wire.MEMORY_LIMIT
        assert channel.bulk(hc.ALLOC, target=handle(0), count=64) == wire.OK


# ---- ends ----

def test_nothing_is_left_of_processes_that_vanish(running, lab):
    with Host(lab / "vm1.sock") as keeper:
        kept = ready(keeper.open())
        kept.op(wire.NOP)
        worker, = running.workers()
        before = running.fds(), fds_of(worker)
        for _ in range(30):
            host = Host(lab / "vm1.sock")
            channel = ready(host.open())
            channel.bulk(hc.ALLOC, target=handle(0), count=4 << 20)
            for _ in range(20):
                channel.put(channel.bulk_record(hc.FILL, target=handle(0), count=1 << 20, flags=0))
            channel.publish()
            host.close()
            channel.close_fds()
        # Fewer: what asked for the worker may still have been connected when they were counted.
        wait_for(lambda: running.fds() <= before[0] and len(fds_of(worker)) <= len(before[1]),
                 "descriptors to be closed")
        wait_for(lambda: pathlib.Path(f"/proc/{worker}/maps").read_text().count("vgpu-channel")
                 == 1, "what was mapped to go, but for the one that is kept")
        assert kept.op(wire.NOP)[0] == wire.OK


def test_a_worker_that_ends_while_a_channel_opens_in_it(running, lab):
    """Another program of the VM may have ended it: the answer is to try again, and that helps."""
    with Host(lab / "vm1.sock") as first, Host(lab / "vm1.sock") as second:
        ready(first.open()).op(wire.NOP)
        worker, = running.workers()
        os.kill(worker, signal.SIGSTOP)
        second.ask()
        second.ping()  # the mediator has it
        os.kill(worker, signal.SIGKILL)
        assert second.opened() == wire.QUEUE_FULL
        assert first.closed() == (0, hc.WORKER_LOST)
        assert ready(second.open()).op(wire.ADD, (1, 1)) == (wire.OK, (2,), b"")


def test_a_notice_wakes_the_process(running, lab):
    """Once, when the process has said that it sleeps."""
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        for turn in range(1, 20):
            channel.store(hc.PARKED, 1, "I")
            channel.put(channel.bulk_record(hc.FREE, target=handle(9), flags=0))
            channel.publish()
            assert channel.signalled(hc.PATIENCE), turn
            os.eventfd_read(channel.interrupt)
            wait_for(lambda: channel.word(hc.RETIRED) == turn, "the record is over")


def test_worker_killed(running, lab):
    with Host(lab / "vm1.sock") as host:
        ready(host.open()).op(wire.NOP)
        worker, = running.workers()
        os.kill(worker, signal.SIGKILL)
        assert host.closed() == (0, hc.WORKER_LOST)
        channel = ready(host.open())
        assert channel.op(wire.ADD, (1, 1)) == (wire.OK, (2,), b"")


def test_work_that_never_ends(lab, backend):
    with with_vms(lab, "--job-timeout-ms", "500", backend=backend) as running, \
            Host(lab / "vm1.sock") as host, Host(lab / "vm2.sock") as neighbour:
        far = ready(neighbour.open())
        channel = ready(host.open())
        channel.put(channel.record(wire.HANG, struct.pack("<2I", 0, 0)))
        channel.publish()
        assert host.closed() == (0, hc.TIMEOUT)
        assert running.vm(1)["fault_count"] == 1
        assert far.op(wire.ADD, (2, 2))[1] == (4,)


def test_mediator_stops(lab, backend):
    with with_vms(lab, backend=backend) as running:
        host = Host(lab / "vm1.sock")
        channel = ready(host.open())
        channel.op(wire.NOP)
        running.process.send_signal(signal.SIGTERM)
        channel.wait(lambda: channel.state()[0], "the end")
        assert channel.state()[1] in (hc.SHUTDOWN, hc.SESSION)
        running.process.wait(60)


# ---- turns ----

def test_neighbours_have_their_turns(running, lab):
    """A long product of one VM is done in turns: the other's small work gets in between."""
    with Host(lab / "vm1.sock") as host, Host(lab / "vm2.sock") as neighbour:
        channel, small = ready(host.open()), ready(neighbour.open())
        side = 1024
        for index in range(3):
            assert channel.bulk(hc.ALLOC, target=handle(index),
                                count=side * side * 4) == wire.OK
        assert small.op(wire.ADD, (1, 1))[1] == (2,)
        for _ in range(4):
            channel.put(channel.bulk_record(hc.SGEMM, target=handle(2), a=handle(0), b=handle(1),
                                            mnk=(side,) * 3, flags=0))
        retired = channel.word(hc.RETIRED)
        channel.publish()
        for n in range(10):
            assert small.op(wire.ADD, (n, 1))[1] == (n + 1,)
        assert channel.word(hc.RETIRED) < retired + 4
        channel.wait(lambda: channel.word(hc.RETIRED) == retired + 4, "the products")


def test_two_channels_of_a_vm_don_t_mix(running, lab):
    with Host(lab / "vm1.sock") as first, Host(lab / "vm1.sock") as second:
        channels = [ready(first.open(0)), ready(first.open(1)), ready(second.open(0))]
        for n, channel in enumerate(channels):
            assert channel.bulk(hc.ALLOC, target=handle(0), count=64) == wire.OK
            assert channel.bulk(hc.FILL, target=handle(0), count=16, value=n + 1) == wire.OK
        for n, channel in enumerate(channels):
            assert channel.bulk(hc.DOWNLOAD, a=handle(0), chunk_offset=channel.arena,
                                count=64) == wire.OK
            assert channel.memory[channel.arena:channel.arena + 64] == struct.pack(
                "<I", n + 1) * 16
        with running.admin() as admin:
            connections = admin.call(wire.SHOW_CONNECTIONS)["connections"]
        assert sorted((c["transport"], c["channels"]) for c in connections) == [("host", 1),
                                                                                ("host", 2)]
