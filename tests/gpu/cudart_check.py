#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks programs on the CUDA runtime on a real GPU, three ways in the same run: on NVIDIA's
runtime and driver, on our runtime over NVIDIA's driver, and through us.

  tests/gpu/cudart_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]...

Needs Python's standard library, an NVIDIA driver and NVIDIA's libcudart.so.13 (of a toolkit or of
a Python package; VGPU_NVIDIA_CUDART says in which folder); programs of nvcc where there is one.
Without a usable GPU it says so and exits with 77."""

import glob
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
from lab import LIBRARIES, Lab, use_packages_libraries  # noqa: E402
from report import Report, parser_of, skipped_without_gpu  # noqa: E402

PLACES = ["/usr/local/cuda*/lib64", "/usr/lib/x86_64-linux-gnu",
          *(os.path.join(path, "nvidia", "*", "lib") for path in sys.path if path)]


def nvidia_runtime():
    """The folder of NVIDIA's own library, or None."""
    for place in [os.environ.get("VGPU_NVIDIA_CUDART", ""), *PLACES]:
        for folder in sorted(glob.glob(place)) if place else ():
            if os.path.exists(os.path.join(folder, "libcudart.so.13")):
                return folder
    return None


class Suite:
    def __init__(self, report, bin_dir):
        self.report = report
        self.bin_dir = bin_dir
        tree = os.path.dirname(os.path.abspath(bin_dir))
        self.tree = tree
        self.run_tool = os.path.join(tree, "guest", "cuda", "vgpu-run")
        self.program = os.path.join(tree, "tests", "cuda", "try_runtime")
        self.native = nvidia_runtime()

    def text(self, folder, *command, native=False):
        """The program with the runtime of that folder, on NVIDIA's driver."""
        paths = [folder, os.environ.get("LD_LIBRARY_PATH", "")]
        names = {"LD_LIBRARY_PATH": ":".join(p for p in paths if p)}
        if native:
            names["TRY_NATIVE"] = names["TRY_PARTS"] = "1"
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False,
                              env={**os.environ, **names})
        return done.stdout.splitlines(), done.returncode, done.stderr[-1000:]

    def through_us(self, *command):
        with Lab(self.bin_dir, test_ops=False) as lab:
            done = subprocess.run([self.run_tool, "--socket", lab.socket, "--vm-id", "1", "--",
                                   *command], capture_output=True, text=True, timeout=200,
                                  check=False)
            late = "came late" in lab.log_text()
        return done.stdout.splitlines(), done.returncode, done.stderr[-1000:] + " late" * late

    def three_ways(self, name, *command):
        """Each way's lines; the first is the one that the others are to equal."""
        ours = os.path.join(self.tree, "guest", "cudart")
        ways = {}
        if self.native:
            ways["NVIDIA's runtime"] = self.text(self.native, *command, native=True)
        ways["our runtime, NVIDIA's driver"] = self.text(ours, *command, native=True)
        ways["through us"] = self.through_us(*command)
        first = next(iter(ways.values()))[0]
        for way, (lines, status, said) in ways.items():
            self.report.measure(f"{name}: {way}", {"status": status, "lines": lines,
                                                   "said": said.splitlines()})
            unlike = [f"{a} / {b}" for a, b in zip(first, lines) if a != b][:10]
            self.report.check(f"{name}: {way}", lines == first and lines != [],
                              "; ".join(unlike) or said)
        return ways

    def values(self):
        ways = self.three_ways("try_runtime", self.program)
        for way, (lines, status, said) in ways.items():
            self.report.check(f"all values as the program has them: {way}", status == 0,
                              "; ".join(lines[:20]) + said)

    def faults(self):
        self.three_ways("try_runtime fault", self.program, "fault")

    def library(self, name, soname):
        """Natively and through us only: the front end needs a worker."""
        program = os.path.join(self.tree, "tests", "cuda", name)
        ways = {"through us": self.through_us(program)}
        folders = [folder for folder in (self.native, *(
            os.path.dirname(os.environ.get(variable, "")) for variable in LIBRARIES)) if folder]
        if any(os.path.exists(os.path.join(folder, soname)) for folder in folders):
            ways["NVIDIA's library"] = self.text(":".join(folders), program, native=True)
        for way, (lines, status, said) in ways.items():
            self.report.measure(f"{name}: {way}", {"status": status, "lines": lines})
            self.report.check(f"{name}: {way}", status == 0 and "late" not in said,
                              "; ".join(lines[:20]) + said)

    def cublas(self):
        self.library("try_cublas", "libcublas.so.13")

    def cudnn(self):
        self.library("try_cudnn", "libcudnn.so.9")

    def cufft(self):
        self.library("try_cufft", "libcufft.so.12")

    def nvcc(self):
        nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
        source = os.path.join(HERE, "..", "cuda", "nvcc_program.cu")
        if not nvcc or not self.native:
            print("     no nvcc, or no libcudart.so.13 of NVIDIA here")
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, options in (("nvcc", []),
                                  ("nvcc, per-thread streams", ["--default-stream", "per-thread"]),
                                  ("nvcc, all compressed", ["--compress-mode=size"])):
                program = os.path.join(folder, "program")
                subprocess.run([nvcc, "-cudart", "shared", "-arch=native", *options, "-o", program,
                                source], check=True, timeout=200)
                self.three_ways(name, program)


SECTIONS = ("values", "faults", "cublas", "cudnn", "cufft", "nvcc")


def main():
    parser = parser_of(__doc__, SECTIONS, backends=("cuda",))
    args = parser.parse_args()
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    use_packages_libraries()
    report = Report()
    suite = Suite(report, args.bin_dir)
    report.run([(name, getattr(suite, name)) for name in SECTIONS
                if not args.only or name in args.only])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
