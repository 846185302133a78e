#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Simulates hundreds of seeds: random VMs, GPUs, settings and faults, and saturated mixes.

    sim_corpus.py VGPU_SIM [--first N] [--count N] [--jobs N]

Every run checks the invariants itself (vgpu-sim exits with 1).  Every eighth
seed runs twice and must give the same trace hash.  A seed that fails is printed
with the command that replays it.
"""
import argparse
import concurrent.futures
import json
import os
import subprocess
import sys


def command(program, seed):
    """What a seed stands for: every sixth is a saturated mix, the others have faults."""
    if seed % 6 == 0:
        return [program, "--random-mix", str(seed), "--seconds", "4"]
    return [program, "--faults", str(seed), "--seconds", "6"]


def simulate(program, seed):
    """The result of one run, and what is wrong with it ("" = nothing)."""
    run = subprocess.run(command(program, seed) + ["--json", "-"], capture_output=True, text=True,
                         check=False)
    try:
        result = json.loads(run.stdout)
    except ValueError:
        return None, f"exit status {run.returncode}, no result\n{run.stderr}"
    if run.returncode != 0 or result["violations"] != 0:
        return result, f"{result['violations']} violations\n{run.stderr}"
    return result, ""


def examine(program, seed):
    """One seed; returns its result and what is wrong."""
    result, wrong = simulate(program, seed)
    if not wrong and seed % 8 == 0:
        again, wrong = simulate(program, seed)
        if not wrong and again["trace_hash"] != result["trace_hash"]:
            wrong = f"trace hash {result['trace_hash']}, then {again['trace_hash']}\n"
    return seed, result, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the vgpu-sim to run")
    parser.add_argument("--first", type=int, default=1, help="first seed (1)")
    parser.add_argument("--count", type=int, default=900, help="so many seeds (900)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    options = parser.parse_args()

    totals = dict.fromkeys(["dispatches", "workers_lost", "mediators_lost", "gpus_lost",
                            "quarantines", "timeouts", "overruns", "disconnects"], 0)
    failed = 0
    seeds = range(options.first, options.first + options.count)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for seed, result, wrong in pool.map(lambda s: examine(options.program, s), seeds):
            if wrong:
                failed += 1
                again = " ".join(command(options.program, seed))
                print(f"seed {seed}: {wrong}  replay with: {again}")
            for key in totals:
                totals[key] += result[key] if result else 0
    print(f"{options.count - failed} seeds hold, {failed} failed; simulated: " +
          ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in totals.items()))
    # A corpus in which nothing ever goes wrong would prove nothing.
    if options.count >= 100 and min(totals.values()) == 0:
        print("some kind of fault never happened: the corpus is too tame")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
