#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks and measures channels of host processes on a real GPU: vgpu-mediator and its workers, and
this program as the VMs' processes.

  tests/gpu/channel_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]...

Needs Python's standard library and an NVIDIA driver.  Without a usable GPU it says so and exits
with 77.  --backend cpu runs the same on the CPU backend: good for trying the script itself, its
figures say nothing about a GPU."""

import json
import os
import random
import struct
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]
import host_channel as hc  # noqa: E402
import native_blas  # noqa: E402
import wire  # noqa: E402
from host_channel import Host, handle  # noqa: E402
from lab import Lab  # noqa: E402
from report import Report, parser_of, run_text, skipped_without_gpu  # noqa: E402

MIB = 1 << 20
UUID = "00000000-0000-4000-8000-%012d"


def opened(lab, vm_id, **wishes):
    host = Host(lab.socket, vm_id=vm_id)
    channel = host.open(**wishes)
    if isinstance(channel, int):
        raise RuntimeError("no channel: error %d; %s" % (channel, lab.log_text()[-400:]))
    return channel


def must(status):
    if status != wire.OK:
        raise RuntimeError("an operation failed with %d" % status)


def finish(channel):
    """Looks without a pause until all is over."""
    while channel.word(hc.RETIRED) != channel.seq:
        if channel.state()[0]:
            raise RuntimeError("the channel ended: %s" % (channel.state(),))


class Suite:
    def __init__(self, report, bin_dir, backend):
        self.report = report
        self.bin_dir = bin_dir
        self.backend = backend

    def lab(self, *args, **kwargs):
        return Lab(self.bin_dir, *args, backend=self.backend, **kwargs)

    # ---- right answers ----

    def operations(self):
        """Random bits through each operation; sums in single precision as this host makes them."""
        count, rng = 100003, random.Random(11)
        data = [rng.randbytes(count * 4) for _ in range(2)]
        floats = [struct.unpack("<%df" % count, part) for part in data]
        ints = [struct.unpack("<%dI" % count, part) for part in data]
        with self.lab() as lab:
            channel = opened(lab, 1, arena=4 * MIB)
            at = channel.arena
            for index in range(3):
                must(channel.bulk(hc.ALLOC, target=handle(index), count=count * 4))

            def result(op, **fields):
                for index in range(2):
                    channel.memory[at:at + count * 4] = data[index]
                    must(channel.bulk(hc.UPLOAD, target=handle(index), chunk_offset=at,
                                      count=count * 4))  # fmt: skip
                must(channel.bulk(op, target=handle(1), count=count, **fields))
                must(channel.bulk(hc.DOWNLOAD, a=handle(1), chunk_offset=at, count=count * 4))
                return channel.memory[at:at + count * 4]

            def as_float(value):
                try:
                    return struct.pack("<f", value)
                except OverflowError:
                    return struct.pack("<f", float("inf") if value > 0 else float("-inf"))

            nan = struct.pack("<I", 0x7FFFFFFF)
            self.report.check("add of i32", result(hc.ADD_I32, a=handle(0), b=handle(1)) ==
                              struct.pack("<%dI" % count, *((x + y) & 0xFFFFFFFF
                                                            for x, y in zip(*ints))))  # fmt: skip
            want = b"".join(nan if z != z else as_float(z)
                            for z in (x + y for x, y in zip(*floats)))
            self.report.check("add of f32",
                              result(hc.ADD_F32, a=handle(0), b=handle(1)) == want)  # fmt: skip
            doubled = [struct.unpack("<f", as_float(2 * x))[0] for x in floats[0]]
            want = b"".join(nan if z != z else as_float(z)
                            for z in (x + y for x, y in zip(doubled, floats[1])))
            self.report.check("saxpy", result(hc.SAXPY, a=handle(0), alpha=2.0) == want)
            self.report.check("fill", result(hc.FILL, value=77) == struct.pack("<I", 77) * count)
            must(channel.bulk(hc.DOWNLOAD, a=handle(2), chunk_offset=at, count=count * 4))
            self.report.check("alloc gives zeros",
                              channel.memory[at:at + count * 4] == bytes(count * 4))
            self.report.check("1.0's operations", channel.op(wire.ADD, (3, 4))[1] == (7,))

    def client(self):
        """vgpu-client, with its own checks, with cuBLAS and without."""
        for blas in ("", "none"):
            os.environ["VGPU_CUBLAS"] = blas
            try:
                with self.lab() as lab:
                    for command in (("sgemm", "--n", "1000", "--check"),
                                    ("sgemm", "--n", "4096", "--check"),
                                    ("vadd", "--n", "50000000"), ("bandwidth",),
                                    ("latency",)):  # fmt: skip
                        out, err = run_text(os.path.join(self.bin_dir, "vgpu-client"), "--host",
                                            lab.socket, "--json", *command)  # fmt: skip
                        name = "vgpu-client %s%s" % (" ".join(command),
                                                     ", no cuBLAS" if blas else "")
                        self.report.check(name, '"event"' in out and "error" not in out,
                                          (out + err).strip()[-300:])  # fmt: skip
            finally:
                del os.environ["VGPU_CUBLAS"]

    def soak(self, checked=1000000):
        """So many operations, each one's result checked: two processes in each of three VMs."""
        names = ("add", "vadd-i32", "vadd-f32")
        vms = [("--vm-name=soak%d" % i, "--vm-uuid=" + UUID % i, "--vm-id=%d" % i)
               for i in (1, 2, 3)]  # fmt: skip
        with self.lab(db=vms) as lab:
            programs = [subprocess.Popen(
                [os.path.join(self.bin_dir, "vgpu-client"), "--host", lab.socket, "--vm-id",
                 str(vm), "--op", names[(vm + i) % 3], "--count", str(checked // 6 + 1), "--json"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for vm in (1, 2, 3) for i in (0, 1)]  # fmt: skip
            ends = [json.loads(program.communicate()[0].splitlines()[-1]) for program in programs]
        done = sum(end.get("jobs", 0) for end in ends)
        self.report.measure("soak", ends)
        self.report.check("soak: %d operations of 6 processes in 3 VMs, no mix-up" % done,
                          done >= checked and all(end.get("wrong") == 0 for end in ends)
                          and all(program.returncode == 0 for program in programs))  # fmt: skip

    # ---- copies ----

    def bandwidth(self, piece=16 * MIB, pieces=4, rounds=32):
        """Of the arena, and of a chunk of its own."""
        with self.lab() as lab:
            channel = opened(lab, 1, arena=piece * pieces, commands=1 << 20)
            chunk = channel.host.add_chunk(1, piece * pieces)
            if isinstance(chunk, int):
                raise RuntimeError("no chunk: error %d" % chunk)
            must(channel.bulk(hc.ALLOC, target=handle(0), count=piece * pieces))
            for where, number, start in (("arena", 0, channel.arena), ("chunk", 1, 0)):
                figures = {}
                for op, name in ((hc.UPLOAD, "to the GPU"), (hc.DOWNLOAD, "back")):
                    for count in (pieces, rounds * pieces):  # warm, then measured
                        for i in range(count):
                            offset = i % pieces * piece
                            way = {"target": handle(0)} if op == hc.UPLOAD else {"a": handle(0)}
                            channel.put(channel.bulk_record(
                                op, count=piece, chunk=number, chunk_offset=start + offset,
                                flags=0, offsets=(offset, offset, 0), **way))  # fmt: skip
                        begin = time.monotonic()
                        channel.publish()
                        finish(channel)
                    figures[name] = round(count * piece / (time.monotonic() - begin) / 1e9, 2)
                self.report.measure("GB/s of the %s, pieces of %d MiB" % (where, piece // MIB),
                                    figures)  # fmt: skip
                for name, rate in figures.items():
                    self.report.check("%s %s: at least 52 GB/s" % (where, name), rate >= 52, rate)

    # ---- products ----

    def sgemm(self, n=8192, times=12):
        """The same product in turns, and in this process; transfers excluded."""
        data = [struct.pack("<%df" % n, *(random.uniform(-1, 1) for _ in range(n))) * n
                for _ in range(2)]  # fmt: skip
        native = native_blas.Native()
        a, b = (native.memory(n * n * 4, part) for part in data)
        c = native.memory(n * n * 4)
        self.report.measure("s for cublasCreate in this process", round(native.create_s, 3))
        with self.lab() as lab:
            channel = opened(lab, 1, arena=n * n * 4)
            for index in range(3):
                must(channel.bulk(hc.ALLOC, target=handle(index), count=n * n * 4))
            for index, part in enumerate(data):
                channel.memory[channel.arena:channel.arena + n * n * 4] = part
                must(channel.bulk(hc.UPLOAD, target=handle(index), chunk_offset=channel.arena,
                                  count=n * n * 4))  # fmt: skip
            ours, theirs = [], []

            def products(count):
                for _ in range(count):
                    channel.put(channel.bulk_record(hc.SGEMM, target=handle(2), a=handle(0),
                                                    b=handle(1), mnk=(n, n, n),
                                                    flags=0))  # fmt: skip
                begin = time.monotonic()
                channel.publish()
                finish(channel)
                return (time.monotonic() - begin) / count

            self.report.measure("s for the first product, which starts cuBLAS",
                                round(products(1), 3))
            products(4)
            for _ in range(5):
                theirs.append(native.seconds(lambda: native.sgemm(n, n, a, b, c), times))
                ours.append(products(times))
            ratio = sorted(ours)[2] / sorted(theirs)[2]
            self.report.measure("sgemm n=%d, ms" % n, {
                "channel": [round(s * 1e3, 3) for s in ours],
                "in-process": [round(s * 1e3, 3) for s in theirs],
                "ratio": round(ratio, 4), "TFLOP/s": round(2 * n**3 / min(ours) / 1e12, 2)})
            self.report.check("sgemm n=%d: within 3 %% of the same in-process" % n, ratio <= 1.03,
                              round(ratio, 4))  # fmt: skip
            must(channel.bulk(hc.DOWNLOAD, a=handle(2), chunk_offset=channel.arena,
                              count=n * n * 4))  # fmt: skip
            got = struct.unpack_from("<%df" % n, channel.memory, channel.arena)
            rows = [struct.unpack_from("<%df" % n, part) for part in data]
            want = [sum(rows[0]) * y for y in rows[1]]
            worst = max(abs(x - y) for x, y in zip(got, want))
            self.report.check("the product is right", worst <= 1e-2, worst)

    def bands(self, n=8192):
        """Not judged: what cutting a product costs, in this process."""
        native = native_blas.Native()
        a, b, c = (native.memory(n * n * 4) for _ in range(3))
        figures = {}
        for rows in (512, 1024, 1408, 1536, 2048, 2816, 4096, n):
            for streams in (1, 2):
                figures["%d rows, %d streams" % (rows, streams)] = round(native.seconds(
                    lambda: native.in_bands(n, rows, a, b, c, streams), 8) * 1e3, 3)
        self.report.measure("ms for n=%d in bands" % n, figures)

    # ---- shares ----

    def shares_once(self, spin_us, busy_wanted, seconds=8, depth=200):
        weights = (80, 60, 40, 20)
        vms = [("--vm-name=w%d" % w, "--vm-uuid=" + UUID % w, "--vm-id=%d" % (i + 1),
                "--weight=%d" % w) for i, w in enumerate(weights)]  # fmt: skip
        name = "4 VMs' channels, weights 80/60/40/20, %d us kernels" % spin_us
        stop, counts, failures = threading.Event(), [], []
        with self.lab(db=vms) as lab:
            channels = [opened(lab, i + 1, arena=0) for i in range(4)]

            def work(channel):
                body = struct.pack("<3I", 1, 0, spin_us)
                try:
                    while not stop.is_set():
                        for _ in range(depth + channel.word(hc.RETIRED) - channel.seq):
                            channel.put(channel.record(wire.SPIN, body, flags=0))
                        channel.publish()
                        time.sleep(min(depth * spin_us / 8e6, 0.01))
                    finish(channel)
                except Exception as error:
                    failures.append(str(error))

            threads = [threading.Thread(target=work, args=(channel,)) for channel in channels]
            for thread in threads:
                thread.start()
            time.sleep(1.5)
            before = [channel.word(hc.RETIRED) for channel in channels]
            begin = time.monotonic()
            time.sleep(seconds)
            after = [channel.word(hc.RETIRED) for channel in channels]
            span = time.monotonic() - begin
            stop.set()
            for thread in threads:
                thread.join()
            switches = lab.health()["gpus"][0]["context_switches"]
        counts = [y - x for x, y in zip(before, after)]
        shares = [n / max(1, sum(counts)) for n in counts]
        error = max(abs(s - w / sum(weights)) for s, w in zip(shares, weights)) * 100
        busy = sum(counts) * spin_us / 1e6 / span
        self.report.measure(name, {"shares": [round(s, 4) for s in shares],
                                   "share_error_points": round(error, 2),
                                   "kernels_of_wall": round(busy, 4),
                                   "switches_per_s": round(switches / (span + 1.5), 1)})
        self.report.check(name + ": no failure", not failures, failures)
        self.report.check(name + ": share error at most 1 point", error <= 1, "%.2f" % error)
        self.report.check(name + ": GPU busy at least %d %%" % (busy_wanted * 100),
                          busy >= busy_wanted, "%.2f %%" % (busy * 100))  # fmt: skip

    def shares(self):
        self.shares_once(1000, 0.97)
        self.shares_once(100, 0.95)


def main():
    names = ["operations", "client", "bandwidth", "sgemm", "bands", "shares"]
    longer = ["soak"]  # minutes: only when asked for
    args = parser_of(__doc__, names + longer).parse_args()
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    report = Report()
    suite = Suite(report, args.bin_dir, args.backend)
    report.run([(name, getattr(suite, name)) for name in args.only or names])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
