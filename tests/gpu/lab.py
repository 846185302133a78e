# SPDX-License-Identifier: GPL-2.0-or-later
"""A running vgpu-mediator of one's own, and programs to load it with.  Standard library only."""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from report import run_text


# The worker's variables, and what they name.
LIBRARIES = {"VGPU_CUBLAS": "libcublas.so.13", "VGPU_CUDNN": "libcudnn.so.9",
             "VGPU_CUFFT": "libcufft.so.12"}


def use_packages_libraries():
    """The workers are to open the libraries that packages of this Python have brought along, as
    PyTorch does natively: it refuses a cuDNN that is older than its own."""
    for variable, name in LIBRARIES.items():
        for path in sys.path:
            found = glob.glob(os.path.join(path, "nvidia", "*", "lib", name)) if path else []
            if found:
                os.environ.setdefault(variable, found[0])


class Lab:
    """A folder with sockets and a mediator; `with Lab(...)` never leaves anything behind."""

    def __init__(self, bin_dir, *args, backend="cuda", db=None, test_ops=True):
        self.bin_dir = bin_dir
        self.folder = tempfile.mkdtemp(prefix="vgpu-lab-")
        self.socket = os.path.join(self.folder, "vgpu.sock")
        self.admin_socket = os.path.join(self.folder, "admin.sock")
        self.log_path = os.path.join(self.folder, "log")
        self.db = os.path.join(self.folder, "vgpu.db")
        self.args = ["--backend", backend, "--trust-claims", "--no-discovery",
                     "--socket-path", self.socket, "--admin-socket", self.admin_socket,
                     "--metrics-listen", "off"]  # fmt: skip
        if test_ops:
            self.args.append("--enable-test-ops")
        self.process = None
        if db:
            self.args += ["--db", self.db]
            self.admin_must("init-db", mediator=False)
            for vm in db:
                self.admin_must("register-vm", *vm, mediator=False)
        else:
            self.args.append("--no-db")
        self.args += args

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def program(self, name):
        return os.path.join(self.bin_dir, name)

    def start(self, timeout=60):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.program("vgpu-mediator"), *self.args],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError("the mediator left: " + self.log_text()[-800:])
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.admin_socket)
                    return
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("the mediator does not listen: " + self.log_text()[-800:])

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, timeout=30):
        """Asks it to stop; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def stop(self):
        if self.process and self.process.poll() is None:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    # ---- programs beside it ----

    def admin(self, *args, mediator=True):
        """A vgpu-admin command's JSON, or None; mediator=False: only the database."""
        command = [self.program("vgpu-admin"), "--json", "--yes", "--toolstack=none",
                   "--db=" + self.db]  # fmt: skip
        if mediator:
            command.append("--admin-socket=" + self.admin_socket)
        else:
            command.append("--admin-socket=" + os.path.join(self.folder, "none"))
        out, err = run_text(*command, *args)
        try:
            return json.loads(out)
        except ValueError:
            print("     vgpu-admin %s: %s %s" % (" ".join(args), out[-300:], err[-300:]))
            return None

    def admin_must(self, *args, mediator=True):
        answer = self.admin(*args, mediator=mediator)
        if answer is None or answer.get("error"):
            raise RuntimeError("vgpu-admin %s: %s" % (" ".join(args), answer))
        return answer

    def health(self):
        return self.admin_must("show-health")

    def workers(self):
        """vm_id -> pid."""
        return {w["vm_id"]: w["pid"] for w in self.health()["workers"] if w["pid"]}

    def loadgen_start(self, vms, *args):
        path = tempfile.mktemp(suffix=".json", dir=self.folder)
        process = subprocess.Popen(
            [self.program("vgpu-loadgen"), "--socket", self.socket, "--vms", vms, "--quiet",
             "--json", path, *args],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        return process, path

    def loadgen_finish(self, started, timeout=300):
        process, path = started
        try:
            _, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        if process.returncode > 1:
            raise RuntimeError("vgpu-loadgen: %s" % err.strip()[-300:])
        with open(path, encoding="utf-8") as report:
            result = json.load(report)
        result["status"] = process.returncode
        return result

    def loadgen(self, vms, *args, timeout=300):
        return self.loadgen_finish(self.loadgen_start(vms, *args), timeout)

    def client(self, *args, vm_id=1):
        """The last JSON line of vgpu-client."""
        out, err = run_text(self.program("vgpu-client"), "--socket", self.socket, "--vm-id",
                            str(vm_id), "--json", *args)  # fmt: skip
        try:
            return json.loads(out.splitlines()[-1])
        except (ValueError, IndexError):
            raise RuntimeError("vgpu-client %s: %s" % (" ".join(args), out + err)) from None


def faults(result):
    """What went wrong in a vgpu-loadgen run, as a number: wrong, missing and failed jobs."""
    total = result["total"]
    return total["wrong"] + total["missing"] + sum(total["errors"].values())
