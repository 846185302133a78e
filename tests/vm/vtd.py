# SPDX-License-Identifier: GPL-2.0-or-later
"""Intel's IOMMU as a guest's kernel would set it up: tables in the machine's memory, three levels.

VtdTables(machine, devfn).map(iova, address, pages) ...; enable().  Only that device is behind it.
"""
import struct

REGISTERS = 0xFED90000
GCMD, RTADDR, CCMD, IOTLB = 0x18, 0x20, 0x28, 0xF8
SET_ROOT, TRANSLATE = 1 << 30, 1 << 31
READ_WRITE = 3


class VtdTables:
    def __init__(self, machine, devfn, at=0x400000):
        self.machine, self.devfn = machine, devfn
        self.root, self.context, self.top, self.free = at, at + 0x1000, at + 0x2000, at + 0x3000
        machine.write_bytes(at, bytes(0x3000))
        machine.write(self.root, self.context | 1, 8)
        entry = struct.pack("<2Q", self.top | 1, 1 << 8 | 1)  # domain 1, 39 bits
        machine.write_bytes(self.context + 16 * devfn, entry)

    def _below(self, table, index):
        at = table + 8 * index
        entry = self.machine.read(at, 8)
        if not entry:
            entry = self.free | READ_WRITE
            self.machine.write_bytes(self.free, bytes(0x1000))
            self.machine.write(at, entry, 8)
            self.free += 0x1000
        return entry & ~0xFFF

    def map(self, iova, address, pages=1):
        for page in range(pages):
            here = iova + 0x1000 * page
            table = self._below(self._below(self.top, here >> 30), here >> 21 & 511)
            self.machine.write(table + 8 * (here >> 12 & 511), address + 0x1000 * page | READ_WRITE,
                               8)

    def enable(self):
        self.machine.write(REGISTERS + RTADDR, self.root, 8)
        self.machine.write(REGISTERS + GCMD, SET_ROOT, 4)
        self.machine.write(REGISTERS + GCMD, TRANSLATE, 4)

    def forget(self):
        """What the IOMMU has cached."""
        self.machine.write(REGISTERS + CCMD, 1 << 63 | 1 << 61, 8)
        self.machine.write(REGISTERS + IOTLB, 1 << 63 | 1 << 60, 8)
