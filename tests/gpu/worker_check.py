#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks and measures vgpu-worker's CUDA backend on a real GPU, without a mediator.

  tests/gpu/worker_check.py [--bin-dir build/bin] [--out FILE.json] [--faults N]

Each check prints one line; what was measured goes into the JSON file.  Needs
Python's standard library and an NVIDIA driver, nothing else.  Without a usable
GPU it says so and exits with 77, which test runners count as skipped."""

import argparse
import json
import math
import multiprocessing
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]
import worker_link as wl  # noqa: E402
from worker_link import Worker  # noqa: E402

SKIPPED = 77
VECTOR_MAX = 992 // 8
TRANSFERS = ("mapped", "copy")


class Report:
    def __init__(self):
        self.checks = []
        self.measures = {}

    def check(self, name, ok, detail=""):
        self.checks.append({"name": name, "ok": bool(ok), "detail": str(detail)})
        print("%s %s%s" % ("ok  " if ok else "FAIL", name, ": " + str(detail) if detail else ""),
              flush=True)  # fmt: skip

    def measure(self, name, value):
        self.measures[name] = value
        print("     %s: %s" % (name, json.dumps(value)), flush=True)


def percentiles(seconds):
    ordered = sorted(seconds)

    def at(share):
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6, 1)

    return {"count": len(ordered), "p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99),
            "max_us": at(1.0)}  # fmt: skip


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


def run_text(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout.strip(), done.stderr.strip()


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
        start("--memory-limit", "1000", "--transfer", "copy").stop()
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
    for transfer in TRANSFERS:
        rng = random.Random(seed)
        compared = wrong_int = wrong_float = other_bits = 0
        worst = 0
        with start("--transfer", transfer) as gpu, start(backend="cpu") as cpu:
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
        report.check("CUDA and CPU agree (%s)" % transfer, not wrong_int and not wrong_float,
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
    for transfer in TRANSFERS:
        with start("--transfer", transfer) as w:
            for name, frame in frames.items():
                report.measure("latency cuda %s %s" % (transfer, name),
                               percentiles(timed_calls(w, frame, count)))  # fmt: skip
            for name, op, params in (("nop", wl.NOP, ()), ("add", wl.ADD, (1, 2))):
                done = [w.run(op, params) for _ in range(1000)]
                report.measure(
                    "inside cuda %s %s" % (transfer, name),
                    {
                        "worker_p50_us": statistics.median(
                            d.finished_ns - d.started_ns for d in done) / 1e3,
                        "gpu_p50_us": statistics.median(d.gpu_time_ns for d in done) / 1e3,
                    },
                )  # fmt: skip


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_throughput(report):
    for depth in (1, 2, 4):
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
                    gpu_ns += wl.DONE_BODY.unpack_from(w.sock.recv(2048), 24)[4]
                    if i + depth < jobs:
                        w.sock.send(frame)
                wall = time.perf_counter() - begin
                cpu = cpu_seconds(w.process.pid) - cpu
                report.measure(
                    "back to back, depth %d, %d us" % (depth, spin_us),
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
            spin = wl.run_frame(1, wl.SPIN, (1000,))
            begin = time.perf_counter()
            turns = 40
            for i in range(turns):
                worker = (a, b)[i % 2]
                outstanding = 0
                for _ in range(turn):
                    worker.sock.send(spin)
                    outstanding += 1
                    if outstanding == 2:
                        worker.sock.recv(2048)
                        outstanding -= 1
                for _ in range(outstanding):
                    worker.sock.recv(2048)
            wall = time.perf_counter() - begin
            report.measure("two workers, turns of %d x 1 ms: asked of wall" % turn,
                           round(turns * turn * 1e-3 / wall, 4))  # fmt: skip


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


def neighbour(stop, answers):
    """Another VM's worker, in a process of its own: tiny jobs until told to stop."""
    seen = []
    failed = 0
    expected = struct.pack("<I", 300)
    frame = wl.run_frame(1, wl.ADD, (100, 200))
    with start() as w:
        answers.put("ready")
        while not stop.is_set():
            begin = time.monotonic()
            w.sock.send(frame)
            reply = w.sock.recv(2048)
            seen.append((begin, time.monotonic() - begin))
            status = wl.DONE_BODY.unpack_from(reply, 24)[0] if len(reply) > 64 else -1
            failed += status != wl.OK or reply[64:] != expected
            if not reply:
                break
    answers.put((failed, seen))


class Neighbour:
    def __enter__(self):
        context = multiprocessing.get_context("fork")
        self.stop = context.Event()
        self.answers = context.Queue()
        self.process = context.Process(target=neighbour, args=(self.stop, self.answers))
        self.process.start()
        self.answers.get(timeout=60)
        return self

    def finish(self):
        self.stop.set()
        return self.answers.get(timeout=60)

    def __exit__(self, *_):
        self.stop.set()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def check_faults(report, count):
    with Neighbour() as beside:
        right = 0
        for _ in range(count):
            with start() as w:
                ids = [w.send(wl.CRASH)]
                replies = []
                try:
                    ids.append(w.send(wl.ADD, (1, 2)))
                except BrokenPipeError:
                    pass  # it has noticed the fault already
                try:
                    replies.append(w.receive())
                    replies.append(w.receive())
                except wl.Closed:
                    pass  # the second came too late to be taken up
                right += (
                    w.exit_status() == wl.EXIT_GPU_FAULT
                    and all(r.status == wl.CUDA_ERROR for r in replies)
                    and len(replies) > 0
                    and [r.job_id for r in replies] == ids[: len(replies)]
                )
        failed, seen = beside.finish()
    report.check("illegal address: CUDA_ERROR and status 3", right == count,
                 "%d of %d" % (right, count))  # fmt: skip
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
    with Neighbour() as beside:
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
    # The first of ten tiny jobs in a row that were as quick as ever.
    back = next(
        (
            seen[i][0] - killed
            for i in range(len(seen) - 10)
            if seen[i][0] > killed and all(t < normal for _, t in seen[i : i + 10])
        ),
        None,
    )
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
    begin = time.monotonic()
    probe = check_probe(report)
    if probe and probe["backend"] != "cuda":
        print("SKIP: no GPU to test on: %s" % probe["reason"])
        if args.out:
            with open(args.out, "w", encoding="utf-8") as out:
                json.dump({"skipped": probe["reason"]}, out)
        return SKIPPED
    sections = [
        lambda: check_selection(report, probe),
        lambda: check_memory_limit(report),
        lambda: measure_start(report),
        lambda: check_agreement(report, args.seed),
        lambda: check_order(report),
        lambda: check_errors_without_harm(report),
        lambda: measure_latency(report, args.count),
        lambda: measure_throughput(report),
        lambda: measure_switches(report, args.count),
        lambda: measure_memory(report),
        lambda: check_faults(report, args.faults),
        lambda: check_hang(report),
    ]
    for section in sections if probe else []:
        try:
            section()
        except Exception as error:  # one section's end must not hide the others
            report.check("%s ran to its end" % section.__code__.co_names[0], False,
                         "%s: %s" % (type(error).__name__, error))  # fmt: skip
    smi, _ = run_text("nvidia-smi", "--query-gpu=name,driver_version,vbios_version,pstate",
                      "--format=csv,noheader")  # fmt: skip
    failed = sum(not check["ok"] for check in report.checks)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as out:
            json.dump(
                {
                    "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "command": " ".join(sys.argv),
                    "host": socket.gethostname(),
                    "kernel": os.uname().release,
                    "cpus": os.cpu_count(),
                    "gpus": smi.splitlines(),
                    "seconds": round(time.monotonic() - begin, 1),
                    "checks": report.checks,
                    "measures": report.measures,
                },
                out,
                indent=1,
            )
    print("%d passed, %d failed" % (len(report.checks) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
