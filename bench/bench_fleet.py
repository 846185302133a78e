#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where does a host of a fleet stop keeping up?  In virtual time, by vgpu-sim: the real scheduler.

    bench_fleet.py [--hosts N] [--vms N] [--seconds S] [--job-us N] [--plot FILE.svg] [--json FILE]

Each host has one GPU and as many VMs, put there by something that doesn't look at GPUs: each VM
asks for GPU time of its own, exponentially distributed about a mean, in jobs of --job-us at
Poisson times.  The mean grows from run to run.  A host keeps up when of all that its VMs asked
99 in 100 requests are done within the run.  The same arguments give the same figures.
Exit status: 0 done, 1 vgpu-sim failed or found a promise broken, 2 usage.
$VGPU_BIN says where the programs are (build/bin).
"""
import argparse
import concurrent.futures
import json
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys

TREE = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("VGPU_BIN", TREE / "build" / "bin"))
LEVELS = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]  # percent of the GPU, in the mean
GROUPS_MAX = 64  # of vgpu-sim
KEEPS_UP = 0.99


def host(arguments, level, number):
    """One host at one level: what its VMs asked for and got."""
    dice = random.Random(f"{level} {number}")
    groups = min(GROUPS_MAX, arguments.vms)
    rates, asked = [], 0.0
    for group in range(groups):
        vms = arguments.vms // groups + (group < arguments.vms % groups)
        part = level / 100 / arguments.vms * dice.expovariate(1)
        asked += vms * part
        rates.append(f"n={vms},job_us=exp:{arguments.job_us},"
                     f"rate={max(part * 1e6 / arguments.job_us, 0.01):.4f}")
    done = subprocess.run([BIN / "vgpu-sim", "--vms", ";".join(rates), "--seed", str(number + 1),
                           "--seconds", str(arguments.seconds), "--json", "-"],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench_fleet: vgpu-sim: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    vms = [vm for vm in result["vms"] if vm["submitted"] + vm["refused"]]
    return {"asked": asked, "busy": result["busy_ns"] / 1e9 / arguments.seconds,
            "switching": result["switching_ns"] / 1e9 / arguments.seconds,
            "served": sum(vm["jobs"] for vm in vms) /
            max(1, sum(vm["submitted"] + vm["refused"] for vm in vms)),
            "wait_p99_ms": max((vm["wait_p99_ns"] for vm in vms), default=0) / 1e6,
            "wait_median_ms": statistics.median(vm["wait_p50_ns"] for vm in vms) / 1e6}


def level(arguments, percent):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        hosts = list(pool.map(lambda n: host(arguments, percent, n), range(arguments.hosts)))
    keep_up = [one for one in hosts if one["served"] >= KEEPS_UP]
    return {"asked_percent": percent, "hosts": len(hosts), "keep_up": len(keep_up),
            "busy_percent": 100 * statistics.mean(one["busy"] for one in hosts),
            "switching_percent": 100 * statistics.mean(one["switching"] for one in hosts),
            "wait_median_ms": statistics.median(one["wait_median_ms"] for one in hosts),
            "wait_p99_ms": statistics.median(one["wait_p99_ms"] for one in hosts),
            "wait_p99_worst_ms": max(one["wait_p99_ms"] for one in hosts),
            "asked_most_keeping_up_percent": 100 * max(
                (one["asked"] for one in keep_up), default=0),
            "asked_least_failing_percent": 100 * min(
                (one["asked"] for one in hosts if one["served"] < KEEPS_UP), default=0)}


# ---- The picture -------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 320, 64, 660, 44, 264
DECADES = {1: "1 ms", 10: "10 ms", 100: "100 ms", 1000: "1 s", 10000: "10 s", 100000: "100 s"}


def line(rows, key, colour, y_of):
    points = " ".join(f"{x_of(row['asked_percent']):.1f},{y_of(row[key]):.1f}" for row in rows)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'


def x_of(percent):
    return LEFT + (RIGHT - LEFT) * percent / LEVELS[-1]


def y_percent(value):
    return BOTTOM - (BOTTOM - TOP) * min(value, 100) / 100


def y_log(value):
    decades = math.log10(max(value, 1))  # from 1 ms on
    return BOTTOM - (BOTTOM - TOP) * min(1, decades / (len(DECADES) - 1))


def picture(arguments, rows):
    for row in rows:
        row["keep_up_percent"] = 100 * row["keep_up"] / row["hosts"]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{2 * HEIGHT}" '
             f'viewBox="0 0 {WIDTH} {2 * HEIGHT}" font-family="sans-serif" font-size="12">',
             '<rect width="100%" height="100%" fill="white"/>']
    panels = [
        (f"{arguments.hosts} hosts with {arguments.vms} VMs each: hosts that keep up, GPU time",
         y_percent, [(v, f"{v} %") for v in (0, 25, 50, 75, 100)],
         [("keep_up_percent", "#0072b2", "hosts that keep up"),
          ("busy_percent", "#009e73", "GPU time with jobs, mean"),
          ("switching_percent", "#d55e00", "lost to switches, mean")]),
        ("How long jobs wait for the GPU", y_log, list(DECADES.items()),
         [("wait_median_ms", "#009e73", "p50, median host"),
          ("wait_p99_ms", "#0072b2", "p99 of a host's worst VM, median"),
          ("wait_p99_worst_ms", "#d55e00", "the same, worst host")])]
    for number, (title, y_of, marks, lines) in enumerate(panels):
        parts.append(f'<g transform="translate(0 {number * HEIGHT})"><text x="{LEFT}" y="30">'
                     f"{title}</text>")
        for value, text in marks:
            y = y_of(value)
            parts.append(f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                         f'stroke="#ddd"/><text x="{LEFT - 8}" y="{y + 4:.1f}" '
                         f'text-anchor="end">{text}</text>')
        for percent in LEVELS[1::2]:
            parts.append(f'<text x="{x_of(percent):.1f}" y="{BOTTOM + 18}" text-anchor="middle">'
                         f"{percent} %</text>")
        for n, (key, colour, text) in enumerate(lines):
            parts += [line(rows, key, colour, y_of),
                      f'<text x="{RIGHT + 16}" y="{TOP + 16 + 20 * n}" fill="{colour}">{text}'
                      "</text>"]
        parts.append(f'<text x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 40}" text-anchor="middle">'
                     "GPU time that the VMs of a host ask for, mean of all hosts</text></g>")
    return "\n".join(parts + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--vms", type=int, default=100, help="of each host")
    parser.add_argument("--seconds", type=int, default=20, help="of virtual time")
    parser.add_argument("--job-us", type=int, default=1000, help="mean GPU time of a job")
    parser.add_argument("--plot", metavar="FILE.svg")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    if min(arguments.hosts, arguments.vms, arguments.seconds, arguments.job_us) < 1:
        parser.error("each number is at least 1")
    rows = []
    print("asked  keep up  GPU busy  switches  wait p50   p99, worst VM: median host, worst host")
    for percent in LEVELS:
        row = level(arguments, percent)
        rows.append(row)
        print(f"{percent:4} % {row['keep_up']:5}/{row['hosts']:<4}{row['busy_percent']:6.1f} %"
              f"{row['switching_percent']:8.1f} %{row['wait_median_ms']:9.2f} ms"
              f"{row['wait_p99_ms']:21.1f} ms{row['wait_p99_worst_ms']:10.1f} ms", flush=True)
    if arguments.plot:
        pathlib.Path(arguments.plot).write_text(picture(arguments, rows), encoding="utf-8")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(
            json.dumps({**vars(arguments), "levels": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
