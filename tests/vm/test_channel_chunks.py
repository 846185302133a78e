# SPDX-License-Identifier: GPL-2.0-or-later
"""Chunks beyond chunk 0 of a guest's channel, through the real mediator and its worker: the test
plays the driver and the process, as test_channel_work does."""
import os
import signal
import struct

import pytest

import channel_regs as cr
from guest_channel import add_chunk, hc, open_channel, remove_chunk
from qemu_process import wait_for
from test_channel_work import (closed_for, guest, memory, ready, way, worker_maps,  # noqa: F401
                               worker_pids)  # fixtures
from test_end_to_end import mediate  # noqa: F401  (a fixture)

MIB = 1 << 20
AT = 0x2000000  # where the chunks lie
INVALID, UNSUPPORTED = 1, 8


def upload(channel, chunk, count, offset=0, target=1):
    return channel.bulk(hc.UPLOAD, target=hc.handle(target), count=count, chunk=chunk,
                        chunk_offset=offset)


def download(channel, chunk, count, offset=0, source=1):
    return channel.bulk(hc.DOWNLOAD, a=hc.handle(source), count=count, chunk=chunk,
                        chunk_offset=offset)


def with_buffer(driver, memory, count=MIB):  # noqa: F811
    channel = ready(open_channel(driver, memory))
    assert channel.bulk(hc.ALLOC, target=hc.handle(1), count=count) == 0
    return channel


def test_data_goes_through_them(guest, memory, way):  # noqa: F811
    """Pieces all over the memory, in an order of their own, are one chunk for the worker."""
    driver, _ = guest()
    channel = with_buffer(driver, memory)
    pages = [(AT + 8192 * i, 4096) for i in range(200)]
    pages = pages[::2] + pages[1::2]
    source = os.urandom(200 * 4096)
    assert add_chunk(driver, 0, 1, pages) == 0
    assert add_chunk(driver, 0, 255, [(AT + 4 * MIB, 2 * MIB), (AT + 8 * MIB, MIB)]) == 0
    for number, (address, size) in enumerate(pages):
        memory.bytes[address:address + size] = source[number * 4096:][:4096]
    assert upload(channel, 1, len(source)) == 0
    assert download(channel, 255, len(source), 2 * MIB - 4100) == 0
    begin = AT + 6 * MIB - 4100
    assert memory.bytes[begin:AT + 6 * MIB] == source[:4100]
    assert memory.bytes[AT + 8 * MIB:AT + 8 * MIB + len(source) - 4100] == source[4100:]
    for chunk, count, offset in ((1, 4, 200 * 4096), (2, 4, 0), (255, 4, 3 * MIB), (256, 4, 0)):
        assert upload(channel, chunk, count, offset) == INVALID
        assert download(channel, chunk, count, offset) == INVALID
    copied = driver.machine.qmp("qom-get", path="/machine/peripheral/gpu0",
                                property="copied-bytes")
    assert copied == 0 if way == "shared" else copied > 2 * len(source)
    assert remove_chunk(driver, 0, 1) == 0
    assert upload(channel, 1, 4) == INVALID
    assert download(channel, 255, 4) == 0
    assert add_chunk(driver, 0, 1, pages[:1]) == 0  # the number and the memory are free again
    assert upload(channel, 1, 4096) == 0
    driver.command(0, cr.CLOSE)
    assert driver.wait_result(0) == 0
    channel = with_buffer(driver, memory)
    assert add_chunk(driver, 0, 7, pages) == 0
    assert upload(channel, 7, 4096) == 0


def test_removed_while_records_name_it(guest, memory):  # noqa: F811
    """What was begun before is done, or is an error; afterwards nobody writes to the memory."""
    driver, _ = guest()
    channel = with_buffer(driver, memory, 4 * MIB)
    assert channel.bulk(hc.FILL, target=hc.handle(1), count=MIB, value=0x5a5a5a5a) == 0
    for turn in range(20):
        assert add_chunk(driver, 0, 3, [(AT, 4 * MIB)]) == 0
        for _ in range(20):
            channel.put(channel.bulk_record(hc.DOWNLOAD, a=hc.handle(1), count=4 * MIB, chunk=3,
                                            flags=0))
        channel.publish()
        assert remove_chunk(driver, 0, 3) == 0
        memory.bytes[AT:AT + 4 * MIB] = bytes(4 * MIB)
        assert channel.op(0)[0] == 0  # all records are over
        assert memory.bytes[AT:AT + 4 * MIB] == bytes(4 * MIB), turn


def wrong():
    page = (AT, 4096)
    yield "number 0", dict(chunk=0, pieces=[page])
    yield "number 256", dict(chunk=256, pieces=[page])
    yield "in use", dict(chunk=1, pieces=[page])
    yield "nothing", dict(chunk=2, pieces=[], size=0)
    yield "another size", dict(chunk=2, pieces=[page], size=8192)
    yield "no pages", dict(chunk=2, pieces=[(AT, 4097)])
    yield "overlaps itself", dict(chunk=2, pieces=[page, page])
    yield "overlaps chunk 0", dict(chunk=2, pieces=[(0x1000000, 4096)])
    yield "overlaps chunk 1", dict(chunk=2, pieces=[(AT + MIB, 4096)])
    yield "in a BAR", dict(chunk=2, pieces=[(0xE1000000, 4096)])
    yield "nowhere", dict(chunk=2, pieces=[(1 << 40, 4096)])
    yield "over the end of memory", dict(chunk=2, pieces=[((64 << 20) - 4096, 8192)])


@pytest.mark.parametrize("way", ["shared", "copied"], indirect=True)
def test_chunks_that_make_no_sense(guest, memory):  # noqa: F811
    driver, _ = guest()
    channel = with_buffer(driver, memory)
    assert add_chunk(driver, 0, 1, [(AT + MIB, MIB)]) == 0
    for name, case in wrong():
        assert add_chunk(driver, 0, **case) == INVALID, name
    for number in (0, 2, 256, 0xFFFFFFFF):
        assert remove_chunk(driver, 0, number) == INVALID
    for closed in (1, 63):
        assert add_chunk(driver, closed, 1, [(AT, 4096)]) == INVALID
        assert remove_chunk(driver, closed, 1) == INVALID
    assert upload(channel, 1, MIB) == 0
    assert add_chunk(driver, 0, 2, [(AT, 4096)]) == 0


@pytest.mark.parametrize("way", ["copied"], indirect=True)
def test_all_that_a_channel_may_have(guest, memory):  # noqa: F811
    driver, _ = guest()
    channel = with_buffer(driver, memory)
    for number in range(1, 256):
        address = AT + 4096 * number
        assert add_chunk(driver, 0, number, [(address, 4096)]) == 0
        memory.words[address:address + 4].cast("I")[0] = number
    for number in range(1, 256):
        assert upload(channel, number, 4) == 0
        assert download(channel, 256 - number, 4, 8) == 0
        at = AT + 4096 * (256 - number) + 8
        assert struct.unpack_from("<I", memory.bytes, at)[0] == number


@pytest.mark.parametrize("way", ["shared", "copied"], indirect=True)
def test_they_end_with_the_worker(guest, memory):  # noqa: F811
    driver, mediator = guest()
    channel = with_buffer(driver, memory)
    assert add_chunk(driver, 0, 1, [(AT, MIB)]) == 0
    pid, = worker_pids(mediator)
    os.kill(pid, signal.SIGKILL)
    closed_for(driver, 0, cr.R_WORKER_LOST)
    channel = with_buffer(driver, memory)
    assert upload(channel, 1, 4) == INVALID
    assert add_chunk(driver, 0, 1, [(AT, MIB)]) == 0
    assert upload(channel, 1, MIB) == 0
    driver.machine.qmp("system_reset")
    wait_for(lambda: worker_maps(mediator) == 0, "the worker has let go")


@pytest.mark.parametrize("way", ["copied"], indirect=True)
def test_the_hosts_memory_has_a_limit(guest, memory):  # noqa: F811
    driver, _ = guest("", "--channel-memory-vm-mib", "8")
    channel = with_buffer(driver, memory)
    assert add_chunk(driver, 0, 1, [(AT, 4 * MIB)]) == 0
    assert add_chunk(driver, 0, 2, [(AT + 4 * MIB, 4 * MIB)]) == 14  # VGPU_ERR_MEMORY_LIMIT
    assert remove_chunk(driver, 0, 1) == 0
    assert add_chunk(driver, 0, 2, [(AT + 4 * MIB, 4 * MIB)]) == 0
    assert upload(channel, 2, MIB) == 0


@pytest.mark.parametrize("way", ["shared"], indirect=True)
def test_memory_that_the_host_can_not_map(guest, memory):  # noqa: F811
    """A `shared` channel has no chunk that is copied: the BIOS is RAM, but no memory file."""
    driver, _ = guest()
    channel = with_buffer(driver, memory)
    assert add_chunk(driver, 0, 1, [(0xFFFFF000, 4096)]) in (INVALID, UNSUPPORTED)
    assert add_chunk(driver, 0, 1, [(AT, 4096)]) == 0
    assert upload(channel, 1, 4096) == 0
