# SPDX-License-Identifier: GPL-2.0-or-later
"""Channels of a guest through the real mediator and its worker: the test plays the driver and
the process in a machine without an operating system."""
import json
import os
import signal
import struct
import subprocess

import pytest

import channel_regs as cr
import guest_channel as gc
import regs
from conftest import Device
from guest_channel import GuestMemory, add_chunk, enable, hc, open_channel, remove_chunk
from keeper import Keeper  # tests/protocol's
from qemu_process import wait_for
from test_end_to_end import BIN, mediate  # noqa: F401  (a fixture)
from test_life import unplug

KNOWN = 0x01020304


@pytest.fixture
def memory():
    made = GuestMemory()
    yield made
    made.close()


# How the host reaches the memory; the copy engine in a thread, or in QEMU's main loop.
WAYS = {"shared": "transport=shared", "copied": "transport=copied",
        "main-loop": "transport=copied,copy-thread=off"}


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


@pytest.fixture
def guest(start, memory, mediate, folder, way):  # noqa: F811
    """guest(properties, mediator options...) -> (driver, mediator), connected."""
    def run(properties="", *options, arguments=()):
        mediator = mediate("--fault-threshold", "0", *options)
        vm, device = start(f"vm_id=3,{WAYS[way]}" + ("," + properties if properties else ""),
                           *memory.arguments(), *arguments)
        enable(device)
        driver = cr.Driver(device)
        wait_for(lambda: connected(folder), "the device is connected")
        return driver, mediator
    return run


def admin(folder, *words):
    done = subprocess.run([BIN / "vgpu-admin", f"--admin-socket={folder}/admin.sock", *words],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout


def shown_channels(folder):
    said = json.loads(admin(folder, "show-connections", "--json") or "{}")
    return sum(one["channels"] for one in said.get("connections", []))


def connected(folder):
    said = json.loads(admin(folder, "show-connections", "--json") or "{}")
    return any(one.get("vm_id") == 3 for one in said.get("connections", []))


def children(pid, name):
    return [int(one) for one in subprocess.run(["pgrep", "-P", str(pid), name],
                                               stdout=subprocess.PIPE, text=True,
                                               check=False).stdout.split()]


def worker_pids(mediator):
    """Those of its keeper, which it has started by way of two processes of its own."""
    return [pid for launcher in children(mediator.process.pid, "vgpu-mediator")
            for starter in children(launcher, "vgpu-mediator")
            for keeper in children(starter, "vgpu-keeper")
            for pid in children(keeper, "vgpu-worker")]


def ready(channel):
    assert isinstance(channel, gc.GuestChannel), f"refused with {channel}"
    return channel


def test_nop_and_bulk_operations(guest, memory, way):
    driver, _ = guest()
    channel = ready(open_channel(driver, memory))
    assert driver.of(0, cr.TRANSPORT) == (cr.SHARED if way == "shared" else cr.COPIED)
    assert driver.of(0, cr.GRANTED) == 1
    assert channel.op(0) == (0, (), b"")
    target, other = hc.handle(1), hc.handle(2)
    for buffer in (target, other):
        assert channel.bulk(hc.ALLOC, target=buffer, count=4096) == 0
    assert channel.bulk(hc.FILL, target=target, count=1024, value=KNOWN) == 0
    assert channel.bulk(hc.DOWNLOAD, a=target, count=4096, chunk_offset=channel.arena) == 0
    assert channel.memory[channel.arena:channel.arena + 4096] == struct.pack("<I", KNOWN) * 1024
    channel.memory[channel.arena:channel.arena + 4096] = struct.pack("<1024I", *range(1024))
    assert channel.bulk(hc.UPLOAD, target=other, count=4096, chunk_offset=channel.arena) == 0
    assert channel.bulk(hc.ADD_I32, target=other, a=other, b=target, count=1024) == 0
    assert channel.bulk(hc.DOWNLOAD, a=other, count=4096, chunk_offset=channel.arena) == 0
    assert struct.unpack("<1024I", channel.memory[channel.arena:channel.arena + 4096]) == \
        tuple(KNOWN + i for i in range(1024))
    wait_for(channel.interrupts, "the interrupt")
    driver.command(0, cr.CLOSE)
    assert driver.wait_result(0) == 0
    assert driver.of(0, cr.STATE) == cr.FREE and driver.of(0, cr.REASON) == cr.R_ASKED
    assert channel.state() == (1, cr.R_ASKED)


def test_connections_show_the_transport(guest, memory, way, folder):
    driver, _ = guest()

    def shown():
        said = json.loads(admin(folder, "show-connections", "--json"))
        return [(one["transport"], one["channels"]) for one in said["connections"]]

    assert shown() == [("frames", 0)]
    ready(open_channel(driver, memory))
    assert shown() == [("shared" if way == "shared" else "copied", 1)]
    driver.command(0, cr.CLOSE)
    assert driver.wait_result(0) == 0
    assert shown() == [("frames", 0)]


def test_pieces_in_any_order(guest, memory):
    """Chunk 0 lies in pages all over the memory; the worker sees it as one."""
    driver, _ = guest()
    geometry = (1, 0, 4096, 128 << 10, 8192)
    size = cr.layout_bytes(*geometry)
    pages = [0x1000000 + 8192 * i for i in range(size // 4096)]
    pages = pages[::2] + pages[1::2]
    for page in pages:
        memory.bytes[page:page + 4096] = bytes(4096)
    result = driver.open(0, cr.setup_bytes(geometry, [(page, 4096) for page in pages]))
    assert (driver.wait_result(0) if result == cr.PENDING else result) == 0
    ring, arena = pages[3], pages[-2:]
    record = hc.RECORD.pack(0, hc.ANSWER, 32, 1, 0, 0, 0) + bytes(8)
    memory.bytes[ring:ring + 32] = record
    memory.words[pages[0]:pages[0] + 8].cast("Q")[0] = 32
    driver.machine.write(gc.BAR2, 1, 4)
    box = pages[1]
    wait_for(lambda: memory.words[box:box + 4].cast("I")[0] == 1, "the answer")
    assert arena[0] != arena[1] - 4096


def test_several_channels(guest, memory):
    driver, _ = guest()
    channels = [ready(open_channel(driver, memory, number, 0x1000000 + number * 0x400000))
                for number in (0, 5, 7)]
    for value, channel in enumerate(channels):
        assert channel.bulk(hc.ALLOC, target=hc.handle(1), count=4096) == 0
        assert channel.bulk(hc.FILL, target=hc.handle(1), count=1024, value=value) == 0
    for value, channel in enumerate(channels):
        assert channel.bulk(hc.DOWNLOAD, a=hc.handle(1), count=4096,
                            chunk_offset=channel.arena) == 0
        assert channel.memory[channel.arena:channel.arena + 4096] == \
            struct.pack("<I", value) * 1024


def closed_for(driver, number, reason):
    driver.wait_state(number, cr.FREE)
    assert driver.of(number, cr.REASON) == reason


def positions():
    yield "ahead", lambda c: c.publish(c.ring_bytes + 8), cr.R_BAD_POSITION
    yield "far ahead", lambda c: c.publish((1 << 64) - 8), cr.R_BAD_POSITION
    yield "odd", lambda c: c.publish(4), cr.R_BAD_POSITION
    yield "a record of nothing", lambda c: (c.put(bytes(24)), c.publish()), cr.R_BAD_RECORD
    yield "a record over the end", lambda c: (
        c.put(hc.RECORD.pack(0, 1, 65536, 1, 0, 0, 0)), c.publish()), cr.R_BAD_RECORD
    yield "a wrong number", lambda c: (
        c.put(hc.RECORD.pack(0, 1, 24, 7, 0, 0, 0)), c.publish()), cr.R_BAD_RECORD
    yield "a lane too many", lambda c: (
        c.put(hc.RECORD.pack(0, 1, 24, 1, 4, 0, 0)), c.publish()), cr.R_BAD_RECORD


@pytest.mark.parametrize("write,reason", [pytest.param(*case[1:], id=case[0])
                                          for case in positions()])
def test_bad_input_closes_the_channel_alone(guest, memory, write, reason):
    driver, _ = guest()
    victim = ready(open_channel(driver, memory, 1, 0x2000000))
    channel = ready(open_channel(driver, memory, 0))
    write(channel)
    closed_for(driver, 0, reason)
    assert channel.state() == (1, reason)
    assert victim.op(0)[0] == 0
    channel = ready(open_channel(driver, memory, 0))
    assert channel.op(0)[0] == 0


def test_backwards(guest, memory):
    driver, _ = guest()
    channel = ready(open_channel(driver, memory))
    assert channel.op(0)[0] == 0
    channel.publish(0)
    closed_for(driver, 0, cr.R_BAD_POSITION)


def test_doorbells_of_closed_channels(guest, memory):
    driver, _ = guest()
    channel = ready(open_channel(driver, memory))
    for number in range(64):
        driver.machine.write(gc.BAR2 + 4096 * number, 1, 4)
    assert channel.op(0)[0] == 0
    driver.command(0, cr.CLOSE)
    for number in range(64):
        driver.machine.write(gc.BAR2 + 4096 * number, 1, 4)
    assert driver.wait_result(0) == 0


def test_all_sizes_and_places(guest, memory):
    """What the worker gets and gives is to the byte what the process has, at odd places, too."""
    driver, _ = guest()
    channel = ready(open_channel(driver, memory, geometry=(4, 0, 65536, 1 << 20, 8 << 20)))
    source, there = os.urandom(3 << 20), hc.handle(1)
    assert channel.bulk(hc.ALLOC, target=there, count=3 << 20) == 0
    for count, at, shift in ((4, 0, 4), (8, 4, 12), (12, 4092, 8), (4096, 4, 480), (65540, 60, 4),
                             (3 << 20, 12, 16)):
        channel.memory[channel.arena + at:channel.arena + at + count] = source[:count]
        around = channel.arena + (4 << 20) + shift
        channel.memory[around - 4:around + count + 4] = b"\xee" * (count + 8)
        channel.put(channel.bulk_record(hc.UPLOAD, target=there, count=count,
                                        chunk_offset=channel.arena + at, flags=0))
        channel.put(channel.bulk_record(hc.DOWNLOAD, a=there, count=count, chunk_offset=around))
        channel.publish()
        assert channel.answer()[0] == 0
        assert channel.memory[around:around + count] == source[:count]
        assert channel.memory[around - 4:around] == b"\xee" * 4
        assert channel.memory[around + count:around + count + 4] == b"\xee" * 4


def test_many_in_flight(guest, memory):
    """More records than the ring, the engine's slots and the lanes have room for at a time."""
    driver, _ = guest()
    channel = ready(open_channel(driver, memory, geometry=(64, 0, 4096, 128 << 10, 1 << 20)))
    assert channel.bulk(hc.ALLOC, target=hc.handle(1), count=4096) == 0
    for start in range(0, 2048, 64):
        for lane in range(64):
            channel.put(channel.record(0, struct.pack("<2I", 0, 0), lane=lane))
        channel.publish()
        first = channel.seq - 63
        for lane in range(64):
            assert channel.answer(lane, first + lane) == (0, (), b"")
    for value in range(200):
        channel.put(channel.bulk_record(hc.FILL, target=hc.handle(1), count=1024, value=value,
                                        flags=0))
        channel.put(channel.bulk_record(hc.DOWNLOAD, a=hc.handle(1), count=4096, flags=0,
                                        chunk_offset=channel.arena + 4096 * value))
    channel.publish()
    assert channel.op(0)[0] == 0
    for value in range(200):
        at = channel.arena + 4096 * value
        assert channel.memory[at:at + 4096] == struct.pack("<I", value) * 1024, value


def test_notices(guest, memory):
    """Records without an answer that fail: more than the notice ring holds."""
    driver, _ = guest()
    channel = ready(open_channel(driver, memory, geometry=(1, 0, 4096, 128 << 10, 4096)))
    for _ in range(300):
        channel.put(channel.bulk_record(hc.FREE, target=hc.handle(9), flags=0))
    channel.publish()
    assert channel.op(0)[0] == 0
    wait_for(lambda: channel.word(0x200) == 4096, "the notices")
    assert channel.word(0x208) == 300 - 256
    notices = channel.ring - 4096
    for i in range(256):
        kind, size, seq, value = struct.unpack_from("<HHIQ", channel.memory, notices + 16 * i)
        assert (kind, size, seq, value) == (2, 16, i + 1, 1)
    channel.store(0x88, 4096)
    channel.put(channel.bulk_record(hc.FREE, target=hc.handle(9), flags=0))
    channel.publish()
    wait_for(lambda: channel.word(0x200) == 4096 + 16, "one more notice")


def test_more_channels_than_a_vm_may_have(guest, memory):
    driver, _ = guest("channels=256")
    geometry = (1, 0, 4096, 128 << 10, 0)
    size = cr.layout_bytes(*geometry)
    results = [open_channel(driver, memory, number, 0x400000 + number * size, geometry)
               for number in range(256)]
    good = [one for one in results if isinstance(one, gc.GuestChannel)]
    assert len(good) == 64 and all(one == 7 for one in results if one not in good)
    for channel in good[::7]:
        assert channel.op(0)[0] == 0
    driver.command(0, cr.RESET)
    for number in range(256):
        driver.wait_state(number, cr.FREE)
    assert ready(open_channel(driver, memory, 200)).op(0)[0] == 0


def test_a_killed_worker(guest, memory):
    driver, mediator = guest()
    channel = ready(open_channel(driver, memory))
    assert channel.op(0)[0] == 0
    pid, = worker_pids(mediator)
    os.kill(pid, signal.SIGKILL)
    closed_for(driver, 0, cr.R_WORKER_LOST)
    assert driver.changed()[-1:] == [0]
    assert not os.path.exists(f"/proc/{pid}/maps")
    assert ready(open_channel(driver, memory)).op(0)[0] == 0


def worker_maps(mediator):
    """How many mappings of shared guest memory the workers have."""
    return sum(open(f"/proc/{pid}/maps").read().count("/dev/shm/") for pid in worker_pids(mediator))


@pytest.mark.parametrize("way", ["shared"], indirect=True)
def test_only_the_pieces_are_mapped_and_no_descriptor_stays(guest, memory):
    driver, mediator = guest()
    channel = ready(open_channel(driver, memory))
    pid, = worker_pids(mediator)
    lines = [line.split() for line in open(f"/proc/{pid}/maps") if "/dev/shm/" in line]
    spans = [[int(edge, 16) for edge in line[0].split("-")] for line in lines]
    assert sum(end - begin for begin, end in spans) == channel.size
    for owner in (pid, mediator.process.pid):
        for fd in os.listdir(f"/proc/{owner}/fd"):
            assert "/dev/shm/" not in os.readlink(f"/proc/{owner}/fd/{fd}")
    driver.command(0, cr.CLOSE)
    driver.wait_state(0, cr.FREE)
    assert worker_maps(mediator) == 0


def test_the_machines_reset(guest, memory):
    """The memory is nobody's else when the reset is over."""
    driver, mediator = guest()
    vm = driver.machine
    for _ in range(3):
        channel = ready(open_channel(driver, memory))
        assert channel.op(0)[0] == 0
        vm.events.clear()
        vm.qmp("system_reset")
        vm.wait_event("RESET")
        assert worker_maps(mediator) == 0
        assert "has not let go" not in vm.output()
        driver.device.enable()
        enable(driver.device)
        closed_for(driver, 0, cr.R_RESET)


def test_bus_master_off(guest, memory):
    driver, mediator = guest()
    channel = ready(open_channel(driver, memory))
    assert channel.op(0)[0] == 0
    driver.device.config_write(0x04, 0x0002, 2)
    assert worker_maps(mediator) == 0
    driver.device.config_write(0x04, 0x0006, 2)
    closed_for(driver, 0, cr.R_BUS_MASTER)
    assert ready(open_channel(driver, memory)).op(0)[0] == 0


def test_unplug(guest, memory, folder):
    driver, mediator = guest()
    ready(open_channel(driver, memory))
    unplug(driver.machine)
    assert worker_maps(mediator) == 0
    driver.machine.qmp("device_add", driver="vgpu-stub", id="gpu0", addr="5", chardev="link",
                       vm_id=3)
    driver = cr.Driver(Device(driver.machine, 5).enable())
    enable(driver.device)
    wait_for(lambda: open_is_possible(driver, memory), "the device is connected again")


def open_is_possible(driver, memory):
    channel = open_channel(driver, memory)
    return isinstance(channel, gc.GuestChannel) and channel.op(0)[0] == 0


def test_a_mediator_that_is_killed(guest, memory):
    driver, mediator = guest()
    ready(open_channel(driver, memory))
    pid, = worker_pids(mediator)
    mediator.kill()
    closed_for(driver, 0, cr.R_SESSION)
    assert not os.path.exists(f"/proc/{pid}/maps") or \
        "/dev/shm/" not in open(f"/proc/{pid}/maps").read()
    mediator.start()
    wait_for(lambda: open_is_possible(driver, memory), "the mediator serves again")


@pytest.mark.parametrize("way", ["shared", "copied"], indirect=True)
def test_it_goes_on_with_the_next_mediator(guest, memory, folder):
    """Where a keeper holds the workers: through a planned restart and a kill -9."""
    with Keeper(folder) as keeper:
        driver, mediator = guest("", "--keeper-socket", keeper.path)
        channel = ready(open_channel(driver, memory))
        other = ready(open_channel(driver, memory, 2, 0x2000000))
        assert channel.bulk(hc.ALLOC, target=hc.handle(1), count=4096) == 0
        assert channel.bulk(hc.FILL, target=hc.handle(1), count=1024, value=KNOWN) == 0
        assert add_chunk(driver, 0, 1, [(0x3000000, 8192)]) == 0
        worker, = keeper.workers()
        for kill in (False, True):
            if kill:
                mediator.kill()
            else:
                mediator.process.terminate()
                assert mediator.process.wait(180) == 0
            assert channel.op(0)[0] == 0  # what needs no turn needs no mediator
            for command in (add_chunk(driver, 0, 2, [(0x3100000, 4096)]),
                            remove_chunk(driver, 0, 1)):
                assert command == regs.E_MEDIATOR_UNAVAILABLE
            channel.put(channel.bulk_record(hc.ADD_I32, target=hc.handle(1), a=hc.handle(1),
                                            b=hc.handle(1), count=1024))
            channel.publish()
            mediator.start()
            assert channel.answer()[0] == 0
            wait_for(lambda: connected(folder) and shown_channels(folder) == 2, "both are resumed")
        assert channel.bulk(hc.DOWNLOAD, a=hc.handle(1), count=4096,
                            chunk_offset=channel.arena) == 0
        assert channel.memory[channel.arena:channel.arena + 4096] == \
            struct.pack("<I", KNOWN * 4) * 1024
        assert channel.bulk(hc.DOWNLOAD, a=hc.handle(1), count=4096, chunk=1,
                            chunk_offset=4096) == 0
        assert memory.bytes[0x3001000:0x3001004] == struct.pack("<I", KNOWN * 4)
        assert remove_chunk(driver, 0, 1) == 0
        assert add_chunk(driver, 0, 1, [(0x3000000, 4096)]) == 0
        assert keeper.workers() == [worker] and other.op(0)[0] == 0
        for number in (0, 2):
            driver.command(number, cr.CLOSE)
            assert driver.wait_result(number) == 0
            assert driver.of(number, cr.REASON) == cr.R_ASKED
        assert ready(open_channel(driver, memory)).op(0)[0] == 0
        wait_for(lambda: shown_channels(folder) == 1, "the new one alone")
        mediator.close()


@pytest.mark.parametrize("way", ["shared", "copied"], indirect=True)
def test_ends_while_no_mediator_is_there(guest, memory, folder):
    """The guest's own, by each of its ways: the memory is back without anybody's word."""
    with Keeper(folder) as keeper:
        driver, mediator = guest("", "--keeper-socket", keeper.path)
        closing, left = (ready(open_channel(driver, memory, number, 0x1000000 * (number + 1)))
                         for number in (0, 1))
        worker, = keeper.workers()
        mediator.kill()
        driver.command(0, cr.CLOSE)
        assert driver.wait_result(0) == 0
        driver.wait_state(0, cr.FREE)
        assert left.op(0)[0] == 0 and driver.of(0, cr.REASON) == cr.R_ASKED
        assert open_channel(driver, memory, 0) == regs.E_MEDIATOR_UNAVAILABLE
        driver.device.config_write(0x04, 0x0002, 2)  # waits for the worker
        assert "/dev/shm/" not in open(f"/proc/{worker}/maps").read()
        driver.device.config_write(0x04, 0x0006, 2)
        closed_for(driver, 1, cr.R_BUS_MASTER)
        mediator.start()
        wait_for(lambda: open_is_possible(driver, memory), "the mediator serves again")
        assert keeper.workers() == [worker]
        mediator.close()


def test_a_mediator_that_stops(guest, memory):
    driver, mediator = guest()
    channel = ready(open_channel(driver, memory))
    mediator.process.terminate()
    assert mediator.process.wait(180) == 0
    driver.wait_state(0, cr.FREE)
    assert driver.of(0, cr.REASON) in (cr.R_SHUTDOWN, cr.R_SESSION)
    assert channel.state()[0] == 1
    mediator.start()
    wait_for(lambda: open_is_possible(driver, memory), "the mediator serves again")


def test_qemu_is_killed(guest, memory, folder):
    driver, mediator = guest()
    ready(open_channel(driver, memory))
    driver.machine.kill()
    wait_for(lambda: worker_maps(mediator) == 0, "the worker lets go")
    assert mediator.process.poll() is None


COPIED = pytest.mark.parametrize("way", ["copied", "main-loop"], indirect=True)


@COPIED
def test_memory_that_goes_away(guest, memory):
    """The guest puts something else where its pieces are: the copy fails, and nobody else."""
    driver, _ = guest()
    victim = ready(open_channel(driver, memory, 1, 0x2000000))
    channel = ready(open_channel(driver, memory, 0, 0x1000000))
    assert channel.op(0)[0] == 0
    driver.device.config_write(0x10, 0x1000000, 4)  # over the control page
    driver.machine.write(gc.BAR2, 1, 4)
    driver.device.config_write(0x10, 0xE0050000, 4)
    wait_for(lambda: driver.of(0, cr.STATE) in (cr.FREE, cr.OPENED), "the channel is over, or not")
    if driver.reg(cr.STATE) == cr.FREE:
        assert driver.reg(cr.REASON) == cr.R_COPY_FAILED
    assert victim.op(0)[0] == 0


@COPIED
def test_reset_in_mid_copy(guest, memory):
    """Not a byte moves after the reset."""
    driver, mediator = guest()
    vm = driver.machine
    for turn in range(5):
        channel = ready(open_channel(driver, memory, geometry=(4, 0, 65536, 1 << 20, 16 << 20)))
        there = hc.handle(1)
        assert channel.bulk(hc.ALLOC, target=there, count=16 << 20) == 0
        for _ in range(8):
            channel.put(channel.bulk_record(hc.DOWNLOAD, a=there, count=16 << 20, flags=0,
                                            chunk_offset=channel.arena))
        channel.memory[channel.arena:channel.size] = b"\x55" * (16 << 20)
        channel.publish()
        vm.events.clear()
        vm.qmp("system_reset")
        vm.wait_event("RESET")
        image = bytes(channel.memory)
        driver.device.enable()
        enable(driver.device)
        driver.wait_state(0, cr.FREE)
        assert bytes(channel.memory) == image
        assert ready(open_channel(driver, memory, 1, 0x3000000)).op(0)[0] == 0
        driver.command(1, cr.CLOSE)
        assert driver.wait_result(1) == 0


def test_1_0_beside_channels(guest, memory):
    driver, _ = guest()
    channel = ready(open_channel(driver, memory))
    request = struct.pack("<8I", 0x10000, 0, 0, 0, 0, 0, 0, 0)
    for _ in range(5):
        driver.device.submit(request)
        assert driver.device.finished() == (2, 0)
        assert channel.op(0)[0] == 0
