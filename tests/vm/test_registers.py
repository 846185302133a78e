# SPDX-License-Identifier: GPL-2.0-or-later
"""The register map: identity, every register, every access size and alignment."""
import random

import pytest

import regs
from qtest import pack

READ_ONLY = [regs.STATUS, regs.POOL_ID, regs.PRIORITY, regs.VM_ID, regs.ERROR_CODE,
             regs.RESPONSE_LEN, regs.PROTOCOL_VER, regs.CAPABILITIES, regs.TIMESTAMP_LO,
             regs.TIMESTAMP_HI]
READ_WRITE = [regs.REQUEST_LEN, regs.REQUEST_ID, regs.SCRATCH]


def test_pci_identity(start):
    _, dev = start()
    assert dev.config_read(0x00, 4) == 0x1111_1AF4
    assert dev.config_read(0x0A, 2) == 0x1200
    dev.config_write(0x10, 0xFFFFFFFF, 4)
    assert dev.config_read(0x10, 4) == 0xFFFFF000  # 4 KiB, memory, 32 bits
    assert dev.config_read(0x3D, 1) == 1  # INTA


def test_values_at_start(start):
    _, dev = start("pool_id=B,priority=high,vm_id=4294967295")
    expected = {regs.POOL_ID: ord("B"), regs.PRIORITY: 2, regs.VM_ID: 0xFFFFFFFF,
                regs.PROTOCOL_VER: 0x00010000, regs.CAPABILITIES: 0b11}
    for register in range(0, 0x40, 4):
        assert dev.reg(register) == expected.get(register, 0), f"register {register:#x}"
    assert dev.read_bytes(0x40, 4096 - 0x40) == bytes(4096 - 0x40)


def test_defaults(start):
    _, dev = start()
    assert (dev.reg(regs.POOL_ID), dev.reg(regs.PRIORITY), dev.reg(regs.VM_ID)) == (ord("A"), 1, 0)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_read_only_registers_stay(start, size):
    _, dev = start("vm_id=305419896")
    before = dev.read_bytes(0, 0x40)
    for register in READ_ONLY:
        # 8 bytes at TIMESTAMP_HI and the like would reach a neighbour that can be written.
        if size == 8 and register + 4 not in READ_ONLY:
            continue
        dev.write(register, (1 << 8 * size) - 1, size)
    assert dev.read_bytes(0, 0x40) == before


@pytest.mark.parametrize("register", READ_WRITE)
def test_read_write_registers_by_parts(start, register):
    _, dev = start()
    shadow = bytearray(4)
    rng = random.Random(register)
    for _ in range(40):
        size = rng.choice([1, 2, 4])
        offset = rng.randrange(0, 4 - size + 1)
        value = rng.getrandbits(8 * size)
        dev.write(register + offset, value, size)
        shadow[offset:offset + size] = pack(value, size)
        assert dev.reg(register) == int.from_bytes(shadow, "little")


def test_irq_ctrl_keeps_known_bits(start):
    _, dev = start()
    dev.write(regs.IRQ_CTRL, 0xFFFFFFFF)
    assert dev.reg(regs.IRQ_CTRL) == 0b11
    dev.write(regs.IRQ_CTRL, 0)
    assert dev.reg(regs.IRQ_CTRL) == 0


@pytest.mark.parametrize("value", [0, 2, 3, 0x100, 0x101, 0xFFFFFFFF, 0x80000001])
def test_doorbell_acts_on_one_only(start, value):
    _, dev = start()
    dev.write(regs.REQUEST_LEN, 32)
    dev.write(regs.DOORBELL, value)
    assert dev.reg(regs.STATUS) == regs.IDLE
    assert dev.reg(regs.DOORBELL) == 0


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_doorbell_of_any_size(start, size):
    _, dev = start()
    dev.write(regs.REQUEST_LEN, 32)
    dev.write(regs.DOORBELL, 1, size)
    # Nobody listens on the socket: the request ends at once, which shows that it began.
    assert dev.reg(regs.STATUS) == regs.ERROR
    assert dev.reg(regs.ERROR_CODE) == regs.E_MEDIATOR_UNAVAILABLE


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_one_in_another_byte_is_no_doorbell(start, offset):
    _, dev = start()
    dev.write(regs.REQUEST_LEN, 32)
    dev.write(regs.DOORBELL + offset, 1, 1)
    assert dev.reg(regs.STATUS) == regs.IDLE


def test_w1c_by_parts(start):
    _, dev = start()
    dev.write(regs.DOORBELL, 1)  # REQUEST_LEN is 0: ends at once, with an error
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_COMPLETION
    for offset in (1, 2, 3):
        dev.write(regs.IRQ_STATUS + offset, 0xFF, 1)
    dev.write(regs.IRQ_STATUS, 0xFFFFFFFE)
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_COMPLETION
    dev.write(regs.IRQ_STATUS, 1, 1)
    assert dev.reg(regs.IRQ_STATUS) == 0


def test_write_that_straddles_registers(start):
    _, dev = start()
    # The last two bytes of REQUEST_ID, TIMESTAMP_LO (read-only), two of TIMESTAMP_HI.
    dev.write(regs.REQUEST_ID + 2, 0x1122334455667788, 8)
    assert dev.reg(regs.REQUEST_ID) == 0x77880000
    assert dev.reg(regs.TIMESTAMP_LO) == 0 and dev.reg(regs.TIMESTAMP_HI) == 0
    # SCRATCH and the request buffer's first bytes.
    dev.write(regs.SCRATCH, 0x8877665544332211, 8)
    assert dev.reg(regs.SCRATCH) == 0x44332211
    assert dev.read_bytes(regs.REQUEST, 5) == b"\x55\x66\x77\x88\0"
    # Four unaligned bytes from the middle of SCRATCH on.
    dev.write(regs.SCRATCH + 3, 0xDDCCBBAA, 4)
    assert dev.reg(regs.SCRATCH) == 0xAA332211
    assert dev.read_bytes(regs.REQUEST, 4) == b"\xbb\xcc\xdd\x88"


def test_write_from_request_into_response_buffer(start):
    _, dev = start()
    dev.write(regs.RESPONSE - 4, 0xFFFFFFFFFFFFFFFF, 8)
    assert dev.read(regs.RESPONSE - 4, 8) == 0x00000000FFFFFFFF


@pytest.mark.parametrize("start_at", [regs.RESPONSE, regs.PROTOCOL2])
def test_read_only_areas(start, start_at):
    _, dev = start()
    length = 1024 if start_at == regs.RESPONSE else regs.END - regs.PROTOCOL2
    dev.write_bytes(start_at, b"\xff" * length)
    for offset in range(start_at, start_at + length - 8, 61):
        for size in (1, 2, 4, 8):
            dev.write(offset, (1 << 8 * size) - 1, size)
    assert dev.read_bytes(start_at, length) == bytes(length)


def test_beyond_the_end(start):
    _, dev = start()
    for offset in range(regs.END - 8, regs.END):
        for size in (1, 2, 4, 8):
            dev.write(offset, (1 << 8 * size) - 1, size)
            # What lies behind the BAR is not the device's to answer for.
            inside = min(size, regs.END - offset)
            assert dev.read(offset, size) & ((1 << 8 * inside) - 1) == 0


def test_request_buffer_any_size_and_alignment(start):
    _, dev = start()
    rng = random.Random(1)
    shadow = bytearray(rng.randbytes(regs.BUFFER_BYTES))
    dev.write_bytes(regs.REQUEST, bytes(shadow))
    for _ in range(300):
        size = rng.choice([1, 2, 4, 8])
        offset = rng.randrange(0, regs.BUFFER_BYTES - size + 1)
        value = rng.getrandbits(8 * size)
        dev.write(regs.REQUEST + offset, value, size)
        shadow[offset:offset + size] = pack(value, size)
        size = rng.choice([1, 2, 4, 8])
        offset = rng.randrange(0, regs.BUFFER_BYTES - size + 1)
        assert pack(dev.read(regs.REQUEST + offset, size), size) == shadow[offset:offset + size]
    assert dev.read_bytes(regs.REQUEST, regs.BUFFER_BYTES) == shadow
    assert dev.read_bytes(regs.RESPONSE, regs.BUFFER_BYTES) == bytes(regs.BUFFER_BYTES)


def test_reads_of_any_size_agree(start):
    _, dev = start("pool_id=Q,priority=2,vm_id=2882400001")
    dev.write_bytes(regs.REQUEST, bytes(range(256)) * 4)
    dev.write(regs.SCRATCH, 0x12345678)
    image = dev.read_bytes(0, regs.END)
    assert image[regs.VM_ID:regs.VM_ID + 4] == pack(2882400001, 4)
    spots = [*range(0, 0x50), *range(regs.RESPONSE - 9, regs.RESPONSE + 9),
             *range(regs.PROTOCOL2 - 9, regs.PROTOCOL2 + 9), *range(regs.END - 16, regs.END - 7)]
    for offset in spots:
        for size in (1, 2, 4, 8):
            if size == 4 and offset % 4 == 0 and regs.PROTOCOL2 <= offset < regs.PROTOCOL2_END:
                continue  # a register of channels has no parts
            assert pack(dev.read(offset, size), size) == image[offset:offset + size], \
                f"{size} bytes at {offset:#x}"
