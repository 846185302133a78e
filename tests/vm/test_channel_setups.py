# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hostile guest asks of the device's channels, and memory that the host can't map."""
import fcntl

import pytest

import channel_regs as cr
from channel_host import BAR2, CHUNK_AT, INVALID, UNSUPPORTED, BYTES, GOOD, take_open
from channel_regs import memfd_machine, pieces_at, setup_bytes
from conftest import Device
from qemu_process import need_device


F_GET_SEALS = 1034


def too_many(pieces):
    return setup_bytes(pieces=pieces, count=257)


LARGE = (1, 0, 4096, 128 << 10, 8 << 20)
WRONG = {
    "no pieces": setup_bytes(pieces=[]),
    "257 pieces": too_many(GOOD),
    "4 billion pieces": setup_bytes(pieces=GOOD, count=0xFFFFFFFF),
    "an empty piece": setup_bytes(pieces=[*GOOD, (CHUNK_AT + 0x800000, 0)]),
    "a byte too many": setup_bytes(pieces=[(CHUNK_AT, BYTES + 1)]),
    "not aligned": setup_bytes(pieces=[(CHUNK_AT + 8, BYTES)]),
    "too short": setup_bytes(pieces=[(CHUNK_AT, BYTES - 4096)]),
    "too long": setup_bytes(pieces=[(CHUNK_AT, BYTES + 4096)]),
    "another size than the layout": setup_bytes(pieces=[(CHUNK_AT, BYTES + 4096)],
                                                size=BYTES + 4096),
    "a piece over 4 MiB": setup_bytes(LARGE, [(CHUNK_AT, cr.layout_bytes(*LARGE))]),
    "the sum wraps": setup_bytes(pieces=[(CHUNK_AT, 0xFFFFFFFFFFFFF000), (CHUNK_AT, BYTES + 4096)]),
    "around the end": setup_bytes(pieces=[(0xFFFFFFFFFFFFF000, 4096), (CHUNK_AT, BYTES - 4096)]),
    "overlap itself": setup_bytes(pieces=[(CHUNK_AT, 4096), (CHUNK_AT, BYTES - 4096)]),
    "in a hole": setup_bytes(pieces=[(0x80000000, BYTES)]),
    "over the end of RAM": setup_bytes(pieces=[((64 << 20) - 4096, BYTES)]),
    "in a BAR of its own": setup_bytes(pieces=[(BAR2, BYTES)]),
    "in the APIC": setup_bytes(pieces=[(0xFEE00000, BYTES)]),
    "above all memory": setup_bytes(pieces=[(1 << 52, BYTES)]),
    "no lanes": setup_bytes((0, 0, 4096, 128 << 10, 4096), GOOD),
    "a ring of no size": setup_bytes((1, 0, 4096, 0, 4096), GOOD),
    "events that wrap": setup_bytes((1, 0xFFFFFC00, 4096, 128 << 10, 4096), GOOD, size=BYTES),
    "an arena without end": setup_bytes((1, 0, 4096, 128 << 10, 0xFFFFFFFFFFFFF000), GOOD,
                                        size=BYTES),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setup(begin, mediator, opened, what):
    _, _, driver = begin()
    conn = mediator.accept()
    assert driver.open(0, WRONG[what]) == INVALID, what
    assert driver.reg(cr.STATE) == cr.FREE
    conn.sync()  # not a frame was sent
    opened(driver, conn)  # and nothing is left of it


def test_the_setup_lies_nowhere(begin, mediator):
    _, _, driver = begin()
    mediator.accept().sync()
    for at in (0x80000000, BAR2, (64 << 20) - 8, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFF00, 1 << 52):
        assert driver.open_at(0, at) not in (0, cr.PENDING)
        assert driver.reg(cr.STATE) == cr.FREE


def test_chunks_of_two_channels_overlap(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    channel = opened(driver, conn, 0)
    for at in (CHUNK_AT, CHUNK_AT - BYTES + 4096, CHUNK_AT + BYTES - 4096):
        assert driver.open(1, setup_bytes(pieces=[(at, BYTES)])) == 1
    channel.let_go()
    channel.closed(cr.R_REMOVED)
    driver.wait_state(0, cr.FREE)
    opened(driver, conn, 1, setup_bytes(pieces=[(CHUNK_AT, BYTES)]))


def test_commands_out_of_place(begin, mediator, opened):
    _, _, driver = begin()
    conn = mediator.accept()
    assert driver.command(0, cr.CLOSE) == 0
    for unknown in (0, 6, 0xFFFFFFFF):
        assert driver.command(0, unknown) not in (0, cr.PENDING)
    channel = opened(driver, conn)
    assert driver.open(0, setup_bytes(pieces=pieces_at(CHUNK_AT + 0x800000, BYTES))) == 1
    assert driver.reg(cr.STATE) == cr.OPENED
    assert driver.command(0, cr.CLOSE) == cr.PENDING
    for again in (cr.OPEN, cr.CLOSE, cr.CHUNK_ADD):
        assert driver.command(0, again) == cr.PENDING
    conn.expect(cr.MSG_CLOSE)
    channel.let_go()
    channel.closed(cr.R_ASKED)
    assert driver.wait_result(0) == 0
    conn.sync()


def test_all_channels_at_once(begin, mediator, opened):
    """As many as there are, opened before one is answered: each is refused or sent."""
    _, _, driver = begin("channels=256")
    conn = mediator.accept()
    pending = [number for number in range(256)
               if driver.open(number, setup_bytes(pieces=[(CHUNK_AT + number * BYTES, BYTES)]))
               == cr.PENDING]
    assert len(pending) == 256
    for number in pending:
        channel = take_open(conn)
        assert channel.number == number
        channel.reply(7, fds=(), size=0)
        channel.close()
    for number in pending:
        driver.wait_state(number, cr.FREE)
        assert driver.of(number, cr.RESULT) == 7
    opened(driver, conn, 255, setup_bytes(pieces=[(CHUNK_AT, BYTES)]))


# ---- memory that the host can't map


@pytest.mark.parametrize("memory", [
    [], memfd_machine(share="off"),
    ["-object", "memory-backend-ram,id=ram,size=64M,share=on", "-machine", "memory-backend=ram"]])
def test_memory_that_is_not_shared(begin, mediator, memory):
    _, _, driver = begin("transport=shared", memory=memory)
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == UNSUPPORTED
    conn.sync()


def test_memory_of_another_device(qemu, begin, mediator):
    """ivshmem's BAR is RAM with a descriptor, and not the machine's."""
    need_device(qemu, "ivshmem-plain")
    vm, _, driver = begin("transport=shared", "-object",
                          "memory-backend-memfd,id=other,size=4M,share=on",
                          "-device", "ivshmem-plain,memdev=other,addr=7")
    conn = mediator.accept()
    other = Device(vm, 7)
    other.config_write(0x18, 0xD0000000, 4)
    other.config_write(0x1C, 0, 4)
    other.config_write(0x04, 6, 2)
    vm.write(0xD0000000, 0x1234, 4)
    assert vm.read(0xD0000000, 4) == 0x1234
    assert driver.open(0, setup_bytes(pieces=[(0xD0000000, BYTES)])) == UNSUPPORTED
    conn.sync()


def test_memory_in_a_file_of_a_disk(begin, mediator, folder):
    """Who maps it may wait for the file system, and its size isn't sealed."""
    path = folder / "ram"
    with open(path, "wb") as file:
        file.truncate(64 << 20)
        try:
            fcntl.fcntl(file, F_GET_SEALS)
            pytest.skip("files in the temporary folder are memory")
        except OSError:
            pass
    _, _, driver = begin("transport=shared", memory=[
        "-object", f"memory-backend-file,id=ram,size=64M,share=on,mem-path={path}",
        "-machine", "memory-backend=ram"])
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == UNSUPPORTED
    conn.sync()


def free_huge_pages():
    with open("/proc/meminfo") as file:
        lines = dict(line.split(":") for line in file)
    return int(lines.get("HugePages_Free", "0")), int(lines.get("Hugepagesize", "0 kB").split()[0])


def test_huge_pages(begin, mediator, opened):
    """Pieces of whole pages, or the worker would map more than it was given."""
    free, kib = free_huge_pages()
    if kib != 2048 or free < 32:
        pytest.skip("no 32 huge pages of 2 MiB are free (vm.nr_hugepages)")
    _, _, driver = begin("transport=shared", memory=[
        "-object", "memory-backend-memfd,id=ram,size=64M,share=on,hugetlb=on,hugetlbsize=2M",
        "-machine", "memory-backend=ram"])
    conn = mediator.accept()
    assert driver.open(0, setup_bytes(pieces=GOOD)) == UNSUPPORTED
    geometry = (1, 0, 4096, 128 << 10, (4 << 20) - (BYTES - 4096))
    size = cr.layout_bytes(*geometry)
    assert driver.open(0, setup_bytes(geometry, pieces_at(CHUNK_AT, size, 2 << 20))) == cr.PENDING
    channel = take_open(conn)
    assert all(cr.ADD_FRAME.unpack_from(add.payload)[5] == 2 << 20 for add in channel.adds)
    channel.reply(size=size)
    assert driver.wait_result(0) == 0
    channel.close()
