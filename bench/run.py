#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the programs of bench/ one after the other and prints one table."""
import argparse
import json
import os
import subprocess
import sys


def run(program, quick):
    """The figures of one program, or None where it broke."""
    command = [program, "--json"] + (["--quick"] if quick else [])
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        print(f"{os.path.basename(program)}: exit status {done.returncode}", file=sys.stderr)
        return None
    return json.loads(done.stdout)["figures"]


def line(figure):
    text = f"  {figure['name']:<58} {figure['value']:>12.2f} {figure['unit']:<7}"
    if "target" in figure:
        verdict = "met" if figure["met"] else "NOT MET"
        text += f" {figure['relation']} {figure['target']:g}: {verdict}"
    return text


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Exit status: 0 measured, whether targets are met or not; "
        "1 a program broke. Example: bench/run.py --quick build/bench/bench_scheduler")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    parser.add_argument("--json", metavar="FILE", help="all figures, - for standard output")
    parser.add_argument("programs", nargs="+")
    args = parser.parse_args()

    quick = args.quick or bool(os.environ.get("VGPU_BENCH_QUICK"))
    results, broken, met, missed = {}, 0, 0, 0
    for program in args.programs:
        name = os.path.basename(program)
        if args.json != "-":
            print(name, flush=True)
        figures = run(program, quick)
        if figures is None:
            broken += 1
            continue
        results[name] = figures
        for figure in figures:
            met += figure.get("met") is True
            missed += figure.get("met") is False
            if args.json != "-":
                print(line(figure), flush=True)
    if args.json == "-":
        json.dump(results, sys.stdout, indent=1)
        print()
    elif args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
    print(f"{met} targets met, {missed} not met, {broken} programs broken",
          file=sys.stderr if args.json == "-" else sys.stdout)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
