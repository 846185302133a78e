#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks on a real GPU that a worker runs with the CUDA driver in what vgpu-keeper leaves it: a uid
of its VM's own, no capability, namespaces of its own, and no device but the GPU's.

    keeper_check.py [--bin-dir DIR] [--out FILE] [--backend cuda|cpu]

Needs root.  Exit status: 0 passed, 1 failed, 77 skipped: no GPU, or not root.
"""
import os
import statistics
import sys
import time

from lab import Lab, faults
from report import Report, parser_of, skip, skipped_without_gpu

HERE = os.path.dirname(os.path.abspath(__file__))
STARTS = 8
UID_FIRST, UID_COUNT = 2100000000, 65536


def status_of(pid):
    with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def namespaces(pid):
    return {name: os.readlink("/proc/%s/ns/%s" % (pid, name)) for name in ("net", "ipc", "mnt")}


class Suite:
    def __init__(self, report, bin_dir, backend):
        self.report, self.bin_dir, self.backend = report, bin_dir, backend

    def lab(self, *args):
        lab = Lab(self.bin_dir, *args, backend=self.backend)
        os.chmod(lab.folder, 0o711)  # the cache is the workers', who must get there
        lab.args += ["--worker-cache", os.path.join(lab.folder, "cache")]
        return lab

    def confined(self):
        check = self.report.check
        with self.lab("--worker-confine", "always") as lab:
            result = lab.loadgen("4", "--op", "add=80,spin:300=20", "--depth", "4",
                                 "--seconds", "2")
            check("four confined workers: every job right", faults(result) == 0, result["total"])
            workers = lab.workers()
            uids = {pid: status_of(pid)["Uid"].split() for pid in workers.values()}
            check("each has a uid of its own, for good",
                  len(workers) == 4 and len({uid[0] for uid in uids.values()}) == 4
                  and all(len(set(uid)) == 1 and UID_FIRST <= int(uid[0]) < UID_FIRST + UID_COUNT
                          for uid in uids.values()), uids)
            rights = {pid: {key: status_of(pid)[key] for key in
                            ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}
                      for pid in workers.values()}
            check("none has a capability, or can get one",
                  all(int(value, 16) == (key == "NoNewPrivs")
                      for right in rights.values() for key, value in right.items()), rights)
            spaces = [namespaces("self")] + [namespaces(pid) for pid in workers.values()]
            check("each has namespaces of its own",
                  all(len({space[name] for space in spaces}) == 5 for name in spaces[0]), spaces)
            devices = {pid: sorted(os.listdir("/proc/%d/root/dev" % pid))
                       for pid in workers.values()}
            check("no device but the GPUs' and harmless ones",
                  all(name.startswith("nvidia") or
                      name in ("null", "zero", "full", "random", "urandom")
                      for names in devices.values() for name in names), devices)
            cache = os.path.join(lab.folder, "cache")
            if self.backend == "cuda" and os.path.isdir(cache):  # VMs without a UUID have none
                owners = {name: os.stat(os.path.join(cache, name)).st_uid
                          for name in os.listdir(cache)}
                found = {name: sum(len(files) for _, _, files in
                                   os.walk(os.path.join(cache, name))) for name in owners}
                check("each has a cache of compiled kernels, its own, and used it",
                      sorted(owners.values()) == sorted(int(uid[0]) for uid in uids.values())
                      and all(found.values()), dict(owners=owners, files=found))
            seccomp = {pid: status_of(pid)["Seccomp"] for pid in workers.values()}
            check("each is under a list of system calls", set(seccomp.values()) == {"2"}, seccomp)
            keeper = lab.admin_must("status").get("keeper")
            self.report.measure("keeper, as vgpu-admin status has it", keeper)

    def starts(self):
        """The first job of a VM, one VM after the other, in turns."""
        times = {}
        for _ in range(2):
            for how in ("never", "always"):
                with self.lab("--worker-confine", how) as lab:
                    for vm_id in range(1, STARTS + 1):
                        before = time.monotonic()
                        lab.client("1", "2", vm_id=vm_id)
                        times.setdefault(how, []).append(1e3 * (time.monotonic() - before))
        median = {how: round(statistics.median(values), 1) for how, values in times.items()}
        self.report.measure("a VM's first job, ms, median", median)
        self.report.measure("each of them, ms", {how: [round(one, 1) for one in values]
                                                 for how, values in times.items()})
        if self.backend == "cuda":
            self.report.check("confined it starts as fast as not: its kernels are compiled once",
                              median["always"] <= 1.3 * median["never"], median)


def main():
    args = parser_of(__doc__).parse_args()
    if os.geteuid() != 0:
        return skip(args.out, "not root: workers keep the caller's uid")
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    report = Report()
    suite = Suite(report, args.bin_dir, args.backend)
    report.run([(name, getattr(suite, name)) for name in ("confined", "starts")])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
