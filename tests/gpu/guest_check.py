#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests in QEMU whose jobs run on a real GPU: vgpu-client in the guest, the device, the
mediator, the CUDA workers.

  tests/gpu/guest_check.py [--bin-dir build/bin] [--guest-dir FOLDER] [--out FILE.json]

FOLDER (default: guest/ in a bundle of scripts/gpu-bundle) holds qemu, vmlinuz, busybox and
vgpu-client.  Uses KVM where a guest boots with it, else emulation; times that were measured under
emulation say little.  --backend cpu runs the same without a GPU."""

import json
import os
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "vm")]
import guest_image  # noqa: E402
from lab import Lab  # noqa: E402
from report import Report, parser_of, run_text, skip, skipped_without_gpu  # noqa: E402
from vm import Guest, usable_accel  # noqa: E402

GUESTS = 3
SECONDS = 8


class OneGuest(threading.Thread):
    """Boots, then runs each command when all guests are there; the last JSON line of each."""

    def __init__(self, check, number):
        super().__init__(daemon=True)
        self.check = check
        self.number = number
        self.answers = {}
        self.error = None

    def run(self):
        try:
            self.work()
        except BaseException as error:
            self.error = "%s: %s" % (type(error).__name__, error)
            self.check.barrier.abort()

    def client(self, guest, name, arguments):
        status, output = guest.run("vgpu-client --json " + arguments, 120)
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        self.answers[name] = dict(lines[-1] if lines else {"said": output}, status=status)

    def work(self):
        folder = os.path.join(self.check.folder, "g%d" % self.number)
        os.mkdir(folder)
        begin = time.monotonic()
        # A kernel under emulation on a busy host fails its own timer check now and then.
        arguments = ["-L", os.path.join(self.check.guest_dir, "bios"),
                     "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                     "-name", "guest=g%d" % self.number,
                     "-chardev", "socket,id=link,path=%s,reconnect=1" % self.check.lab.socket,
                     "-device", "vgpu-stub,chardev=link,vm_id=%d,pool_id=A"
                     % self.number]  # fmt: skip
        with Guest([os.path.join(self.check.guest_dir, "qemu")], folder, arguments,
                   files={"/bin/vgpu-client": os.path.join(self.check.guest_dir, "vgpu-client")},
                   accel=self.check.accel, memory_mib=128, boot_limit_s=240) as guest:  # fmt: skip
            self.boot_s = time.monotonic() - begin
            self.client(guest, "info", "--op info")
            self.client(guest, "sum", "100 200")
            self.check.barrier.wait(300)
            for op in ("add", "vadd-i32", "vadd-f32", "spin --us 2000"):
                self.client(guest, op, "--op %s --keep-going --seconds %d" % (op, SECONDS // 2))
            self.client(guest, "bench", "--bench --op add --count 2000")
            # One guest breaks its context again and again; the others must not notice.
            self.check.barrier.wait(300)
            if self.number == 1:
                for _ in range(3):
                    self.client(guest, "crash", "--op crash")
                    self.client(guest, "after the crash", "5 6")
            else:
                self.client(guest, "beside crashes", "--keep-going --seconds 5")


class GuestCheck:
    def __init__(self, report, options):
        self.report = report
        self.guest_dir = os.path.abspath(options.guest_dir)
        self.options = options
        self.barrier = threading.Barrier(GUESTS)

    def run(self):
        qemu = [os.path.join(self.guest_dir, "qemu")]
        version, error = run_text(*qemu, "-version")
        self.report.check("QEMU starts", version != "", version.splitlines()[:1] or error)
        os.environ["VGPU_GUEST_KERNEL"] = os.path.join(self.guest_dir, "vmlinuz")
        guest_image.busybox = lambda: os.path.join(self.guest_dir, "busybox")
        os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp(prefix="vgpu-cache-"))
        guest_image.cache_folder().mkdir(parents=True, exist_ok=True)
        self.accel = self.options.accel or usable_accel(
            [*qemu, "-L", os.path.join(self.guest_dir, "bios")]
        )
        self.report.measure("QEMU's accelerator", self.accel)
        with Lab(self.options.bin_dir, "--fault-threshold", "0",
                 backend=self.options.backend) as lab:
            self.lab, self.folder = lab, lab.folder
            guests = [OneGuest(self, number) for number in range(1, GUESTS + 1)]
            for guest in guests:
                guest.start()
            for guest in guests:
                guest.join(420)
            self.judge(guests)

    def judge(self, guests):
        for guest in guests:
            name = "guest %d" % guest.number
            self.report.check(name + " did all it was told", not guest.error and
                              not guest.is_alive(), guest.error or "")  # fmt: skip
            if guest.error or guest.is_alive():
                continue
            self.report.measure(name + ": seconds to boot", round(guest.boot_s, 1))
            info = guest.answers["info"]
            text = json.dumps(info)
            self.report.check(name + " sees the GPU", info["status"] == 0 and
                              (self.options.backend == "cpu" or "NVIDIA" in text),
                              text)  # fmt: skip
            self.report.check(name + ": 100 + 200 = 300", guest.answers["sum"].get("sum") == 300,
                              guest.answers["sum"])  # fmt: skip
            for op in ("add", "vadd-i32", "vadd-f32", "spin --us 2000", "bench", "beside crashes"):
                said = guest.answers.get(op)
                if said is None:
                    continue
                self.report.check(
                    "%s: %s: every result right" % (name, op),
                    said["status"] == 0 and said.get("jobs", 0) > 0
                    and not said.get("wrong") and not said.get("errors"),
                    {k: said.get(k) for k in ("jobs", "wrong", "errors", "jobs_per_s", "p50_us",
                                              "p95_us", "p99_us", "said")
                     if k in said})  # fmt: skip
            if "crash" in guest.answers:
                self.report.check(name + ": an illegal address is told, the next job is right",
                                  guest.answers["crash"]["status"] == 1
                                  and guest.answers["after the crash"]["status"] == 0,
                                  (guest.answers["crash"],
                                   guest.answers["after the crash"]))  # fmt: skip
        workers = self.lab.health()
        self.report.measure("restarts of each VM's worker",
                            {w["vm_id"]: w["restarts"] for w in workers["workers"]})  # fmt: skip


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--guest-dir", default=os.path.join(HERE, "..", "..", "guest"))
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="default: what works")
    options = parser.parse_args()
    if not os.access(os.path.join(options.guest_dir, "qemu"), os.X_OK):
        return skip(options.out, "this bundle has no guests (scripts/gpu-bundle --guests)")
    status = skipped_without_gpu(options)
    if status is not None:
        return status
    report = Report()
    check = GuestCheck(report, options)
    report.run([("guests", check.run)])
    return report.finish(options.out)


if __name__ == "__main__":
    sys.exit(main())
