#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast the copy engine of a `copied` channel is, against memcpy in the same run: in time that
passes (`ratio`), and in time of the processor, which does not depend on the machine's load.

A machine under TCG without an operating system; this program plays the mediator and the worker,
and asks for 64 MiB at a time in requests of several sizes.  QEMU is the distribution's, with the
device as a module.  --json prints figures for programs; --main-loop measures QEMU's main loop.
"""
import ctypes
import json
import mmap
import os
import pathlib
import struct
import sys
import tempfile
import time

TREE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TREE / "tests" / "vm"))

import channel_regs as cr  # noqa: E402
import guest_channel as gc  # noqa: E402
from channel_host import Opened, memfd  # noqa: E402
from conftest import SLOT, Device, build_qemu, chardev  # noqa: E402
from fake_mediator import FakeMediator  # noqa: E402
from qtest import Machine  # noqa: E402

ARENA, ROUNDS, SLOTS = 64 << 20, 5, 64
PULL, PUSH = 1, 2


def best(action, clock):
    times = []
    for _ in range(ROUNDS):
        began = clock()
        action()
        times.append(clock() - began)
    return min(times)


def processor_s(pid):
    """What all threads of a process have used so far."""
    return sum(int(path.read_text().split()[0])
               for path in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def copy_all(page, wake, kind, arena, size):
    """Asks for all of the arena, as many requests at a time as there are slots."""
    tail = head = struct.unpack_from("<Q", page, 128)[0]
    done = head + ARENA // size
    while head < done:
        while tail < min(done, head + SLOTS):
            at = arena + (tail - done + ARENA // size) * size
            struct.pack_into("<IIQQQ", page, 2048 + tail % SLOTS * 32, kind, 0, at, size, 0)
            tail += 1
        struct.pack_into("<Q", page, 0, tail)
        os.eventfd_write(wake, 1)
        while (now := struct.unpack_from("<Q", page, 128)[0]) == head:
            time.sleep(0)
        head = now


def measure(folder, memory, main_loop):
    geometry = (1, 0, 4096, 128 << 10, ARENA)
    size = cr.layout_bytes(*geometry)
    mediator = FakeMediator(folder / "mediator.sock")
    engine = "copied,copy-thread=off" if main_loop else "copied"
    with Machine(build_qemu("module"), folder, *chardev(mediator.path), "-device",
                 f"vgpu-stub,addr={SLOT:#x},chardev=link,transport={engine}",
                 *memory.arguments(256), "-m", "256") as vm:
        driver = cr.Driver(Device(vm, SLOT).enable())
        gc.enable(driver.device)
        conn = mediator.accept()
        driver.open(0, cr.setup_bytes(geometry, cr.pieces_at(0x4000000, size, 4 << 20)))
        one = Opened(conn, conn.expect(cr.MSG_OPEN), [])
        chunk, page = memfd(size), memfd(4096)
        one.reply(transport=cr.COPIED, size=size, fds=(one.doorbell, one.interrupt, chunk, page))
        assert driver.wait_result(0) == 0
        there, asked = mmap.mmap(chunk, size), mmap.mmap(page, 4096)
        other = mmap.mmap(-1, size)
        source, target = (ctypes.addressof(ctypes.c_char.from_buffer(m)) for m in (there, other))
        found = {}
        for piece in (64 << 10, 1 << 20):
            def plain():
                for at in range(0, ARENA, piece):
                    ctypes.memmove(target + at, source + at, piece)
            memcpy_s = best(plain, time.perf_counter)
            memcpy_processor_s = best(plain, time.thread_time)
            for name, kind in (("pull", PULL), ("push", PUSH)):
                def move():
                    copy_all(asked, one.interrupt, kind, size - ARENA, piece)
                engine_s = best(move, time.perf_counter)
                used_s = best(move, lambda: processor_s(vm.process.pid))
                key = f"{name}_{piece >> 10}k"
                found[key + "_gb_s"] = round(ARENA / engine_s / 1e9, 2)
                found[key + "_ratio"] = round(memcpy_s / engine_s, 3)
                found[key + "_processor_ratio"] = round(memcpy_processor_s / used_s, 3)
        one.close()
    mediator.close()
    return found


def main():
    unknown = set(sys.argv[1:]) - {"--json", "--main-loop"}
    if unknown:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="vgpu-vm-") as folder:
        memory = gc.GuestMemory(256)
        found = measure(pathlib.Path(folder), memory, "--main-loop" in sys.argv)
    found["copied_memcpy_ratio"] = min(value for key, value in found.items()
                                       if key.endswith("k_ratio"))
    if "--json" in sys.argv:
        print(json.dumps(found))
    else:
        for key, value in found.items():
            print(f"{key:28} {value}")


if __name__ == "__main__":
    main()
