# SPDX-License-Identifier: GPL-2.0-or-later
"""A channel of a guest without an operating system: the test writes its records and reads its
answers in the machine's memory, as host_channel does for a process of the host."""
import mmap
import os
import pathlib
import struct
import sys
import tempfile
import time

import channel_regs as cr

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "protocol"))
import host_channel as hc  # noqa: E402  (tests/protocol's)

BAR2, BAR4 = 0xE1000000, 0xE1100000
MESSAGES_AT = 0x100000  # vector n is a write of n + 1 at MESSAGES_AT + 4 * n


class GuestMemory:
    """RAM of a machine that the test maps, too."""

    def __init__(self, size_mib=64):
        self.file = tempfile.TemporaryFile(dir="/dev/shm")
        self.size = size_mib << 20
        self.file.truncate(self.size)
        self.bytes = mmap.mmap(self.file.fileno(), self.size)
        self.words = memoryview(self.bytes)

    def arguments(self, size_mib=64, share="on"):
        path = f"/proc/{os.getpid()}/fd/{self.file.fileno()}"
        return ["-object", f"memory-backend-file,id=ram,size={size_mib}M,share={share},"
                f"mem-path={path}", "-machine", "memory-backend=ram"]

    def close(self):
        self.words.release()
        self.bytes.close()
        self.file.close()


def enable(device):
    """BARs placed, every vector of MSI-X unmasked, a message for each."""
    device.config_write(0x18, BAR2, 4)
    device.config_write(0x20, BAR4, 4)
    device.config_write(0x04, 0x0006, 2)
    cap = device.capability(0x11)
    for vector in range((device.config_read(cap + 2, 2) & 0x7FF) + 1):
        for offset, value in ((0, MESSAGES_AT + 4 * vector), (4, 0), (8, vector + 1), (12, 0)):
            device.machine.write(BAR4 + 16 * vector + offset, value, 4)
    device.config_write(cap + 2, 0x8000, 2)


class GuestChannel(hc.Channel):
    """An open channel; chunk 0 is one stretch at `address`."""

    def __init__(self, driver, memory, number, address, geometry):
        lanes, events, notices, self.ring_bytes, arena = geometry
        self.driver, self.number, self.ram = driver, number, memory
        self.mailboxes = 4096 + events * 4
        self.ring = self.mailboxes + lanes * 4096 + notices
        self.arena = self.ring + self.ring_bytes
        self.size = self.arena + arena
        self.memory = self.words = memory.words[address:address + self.size]
        self.tail = self.seq = 0

    def close_fds(self):
        self.words.release()

    def publish(self, tail=None):
        self.store(hc.TAIL, self.tail if tail is None else tail)
        self.driver.machine.write(BAR2 + self.number * 4096, 1, 4)

    def interrupts(self):
        """Whether its vector has been raised since the last call."""
        at = MESSAGES_AT + 4 * (self.number + 1)
        seen = struct.unpack_from("<I", self.ram.bytes, at)[0]
        if seen:  # else one that comes now would be wiped out
            struct.pack_into("<I", self.ram.bytes, at, 0)
        return seen == self.number + 2

    def wait(self, condition, what):
        end = time.monotonic() + hc.PATIENCE
        while True:
            self.store(hc.PARKED, 1, "I")
            value = condition()
            if value:
                return value
            assert time.monotonic() < end, f"waited {hc.PATIENCE} s for {what}: {self.state()}"
            time.sleep(0.001)


def add_chunk(driver, number, chunk, pieces, **fields):
    """RESULT of CHUNK_ADD."""
    setup = cr.setup_bytes(pieces=pieces, chunk=chunk, size=fields.pop("size", None) or
                           sum(size for _, size in pieces), **fields)
    driver.machine.write_bytes(driver.SETUP_AT, setup)
    return chunk_command(driver, number, cr.CHUNK_ADD)


def remove_chunk(driver, number, chunk):
    driver.machine.write_bytes(driver.SETUP_AT, cr.setup_bytes(chunk=chunk))
    return chunk_command(driver, number, cr.CHUNK_REMOVE)


def chunk_command(driver, number, command):
    driver.device.write(cr.SETUP_LO, driver.SETUP_AT)
    driver.device.write(cr.SETUP_HI, 0)
    result = driver.command(number, command)
    return driver.wait_result(number) if result == cr.PENDING else result


ROOMY = (4, 0, 65536, 1 << 20, 1 << 20)


def open_channel(driver, memory, number=0, address=0x1000000, geometry=ROOMY, pieces=None,
                 **fields):
    """A GuestChannel, or the error code."""
    size = cr.layout_bytes(*geometry)
    memory.bytes[address:address + size] = bytes(size)
    driver.select(number).device.write(cr.VECTOR, number + 1)
    result = driver.open(number, cr.setup_bytes(geometry, pieces or cr.pieces_at(address, size),
                                                **fields))
    if result == cr.PENDING:
        result = driver.wait_result(number)
    return GuestChannel(driver, memory, number, address, geometry) if result == 0 else result
