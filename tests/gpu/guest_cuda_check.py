#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""CUDA programs in a real guest in QEMU, natively and in the guest in the same run: the guest has
the host's own files, read-only by 9p, and of ours the driver and the libraries.

  tests/gpu/guest_cuda_check.py [--bin-dir build/bin] [--guest-dir FOLDER] [--out FILE.json]
                                [--only NAME]...

FOLDER (default: guest/ in a bundle of scripts/gpu-bundle) holds qemu, vmlinuz, busybox and modules.
What needs a package of Python, or nvcc, is left out where there is none.  Uses KVM where a guest
boots with it, else emulation; times that were measured under emulation say little.  --backend cpu:
the stand-in in the driver's place."""

import concurrent.futures
import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "vm")]
import guest_image  # noqa: E402
from frameworks import TORCH  # noqa: E402
from lab import Lab, use_packages_libraries  # noqa: E402
from report import Report, parser_of, skip, skipped_without_gpu  # noqa: E402
from torch_check import close, numbers  # noqa: E402
from vm import Guest, usable_accel  # noqa: E402

TREE = os.path.abspath(os.path.join(HERE, "..", ".."))
SECTIONS = ("driver", "parity", "nvcc", "bindings", "numba", "numba-suite", "torch")
PACKAGES = {"bindings": "cuda.bindings", "numba": "numba", "numba-suite": "numba_cuda",
            "torch": "torch"}
NUMBA_TESTS = "numba.cuda.tests.cudadrv.test_cuda_ndarray"
# The guest's own root stays as it is; a folder that every host has is the only one to write in.
MOUNT = ("mkdir /host && mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 "
         "host /host && mount -t proc proc /host/proc && mount -t sysfs sysfs /host/sys && "
         "mount -t devtmpfs dev /host/dev && mount -t tmpfs run /host/run && "
         "mkdir -p /host/dev/shm && mount -t tmpfs shm /host/dev/shm")


# The host's own; what programs need to find their libraries is the same in the guest.
NOT_IN_GUEST = ("HOME", "TMPDIR", "PWD", "OLDPWD", "XDG_CACHE_HOME", "VGPU_GUEST_KERNEL")


def plain(lines):
    return [line for line in lines if not line.startswith("lib")]


def passed(lines):
    """The tests that unit_outcomes.py says have passed."""
    rows = [json.loads(line) for line in lines if line.startswith('["')]
    return sorted({row[0] for row in rows if row[1] == "passed"})


class Programs:
    def __init__(self, options, scratch):
        self.options = options
        self.folder = os.path.join(os.path.dirname(os.path.abspath(options.bin_dir)), "tests",
                                   "cuda")
        images = os.path.join(TREE, "tests", "cuda", "images")
        self.image = os.path.join(images, "stand_in.txt" if options.backend == "cpu"
                                  else "kernels.ptx")
        self.scratch = scratch

    def command(self, name):
        """A list of words, or None: it can't be run here."""
        if name in PACKAGES and (self.options.backend == "cpu" or not has(PACKAGES[name])):
            return None
        return {
            "driver": [os.path.join(self.folder, "try_driver"), self.image],
            "parity": [os.path.join(self.folder, "parity_driver"), self.image],
            "nvcc": self.compiled() if name == "nvcc" else None,
            "bindings": [sys.executable, os.path.join(HERE, "bindings_program.py")],
            "numba": [sys.executable, os.path.join(HERE, "numba_program.py")],
            "numba-suite": [sys.executable, os.path.join(HERE, "unit_outcomes.py"), "/dev/stdout",
                            NUMBA_TESTS],
            "torch": [sys.executable, "-c", TORCH["matmul"]],
        }[name]

    def expected(self, name):
        """With the stand-in: as native() says it."""
        if name == "parity":
            with open(self.image.replace("stand_in", "parity"), encoding="utf-8") as file:
                return 0, file.read().splitlines(), 0
        return 0, ["runtime: 0 wrong"], 0

    def compiled(self):
        nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
        source = os.path.join(TREE, "tests", "cuda", "nvcc_program.cu")
        program = os.path.join(self.scratch, "nvcc_program")
        if self.options.backend == "cpu":
            return [os.path.join(self.folder, "try_runtime")]
        if not nvcc:
            return None
        subprocess.run([nvcc, "-cudart", "shared", "-arch=native", "-o", program, source],
                       check=True, timeout=200)
        return [program]


def has(package):
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def right(name, guest, native):
    """Is the guest's output what it has to be?"""
    if name == "driver":
        return bool(guest) and guest[-1].endswith(" 0 wrong")
    if name in ("parity", "nvcc"):
        return guest != [] and plain(guest) == plain(native)
    if name == "numba-suite":
        return len(passed(guest)) > 0 and set(passed(native)) <= set(passed(guest))
    if name == "torch":
        return close(numbers("\n".join(guest)), numbers("\n".join(native)))
    return True  # the exit status says it


class Check:
    def __init__(self, report, options):
        self.report = report
        self.options = options
        self.guest_dir = os.path.abspath(options.guest_dir)
        self.scratch = tempfile.mkdtemp(prefix="guest-", dir=TREE)  # the guest has it, too
        self.programs = Programs(options, self.scratch)

    def native(self, command, limit_s=200):
        begin = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=limit_s, check=False, cwd=self.scratch)
        return done.returncode, done.stdout.splitlines(), time.monotonic() - begin

    def boot(self, lab):
        os.environ["VGPU_GUEST_KERNEL"] = os.path.join(self.guest_dir, "vmlinuz")
        guest_image.busybox = lambda: os.path.join(self.guest_dir, "busybox")
        os.environ.setdefault("XDG_CACHE_HOME", tempfile.mkdtemp(prefix="vgpu-cache-"))
        guest_image.cache_folder().mkdir(parents=True, exist_ok=True)
        qemu = [os.path.join(self.guest_dir, "qemu")]
        bios = ["-L", os.path.join(self.guest_dir, "bios")]
        accel = self.options.accel or usable_accel([*qemu, *bios])
        modules = os.path.join(self.guest_dir, "modules")
        with open(os.path.join(modules, "order"), encoding="ascii") as file:
            self.order = file.read().split()
        mib = self.options.memory_mib
        self.report.measure("QEMU's accelerator", accel)
        return Guest(qemu, lab.folder, [
            *bios, "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
            "-smp", str(min(8, os.cpu_count())),
            "-object", "memory-backend-memfd,id=ram,size=%dM,share=on" % mib,
            "-machine", "memory-backend=ram",
            "-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-chardev", "socket,id=link,path=%s,reconnect=1" % lab.socket,
            "-device", "vgpu-stub,chardev=link,vm_id=1,transport=shared"],
            files={"/modules/" + name: os.path.join(modules, name) for name in self.order},
            accel=accel if accel == "kvm" else "tcg,thread=multi", memory_mib=mib,
            boot_limit_s=240)  # fmt: skip

    def prepare(self, guest):
        for command in [*("insmod /modules/" + name for name in self.order), MOUNT]:
            status, said = guest.run(command, 120)
            if status:
                raise RuntimeError("%s: %s %s" % (command, said, guest.run("dmesg | tail")[1]))
        guest.run("until [ -e /dev/vgpu0 ]; do usleep 20000; done", 60)

    def in_guest(self, guest, command, limit_s):
        run = os.path.join(os.path.dirname(os.path.abspath(self.options.bin_dir)), "guest", "cuda",
                           "vgpu-run")
        lines = ["export %s=%s" % (name, shlex.quote(value)) for name, value in os.environ.items()
                 if name.isidentifier() and name not in NOT_IN_GUEST]
        lines += ["cd /run", "exec timeout %d %s -- %s" % (limit_s, run, shlex.join(command))]
        # Each of its own: the guest keeps what it has once read.
        path = tempfile.mktemp(dir=self.scratch)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        begin = time.monotonic()
        status, said = guest.run(
            "HOME=/run TMPDIR=/run chroot /host /bin/sh %s" % path, limit_s + 60)
        return status, said.splitlines(), time.monotonic() - begin

    def one(self, guest, name, command, native):
        status, said, took = self.in_guest(guest, command, self.options.limit)
        status_native, said_native, took_native = native
        well = status == 0 or name == "numba-suite"
        self.report.measure(name, {
            "status": status, "seconds": round(took, 1), "lines": said[-12:],
            "native": {"status": status_native, "seconds": round(took_native, 1),
                       "lines": said_native[-4:]},
            **({"passed": len(passed(said)), "passed natively": len(passed(said_native))}
               if name == "numba-suite" else {})})  # fmt: skip
        self.report.check("%s in the guest" % name, well and right(name, said, said_native),
                          "" if well else "status %d: %s" % (status, " | ".join(said[-3:])))

    def wanted(self):
        for name in SECTIONS:
            if not self.options.only or name in self.options.only:
                command = self.programs.command(name)
                if command:
                    yield name, command
                else:
                    self.report.measure(name, "not here: no package, or no nvcc")

    def run(self):
        commands = dict(self.wanted())
        if self.options.backend == "cpu":
            os.environ["VGPU_CUDA_DRIVER"] = os.path.join(self.programs.folder,
                                                          "libvgpu-stand-in-cuda.so")
        with Lab(self.options.bin_dir, test_ops=False, backend=self.options.backend) as lab, \
                concurrent.futures.ThreadPoolExecutor(4) as pool:
            natives = {name: pool.submit(self.native, command)
                       for name, command in commands.items() if self.options.backend == "cuda"}
            begin = time.monotonic()
            with self.boot(lab) as guest:
                self.prepare(guest)
                self.report.measure("seconds to boot", round(time.monotonic() - begin, 1))
                for name, command in commands.items():
                    native = natives[name].result() if name in natives else self.programs.expected(
                        name)
                    try:
                        self.one(guest, name, command, native)
                    except Exception as error:
                        self.report.check("%s in the guest" % name, False, str(error)[-1500:])
                self.report.measure("the guest's memory, MiB",
                                    guest.run("free -m | awk '/^Mem/ { print $3 }'")[1])
            late = [line for line in lab.log_text().splitlines() if "late" in line]
            self.report.check("no error came late", not late, "; ".join(late[:3]))
            self.report.measure("the worker's log", [
                line for line in lab.log_text().splitlines() if "error" in line][-6:])


def main():
    parser = parser_of(__doc__, SECTIONS)
    parser.add_argument("--guest-dir", default=os.path.join(TREE, "guest"))
    parser.add_argument("--accel", choices=("kvm", "tcg"), help="default: what works")
    parser.add_argument("--memory-mib", type=int, default=2048, help="of the guest")
    parser.add_argument("--limit", type=int, default=120, help="seconds for each program")
    options = parser.parse_args()
    if not os.path.exists(os.path.join(options.guest_dir, "modules", "order")):
        return skip(options.out, "this bundle has no guests (scripts/gpu-bundle --guests)")
    status = skipped_without_gpu(options)
    if status is not None:
        return status
    use_packages_libraries()
    report = Report()
    check = Check(report, options)
    try:
        report.run([("programs", check.run)])
    finally:
        shutil.rmtree(check.scratch, ignore_errors=True)
    print(json.dumps({check["name"]: check["ok"] for check in report.checks}))
    return report.finish(options.out)


if __name__ == "__main__":
    sys.exit(main())
