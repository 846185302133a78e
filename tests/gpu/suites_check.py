#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Other projects' own test suites through our libcuda.so.1 on a real GPU, beside the driver itself
in the same run.

  tests/gpu/suites_check.py [--bin-dir build/bin] [--out FILE.json] [--suite NAME]... [--limit S]

Each suite is run natively and then through us, by pytest in several processes.  What passes
natively and not through us is a difference, which fails the check unless EXPECTED has it with a
reason; that list may only shrink.  Without a usable GPU, or where none of the suites is installed,
it says so and exits with 77."""

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree

from lab import Lab
from report import Report, parser_of, skip, skipped_without_gpu

# Name: (module that has it, package of its tests, what of them by pytest's -k).
SUITES = {
    "numba-cudadrv": ("numba_cuda", "numba.cuda.tests.cudadrv", ""),
    "numba-cudapy-1": ("numba_cuda", "numba.cuda.tests.cudapy",
                       "test_array or test_atomics or test_blackscholes or test_boolean or "
                       "test_casting or test_complex or test_const or test_copy or test_device"),
    "numba-cudapy-2": ("numba_cuda", "numba.cuda.tests.cudapy",
                       "test_event or test_fastmath or test_gufunc or test_idiv or test_intr or "
                       "test_lang or test_laplace or test_local or test_math or test_matmul"),
    "numba-cudapy-3": ("numba_cuda", "numba.cuda.tests.cudapy",
                       "test_mandel or test_montecarlo or test_multithreads or test_operator or "
                       "test_powi or test_print or test_random or test_record or test_reduction or "
                       "test_retrieve or test_sm or test_stream or test_sync or test_vector or "
                       "test_warp"),
}
# Test's name: why it can't pass here.
EXPECTED = {}


def is_installed(suite):
    return importlib.util.find_spec(SUITES[suite][0]) is not None


def outcomes(path):
    """Each test's name: passed, failed or skipped, with its first line."""
    found = {}
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        what, said = "passed", ""
        for child in case:
            if child.tag in ("failure", "error", "skipped"):
                what = "skipped" if child.tag == "skipped" else "failed"
                said = (child.get("message") or "").splitlines()[:1]
        found["%s.%s" % (case.get("classname"), case.get("name"))] = (what, "".join(said)[:200])
    return found


class Suite:
    def __init__(self, report, bin_dir, limit_s, processes):
        self.report, self.bin_dir, self.limit_s = report, bin_dir, limit_s
        self.processes = processes
        tree = os.path.dirname(os.path.abspath(bin_dir))
        self.run_tool = os.path.join(tree, "guest", "cuda", "vgpu-run")

    def pytest(self, suite, lab, folder):
        path = os.path.join(folder, "%s-%s.xml" % (suite, "us" if lab else "native"))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line",
                   "--junitxml=" + path, "-n", str(self.processes), "--dist=loadscope",
                   "--timeout=60", "-o", "consider_namespace_packages=true", "--pyargs",
                   SUITES[suite][1]]
        if SUITES[suite][2]:
            command += ["-k", SUITES[suite][2]]
        if lab:
            command = [self.run_tool, "--socket", lab.socket, "--vm-id", "1", "--", *command]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False,
                                  timeout=self.limit_s, cwd=folder)
            said = done.stdout[-300:] + done.stderr[-300:]
        except subprocess.TimeoutExpired:
            return {}, "not over after %d s" % self.limit_s
        return (outcomes(path), said) if os.path.exists(path) else ({}, said)

    def run(self, suite):
        with Lab(self.bin_dir, test_ops=False) as lab:
            native, said_native = self.pytest(suite, None, lab.folder)
            us, said_us = self.pytest(suite, lab, lab.folder)
            log = lab.log_text()
        differences, allowed = {}, 0
        for name, (what, _) in native.items():
            other = us.get(name, ("missing", said_us[-100:]))
            if what == "passed" and other[0] != "passed":
                allowed += name in EXPECTED
                differences[name] = "%s: %s" % other
        self.report.check("%s: what passes natively" % suite,
                          "passed" in {what for what, _ in native.values()}
                          and len(differences) == allowed,
                          "; ".join("%s %s" % item for item in list(differences.items())[:40])
                          if differences else said_native)
        counts = {who: {what: sum(found[0] == what for found in rows.values())
                        for what in ("passed", "failed", "skipped")}
                  for who, rows in (("native", native), ("us", us))}
        refused = sorted({line.split("called ")[1].split(",")[0] for line in log.splitlines()
                          if "a program called" in line})
        self.report.measure(suite, {**counts, "differences": differences, "refused": refused})


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
