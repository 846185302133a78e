#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks and measures CUDA programs through our libcuda.so.1 on a real GPU, beside the driver
itself in the same run.

  tests/gpu/cuda_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]...

Needs Python's standard library and an NVIDIA driver; numba_program.py runs where Python has
Numba.  Without a usable GPU it says so and exits with 77."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
from lab import Lab  # noqa: E402
from report import Report, parser_of, skipped_without_gpu  # noqa: E402

# Figures of bench_driver: what of native is wanted, as a factor or a sum.
WANTED = {"launch_sync_us": lambda native: native * 1.15, "launch_us": lambda native: native * 1.05,
          "launch_done_us": lambda native: native * 1.05, "call_cpu_us": lambda native: 0.25,
          "small_trip_us": lambda native: native * 1.3,
          "alloc_free_1m_us": lambda native: native + 6}
WANTED_GBS = {"pinned_in_gbs": 0.98, "pinned_out_gbs": 0.98, "plain_in_gbs": 0.9,
              "plain_out_gbs": 0.9}


class Suite:
    def __init__(self, report, bin_dir, rounds):
        self.report = report
        self.bin_dir = bin_dir
        self.rounds = rounds
        tree = os.path.dirname(os.path.abspath(bin_dir))
        self.run_tool = os.path.join(tree, "guest", "cuda", "vgpu-run")
        self.programs = os.path.join(tree, "tests", "cuda")
        images = os.path.join(HERE, "..", "cuda", "images", "kernels.ptx")
        self.image = os.path.abspath(images)

    def program(self, name):
        return os.path.join(self.programs, name)

    def lab(self, *args):
        return Lab(self.bin_dir, *args, test_ops=False)

    def start(self, lab, vm, *command):
        """On the driver itself where there is no lab."""
        if lab:
            command = [self.run_tool, "--socket", lab.socket, "--vm-id", str(vm), "--", *command]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True)

    def text(self, lab, vm, *command, timeout=120):
        process = self.start(lab, vm, *command)
        try:
            return process.communicate(timeout=timeout)[0].strip(), process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            return "timeout: " + process.communicate()[0][-500:], 124

    def programs_agree(self):
        for name, lab in (("natively", None), ("through us", self.lab())):
            if lab:
                lab.start()
            for threads in ("1", "8"):
                out, status = self.text(lab, 1, self.program("try_driver"), self.image, threads)
                self.report.check("try_driver %s, %s threads" % (name, threads), status == 0,
                                  out[-600:] if status else out.splitlines()[-1])
            if lab:
                late = "came late" in lab.log_text()
                self.report.check("no error came late", not late)
                lab.stop()

    def parity(self):
        """Every answer as natively in the same run; the native ones are kept."""
        native, status = self.text(None, 1, self.program("parity_driver"), self.image)
        self.report.check("parity_driver natively", status == 0, native[-200:] if status else "")
        with self.lab() as lab:
            us, status = self.text(lab, 1, self.program("parity_driver"), self.image)
        lines = [line for line in us.splitlines() if not line.startswith("libcuda (vgpu)")]
        wrong = ["%s / %s" % pair for pair in zip(native.splitlines(), lines) if pair[0] != pair[1]]
        self.report.check("parity: %d lines" % len(lines),
                          not wrong and len(lines) == len(native.splitlines()),
                          "; ".join(wrong[:20]))
        self.report.measure("parity_native", native.splitlines())

    def bench(self, lab):
        out, status = self.text(lab, 1, self.program("bench_driver"), self.image)
        if status:
            raise RuntimeError("bench_driver: " + out[-500:])
        return json.loads(out.splitlines()[-1])

    def figures(self):
        rows = {"native": [], "us": []}
        with self.lab() as lab:
            for _ in range(self.rounds):
                rows["native"].append(self.bench(None))
                rows["us"].append(self.bench(lab))
        medians = {who: {key: statistics.median(row[key] for row in all_rows)
                         for key in all_rows[0]} for who, all_rows in rows.items()}
        for key, native in medians["native"].items():
            us = medians["us"][key]
            value = {"native": native, "us": us, "ratio": round(us / native, 3)}
            if key in WANTED:
                value["met"] = us <= WANTED[key](native)
            elif key in WANTED_GBS:
                value["met"] = us >= native * WANTED_GBS[key]
            self.report.measure(key, value)

    def shares(self):
        def command():
            """All begin at one moment, when they have all started for sure."""
            return [self.program("bench_driver"), self.image, "4", str(time.monotonic() + 4)]

        def rates(processes):
            found = []
            for process in processes:
                out = process.communicate(timeout=60)[0]
                row = json.loads(out.strip().splitlines()[-1])
                found.append(row["launches"] / row["seconds"])
            return found

        native = rates([self.start(None, 0, *command())])[0]
        with self.lab() as lab:
            alone = rates([self.start(lab, 1, *command())])[0]
            both = command()
            pair = rates([self.start(lab, vm, *both) for vm in (1, 2)])
        self.report.measure("spin_4us_launches_s", {
            "native": round(native), "alone": round(alone), "pair": [round(x) for x in pair],
            "alone_of_native": round(alone / native, 4),
            "together_of_alone": round(sum(pair) / alone, 4),
            "share_error_points": round(abs(pair[0] / sum(pair) - 0.5) * 100, 2)})

    def lines_agree(self, name):
        """A program that prints each call and its result: the same lines as natively."""
        native, status = self.text(None, 1, self.program(name), self.image)
        self.report.check(name + " natively", status == 0, native[-300:] if status else "")
        with self.lab() as lab:
            us, status = self.text(lab, 1, self.program(name), self.image)
        pairs = list(itertools.zip_longest(native.splitlines(), us.splitlines()))
        wrong = ["%s / %s" % pair for pair in pairs if pair[0] != pair[1]]
        self.report.check("%s: %d lines as natively" % (name, len(pairs)), not wrong,
                          "; ".join(wrong[:20]))
        self.report.measure(name, native.splitlines())

    def graphs(self):
        self.lines_agree("graph_driver")

    def memory(self):
        self.lines_agree("memory_driver")

    def nodes(self):
        self.lines_agree("nodes_driver")

    def host_functions(self):
        self.lines_agree("host_driver")

    def virtual(self):
        self.lines_agree("virtual_driver")

    def printing(self):
        """In its place among what the program prints, as natively.  Whether waiting for an event
        brings it, too, is the driver's affair, and shown only."""
        image = os.path.join(os.path.dirname(self.image), "print.ptx")
        native, status = self.text(None, 1, self.program("print_driver"), image)
        self.report.check("print_driver natively", status == 0, native[-300:])
        with self.lab() as lab:
            us, status = self.text(lab, 1, self.program("print_driver"), image)
        first = [said.split("before 2")[0] for said in (native, us)]
        self.report.check("what a kernel prints, as natively", status == 0
                          and first[0] == first[1] and first[0].count("a kernel prints") == 2,
                          "us: %r native: %r" % (us[-300:], native[-300:]))
        self.report.measure("printed", {"native": native.splitlines(), "us": us.splitlines()})

    def copies(self):
        with self.lab() as lab:
            out, status = self.text(lab, 1, self.program("copies_driver"), self.image, "12")
        self.report.check("12 threads copy at the same time", status == 0, out[-300:])

    def faults(self):
        """A program whose kernel fails gets the driver's code; another VM loses nothing."""
        with self.lab() as lab:
            other = self.start(lab, 2, self.program("try_driver"), self.image, "4")
            for kernel, code in (("bad", 700), ("trap", 719)):
                out, _ = self.text(lab, 1, self.program("fault_driver"), self.image, kernel)
                native, _ = self.text(None, 1, self.program("fault_driver"), self.image, kernel)
                self.report.check("%s is %d in every call as natively" % (kernel, code),
                                  out == native and str(code) in out,
                                  "" if out == native else "us: %s native: %s" % (out, native))
            out = other.communicate(timeout=120)[0]
            self.report.check("another VM's program", other.returncode == 0, out[-300:])
            out, status = self.text(lab, 1, self.program("try_driver"), self.image, "1")
            self.report.check("the next program of the VM", status == 0, out[-300:])

    def neighbours(self, lab, what, vms, trouble):
        """What programs of other VMs lose by `trouble`, which runs beside them: nothing.  A count
        is of whole rounds of a program that checks every value."""
        done, over = {vm: 0 for vm in vms}, threading.Event()
        failed = []

        def rounds(vm):
            while not over.is_set():
                out, status = self.text(lab, vm, self.program("try_driver"), self.image, "2")
                done[vm] += status == 0
                if status:
                    failed.append("VM %d: %s" % (vm, out[-200:]))

        threads = [threading.Thread(target=rounds, args=(vm,)) for vm in vms]
        for thread in threads:
            thread.start()
        try:
            trouble()
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.report.check("%s: neighbours lose nothing" % what,
                          not failed and all(done.values()), failed or done)

    def hang(self):
        """A kernel without an end: its program gets an error, and others go on."""
        with self.lab("--job-timeout-ms", "3000") as lab:
            def trouble():
                out, _ = self.text(lab, 1, self.program("fault_driver"), self.image, "hang")
                said = dict(line.rsplit(" ", 1) for line in out.splitlines()
                            if not line.startswith("libcuda"))
                self.report.check("a hang is 702 in the call that waits", said.get("sync") == "702",
                                  out[-300:])
            self.neighbours(lab, "a hang", (2, 3), trouble)
            out, status = self.text(lab, 1, self.program("try_driver"), self.image, "1")
            self.report.check("the next program of the VM", status == 0, out[-300:])

    def memory_storm(self):
        uuids = {vm: "00000000-0000-4000-8000-00000000000%d" % vm for vm in (1, 2, 3)}
        vms = [["--vm-name=v%d" % vm, "--vm-id=%d" % vm, "--vm-uuid=" + uuid]
               for vm, uuid in uuids.items()]
        with Lab(self.bin_dir, test_ops=False, db=vms) as lab:
            lab.admin_must("set-memory-limit", "--vm-name=v1", "--limit=4G")

            def trouble():
                out, status = self.text(lab, 1, self.program("storm_driver"), self.image, "20")
                self.report.check("refused 20 times over, and nothing else", status == 0,
                                  out[-300:])
            self.neighbours(lab, "an out-of-memory storm", (2, 3), trouble)

    def killed(self):
        """kill -9, also beside programs of the same VM."""
        with self.lab() as lab:
            def trouble():
                for _ in range(5):
                    victim = self.start(lab, 1, self.program("bench_driver"), self.image, "30")
                    time.sleep(1.5)  # it is launching, or beginning to: either is a case
                    victim.kill()
                    victim.wait()
            self.neighbours(lab, "kill -9", (1, 2), trouble)

    def numba(self):
        program = os.path.join(HERE, "numba_program.py")
        with self.lab() as lab:
            for name, where in (("natively", None), ("through us", lab)):
                out, status = self.text(where, 1, sys.executable, program, timeout=200)
                if status == 77:
                    print("     no Numba here: " + out[-200:])
                    return
                self.report.check("Numba's program " + name, status == 0, out[-1500:])
                if status == 0:
                    said = json.loads(out.splitlines()[-1])
                    ours = any("/guest/cuda/" in path for path in said["libraries"])
                    self.report.check("its library " + name, ours == (where is not None)
                                      and len(said["libraries"]) == 1, said["libraries"])
                    self.report.measure("numba_" + name.replace(" ", "_"),
                                        said["saxpy_launch_us"])


# Methods of Suite.
SECTIONS = {"programs": "programs_agree", "parity": "parity", "printing": "printing",
            "graphs": "graphs", "nodes": "nodes", "memory": "memory", "virtual": "virtual",
            "host": "host_functions", "copies": "copies", "figures": "figures",
            "faults": "faults", "hang": "hang", "memory_storm": "memory_storm",
            "killed": "killed", "numba": "numba", "shares": "shares"}


def main():
    parser = parser_of(__doc__, SECTIONS, backends=("cuda",))
    parser.add_argument("--rounds", type=int, default=3, help="of the figures, which are medians")
    args = parser.parse_args()
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    report = Report()
    suite = Suite(report, args.bin_dir, args.rounds)
    report.run([(name, getattr(suite, method)) for name, method in SECTIONS.items()
                if not args.only or name in args.only])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
