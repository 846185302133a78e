# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels of a CUDA worker: what is in flight at the same time keeps the process's order.  The
stand-in for the driver has a thread for each stream, and can make copies and kernels slow, so
that a unit which does not wait for another shows; it ends the process for what a driver refuses."""

import os
import random
import struct

import pytest

import host_channel as hc
import wire
from host_channel import Host, handle
from mediator import Mediator, wait_for
from test_channel_client import client
from test_channels import STAND_IN, ready, with_vms

MIB = 1 << 20


@pytest.fixture
def gpu(lab, monkeypatch):
    """Starts a mediator with CUDA workers; what the stand-in is told."""
    running = []

    def start(*arguments, **settings):
        monkeypatch.setenv("LD_LIBRARY_PATH", STAND_IN)
        monkeypatch.setenv("VGPU_CUBLAS", "none")
        for name, value in settings.items():
            monkeypatch.setenv("STAND_IN_" + name.upper(), str(value))
        running.append(with_vms(lab, *arguments, backend="cuda").start())
        return running[0]

    yield start
    for mediator in running:
        mediator.__exit__(None)


def words(*values):
    return struct.pack("<%dI" % len(values), *values)


@pytest.mark.parametrize("slow", [{"copy_us": 3000}, {"kernel_us": 3000}, {}])
def test_order_across_copies_and_kernels(gpu, lab, slow):
    """Each record uses what the one before it left, through buffers and through the arena."""
    gpu(**slow)
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        count = 4096
        for index in range(3):
            assert channel.bulk(hc.ALLOC, target=handle(index), count=count * 4) == wire.OK
        for round_ in range(8):
            start = round_ * 1000
            channel.memory[channel.arena:channel.arena + 4 * count] = words(start) * count
            steps = [
                (hc.UPLOAD, {"target": handle(0), "chunk_offset": channel.arena}),
                (hc.ADD_I32, {"target": handle(1), "a": handle(0), "b": handle(0)}),
                (hc.DOWNLOAD, {"a": handle(1), "chunk_offset": channel.arena + 65536}),
                (hc.FILL, {"target": handle(1), "value": 5}),
                # What was downloaded goes up again, through the same piece of the arena.
                (hc.UPLOAD, {"target": handle(2), "chunk_offset": channel.arena + 65536}),
                (hc.ADD_I32, {"target": handle(0), "a": handle(1), "b": handle(2)}),
                (hc.DOWNLOAD, {"a": handle(0), "chunk_offset": channel.arena + 65536}),
                (hc.DOWNLOAD, {"a": handle(1), "chunk_offset": channel.arena + 131072}),
            ]
            for op, fields in steps:
                bytes_ = op in (hc.UPLOAD, hc.DOWNLOAD)
                channel.put(channel.bulk_record(op, count=count * (4 if bytes_ else 1),
                                                flags=0, **fields))
            assert channel.op(wire.NOP)[0] == wire.OK
            assert channel.word(hc.RETIRED) == channel.seq
            at = channel.arena + 65536
            assert channel.memory[at:at + 4 * count] == words(2 * start + 5) * count
            at = channel.arena + 131072
            assert channel.memory[at:at + 4 * count] == words(5) * count


def test_buffers_are_zero_and_given_back_while_in_use(gpu, lab):
    """The stand-in's memory is dirty, and its cuMemFree ends the process if it had to wait."""
    mediator = gpu(kernel_us=2000, copy_us=1000)
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        for generation in range(1, 20):
            buffer = handle(0, generation)
            channel.put(channel.bulk_record(hc.ALLOC, target=buffer, count=8192, flags=0))
            channel.put(channel.bulk_record(hc.DOWNLOAD, a=buffer, count=8192, flags=0,
                                            chunk_offset=channel.arena + 8192 * generation))
            channel.put(channel.bulk_record(hc.FILL, target=buffer, count=2048, value=1, flags=0))
            channel.put(channel.bulk_record(hc.FREE, target=buffer, flags=0))
        channel.publish()
        assert channel.op(wire.NOP)[0] == wire.OK
        assert channel.word(hc.RETIRED) == channel.seq
        at = channel.arena + 8192
        assert channel.memory[at:at + 8192 * 19] == bytes(8192 * 19)
    assert len(mediator.workers()) == 1


def test_memory_limit_waits_for_what_was_given_back(gpu, lab):
    """Half of the GPU's memory again and again: there is room once the one before has gone."""
    gpu(memory=64 * MIB, kernel_us=500)
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=100 * MIB) == wire.MEMORY_LIMIT
        for generation in range(1, 6):
            buffer = handle(0, generation)
            assert channel.bulk(hc.ALLOC, target=buffer, count=40 * MIB) == wire.OK
            channel.put(channel.bulk_record(hc.FILL, target=buffer, count=MIB, flags=0))
            channel.put(channel.bulk_record(hc.FREE, target=buffer, flags=0))
            channel.publish()


def test_a_product_in_tiles(gpu, lab):
    """On a GPU that is seen to be slow a product is cut into bands and columns."""
    gpu(kernel_us=2000)
    rng = random.Random(7)
    m, n, k = 270, 300, 3
    a = [rng.randrange(-50, 50) for _ in range(m * k)]
    b = [rng.randrange(-50, 50) for _ in range(k * n)]
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        for index, data in enumerate((a, b, [1] * (m * n))):
            assert channel.bulk(hc.ALLOC, target=handle(index), count=len(data) * 4) == wire.OK
            channel.memory[channel.arena:channel.arena + len(data) * 4] = struct.pack(
                "<%df" % len(data), *data)
            assert channel.bulk(hc.UPLOAD, target=handle(index), chunk_offset=channel.arena,
                                count=len(data) * 4) == wire.OK
        for _ in range(2):
            assert channel.bulk(hc.SGEMM, target=handle(2), a=handle(0), b=handle(1),
                                mnk=(m, n, k), alpha=2.0, beta=0.0) == wire.OK
        assert channel.bulk(hc.SGEMM, target=handle(2), a=handle(0), b=handle(1), mnk=(m, n, k),
                            alpha=1.0, beta=3.0) == wire.OK
        assert channel.bulk(hc.DOWNLOAD, a=handle(2), chunk_offset=channel.arena,
                            count=m * n * 4) == wire.OK
        got = struct.unpack_from("<%df" % (m * n), channel.memory, channel.arena)
        want = tuple(7.0 * sum(a[i * k + l] * b[l * n + j] for l in range(k))
                     for i in range(m) for j in range(n))
        assert got == want


def test_results_are_the_cpu_workers(lab, gpu):
    """Bit by bit: sums of anything, NaNs too."""
    data = random.Random(3).randbytes(16384)
    answers = []
    for backend in ("cpu", "cuda"):
        if backend == "cuda":
            gpu()
            path = lab / "vm1.sock"
        else:
            folder = lab / "cpu"
            folder.mkdir()
            cpu = with_vms(folder).start()
            path = folder / "vm1.sock"
        with Host(path) as host:
            channel = ready(host.open())
            answer = b""
            for index in range(3):
                assert channel.bulk(hc.ALLOC, target=handle(index), count=8192) == wire.OK
            channel.memory[channel.arena:channel.arena + 16384] = data
            for op, fields in ((hc.ADD_I32, {"b": handle(1)}), (hc.ADD_F32, {"b": handle(1)}),
                               (hc.SAXPY, {"alpha": 1.7})):
                for index in range(2):
                    assert channel.bulk(hc.UPLOAD, target=handle(index), count=8192,
                                        chunk_offset=channel.arena + 8192 * index) == wire.OK
                assert channel.bulk(op, target=handle(1), a=handle(0), count=2048,
                                    **fields) == wire.OK
                assert channel.bulk(hc.DOWNLOAD, a=handle(1), count=8192,
                                    chunk_offset=channel.arena + 32768) == wire.OK
                answer += channel.memory[channel.arena + 32768:channel.arena + 40960]
            answers.append(answer)
    cpu.__exit__(None)
    assert answers[0] == answers[1]


def test_a_fault_is_sticky(gpu, lab):
    """A bad address breaks the context: the worker goes, and with it all channels of the VM."""
    gpu()
    with Host(lab / "vm1.sock") as host:
        channel, other = ready(host.open(0)), ready(host.open(1))
        assert channel.bulk(hc.ALLOC, target=handle(0), count=64) == wire.OK
        other.op(wire.NOP)
        channel.put(channel.record(wire.CRASH, struct.pack("<2I", 0, 0)))
        channel.put(channel.bulk_record(hc.FILL, target=handle(0), count=16, flags=0))
        channel.publish()
        ends = sorted([host.closed(), host.closed()])
        assert ends == [(0, hc.WORKER_LOST), (1, hc.WORKER_LOST)]
        assert ready(host.open()).op(wire.ADD, (1, 2))[1] == (3,)


def test_a_launch_that_fails_is_that_records_error(gpu, lab):
    gpu(fail_launch=6)
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        assert channel.bulk(hc.ALLOC, target=handle(0), count=64) == wire.OK
        status = [channel.bulk(hc.ADD_I32, target=handle(0), a=handle(0), b=handle(0), count=16)
                  for _ in range(5)]
        assert sorted(set(status)) == [wire.OK, wire.CUDA_ERROR] and status.count(wire.OK) == 4


def test_memory_that_cannot_be_pinned_is_copied_all_the_same(gpu, lab):
    mediator = gpu(register=1)
    done = client(lab, "bandwidth", "--json")
    assert done.returncode == 0, done.stderr
    assert "cannot be pinned" in mediator.log()


def test_a_channel_that_ends_with_work_in_flight(gpu, lab):
    """Nothing of its memory is used after CLOSED; the worker goes on for others."""
    mediator = gpu(copy_us=20000)
    with Host(lab / "vm1.sock") as host:
        kept = ready(host.open(1))
        for _ in range(3):
            channel = ready(host.open(0))
            assert channel.bulk(hc.ALLOC, target=handle(0), count=65536) == wire.OK
            for _ in range(8):
                channel.put(channel.bulk_record(hc.DOWNLOAD, a=handle(0), count=65536, flags=0,
                                                chunk_offset=channel.arena))
            channel.publish()
            host.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(0, 0))
            assert host.closed() == (0, hc.ASKED)
            channel.memory[channel.arena:channel.arena + 4] = b"free"
            assert kept.op(wire.NOP)[0] == wire.OK
            assert channel.memory[channel.arena:channel.arena + 4] == b"free"
    assert len(mediator.workers()) == 1


@pytest.fixture
def devices(lab, monkeypatch):
    """The same for devices; the stand-in says what kernels it gets."""
    running = []

    def start(**settings):
        monkeypatch.setenv("LD_LIBRARY_PATH", STAND_IN)
        for name, value in {"tells_images": 1, **settings}.items():
            monkeypatch.setenv("STAND_IN_" + name.upper(), str(value))
        running.append(Mediator(lab, backend="cuda").start())
        return running[0]

    yield start
    for mediator in running:
        mediator.__exit__(None)


def kernels_of(mediator, vm_id):
    """What the worker of a VM has loaded, as the stand-in says; "" until it says so."""
    lines = [line for line in mediator.log().splitlines()
             if f"VM {vm_id}: " in line and "stand-in: " in line]
    return lines[-1].split("stand-in: ")[1] if lines else ""


def test_our_kernels_are_compiled_once(devices):
    """By who is given nothing of any guest; what it has made nobody can change."""
    mediator = devices()
    with mediator.device(1) as device:
        assert device.add(1, 2) == 3
        wait_for(lambda: kernels_of(mediator, 1), "the first worker")
    for vm_id in range(2, 60):
        with mediator.device(vm_id) as device:
            assert device.add(vm_id, 2) == vm_id + 2
            if wait_for(lambda: kernels_of(mediator, vm_id), "a worker") == "PTX is loaded":
                continue
            worker = mediator.vm(vm_id)["worker_pid"]
            assert os.readlink(f"/proc/{worker}/fd/4").startswith("/memfd:vgpu-kernels")
            with open(f"/proc/{worker}/fd/4", "rb") as image:
                assert image.read(4) == b"\x7fELF"
            with pytest.raises(PermissionError), open(f"/proc/{worker}/fd/4", "r+b") as image:
                image.write(b"x")
                image.flush()
            break
    else:
        pytest.fail("no worker was given compiled kernels")


@pytest.mark.parametrize("settings", [{"refuses_images": 1}, {"links": 0}])
def test_kernels_that_are_of_no_use_are_compiled_by_each(devices, settings):
    mediator = devices(**settings)
    for vm_id in range(1, 4):
        with mediator.device(vm_id) as device:
            assert device.add(vm_id, 2) == vm_id + 2
            assert wait_for(lambda: kernels_of(mediator, vm_id), "a worker") == "PTX is loaded"
