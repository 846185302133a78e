#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks and measures vgpu-worker's CUDA backend on a real GPU, without a mediator.

  tests/gpu/worker_check.py [--bin-dir build/bin] [--out FILE.json] [--faults N]

Each check prints one line; what was measured goes into the JSON file.  Needs
Python's standard library and an NVIDIA driver, nothing else.  Without a usable
GPU it says so and exits with 77, which test runners count as skipped."""

import argparse
import contextlib
import json
import math
import os
import random
import socket
import statistics
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]
import worker_link as wl  # noqa: E402
from neighbour import Neighbour, back_to_normal  # noqa: E402
from report import Report, cpu_seconds, percentiles, run_text, skip  # noqa: E402
from worker_link import Worker  # noqa: E402

VECTOR_MAX = 992 // 8


def start(*args, backend="cuda", gpu=None, **kwargs):
    if gpu is not None and backend == "cuda":
        args += ("--gpu", str(gpu))
    return Worker("--enable-test-ops", *args, backend=backend, **kwargs)


def timed_calls(worker, frame, count, warm_up=200):
    """Round trips of one prepared frame, with as little Python between as can be."""
    sock = worker.sock
    clock = time.perf_counter
    taken = []
    for i in range(count + warm_up):
        begin = clock()
        sock.send(frame)
        reply = sock.recv(2048)
        end = clock()
        if i >= warm_up:
            taken.append(end - begin)
    status = wl.DONE_BODY.unpack_from(reply, wl.HEADER.size)[0]
    assert status == wl.OK, "status %d" % status
    return taken


# ---- What is there ----------------------------------------------------------


def check_probe(report):
    out, err = run_text(wl.worker_path(), "--probe")
    try:
        probe = json.loads(out)
    except ValueError:
        report.check("probe prints JSON", False, err or out)
        return None
    report.measure("probe", probe)
    if probe["backend"] != "cuda":
        return probe
    smi, _ = run_text("nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader")
    listed = [tuple(part.strip() for part in line.split(",")) for line in smi.splitlines()]
    ours = [(str(gpu["index"]), gpu["uuid"], gpu["name"]) for gpu in probe["gpus"]]
    report.check("probe lists what nvidia-smi lists", listed == ours, ours)
    return probe


def check_selection(report, probe):
    last = probe["gpus"][-1]
    for name in (str(last["index"]), last["uuid"]):
        with start(gpu=name) as w:
            report.check("--gpu %s" % name, w.ready.gpu_uuid == last["uuid"], w.ready.gpu_uuid)
    for name in ("99", "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff", "nonsense"):
        try:
            start(gpu=name).stop()
            report.check("--gpu %s is refused" % name, False)
        except RuntimeError as error:
            report.check("--gpu %s is refused" % name, "status 1" in str(error),
                         str(error).splitlines()[0][-100:])  # fmt: skip


def check_memory_limit(report):
    with start("--memory-limit", str(3 << 30)) as w:
        info = w.run(wl.DEVICE_INFO)
        report.check("memory limit is what the VM is told", info.results[4] == 3072, info.results)
    try:
        start("--memory-limit", "1000").stop()
        report.check("a limit below the worker's buffers is refused", False)
    except RuntimeError as error:
        report.check("a limit below the worker's buffers is refused",
                     "status 1" in str(error) and "limit" in str(error))  # fmt: skip


def measure_start(report, runs=8):
    ready, first = [], []
    for _ in range(runs):
        with start() as w:
            ready.append(w.ready_after_s)
            assert w.run(wl.ADD, (1, 2)).results == (3,)
            first.append(time.monotonic() - w.started_at)
    report.measure("start_to_ready_ms", [round(s * 1e3) for s in ready])
    report.measure("start_to_first_result_ms", [round(s * 1e3) for s in first])


# ---- Results ----------------------------------------------------------------

F32_EDGES = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000,
    0x3F800000, 0xBF800000, 0x33800000, 0x33800001, 0x7F7FFFFF, 0xFF7FFFFF, 0x73000000,
    0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFC12345,
]  # fmt: skip


def ulps_apart(a, b):
    """Distance of two singles' bit patterns; NaN and NaN are 0 apart."""

    def is_nan(bits):
        return bits & 0x7FFFFFFF > 0x7F800000

    if is_nan(a) or is_nan(b):
        return 0 if is_nan(a) and is_nan(b) else math.inf
    place = [-(x & 0x7FFFFFFF) if x >> 31 else x for x in (a, b)]
    return abs(place[0] - place[1])


def vectors(rng):
    """Operand vectors of every length class, edges crossed with edges."""
    pairs = [(a, b) for a in F32_EDGES for b in F32_EDGES]
    pairs += [(rng.getrandbits(32), rng.getrandbits(32)) for _ in range(20000)]
    at = 0
    while at < len(pairs):
        count = rng.choice([1, 2, 31, 32, 33, 64, VECTOR_MAX, VECTOR_MAX])
        yield pairs[at : at + count]
        at += count


def check_agreement(report, seed):
    rng = random.Random(seed)
    compared = wrong_int = wrong_float = other_bits = 0
    worst = 0
    with start() as gpu, start(backend="cpu") as cpu:
        for part in vectors(rng):
            operands = [a for a, _ in part] + [b for _, b in part]
            data = struct.pack("<%dI" % len(operands), *operands)
            for op in (wl.VECTOR_ADD_I32, wl.VECTOR_ADD_F32):
                one, two = gpu.run(op, data=data), cpu.run(op, data=data)
                compared += len(part)
                if one.status or two.status or len(one.data) != len(two.data):
                    wrong_int += 1
                elif op == wl.VECTOR_ADD_I32:
                    wrong_int += one.data != two.data
                else:
                    other_bits += one.data != two.data
                    layout = "<%dI" % len(part)
                    for x, y in zip(struct.unpack(layout, one.data),
                                    struct.unpack(layout, two.data)):  # fmt: skip
                        apart = ulps_apart(x, y)
                        worst = max(worst, apart)
                        wrong_float += apart > 1
        for _ in range(2000):
            a, b = rng.getrandbits(32), rng.getrandbits(32)
            wrong_int += gpu.run(wl.ADD, (a, b)).results != ((a + b) & 0xFFFFFFFF,)
    report.check("CUDA and CPU agree", not wrong_int and not wrong_float,
                 "%d elements, seed %d, %d wrong ints, %d floats beyond 1 ulp, worst %s ulp, "
                 "%d float vectors with other bits"
                 % (compared, seed, wrong_int, wrong_float, worst, other_bits))  # fmt: skip


# ---- Time -------------------------------------------------------------------


def measure_latency(report, count):
    data = struct.pack("<%dI" % (2 * VECTOR_MAX), *range(2 * VECTOR_MAX))
    frames = {
        "nop": wl.run_frame(1, wl.NOP),
        "add": wl.run_frame(1, wl.ADD, (100, 200)),
        "vector_add_i32 of %d" % VECTOR_MAX: wl.run_frame(1, wl.VECTOR_ADD_I32, data=data),
        "vector_add_f32 of 1": wl.run_frame(1, wl.VECTOR_ADD_F32, data=data[:8]),
    }
    with start(backend="cpu") as w:
        for name, frame in frames.items():
            report.measure("latency cpu %s" % name, percentiles(timed_calls(w, frame, count)))
    with start() as w:
        for name, frame in frames.items():
            report.measure("latency cuda %s" % name, percentiles(timed_calls(w, frame, count)))
        report.measure("inside cuda add", inside(w, wl.ADD, (1, 2), 1000))


def inside(worker, op, params, count):
    """Where a job's time goes: in the worker, on the GPU, and what lies between the two:
    starting it, and being late in seeing its end."""
    done = [worker.run(op, params) for _ in range(count)]
    over = sorted(d.finished_ns - d.started_ns - d.gpu_time_ns for d in done[count // 10 :])
    return {
        "worker_p50_us": statistics.median(d.finished_ns - d.started_ns for d in done) / 1e3,
        "gpu_p50_us": statistics.median(d.gpu_time_ns for d in done) / 1e3,
        "between_p50_us": over[len(over) // 2] / 1e3,
        "between_p99_us": over[len(over) * 99 // 100] / 1e3,
    }


def receive_awake(sock):
    """As recv(), but never asleep: leaves this program's own waking up out of a measurement."""
    while True:
        try:
            return sock.recv(2048, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass


def measure_lateness(report):
    """Between a job's end on the GPU and its DONE frame, once the worker knows such jobs."""
    with start() as w:
        for us, count in ((20, 500), (100, 500), (300, 500), (1000, 500), (3000, 200), (10000, 60),
                          (100000, 10)):  # fmt: skip
            report.measure("inside cuda spin of %d us" % us, inside(w, wl.SPIN, (us,), count))
        over = []
        for i in range(400):
            done = w.run(wl.SPIN, ((300, 1000, 3000)[i % 3],))
            over.append(done.finished_ns - done.started_ns - done.gpu_time_ns)
        over = sorted(over[40:])
        report.measure("three lengths in turn", {"between_p50_us": over[len(over) // 2] / 1e3,
                       "between_p99_us": over[len(over) * 99 // 100] / 1e3})  # fmt: skip
        rng = random.Random(3)
        late = []
        for _ in range(300):
            us = int(10 ** rng.uniform(1.5, 4))
            done = w.run(wl.SPIN, (us,))
            late.append((done.finished_ns - done.started_ns - done.gpu_time_ns) / done.gpu_time_ns)
        report.measure("lengths never seen before: late by, of their own time",
                       {"p50": round(statistics.median(late), 4),
                        "max": round(max(late), 4)})  # fmt: skip


def blocking(sock):
    return sock.recv(2048)


def measure_throughput(report):
    for depth, receive in ((1, blocking), (1, receive_awake), (2, blocking), (4, blocking)):
        for spin_us, jobs in ((100, 5000), (1000, 1000), (10000, 100)):
            frame = wl.run_frame(1, wl.SPIN, (spin_us,))
            with start("--depth", str(depth)) as w:
                w.run(wl.SPIN, (spin_us,))
                cpu = cpu_seconds(w.process.pid)
                begin = time.perf_counter()
                gpu_ns = 0
                for _ in range(depth):
                    w.sock.send(frame)
                for i in range(jobs):
                    gpu_ns += wl.DONE_BODY.unpack_from(receive(w.sock), 24)[4]
                    if i + depth < jobs:
                        w.sock.send(frame)
                wall = time.perf_counter() - begin
                cpu = cpu_seconds(w.process.pid) - cpu
                report.measure(
                    "back to back, depth %d, %d us%s"
                    % (depth, spin_us, ", sender awake" if receive is receive_awake else ""),
                    {
                        "jobs": jobs,
                        "asked_of_wall": round(jobs * spin_us / 1e6 / wall, 4),
                        "events_of_wall": round(gpu_ns / 1e9 / wall, 4),
                        "gpu_us_a_job": round(gpu_ns / 1e3 / jobs, 2),
                        "worker_cpu_of_wall": round(cpu / wall, 3),
                    },
                )
    with start() as w:
        cpu = cpu_seconds(w.process.pid)
        done = w.run(wl.SPIN, (2000000,))
        cpu = cpu_seconds(w.process.pid) - cpu
        report.check("a long spin takes its time", 2e9 <= done.gpu_time_ns < 2.1e9,
                     "%d ns" % done.gpu_time_ns)  # fmt: skip
        report.measure("worker's CPU seconds while a kernel runs 2 s", round(cpu, 3))


def measure_switches(report, count):
    frame = wl.run_frame(1, wl.ADD, (1, 2))
    with start() as a, start() as b:
        alone = timed_calls(a, frame, count)
        both = []
        for i in range(count):
            worker = (a, b)[i % 2]
            begin = time.perf_counter()
            worker.sock.send(frame)
            worker.sock.recv(2048)
            both.append(time.perf_counter() - begin)
        report.measure("switch: one worker", percentiles(alone))
        report.measure("switch: two workers in turn", percentiles(both))
        report.measure(
            "switch costs us",
            round((statistics.median(both) - statistics.median(alone)) * 1e6, 1),
        )
        # How large a turn must be for switches to cost little.
        for turn in (1, 2, 5, 10):
            for early in (0, 1):
                report.measure(
                    "two workers, turns of %d x 1 ms%s: asked of wall"
                    % (turn, ", the next let in one job early" if early else ""),
                    round(turns_of(turn, early, a, b), 4),
                )


def turns_of(turn, early, a, b, turns=40):
    """Two jobs ahead in one worker, turn by turn; the next worker starts when `early` jobs of
    the one before are still under way."""
    spin = wl.run_frame(1, wl.SPIN, (1000,))
    under_way = []

    def wait_until(count):
        while len(under_way) > count:
            under_way.pop(0).recv(2048)

    begin = time.perf_counter()
    for i in range(turns):
        sock = (a, b)[i % 2].sock
        for k in range(turn):
            wait_until(early if k == 0 else 1)
            sock.send(spin)
            under_way.append(sock)
    wait_until(0)
    return turns * turn * 1e-3 / (time.perf_counter() - begin)


def measure_memory(report):
    def used():
        out, _ = run_text("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits",
                          "--id=0")  # fmt: skip
        return int(out) if out.isdigit() else None

    steps = [used()]
    workers = []
    try:
        for _ in range(4):
            workers.append(start("--gpu", "0"))
            workers[-1].run(wl.ADD, (1, 2))
            steps.append(used())
        apps, _ = run_text("nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv")
        report.measure("nvidia-smi compute apps", apps.splitlines())
    finally:
        for w in workers:
            w.stop()
    report.measure("GPU memory used with 0 to 4 workers, MiB", steps)


# ---- Faults -----------------------------------------------------------------


@contextlib.contextmanager
def tiny_jobs():
    """For a Neighbour: another VM's worker."""
    expected = struct.pack("<I", 300)
    frame = wl.run_frame(1, wl.ADD, (100, 200))
    with start() as w:

        def job():
            w.sock.send(frame)
            reply = w.sock.recv(2048)
            if not reply:
                raise ConnectionError
            status = wl.DONE_BODY.unpack_from(reply, 24)[0] if len(reply) > 64 else -1
            return status == wl.OK and reply[64:] == expected

        yield job


def check_faults(report, count):
    with Neighbour(tiny_jobs) as beside:
        right, left = 0, []
        for _ in range(count):
            with start() as w:
                w.send(wl.CRASH)
                begin = time.monotonic()
                try:
                    w.receive()
                except wl.Closed:
                    right += w.exit_status() == wl.EXIT_GPU_FAULT
                    left.append(time.monotonic() - begin)
        failed, seen = beside.finish()
    report.check("illegal address: the worker leaves with status 3", right == count,
                 "%d of %d" % (right, count))  # fmt: skip
    report.measure("illegal address: from the job to the worker's end", percentiles(left))
    report.check("illegal address: the neighbour's jobs are right", failed == 0 and len(seen) > 0,
                 "%d failed of %d" % (failed, len(seen)))  # fmt: skip
    report.measure("neighbour during faults", percentiles([t for _, t in seen]))


def check_errors_without_harm(report):
    with start() as w:
        status = w.run(wl.FAIL).status
        report.check("test_fail leaves the worker alive",
                     status == wl.CUDA_ERROR and w.run(wl.ADD, (2, 3)).results == (5,))  # fmt: skip


def check_order(report):
    with start("--depth", "4") as w:
        ids, expected = [], []
        for i in range(200):
            if i % 4 == 0:
                ids.append(w.send(wl.SPIN, (50,)))
                expected.append((wl.OK, ()))
            elif i % 4 == 1:
                ids.append(w.send(0x7777))
                expected.append((wl.UNSUPPORTED_OP, ()))
            else:
                ids.append(w.send(wl.ADD, (i, 7)))
                expected.append((wl.OK, (i + 7,)))
        done = [w.receive() for _ in ids]
    report.check("DONE frames keep the order of RUN frames",
                 [d.job_id for d in done] == ids
                 and [(d.status, d.results) for d in done] == expected)  # fmt: skip


def check_hang(report, hang_s=1.5):
    with Neighbour(tiny_jobs) as beside:
        time.sleep(0.5)
        w = start()
        try:
            w.send(wl.HANG)
            hung = time.monotonic()
            try:
                w.receive(timeout=hang_s)
                report.check("an endless kernel does not end", False)
            except TimeoutError:
                report.check("an endless kernel does not end", True)
            cpu = cpu_seconds(w.process.pid)
            killed = time.monotonic()
            w.kill()
            w.exit_status()
            reaped = time.monotonic()
        finally:
            w.stop()
        with start() as fresh:
            assert fresh.run(wl.ADD, (1, 2)).results == (3,)
            served = time.monotonic()
        time.sleep(0.5)
        failed, seen = beside.finish()
    report.check("an endless kernel beside it: the neighbour's jobs are right", failed == 0,
                 "%d failed of %d" % (failed, len(seen)))  # fmt: skip
    before = [t for at, t in seen if at < hung - 0.2]
    during = [t for at, t in seen if hung + 0.1 < at < killed]
    after = [t for at, t in seen if at > reaped + 0.1]
    normal = percentiles(before)["p95_us"] * 2e-6
    back = back_to_normal(seen, killed, normal)
    report.measure("neighbour before the hang", percentiles(before))
    report.measure("neighbour during the hang", percentiles(during) if during else None)
    report.measure("neighbour after the kill", percentiles(after) if after else None)
    report.measure("hang: ms from SIGKILL to reaped", round((reaped - killed) * 1e3, 1))
    report.measure("hang: ms from SIGKILL to a new worker's first result",
                   round((served - killed) * 1e3, 1))  # fmt: skip
    report.measure("hang: ms from SIGKILL until the neighbour is back to normal",
                   None if back is None else round(back * 1e3, 1))  # fmt: skip
    report.measure("hang: worker's CPU seconds in %.1f s" % hang_s, round(cpu, 3))
    report.check("the neighbour is back to normal within 100 ms of the kill",
                 back is not None and back <= 0.1)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin-dir", help="where vgpu-worker is (default: build/bin)")
    parser.add_argument("--out", help="write the report as JSON to this file")
    parser.add_argument("--faults", type=int, default=20, help="illegal addresses to provoke")
    parser.add_argument("--count", type=int, default=5000, help="jobs for each latency")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.bin_dir:
        os.environ["VGPU_BIN_DIR"] = args.bin_dir
    report = Report()
    probe = check_probe(report)
    if probe and probe["backend"] != "cuda":
        return skip(args.out, "no GPU to test on: " + probe["reason"])
    sections = [
        ("selection", lambda: check_selection(report, probe)),
        ("memory limit", lambda: check_memory_limit(report)),
        ("start", lambda: measure_start(report)),
        ("agreement", lambda: check_agreement(report, args.seed)),
        ("order", lambda: check_order(report)),
        ("errors", lambda: check_errors_without_harm(report)),
        ("latency", lambda: measure_latency(report, args.count)),
        ("lateness", lambda: measure_lateness(report)),
        ("throughput", lambda: measure_throughput(report)),
        ("switches", lambda: measure_switches(report, args.count)),
        ("memory", lambda: measure_memory(report)),
        ("faults", lambda: check_faults(report, args.faults)),
        ("hang", lambda: check_hang(report)),
    ]
    report.run(sections if probe else [])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
