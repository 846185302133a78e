# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers and structures of include/vgpu/vgpu_channel_device.h as a guest's driver has them,
and a driver that plays them: no operating system, the test writes registers and memory."""
import os
import struct

from qemu_process import wait_for

(ID, FEATURES, DRIVER_FEATURES, CHANNELS, SELECT, COMMAND, STATE, REASON, RESULT, SETUP_LO,
 SETUP_HI, VECTOR, CHANGED, GENERATION, TRANSPORT, GRANTED) = range(0x840, 0x880, 4)
CHANNEL_ID = 0x32434756
OPEN, CLOSE, CHUNK_ADD, CHUNK_REMOVE, RESET = range(1, 6)
FREE, OPENING, OPENED, CLOSING = range(4)
PENDING = NONE_CHANGED = 0xFFFFFFFF
VECTOR_NONE = 0xFFFF
HOST, SHARED, COPIED = range(3)

(MSG_OPEN, MSG_OPENED, MSG_CLOSE, MSG_CLOSED, MSG_CHUNK_ADD, MSG_CHUNK_ADDED, MSG_CHUNK_REMOVE,
 MSG_CHUNK_REMOVED, MSG_RESET, MSG_RESUME) = range(9, 19)
LIFE = 4  # of OPEN
(R_NONE, R_ASKED, R_SESSION, R_RESET, R_BAD_POSITION, R_BAD_RECORD, R_BAD_CHUNK, R_WORKER_LOST,
 R_TIMEOUT, R_QUARANTINED, R_REMOVED, R_SHUTDOWN, R_COPY_FAILED, R_GPU_LOST, R_LIMITS, R_FRAMES,
 R_BUS_MASTER) = range(17)

GEOMETRY = struct.Struct("<4IQ")
OPEN_FRAME = struct.Struct("<4I24s2I16s")
OPENED_FRAME = struct.Struct("<4I24sQ")
CLOSE_FRAME = struct.Struct("<2I")
ADD_FRAME = struct.Struct("<4I2Q")
SETUP = struct.Struct("<64s2IQ")
PIECE = struct.Struct("<2Q")
SETUP_BYTES = SETUP.size + 256 * PIECE.size
PAGE = 4096

SMALLEST = (1, 0, 4096, 128 << 10, PAGE)


def layout_bytes(lanes, events, notices, commands, arena):
    return PAGE + events * 4 + lanes * PAGE + notices + commands + arena


def pieces_at(address, count, size=1 << 20):
    """One stretch of memory in pieces of that size."""
    return [(address + at, min(size, count - at)) for at in range(0, count, size)]


def setup_bytes(geometry=SMALLEST, pieces=(), count=None, size=None, profile=1, features=1,
                name=b"test", chunk=0):
    opening = OPEN_FRAME.pack(77, profile, 99, features, GEOMETRY.pack(*geometry), 4711, 0, name)
    data = SETUP.pack(opening, chunk, len(pieces) if count is None else count,
                      layout_bytes(*geometry) if size is None else size)
    data += b"".join(PIECE.pack(*piece) for piece in pieces)
    return data.ljust(SETUP_BYTES, b"\0")


class Driver:
    """Registers of a device's channels, as a driver uses them."""

    SETUP_AT = 0x200000

    def __init__(self, device):
        self.device, self.machine = device, device.machine
        self.iova = 0  # where a virtual IOMMU puts memory for the device

    def reg(self, register):
        return self.device.read(register)

    def select(self, channel):
        self.device.write(SELECT, channel)
        return self

    def of(self, channel, register):
        return self.select(channel).reg(register)

    def command(self, channel, command):
        self.select(channel).device.write(COMMAND, command)
        return self.reg(RESULT)

    def open(self, channel, setup, at=SETUP_AT):
        """RESULT as it is right after COMMAND."""
        self.machine.write_bytes(at, setup)
        return self.open_at(channel, self.iova + at)

    def open_at(self, channel, at):
        self.device.write(SETUP_LO, at & 0xFFFFFFFF)
        self.device.write(SETUP_HI, at >> 32)
        return self.command(channel, OPEN)

    def wait_result(self, channel):
        wait_for(lambda: self.of(channel, RESULT) != PENDING, "the command ends")
        return self.of(channel, RESULT)

    def wait_state(self, channel, state):
        wait_for(lambda: self.of(channel, STATE) == state, f"channel {channel} gets state {state}")

    def changed(self):
        """All that have changed since the last call."""
        seen = []
        while (number := self.reg(CHANGED)) != NONE_CHANGED:
            seen.append(number)
        return seen


def memfd_machine(size_mib=64, share="on"):
    """Arguments for a machine whose memory has a descriptor."""
    return ["-object", f"memory-backend-memfd,id=ram,size={size_mib}M,share={share}",
            "-machine", "memory-backend=ram"]


def eventfd():
    return os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
