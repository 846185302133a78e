# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu.ko in a real guest: the test plays the mediator and the worker, so it decides when the host
lets go of a process's memory, and sees what the guest wrote there.

Skipped where no headers of the guest's kernel are installed (scripts/setup installs them).
"""
import mmap
import os
import pathlib
import re
import select
import struct
import subprocess
import tempfile
import threading

import pytest

import channel_regs as cr
import guest_image
from channel_host import Opened
from conftest import BUILDS, TREE, build_qemu, chardev
from fake_mediator import frame
from qemu_process import wait_for
from vm import Guest

SYSFS = "/sys/bus/pci/drivers/vgpu"
MEMORY_MIB = 256


@pytest.fixture(scope="session")
def qemu():
    """One of the two will do: the driver is the same for both."""
    return build_qemu(BUILDS[0])


@pytest.fixture(scope="session")
def kernel():
    found = guest_image.kernel_with_headers()
    if not found:
        pytest.skip("no headers of the guest's kernel: scripts/setup installs them")
    return found


@pytest.fixture(scope="session")
def driver_files(kernel, tmp_path_factory):
    """What the guest gets: the module and the program that uses it."""
    folder = tmp_path_factory.mktemp("driver")
    program = folder / "guest_channel"
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror",
                    "-pthread", "-I", TREE / "include", "-o", program,
                    TREE / "tests/vm/guest_channel.c"], check=True)
    return {"/vgpu.ko": guest_image.driver_module(folder, kernel[1]), "/bin/guest_channel": program}


class Channel(Opened):
    """One that the host opened; `memory(offset)` finds a byte of its chunk 0."""

    def __init__(self, conn, opening, adds):
        super().__init__(conn, opening, adds)
        self.bytes = cr.layout_bytes(*cr.GEOMETRY.unpack(self.geometry))
        self.pieces = []
        for add in adds:
            count = cr.ADD_FRAME.unpack_from(add.payload)[3]
            self.pieces += [cr.PIECE.unpack_from(add.payload, cr.ADD_FRAME.size + 16 * i)
                            for i in range(count)]
        self.ram = mmap.mmap(adds[0].fds[0], MEMORY_MIB << 20)

    def at(self, offset):
        """The place in the guest's memory of a byte of the chunk."""
        for start, count in self.pieces:
            if offset < count:
                return start + offset
            offset -= count
        raise IndexError(offset)

    def arena(self, word):
        return self.at(self.bytes - cr.GEOMETRY.unpack(self.geometry)[4] + 4 * word)

    def load(self, word):
        return struct.unpack_from("<I", self.ram, self.arena(word))[0]

    def store(self, word, value):
        struct.pack_into("<I", self.ram, self.arena(word), value)

    def pages(self):
        return {page for start, count in self.pieces for page in range(start, start + count, 4096)}


class Host(threading.Thread):
    """Opens whatever is asked for, echoes words, and lets go at once or when it is told."""

    def __init__(self, mediator):
        super().__init__(daemon=True)
        self.mediator = mediator
        self.lock = threading.Lock()
        self.lets_go = True
        self.refuses = 0  # a status, for each OPEN
        self.holds_from = None  # opens from this one on wait, for let_open()
        self.held = []
        self.channels = {}
        self.asked = []   # numbers that the guest wants closed
        self.resets = 0
        self.opened_total = 0
        self.ended = False
        self.failed = None
        self.conn = None
        self.start()

    def run(self):
        try:
            self.conn = self.mediator.accept()
            self.conn.sock.setblocking(True)
            while not self.ended:
                if select.select([self.conn.sock], [], [], 0.001)[0] or self.conn.buffered:
                    if not self.take(self.conn.recv()):
                        break
                with self.lock:
                    self.echo()
        except OSError as error:
            if not self.ended:
                self.failed = error
        except AssertionError as error:
            self.failed = error

    def take(self, got):
        if got is None:
            return False
        with self.lock:
            if got.type == cr.MSG_OPEN:
                self.open(got)
            elif got.type == cr.MSG_CLOSE:
                self.asked.append(cr.CLOSE_FRAME.unpack(got.payload)[0])
                if self.lets_go:
                    self.finish(self.asked[-1], cr.R_ASKED)
            elif got.type == cr.MSG_RESET:
                self.resets += 1
                if self.lets_go:
                    self.finish_reset()
        return True

    def open(self, got):
        adds = []
        while not adds or cr.ADD_FRAME.unpack_from(adds[-1].payload)[2]:
            adds.append(self.conn.expect(cr.MSG_CHUNK_ADD))
        channel = Channel(self.conn, got, adds)
        if self.holds_from is not None and self.opened_total >= self.holds_from:
            self.held.append(channel)
        else:
            self.reply(channel)

    def let_open(self):
        """What was held is refused, the next ones are not."""
        with self.lock:
            self.holds_from, self.refuses = None, 11
            for channel in self.held:
                self.reply(channel)
            self.held, self.refuses = [], 0

    def reply(self, channel):
        if self.refuses:
            channel.reply(self.refuses, fds=(), size=0)
            channel.close()
            return
        channel.reply(size=channel.bytes)
        self.channels[channel.number] = channel
        self.opened_total += 1

    def echo(self):
        by_fd = {channel.doorbell: channel for channel in self.channels.values()}
        for fd in select.select(list(by_fd), [], [], 0)[0]:
            os.eventfd_read(fd)
            channel = by_fd[fd]
            channel.store(1, channel.load(0))
            os.eventfd_write(channel.interrupt, 1)

    def finish(self, number, reason):
        """With the lock: the last word on a channel, and nobody has its memory any more."""
        channel = self.channels.pop(number)
        channel.closed(reason)
        channel.close()

    def finish_reset(self):
        for number in list(self.channels):
            self.finish(number, cr.R_RESET)
        self.conn.send(frame(cr.MSG_RESET))

    def let_go(self):
        """What the host has been asked for and has kept so far."""
        with self.lock:
            self.lets_go = True
            if self.resets:
                self.finish_reset()
            for number in self.asked:
                if number in self.channels:
                    self.finish(number, cr.R_ASKED)

    def end(self):
        self.ended = True
        self.join(180)
        if self.conn:
            self.conn.close()
        assert self.failed is None, self.failed


@pytest.fixture
def host(mediator):
    one = Host(mediator)
    yield one
    one.end()


@pytest.fixture
def boot(qemu, folder, kernel, driver_files, host):
    """boot(arguments...) -> a guest with the driver loaded."""
    made = []

    def run(*arguments, device="vgpu-stub,id=gpu0,chardev=link", parameters="", **more):
        place = pathlib.Path(tempfile.mkdtemp(dir=folder))
        guest = Guest(qemu, place, [*chardev(host.mediator.path), *cr.memfd_machine(MEMORY_MIB),
                                    "-device", device, "-smp", "2", *arguments],
                      files=driver_files, memory_mib=MEMORY_MIB, kernel=kernel[0], **more)
        made.append(guest)
        wait_for(lambda: host.conn, "the device connects")
        host.conn_guest = guest
        assert guest.run(f"insmod /vgpu.ko {parameters}") == (0, "")
        assert guest.run("test -c /dev/vgpu0")[0] == 0, guest.run("dmesg | tail -20")[1]
        return guest

    yield run
    for guest in made:
        guest.close()


def background(guest, arguments, name):
    """Starts guest_channel; returns its process number once it is ready."""
    code, output = guest.run(f"guest_channel {arguments} >/tmp/{name} 2>&1 & echo $!")
    assert code == 0, output
    wait_for(lambda: "ready" in guest.run(f"cat /tmp/{name}")[1], f"{name} is ready")
    return int(output)


def wait_output(guest, name, text):
    wait_for(lambda: text in guest.run(f"cat /tmp/{name}")[1], f"{name} says {text}")
    return guest.run(f"cat /tmp/{name}")[1]


def in_use(guest):
    """(channels, bytes) that the driver has."""
    output = guest.run(f"cat {SYSFS}/0000*/channels {SYSFS}/0000*/memory_bytes")[1]
    return tuple(int(line) for line in output.split())


def nothing_left(guest):
    wait_for(lambda: in_use(guest) == (0, 0), "nothing is in use")


def healthy(guest):
    """The kernel has had nothing to complain of."""
    bad = [line for line in guest.run("dmesg")[1].splitlines()
           if re.search(r"WARNING:|BUG:|Oops|Call Trace|general protection|bad page|Bad page|leak",
                        line)]
    assert not bad, bad


def test_the_calls(boot, host):
    guest = boot()
    assert guest.run("guest_channel checks") == (0, "checks done")
    assert guest.run("guest_channel checks") == (0, "checks done")
    nothing_left(guest)
    assert host.opened_total == 4 and not host.channels
    guest.run("echo 8 >/sys/module/vgpu/parameters/process_memory_mib")
    guest.run("echo 3 >/sys/module/vgpu/parameters/process_channels")
    assert guest.run("guest_channel limits") == (0, "limits done")
    nothing_left(guest)
    # Every program has its own; doorbells and interrupts reach the right one.
    names = [f"echo{n}" for n in range(4)]
    for name in names:
        guest.run(f"guest_channel echo 500 >/tmp/{name} 2>&1 &")
    for name in names:
        assert wait_output(guest, name, "done") == "echo 500 done"
    nothing_left(guest)
    host.refuses = 11
    assert guest.run("guest_channel echo 1") == (2, "host: Remote I/O error, status 11")
    host.refuses = 0
    assert guest.run("guest_channel echo 1") == (0, "echo 1 done")
    nothing_left(guest)
    healthy(guest)


def test_nothing_is_mapped_before_the_host_agrees(boot, host):
    """Else a refused process could ring the doorbell of who gets the number next."""
    guest = boot()
    host.holds_from = 1
    background(guest, "early", "early")
    host.let_open()
    assert "early done" in wait_output(guest, "early", "done")
    nothing_left(guest)
    healthy(guest)


def test_an_old_device_is_left_alone(boot, host, qemu, folder, kernel, driver_files):
    with Guest(qemu, folder, [*chardev(host.mediator.path), "-device",
                              "vgpu-stub,chardev=link,channels=0"], files=driver_files,
               kernel=kernel[0]) as guest:
        assert guest.run("insmod /vgpu.ko") == (0, "")
        assert "it has no channels" in guest.run("dmesg | grep vgpu")[1]
        assert guest.run("ls /dev/vgpu*")[0] != 0
        assert guest.run("rmmod vgpu") == (0, "")


def test_memory_of_a_killed_process_is_the_hosts_until_it_lets_go(boot, host):
    guest = boot()
    process = background(guest, "hold 8", "first")
    first, = host.channels.values()
    assert first.load(0) == first.load((8 << 20) // 4 - 1) == 0x77777777
    _, held = in_use(guest)
    assert held >= 8 << 20
    host.lets_go = False
    guest.run(f"kill -9 {process}")
    wait_for(lambda: host.asked == [first.number], "the guest closes it")
    # The process is gone, its memory is not: nobody gets these pages.
    assert guest.run(f"test -d /proc/{process}")[0] != 0
    others = [background(guest, "hold 8", f"other{n}") for n in range(3)]
    assert in_use(guest) == (4, 4 * held)
    for channel in host.channels.values():
        assert channel is first or not channel.pages() & first.pages()
        assert channel is first or channel.number != first.number
    first.store(3, 0xDEADBEEF)
    host.let_go()
    wait_for(lambda: in_use(guest) == (3, 3 * held), "the memory is freed")
    for other in others:
        guest.run(f"kill -9 {other}")
    nothing_left(guest)
    healthy(guest)


def test_the_process_that_opened_it_counts(boot, host):
    """A child that has the file keeps no channel alive."""
    guest = boot()
    parent = background(guest, "family", "family")
    child = int(re.search(r"child (\d+)", guest.run("cat /tmp/family")[1]).group(1))
    assert len(host.channels) == 1
    guest.run(f"kill {parent}")
    nothing_left(guest)
    assert not host.channels and guest.run(f"test -d /proc/{child}")[0] == 0
    assert guest.run("rmmod vgpu")[0] != 0  # the child's file
    guest.run(f"kill {child}")
    wait_for(lambda: guest.run("rmmod vgpu")[0] == 0, "the module can go")
    healthy(guest)


def test_the_host_ends_a_channel(boot, host):
    guest = boot()
    background(guest, "watch", "watch")
    with host.lock:
        host.finish(0, cr.R_WORKER_LOST)
    said = wait_output(guest, "watch", "ended")
    assert (f"ended: errno 0, state {cr.FREE}, reason {cr.R_WORKER_LOST}; page: state 1, "
            f"reason {cr.R_WORKER_LOST}, word 4711") in said
    guest.run("killall guest_channel")
    nothing_left(guest)
    # The connection goes with all its channels.
    background(guest, "watch", "again")
    host.conn.sock.shutdown(2)
    with host.lock:
        for channel in host.channels.values():
            channel.close()
        host.channels.clear()
    assert f"reason {cr.R_SESSION}" in wait_output(guest, "again", "ended")
    guest.run("killall guest_channel")
    nothing_left(guest)
    healthy(guest)


def test_unload_and_load_again(boot, host):
    guest = boot()
    process = background(guest, "hold 1", "hold")
    assert guest.run("rmmod vgpu")[0] != 0
    guest.run(f"kill -9 {process}")
    wait_for(lambda: guest.run("rmmod vgpu")[0] == 0, "the module can go")
    for _ in range(5):
        assert guest.run("insmod /vgpu.ko") == (0, "")
        assert guest.run("guest_channel echo 20") == (0, "echo 20 done")
        assert guest.run("rmmod vgpu") == (0, "")
    # A host that keeps a process's memory: it is given up, and the next driver works.
    assert guest.run("insmod /vgpu.ko") == (0, "")
    process = background(guest, "hold 1", "kept")
    host.lets_go = False
    guest.run(f"kill -9 {process}")
    wait_for(lambda: host.asked, "the guest closes it")
    kept, = host.channels.values()
    assert guest.run("rmmod vgpu", 120) == (0, "")
    said = guest.run("dmesg | grep vgpu")[1]
    assert "has not let go of the memory of 1 channels" in said and "are given up" in said
    assert guest.run("insmod /vgpu.ko") == (0, "")
    host.let_go()
    wait_for(lambda: guest.run("guest_channel echo 20") == (0, "echo 20 done"), "it works again")
    background(guest, "hold 100", "most")
    assert all(not channel.pages() & kept.pages() for channel in host.channels.values())
    guest.run("killall -9 guest_channel")
    nothing_left(guest)
    healthy(guest)


def unbind(guest):
    return guest.run(f"cd {SYSFS}; for d in 0000*; do echo $d >unbind; echo $d; done")


def test_unbind_while_in_use(boot, host):
    guest = boot()
    background(guest, "watch", "watch")
    code, address = unbind(guest)
    assert code == 0 and not host.channels and host.resets == 1
    said = wait_output(guest, "watch", "gone")
    # WAIT may come back to find the channel over, or the device gone already.
    assert f"errno 0, state {cr.FREE}, reason {cr.R_RESET}" in said or "ended: errno 19" in said
    # What it has mapped says that the channel has ended, and can be written to.
    assert f"gone: errno 19; page: state 1, reason {cr.R_RESET}, word 0" in said
    assert guest.run("ls /dev/vgpu*")[0] != 0
    assert guest.run(f"echo {address} >{SYSFS}/bind") == (0, "")
    assert guest.run("guest_channel echo 20") == (0, "echo 20 done")
    nothing_left(guest)
    healthy(guest)


def test_unplug_while_in_use(boot, host):
    guest = boot(machine="pc")
    background(guest, "watch", "watch")
    process = background(guest, "hold 4", "hold")
    guest.qmp("device_del", id="gpu0")
    guest.wait_event("DEVICE_DELETED")
    assert "gone: errno 19" in wait_output(guest, "watch", "gone")
    assert guest.run("rmmod vgpu")[0] != 0
    guest.run(f"kill -9 {process}")
    wait_for(lambda: guest.run("rmmod vgpu")[0] == 0, "the module can go")
    healthy(guest)


def test_reboot_waits_for_the_host(boot, host):
    guest = boot()
    background(guest, "hold 4", "hold")
    host.lets_go = False
    guest.start("reboot -f")
    wait_for(lambda: host.resets, "the driver closes all channels")
    with pytest.raises(subprocess.TimeoutExpired):
        guest.process.wait(1)  # short: not over before the host has let go
    host.let_go()
    assert guest.process.wait(60) == 0
    assert not host.channels


def test_suspend(boot, host):
    guest = boot()
    background(guest, "watch", "watch")
    guest.start("echo mem >/sys/power/state")
    guest.wait_event("SUSPEND")
    assert host.resets == 1 and not host.channels
    guest.qmp("system_wakeup")
    code, output = guest.finish(120)
    assert code == 0, output
    assert f"reason {cr.R_RESET}; page: state 1" in wait_output(guest, "watch", "ended")
    wait_for(lambda: guest.run("guest_channel echo 20") == (0, "echo 20 done"), "it works again")
    guest.run("killall guest_channel")
    nothing_left(guest)
    healthy(guest)
