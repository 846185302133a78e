#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Replays sim/corpus: what once broke the promise of shares, or came nearest to it.

    promise_corpus.py VGPU_SIM FOLDER [--record]

An entry (FOLDER/NAME.attack) is a mix for `vgpu-sim --judge` and the worst ratio that it had. It
fails when its ratio falls below the promise (1), or by more than a twentieth below what it was; one
that is known to be broken fails when it gets worse than it was. With a line "violations known" the
core's own invariants may break there, too.
--record writes today's ratios: after a change for the better, so that it can't be lost again.
"""
import argparse
import json
import pathlib
import subprocess
import sys

TOLERANCE = 0.02       # of a ratio below 1, which other rounding may move
KEPT_TOLERANCE = 0.05  # of one above it


def read(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def command(program, entry):
    options = [word for name in ("seed", "seconds", "gpus", "pools", "policy", "vms")
               if name in entry for word in (f"--{name}", entry[name])]
    return [program, "--judge", *options, "--json", "-"]


def replay(program, path):
    """The entry's floor, its ratio now, and what else is wrong ("" = nothing)."""
    entry = read(path)
    done = subprocess.run(command(program, entry), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        return 1, 0, f"exit status {done.returncode}: {done.stderr}"
    result = json.loads(done.stdout)
    before = float(entry["ratio"])
    floor = before * (1 - TOLERANCE) if before < 1 else max(1, before * (1 - KEPT_TOLERANCE))
    known = floor < 1 or entry.get("violations") == "known"
    return floor, result["promise"]["worst"], "" if known else done.stderr


def record(path, ratio):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(f"ratio {ratio:.4f}" if line.startswith("ratio ") else line
                              for line in lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the vgpu-sim to run")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--every", type=int, default=1, help="only each N-th entry (1)")
    parser.add_argument("--record", action="store_true", help="write today's ratios")
    options = parser.parse_args()

    failed = 0
    paths = sorted(options.folder.glob("*.attack"))[::options.every]
    for path in paths:
        floor, ratio, wrong = replay(options.program, path)
        bad = bool(wrong) or ratio < floor
        print(f"{path.stem:<16} ratio {ratio:.4f}, at least {floor:.4f}{'  FAILED' if bad else ''}")
        if bad:
            print(f"{wrong}  {' '.join(command(options.program, read(path)))}")
            failed += 1
        if options.record and not wrong:
            record(path, ratio)
    if not paths:
        print(f"{options.folder}: no entries")
    return 1 if failed or not paths else 0


if __name__ == "__main__":
    sys.exit(main())
