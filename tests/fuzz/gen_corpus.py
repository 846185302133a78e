#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Writes the seeds of the fuzz targets: well-formed inputs and their classic mutilations.

    gen_corpus.py [FOLDER]      default: corpus/ beside this script

Inputs that a fuzzer found and that are worth keeping lie in the same folders under
other names; this script leaves them alone.
"""
import os
import random
import struct
import sys

MAGIC = 0x56475055
VERSION = 0x00010000
NOP, ADD, INFO, VADD, SPIN, HANG, FAIL = 0, 1, 5, 0x10, 0x20, 0x21, 0x23


def request(opcode, params=(), data=b"", version=VERSION, flags=0, count=None, offset=None,
            length=None):
    count = len(params) if count is None else count
    offset = 32 + 4 * len(params) if offset is None else offset
    length = len(data) if length is None else length
    return struct.pack("<8I", version, opcode, flags, count, offset, length, 0, 0) + \
        struct.pack(f"<{len(params)}I", *params) + data


def response(status=0, results=(), data=b"", count=None, offset=None, length=None):
    count = len(results) if count is None else count
    offset = 32 + 4 * len(results) if offset is None else offset
    length = len(data) if length is None else length
    return struct.pack("<8I", VERSION, status, count, offset, length, 3, 0, 0) + \
        struct.pack(f"<{len(results)}I", *results) + data


def frame(kind, payload=b"", magic=MAGIC, vm_id=7, request_id=1, length=None):
    length = len(payload) if length is None else length
    return struct.pack("<4I2BHI", magic, kind, vm_id, request_id, ord("A"), 1, 0, length) + payload


def frames():
    add = frame(1, request(ADD, (100, 200)))
    hello = frame(8, struct.pack("<4I", VERSION, 3, 0, 0))
    yield "one", b"\x00" + add
    yield "session", b"\x07" + hello + add + frame(3, b"ping") + frame(4, b"ping") + add
    yield "largest", b"\x40" + frame(1, bytes(1024)) + frame(1, bytes(1024))
    yield "too-long", b"\x03" + add + frame(1, b"x", length=1025)
    yield "huge", b"\xff" + frame(1, b"", length=0xFFFFFFFF)
    yield "wrong-magic", b"\x01" + add + frame(1, b"", magic=0x47505556)
    yield "truncated", b"\x10" + hello + add[:-3]
    yield "half-header", b"\x02" + add[:13]
    yield "text", b"\x05GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def requests():
    yield "nop", request(NOP)
    yield "add", request(ADD, (100, 200))
    yield "info", request(INFO)
    yield "vector", request(VADD, (), struct.pack("<4i", 1, 2, 3, 4))
    yield "vector-largest", request(VADD, (), bytes(992))
    yield "unaligned-data", request(VADD, (), b"\0" * 11, offset=35, length=8)
    yield "spin", request(SPIN, (1000,))
    yield "unknown", request(0x77)
    yield "empty", b""
    yield "short", request(NOP)[:31]
    yield "too-large", request(NOP) + bytes(993)
    yield "params-beyond", request(ADD, (), count=248)
    yield "params-overflow", request(ADD, (), count=0x40000000)
    yield "data-in-header", request(VADD, (), bytes(8), offset=8)
    yield "data-overflow", request(VADD, (), bytes(8), offset=32, length=0xFFFFFFFF)
    yield "offset-overflow", request(VADD, (), bytes(8), offset=0xFFFFFFFC, length=8)
    yield "version-2", request(NOP, version=0x00020000)
    yield "flags", request(NOP, flags=1)


def responses():
    yield "sum", response(0, (300,))
    yield "info", response(0, (0, 0, 0, 2, 1024), b"CPU")
    yield "error", response(7)
    yield "unknown-error", response(0xFFFF)
    yield "vector", response(0, (), bytes(496))
    yield "short", response()[:20]
    yield "too-long", response() + bytes(1000)
    yield "results-beyond", response(0, (), count=249)
    yield "data-beyond", response(0, (), b"", length=1)
    yield "data-overflow", response(0, (), bytes(4), offset=0xFFFFFFFF, length=0xFFFFFFFF)


def rings():
    put, publish, take, release = bytes([0, 1, 5]), bytes([3]), bytes([4]), bytes([6])
    once = put + publish + take + release

    def spoiled(what):
        return bytes([7]) + what
    yield "round", bytes([3]) + once * 40
    yield "batches", bytes([5]) + (put * 6 + publish + take * 6 + release) * 6
    yield "full", bytes([2]) + put * 8 + publish + take + put + release + put
    yield "tail-ahead", bytes([3]) + once + spoiled(bytes([0, 0, 255])) + take
    yield "tail-back", bytes([3]) + once * 3 + spoiled(bytes([0, 1, 8])) + take
    yield "tail-odd", bytes([3]) + spoiled(bytes([0, 2, 3])) + take
    yield "tail-wild", bytes([3]) + spoiled(bytes([0, 3]) + b"\xff" * 8) + take
    yield "head-wild", bytes([3]) + put * 2 + publish + spoiled(bytes([1, 3]) + b"\x80" * 8) + \
        put * 4
    for name, record in (("long", struct.pack("<HHIIHHQ", 1, 0, 4096, 1, 0, 0, 0)),
                         ("short", struct.pack("<HHIIHHQ", 1, 0, 8, 1, 0, 0, 0)),
                         ("lane", struct.pack("<HHIIHHQ", 1, 0, 24, 1, 9, 0, 0))):
        yield "record-" + name, bytes([3]) + spoiled(bytes([3, 0]) + record) + \
            spoiled(bytes([0, 0, 3])) + take


def channels():
    publish, serve, turn = bytes([3]), bytes([5]), bytes([6])

    def bulk(op, target=0, a=0, b=0, count=16, shape=0, mnk=(0, 0, 0), more=b""):
        return bytes([0, shape, op, target, a, b, count]) + more + bytes([7, *mnk])

    def record(op, body, flags=1):
        return bytes([2, op, flags, len(body)]) + body
    buffers = bulk(0) + bulk(0, 1) + bulk(0, 2) + publish + serve
    yield "buffers", buffers + bulk(2) + bulk(4, 1) + bulk(5, 2, 0, 1) + bulk(6, 2, 0, 1) + \
        bulk(7, 2, 1) + bulk(8, 2, 0, 1, mnk=(4, 4, 4)) + bulk(3, 0, 2) + bulk(1, 2) + publish + \
        serve + turn + serve
    yield "overlap", buffers + bulk(6, 0, 0, 0, shape=4, more=b"\1") + publish + serve + turn
    yield "counts", buffers + bulk(4, shape=32, more=b"\3") + publish + serve + turn
    yield "handles", buffers + bulk(4, shape=64, more=b"\x2e") + publish + serve + turn
    yield "nop", (record(0, bytes(8)) + publish + serve) * 20
    yield "lengths", record(1, struct.pack("<2I", 0xFFFFFFFF, 1)) + publish + serve + turn
    yield "add", record(1, struct.pack("<4I", 2, 0, 5, 6)) + publish + serve + turn
    yield "tail", bytes([7, 0, 0]) + b"\xff" * 8 + serve


def cuda_channels():
    """Each operation with what a program could know, and with anything."""
    def step(op, *args, shape=1, payload=b""):
        return bytes([shape, op, len(args)]) + b"".join(bytes(a) for a in args) + \
            bytes([len(payload)]) + payload
    known = [(1, 6), (1, 5), (0, 16), (0, 64), (0, 0), (0, 0)]
    for first in range(0, 80, 16):
        yield f"known-{first}", b"".join(step(op, *known, payload=b"nop\0")
                                         for op in range(first, first + 16))
    for seed in range(24):
        dice = random.Random(seed)
        yield f"any-{seed}", dice.randbytes(3000)


def worker_packets():
    def run(opcode, params=(), data=b"", count=None, length=None):
        body = struct.pack("<4I", opcode, len(params) if count is None else count,
                           len(data) if length is None else length, 0) + \
            struct.pack(f"<{len(params)}I", *params) + data
        return struct.pack("<BH", 2, len(body)) + body

    def raw(content):
        return struct.pack("<BH", 0, len(content)) + content

    def quit_now(content=b""):
        return struct.pack("<BH", 1, len(content)) + content

    yield "one", run(ADD, (2, 3)) + quit_now()
    yield "stream", run(NOP) + run(ADD, (6, 3)) + run(VADD, (), struct.pack("<4i", 2, 2, 3, 4)) + \
        run(ADD, (11, 3)) + run(INFO) + run(FAIL) + run(ADD, (2, 2)) + quit_now()
    yield "lost", run(ADD, (6, 0)) + run(ADD, (5, 0)) + run(ADD, (2, 0))
    yield "spin-too-long", run(SPIN, (60000001,)) + run(SPIN, (999998,)) + quit_now()
    yield "counts-beyond", run(ADD, (1, 2), count=3)
    yield "counts-overflow", run(ADD, (1, 2), count=0x40000002, length=0)
    yield "length-overflow", run(VADD, (), bytes(8), length=0xFFFFFFF8)
    yield "not-allowed", run(0x55) + run(ADD, (1,)) + quit_now()
    yield "long-quit", quit_now(b"x")
    yield "raw", raw(b"GET / HTTP/1.1\r\n\r\n")
    yield "header-only", raw(struct.pack("<IHHIIQ", 0x4B574756, 1, 2, 24, 0, 1))
    yield "wrong-length", raw(struct.pack("<IHHIIQ", 0x4B574756, 1, 4, 25, 0, 0))
    yield "wrong-version", raw(struct.pack("<IHHIIQ", 0x4B574756, 9, 4, 24, 0, 0))


def command_lines():
    def line(*arguments):
        return b"\0".join(a.encode() for a in arguments) + b"\0"

    qemu = "/usr/bin/qemu-system-x86_64"
    uuid = "b3b0f8c2-0c7e-4f5c-9c0e-3b0a7a1f2d11"
    yield "plain", line(qemu, "-uuid", uuid, "-name", "guest=vm1,debug-threads=on", "-chardev",
                        "socket,id=vgpu,path=/run/v.sock,reconnect=1", "-device",
                        "vgpu-stub,chardev=vgpu,vm_id=7,pool_id=A,priority=high")
    yield "two", line(qemu, "-device", "vgpu-stub,vm_id=1", "-device", "vgpu-stub,vm_id=0x2",
                      "-name", "x")
    yield "json", line(qemu, "-device", '{"driver":"vgpu-stub","vm_id":9,"id":"g0"}', "-chardev",
                       '{"id":"c","backend":{"type":"socket"}}')
    yield "commas", line(qemu, "-name", "a,,b=c,,d", "-device", "vgpu-stub,,vm_id=1,=,vm_id=")
    yield "many", line(qemu, *["-device", "vgpu-stub,vm_id=4294967296"] * 12)
    yield "ends-early", line(qemu, "-device")
    yield "not-terminated", line(qemu, "-uuid", uuid)[:-5]
    yield "other", line("/bin/sh", "-c", "echo vgpu-stub")
    yield "empty", b""


def admin_requests():
    def ask(command, param1=0, param2=None, body=b"", magic=MAGIC):
        content = struct.pack("<4I", magic, command, param1,
                              len(body) if param2 is None else param2) + body
        return b"".join(bytes([len(part)]) + part for part in
                        (content[i:i + 255] for i in range(0, len(content), 255)))

    def bytewise(pieces):
        return b"".join(b"\x01" + pieces[i:i + 1] for i in range(1, len(pieces)))

    yield "shows", b"".join(ask(command) for command in (0x10, 0x11, 0x15, 0x1B, 0x1C))
    yield "prometheus", ask(0x10, 1) + ask(0x10, 2)
    yield "quarantine", ask(0x13, 1) + ask(0x1B) + ask(0x14, 1) + ask(0x13, 99)
    yield "policy", ask(0x16, body=b'{"policy": "fifo"}') + ask(0x16, body=b'{"policy": 7}')
    yield "pause", ask(0x17, body=b'{"gpu": 0}') + ask(0x18) + ask(0x17, body=b'{"gpu": -1}') + \
        ask(0x17, body=b'{"gpu": 99999999999}')
    yield "prefer", ask(0x19, 1) + ask(0x19, 0) + ask(0x19, 5)
    yield "events", ask(0x13, 2) + ask(0x1A, 10) + ask(0x13, 1)
    yield "reload", ask(0x12) + ask(0x11)
    yield "unknown", ask(0x7F) + ask(0xFFFFFFFF)
    yield "wrong-magic", ask(0x11, magic=0x12345678)
    yield "body-too-long", ask(0x16, param2=4097)
    yield "body-huge", ask(0x16, param2=0xFFFFFFFF)
    yield "no-json", ask(0x16, body=b"fifo") + ask(0x16, body=b"[1]") + ask(0x16, body=b"{") + \
        ask(0x16, body=b'{"policy": "\\u0000"}') + ask(0x16, body=b"\0{}")
    yield "bytewise", bytewise(ask(0x16, body=b'{"policy": "wfq"}'))
    yield "truncated", ask(0x11)[:9]
    yield "text", b"\x10GET / HTTP/1.1\r\n"


# fuzz_core's events, see one_event() there: a byte of kind (modulo 16), then what it reads.
def core_events():
    def open_claim(session):
        return bytes([0, session, 2, 0, 0])

    def ask(session, vm, kind=1, times=0):
        return bytes([1, session, vm, kind, times])

    ready, done, crash = bytes([8, 0, 0, 0]), bytes([8, 2, 0, 10]), bytes([8, 5, 0, 1])
    fail, late, garbage = bytes([8, 2, 0, 228]), bytes([15, 255]), bytes([7, 128 + 16])
    allow = bytes([0x11])
    yield "one-job", allow + open_claim(0) + ask(0, 1) + ready + done
    yield "two-vms", allow + open_claim(0) + open_claim(1) + ask(0, 1, 1, 5) + ask(1, 2, 4, 5) + \
        ready + bytes([8, 0, 1, 0]) + done * 4 + bytes([8, 2, 1, 0]) * 4
    yield "queue-full", allow + open_claim(0) + ask(0, 1, 0, 15) * 6
    yield "crash", allow + open_claim(0) + ask(0, 1, 5, 3) + ready + crash + late + ready + done
    yield "faults", allow + open_claim(0) + ask(0, 1, 1, 8) + ready + fail * 6 + ask(0, 1)
    yield "timeout", allow + open_claim(0) + ask(0, 1, 1, 3) + ready + late * 4 + crash + late
    yield "ready-after-its-time", allow + open_claim(0) + ask(0, 1) + late + ready + done + crash
    asked = allow + open_claim(0) + ask(0, 1, 1, 3)
    yield "leaves", asked + ready + bytes([7, 0]) + done + late * 3
    yield "garbage", allow + open_claim(16) + ask(16, 1) + garbage + late
    yield "silent", allow + open_claim(0) + late * 2
    yield "duplicate", allow + open_claim(0) + open_claim(1) + ask(0, 1) + ask(1, 1) + ready + done
    yield "unregistered", bytes([0x10]) + open_claim(0) + ask(0, 1) + \
        bytes([14, 1, 0, 1, 1, 50, 0, 0]) + ask(0, 1) + ready + done + bytes([14, 0]) + ask(0, 1)
    yield "hello", allow + open_claim(0) + bytes([6, 0, 3, 1]) + ask(0, 1, 1, 3) + \
        bytes([14, 1, 0, 1, 2, 80, 0, 4]) + ask(0, 1) + ready + done * 3
    yield "maintenance", allow + open_claim(0) + ask(0, 1, 1, 3) + bytes([13, 0, 4]) + ready + \
        ask(0, 1) + bytes([13, 6, 0]) + late + bytes([13, 6, 128]) + bytes([13, 1, 4]) + done
    yield "policies", b"".join(
        bytes([13, 2, policy]) + open_claim(policy) + ask(policy, policy, 4, 4)
        for policy in range(4)).join([allow, ready + done * 4])


def bridge_lines():
    yield "sum", b"A:2:1:100:200\n"
    yield "vector", b"B:1:7:VECTOR_ADD\r\n"
    yield "limits", b"Z:0:4294967295:-2147483648:2147483647"
    yield "beyond", b"A:3:4294967296:2147483648:-2147483649"
    yield "empty", b""
    yield "colons", b":::::::::"
    yield "nul", b"A:2:1:100\0:200\n"
    yield "signs", b"A:+2:-1:+1:--2"
    yield "two-lines", b"A:2:1:1:2\nA:2:1:3:4\n"
    yield "longest", b"A:2:1:" + b"9" * 250


TARGETS = {"admin": admin_requests, "bridge": bridge_lines, "channel": channels,
           "cuda_channel": cuda_channels, "frame": frames, "request": requests,
           "response": responses,
           "ring": rings, "worker": worker_packets,
           "core": core_events, "cmdline": command_lines}


def main(argv):
    folder = argv[1] if len(argv) > 1 else \
        os.path.join(os.path.dirname(os.path.abspath(argv[0])), "corpus")
    for target, seeds in TARGETS.items():
        os.makedirs(os.path.join(folder, target), exist_ok=True)
        for name, content in seeds():
            with open(os.path.join(folder, target, name), "wb") as out:
                out.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
