#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs small programs of PyTorch (or JAX) on a real GPU, natively and through us, and compares.

  tests/gpu/torch_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]... [--jax]

Each program is a process of its own and prints numbers; those of both ways are to be the same
within a tolerance.  For each it says: ok, or the first error, and what our libraries refused.
Needs the package in the Python that runs this.  Without a usable GPU it exits with 77."""

import concurrent.futures
import importlib.util
import math
import os
import re
import subprocess
import sys
import time

from frameworks import JAX, TORCH
from lab import Lab, use_packages_libraries
from report import Report, parser_of, skip, skipped_without_gpu

TIMEOUT_S = 90
AT_ONCE = 4
TOLERANCE = 2e-3
REFUSED = re.compile(r"\(vgpu\): (\w+) is not built|: (.* not run here.*)|\(vgpu\): (.*)")
ERROR = re.compile(r"\w+(\.\w+)*(Error|Exception)")


def numbers(text):
    return [float(word) for line in text.splitlines() if line.startswith("= ")
            for word in line[2:].split()]


def close(ours, native):
    return len(ours) == len(native) and ours != [] and all(
        (math.isnan(a) and math.isnan(b)) or abs(a - b) <= TOLERANCE * max(1.0, abs(b))
        for a, b in zip(ours, native))


class Suite:
    def __init__(self, report, bin_dir, package):
        self.report = report
        self.bin_dir = bin_dir
        self.package = package
        self.tree = os.path.dirname(os.path.abspath(bin_dir))
        self.tool = os.path.join(self.tree, "guest", "cuda", "vgpu-run")

    def one(self, code, before=()):
        """Status, output, stderr, seconds."""
        begin = time.monotonic()
        try:
            done = subprocess.run([*before, sys.executable, "-c", code], capture_output=True,
                                  text=True, timeout=TIMEOUT_S, check=False,
                                  env={**os.environ, "PYTHONFAULTHANDLER": "1"})
            found = done.returncode, done.stdout, done.stderr
        except subprocess.TimeoutExpired as late:
            found = 124, "", (late.stderr or b"").decode(errors="replace")
        return (*found, round(time.monotonic() - begin, 1))

    def tell(self, name, ours, native):
        status, output, said, seconds = ours
        lines = [line for line in said.splitlines() if line.strip()]
        refused = sorted({next(g for g in m.groups() if g) for m in map(REFUSED.search, lines)
                          if m})
        error = next((line for line in reversed(lines) if ERROR.match(line)),
                     lines[-1] if lines else "")
        self.report.measure(f"{self.package}: {name}", {
            "status": status, "numbers": numbers(output)[:8], "seconds": seconds,
            "refused": refused, "error": error[:300] if status else "",
            "native": None if native is None else {
                "status": native[0], "numbers": numbers(native[1])[:8], "seconds": native[3],
                "error": native[2][-300:] if native[0] else ""}})
        well = status == 0 and (native is None or close(numbers(output), numbers(native[1])))
        self.report.check(f"{self.package}: {name}", well,
                          "" if well else f"{error[:200]} refused: {', '.join(refused)[:300]}")
        if not well and status:
            print("\n".join("       | " + line[:220] for line in lines[-14:]), flush=True)

    def run(self, programs, only, natively):
        names = [name for name in programs if not only or name.replace(" ", "_") in only]
        with Lab(self.bin_dir, test_ops=False) as lab, \
                concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            before = (self.tool, "--socket", lab.socket, "--vm-id", "1", "--")
            ways = {name: (pool.submit(self.one, programs[name], before),
                           pool.submit(self.one, programs[name]) if natively else None)
                    for name in names}
            for name, (ours, native) in ways.items():
                self.tell(name, ours.result(), native.result() if native else None)
            late = [line for line in lab.log_text().splitlines() if "late" in line]
            self.report.check(f"{self.package}: no error came late", not late, "; ".join(late[:3]))


def main():
    names = [name.replace(" ", "_") for name in {**TORCH, **JAX}]
    parser = parser_of(__doc__, names, backends=("cuda",))
    parser.add_argument("--jax", action="store_true", help="JAX in PyTorch's place")
    parser.add_argument("--no-native", action="store_true", help="through us alone")
    args = parser.parse_args()
    package = "jax" if args.jax else "torch"
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    if not importlib.util.find_spec(package):
        return skip(args.out, f"no {package} here")
    use_packages_libraries()
    report = Report()
    Suite(report, args.bin_dir, package).run(JAX if args.jax else TORCH, args.only,
                                             not args.no_native)
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
