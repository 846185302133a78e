# SPDX-License-Identifier: GPL-2.0-or-later
"""The mediator under test and the VMs that a run registers with it.

Whatever happens, what was registered is removed, and a mediator that was started here
is stopped.
"""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import uuid

TREE = pathlib.Path(__file__).resolve().parents[2]
PREFIX = "stress-"
START_LIMIT_S = 60
SETTLE_LIMIT_S = 30


class LabError(Exception):
    """The run cannot go on; the text says why and what to do."""


def find_bin(given):
    for folder in (given, os.environ.get("VGPU_BIN"), TREE / "build" / "bin"):
        if folder and (pathlib.Path(folder) / "vgpu-admin").exists():
            return pathlib.Path(folder)
    installed = shutil.which("vgpu-admin")
    if installed:
        return pathlib.Path(installed).parent
    raise LabError("vgpu-admin is neither in build/bin nor in PATH: run make, or give --bin FOLDER")


def tied(command):
    """Ends with us, even if we are killed."""
    return (["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []) + command


class Lab:
    def __init__(self, options):
        self.bin = find_bin(options.bin)
        self.options = options
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-stress-"))
        self.process = None
        self.registered = []
        if options.live:
            self.db, self.admin_socket = options.db, options.admin_socket
            self.socket = options.socket
        else:
            self.db = str(self.folder / "vgpu.db")
            self.admin_socket = str(self.folder / "admin.sock")
            self.socket = str(self.folder / "vgpu.sock")

    # ---- the mediator

    def start(self):
        if not self.options.live:
            self.admin("init-db")
            self.log = open(self.folder / "mediator.log", "wb")
            self.process = subprocess.Popen(
                tied([str(self.bin / "vgpu-mediator"), "--db", self.db, "--admin-socket",
                      self.admin_socket, "--socket-path", self.socket, "--no-discovery",
                      "--trust-claims", "--enable-test-ops", "--metrics-listen", "off",
                      "--backend", self.options.backend]),
                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + (0 if self.options.live else START_LIMIT_S)
        while True:
            status, answer = self.try_admin("status")
            if status == 0:
                break
            if self.process and self.process.poll() is not None:
                raise LabError("the mediator ended:\n" + self.mediator_log())
            if time.monotonic() >= end:
                raise LabError(answer.get("error") or (answer.get("notes") or ["no answer"])[0])
            time.sleep(0.05)
        self.about = answer
        if answer.get("database") is None:
            raise LabError("the mediator runs with --no-db: weights and limits need a database")
        if self.options.live and os.path.realpath(answer["database"]) != os.path.realpath(self.db):
            raise LabError(f"the mediator uses the database {answer['database']}, not {self.db}: "
                           f"give --db {answer['database']}")
        return self

    def mediator_log(self):
        self.log.flush()
        return (self.folder / "mediator.log").read_text(errors="replace")[-4000:]

    # ---- vgpu-admin

    def try_admin(self, *arguments):
        """(exit status, JSON document)."""
        done = subprocess.run(
            [str(self.bin / "vgpu-admin"), "--db", self.db, "--admin-socket", self.admin_socket,
             "--toolstack", "none", "--json", *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode or 1, {"error": done.stderr.strip() or done.stdout.strip()}

    def admin(self, *arguments):
        status, answer = self.try_admin(*arguments)
        if status != 0:
            raise LabError(f"vgpu-admin {' '.join(map(str, arguments))}: {answer.get('error')}")
        return answer

    def live_vm(self, vm):
        for entry in self.admin("status")["vms"]:
            if entry["vm_id"] == vm.vm_id:
                return entry
        raise LabError(f"{vm.name} is not in the mediator's status")

    def metrics(self, vm):
        for entry in self.admin("show-metrics")["vms"]:
            if entry["vm_id"] == vm.vm_id:
                return entry
        return {}

    def settled(self, vm):
        """The VM's metrics when all its jobs have come to their end."""
        end = time.monotonic() + SETTLE_LIMIT_S
        while True:
            entry = self.metrics(vm)
            if not entry or (entry["queue_depth"] == 0 and entry["in_flight"] == 0):
                return entry
            if time.monotonic() >= end:
                raise LabError(f"{vm.name} still has jobs {SETTLE_LIMIT_S} s after the load ended")
            time.sleep(0.05)

    # ---- VMs

    def register(self, label, weight=50):
        name = f"{PREFIX}{os.getpid()}-{label}"
        vm_uuid = str(uuid.uuid4())
        answer = self.admin("register-vm", f"--vm-name={name}", f"--vm-uuid={vm_uuid}",
                            f"--pool={self.options.pool}", f"--weight={weight}")
        vm = Vm(name, vm_uuid, answer["vm"]["vm_id"], weight)
        self.registered.append(vm)
        return vm

    def set(self, vm, command, *arguments):
        return self.admin(command, f"--vm-uuid={vm.uuid}", *arguments)

    def remove(self, vm):
        status, answer = self.try_admin("remove-vm", f"--vm-uuid={vm.uuid}", "--yes")
        if status == 0:
            self.registered.remove(vm)
        return None if status == 0 else answer.get("error")

    def close(self):
        """Text about what could not be undone, or None."""
        left = [f"{vm.name}: {error}" for vm in list(self.registered) if (error := self.remove(vm))]
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                left.append("the mediator had to be killed")
        if self.options.keep:
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return "; ".join(left) or None


class Vm:
    def __init__(self, name, vm_uuid, vm_id, weight):
        self.name, self.uuid, self.vm_id, self.weight = name, vm_uuid, vm_id, weight


class Delta:
    """A VM's counters over a time, by the mediator's metrics."""

    def __init__(self, lab, vm):
        self.lab, self.vm = lab, vm
        self.before = lab.settled(vm)

    def end(self):
        self.after = self.lab.settled(self.vm)
        return self

    def __getitem__(self, key):
        return self.after[key] - self.before.get(key, 0)

    @property
    def requests(self):
        """All that came in, whatever became of them."""
        return sum(self[key] for key in ("submitted", "rejected_rate", "rejected_queue",
                                         "rejected_quarantined", "invalid"))
