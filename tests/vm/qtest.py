# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU without an operating system: the test itself plays the guest.

QEMU's qtest protocol lets the test read and write the machine's memory and ports as
a CPU would, in any size, and see interrupts.  The virtual CPU executes a ROM that
halts at once, so nothing else touches the machine.  QMP is there for hot-plug.
"""
import os
import struct

from qemu_process import QemuProcess

BAR_BASE = 0xE0000000
ROM_AT = 0xFFFF0000  # 64 KiB
HALT = b"\xf4" * (65536 - 16) + b"\xfa\xf4\xeb\xfd" + b"\xf4" * 12  # cli; hlt; jmp to hlt


def rom_that_writes(address):
    """The CPU writes 4 bytes to this address, and again, for ever."""
    gdt = struct.pack("<3Q", 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF)
    flat = b"".join([b"\x66\xb8\x10\x00\x8e\xd8",               # mov ax, 0x10; mov ds, ax
                     b"\xbf" + struct.pack("<I", address),       # mov edi, address
                     b"\x89\x07\xeb\xfc"])                       # mov [edi], eax; jmp to that
    start = b"".join([b"\x66\x2e\x0f\x01\x16\x00\x01",          # lgdt cs:[0x100]
                      b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0",      # cr0 |= 1
                      b"\x66\xea" + struct.pack("<IH", ROM_AT + 0x200, 8)])  # jmp far
    rom = bytearray(HALT)
    rom[:len(start)] = start
    rom[0x100:0x106] = struct.pack("<HI", len(gdt) - 1, ROM_AT + 0x110)
    rom[0x110:0x110 + len(gdt)] = gdt
    rom[0x200:0x200 + len(flat)] = flat
    rom[0xFFF0:0xFFF4] = b"\xfa\xe9\x0c\x00"                    # cli; jmp to 0
    return bytes(rom)


class Machine(QemuProcess):
    def __init__(self, command, folder, *arguments, machine="pc", code=HALT):
        rom = os.path.join(str(folder), "test.rom")
        with open(rom, "wb") as file:
            file.write(code)
        super().__init__(command, folder,
                         ["-M", machine, "-m", "64", "-accel", "tcg", "-bios", rom,
                          "-d", "guest_errors", "-qtest", f"unix:{folder}/qtest.sock",
                          "-qtest-log", "none", *arguments], ["qtest"])
        self.qtest = self.sockets["qtest"].makefile("rwb", buffering=0)
        self.irqs = set()

    def command(self, line):
        self.qtest.write(line.encode() + b"\n")
        while True:
            words = self._line().split()
            if words[0] == "IRQ":
                (self.irqs.add if words[1] == "raise" else self.irqs.discard)(int(words[2]))
                continue
            assert words[0] == "OK", f"{line}: {words}"
            return words[1] if len(words) > 1 else None

    def _line(self):
        line = self.qtest.readline()
        assert line, f"QEMU died:\n{self.output()}"
        return line.decode()

    def read(self, address, size):
        """size 1, 2, 4 or 8: one access of that size."""
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        return int(self.command(f"read{letter} {address:#x}"), 16)

    def write(self, address, value, size):
        letter = {1: "b", 2: "w", 4: "l", 8: "q"}[size]
        self.command(f"write{letter} {address:#x} {value:#x}")

    def read_bytes(self, address, count):
        return bytes.fromhex(self.command(f"read {address:#x} {count}")[2:])

    def write_bytes(self, address, data):
        self.command(f"write {address:#x} {len(data)} 0x{data.hex()}")

    def port_in(self, port, size):
        return int(self.command(f"in{'b_w_l'.split('_')[size // 2]} {port:#x}"), 16)

    def port_out(self, port, value, size):
        self.command(f"out{'b_w_l'.split('_')[size // 2]} {port:#x} {value:#x}")


class PciDevice:
    """A device in a slot of bus 0, mapped at an address of the test's choice."""

    def __init__(self, machine, slot, base=None):
        self.machine = machine
        self.slot = slot
        self.base = BAR_BASE + slot * 0x10000 if base is None else base

    def config_read(self, offset, size):
        self.machine.port_out(0xCF8, 0x80000000 | self.slot << 11 | (offset & 0xFC), 4)
        return self.machine.port_in(0xCFC + (offset & 3), size)

    def config_write(self, offset, value, size):
        self.machine.port_out(0xCF8, 0x80000000 | self.slot << 11 | (offset & 0xFC), 4)
        self.machine.port_out(0xCFC + (offset & 3), value, size)

    def enable(self):
        self.config_write(0x10, self.base, 4)
        self.config_write(0x04, 0x0006, 2)  # memory space, bus master
        return self

    def read(self, offset, size=4):
        return self.machine.read(self.base + offset, size)

    def write(self, offset, value, size=4):
        self.machine.write(self.base + offset, value, size)

    def read_bytes(self, offset, count):
        return self.machine.read_bytes(self.base + offset, count)

    def write_bytes(self, offset, data):
        self.machine.write_bytes(self.base + offset, data)

    def intx(self):
        """Whether the device asserts its INTx pin (PCI status register, bit 3)."""
        return bool(self.config_read(0x06, 2) & 0x0008)

    def capability(self, wanted):
        offset = self.config_read(0x34, 1)
        while offset:
            if self.config_read(offset, 1) == wanted:
                return offset
            offset = self.config_read(offset + 1, 1)
        return None

    def enable_msi(self, address, data):
        cap = self.capability(0x05)
        assert cap, "no MSI capability"
        control = self.config_read(cap + 2, 2)
        assert control & 0x80, "the MSI address has 64 bits"
        self.config_write(cap + 4, address, 4)
        self.config_write(cap + 8, 0, 4)
        self.config_write(cap + 12, data, 2)
        self.config_write(cap + 2, control | 1, 2)
        return cap


def pack(value, size):
    return struct.pack({1: "<B", 2: "<H", 4: "<I", 8: "<Q"}[size], value)
