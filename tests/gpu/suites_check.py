#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Other projects' own test suites through our libcuda.so.1 on a real GPU, beside the driver itself
in the same run.

  tests/gpu/suites_check.py [--bin-dir build/bin] [--out FILE.json] [--suite NAME]... [--limit S]

Each suite is run natively and then through us, a process for each of its modules, some of them at
the same time.  What passes natively and not through us is a difference, which fails the check
unless EXPECTED has it with a reason; that list may only shrink.  Without a usable GPU, or where
none of the suites is installed, it says so and exits with 77."""

import concurrent.futures
import importlib.util
import json
import os
import queue
import re
import subprocess
import sys
import time

from lab import Lab
from report import Report, parser_of, skip, skipped_without_gpu

HERE = os.path.dirname(os.path.abspath(__file__))
# Name: (package that has it, folder of its tests there, their package's name, which modules).
SUITES = {
    "numba-cudadrv": ("numba_cuda", "numba/cuda/tests/cudadrv", "numba.cuda.tests.cudadrv", ""),
    "numba-cudapy-1": ("numba_cuda", "numba/cuda/tests/cudapy", "numba.cuda.tests.cudapy",
                       "test_[a-d]"),
    "numba-cudapy-2": ("numba_cuda", "numba/cuda/tests/cudapy", "numba.cuda.tests.cudapy",
                       "test_[e-l]"),
    "numba-cudapy-3": ("numba_cuda", "numba/cuda/tests/cudapy", "numba.cuda.tests.cudapy",
                       "test_[m-z]"),
    "numba-nocuda": ("numba_cuda", "numba/cuda/tests/nocuda", "numba.cuda.tests.nocuda", ""),
}
# What a test that differs may say, and why it can't pass here.
EXPECTED = {
    "cuMemAllocManaged": "managed memory is refused, and the device says that it has none",
    "cuMemHostGetDevicePointer": "registered memory has no address for kernels",
    "cupy_backends.cuda.api.runtime": "CuPy has NVIDIA's runtime built in, which asks for hidden "
                                      "tables",
}


def folder_of(suite):
    package, folder, *_ = SUITES[suite]
    spec = importlib.util.find_spec(package)
    return os.path.join(list(spec.submodule_search_locations)[0], folder) if spec else ""


def modules_of(suite):
    _, _, name, which = SUITES[suite]
    return sorted("%s.%s" % (name, file[:-3]) for file in os.listdir(folder_of(suite))
                  if file.startswith("test_") and file.endswith(".py")
                  and re.match(which, file))


def is_installed(suite):
    return os.path.isdir(folder_of(suite))


def outcomes(path):
    """Each test's name: passed, failed, skipped or begun, and why."""
    found = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                name, what, why = json.loads(line)
                if found.get(name, ("begun",))[0] != "failed":
                    found[name] = (what, why)
    return found


class Suite:
    def __init__(self, report, bin_dir, limit_s, processes):
        self.report, self.bin_dir, self.limit_s = report, bin_dir, limit_s
        self.processes = processes
        tree = os.path.dirname(os.path.abspath(bin_dir))
        self.run_tool = os.path.join(tree, "guest", "cuda", "vgpu-run")

    def module(self, module, lab, folder, vms, end_s):
        """Its tests' outcomes, and the end of what it said.  A test may end its contexts by a
        fault, so at the same time each has a VM, and so a worker, of its own."""
        vm = vms.get()
        try:
            left_s = end_s - time.monotonic()
            if left_s < 1:
                return {}, "not begun in the time that there was"
            return self.run_module(module, lab, folder, vm, left_s)
        finally:
            vms.put(vm)

    def run_module(self, module, lab, folder, vm, left_s):
        path = os.path.join(folder, "%s-%s" % (module, "us" if lab else "native"))
        command = [sys.executable, os.path.join(HERE, "unit_outcomes.py"), path, module]
        if lab:
            command = [self.run_tool, "--socket", lab.socket, "--vm-id", str(vm), "--", *command]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=left_s, cwd=folder, errors="replace")
            said = done.stderr[-300:] if done.returncode else ""
        except subprocess.TimeoutExpired:
            said = "not over after %d s" % left_s
        return outcomes(path), said

    def all(self, suite, lab, folder):
        found, said, vms = {}, [], queue.SimpleQueue()
        end_s = time.monotonic() + self.limit_s
        for vm in range(1, self.processes + 1):
            vms.put(vm)
        with concurrent.futures.ThreadPoolExecutor(self.processes) as pool:
            runs = {module: pool.submit(self.module, module, lab, folder, vms, end_s)
                    for module in modules_of(suite)}
            for module, run in runs.items():
                tests, words = run.result()
                found.update(tests)
                if words:
                    said.append("%s: %s" % (module, words))
        return found, said

    def run(self, suite):
        with Lab(self.bin_dir, test_ops=False) as lab:
            native, said_native = self.all(suite, None, lab.folder)
            us, said_us = self.all(suite, lab, lab.folder)
            log = lab.log_text()
        differences, allowed = {}, 0
        for name, (what, _) in native.items():
            other = us.get(name, ("missing", ""))
            if what == "passed" and other[0] != "passed":
                allowed += any(call in other[1] for call in EXPECTED)
                differences[name] = "%s: %s" % other
        self.report.check("%s: what passes natively" % suite,
                          "passed" in {what for what, _ in native.values()}
                          and len(differences) == allowed,
                          "; ".join("%s %s" % item for item in list(differences.items())[:40])
                          if differences else "".join(said_native)[-500:])
        counts = {who: {what: sum(found[0] == what for found in rows.values())
                        for what in ("passed", "failed", "skipped", "begun")}
                  for who, rows in (("native", native), ("us", us))}
        refused = sorted({line.split("called ")[1].split(",")[0] for line in log.splitlines()
                          if "a program called" in line})
        self.report.measure(suite, {**counts, "differences": differences, "refused": refused,
                                    "failed_natively": sorted(n for n, w in native.items()
                                                              if w[0] == "failed"),
                                    "said": {"native": said_native, "us": said_us}})


def main():
    parser = parser_of(__doc__, backends=("cuda",))
    parser.add_argument("--suite", action="append", choices=sorted(SUITES))
    parser.add_argument("--limit", type=int, default=600, help="seconds for each run of a suite")
    parser.add_argument("--processes", type=int, default=8)
    args = parser.parse_args()
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    wanted = [name for name in args.suite or SUITES if is_installed(name)]
    if not wanted:
        return skip(args.out, "none of the suites is installed here")
    report = Report()
    suite = Suite(report, args.bin_dir, args.limit, args.processes)
    report.run([(name, lambda name=name: suite.run(name)) for name in wanted])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
