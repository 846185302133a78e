# SPDX-License-Identifier: GPL-2.0-or-later
"""Who makes the load: wire-level VMs (vgpu-loadgen plays their devices), or real guests in
QEMU with vgpu-stub, in which vgpu-client runs.  Both say what the load was in the same
words:

  sent      requests          well      answered with a result that was checked
  busy      refused for now   errors    other errors, by name
  wrong     wrong results     p50_us, p95_us, max_us as the VM saw it, seconds
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import threading

from lab import LabError, TREE, tied

# Errors of vgpu-client that mean "later".
BUSY = ("RATE_LIMITED", "QUEUE_FULL")
GUEST_LIMIT_S = 300


class Wire:
    name = "wire"

    def __init__(self, lab):
        self.lab = lab

    def boot(self, vms):
        pass

    def close(self):
        pass

    def groups(self, loads):
        """loads: a list of (vm, options of a group of vgpu-loadgen)."""
        return ";".join(f"n=1,vm_id={vm.vm_id},pool={self.lab.options.pool},{options}"
                        for vm, options in loads)

    def run(self, loads, *arguments):
        """{vm_id: load}"""
        done = subprocess.run(
            tied([str(self.lab.bin / "vgpu-loadgen"), "--socket", self.lab.socket, "--vms",
                  self.groups(loads), "--json", "-", *map(str, arguments)]),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode not in (0, 1):
            raise LabError(done.stderr.strip())
        answer = json.loads(done.stdout)
        return {vm["vm_id"]: self.load_of(vm, answer["seconds"]) for vm in answer["vms"]}

    @staticmethod
    def load_of(vm, seconds):
        errors = {k: n for k, n in vm["errors"].items() if k not in BUSY}
        return {"sent": vm["sent"], "well": vm["jobs"], "busy": vm["busy"], "errors": errors,
                "wrong": vm["wrong"], "missing": vm["missing"], "p50_us": vm["p50_us"],
                "p95_us": vm["p95_us"], "max_us": vm["max_us"], "gpu_us": vm["gpu_us"],
                "share": vm["share"], "seconds": seconds}

    # The loads of the scenarios.

    def sequential(self, vm, count, op="add"):
        return self.run([(vm, f"op={op},depth=1")], "--count", count)[vm.vm_id]

    def saturate(self, vms, op, seconds):
        depth = 4
        loads = self.run([(vm, f"op={op},depth={depth}") for vm in vms], "--seconds", seconds)
        return loads, depth

    def flood(self, vm, rate_hz, count):
        return self.run([(vm, f"op=nop,rate={rate_hz}")], "--count", count)[vm.vm_id]

    def burst(self, vm, op, count):
        return self.run([(vm, f"op={op},depth={count}")], "--count", count)[vm.vm_id]


class Qemu:
    """Real guests.  Needs what tests/vm needs: QEMU, busybox-static, and the guest's kernel."""
    name = "qemu"

    def __init__(self, lab):
        self.lab = lab
        sys.path.insert(0, str(TREE / "tests" / "vm"))
        try:
            import vm as guests  # pylint: disable=import-outside-toplevel
        except ImportError as error:
            raise LabError(f"--vms qemu needs the source tree's tests/vm: {error}") from error
        self.guests = guests
        self.command = [str(TREE / "qemu" / "vgpu-qemu")]
        self.running = {}
        self.wire = Wire(lab)
        self.closing = threading.Event()

    def boot_one(self, vm, failures, booted):
        """In a thread of its own, which stays: its end would be that of the QEMU that it has
        started ("setpriv --pdeathsig" in tests/vm)."""
        self.try_boot(vm, failures)
        booted.release()
        self.closing.wait()

    def try_boot(self, vm, failures):
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.lab.folder))
        try:
            self.running[vm.vm_id] = self.guests.Guest(
                self.command, folder,
                ["-uuid", vm.uuid, "-chardev", f"socket,id=l,path={self.lab.socket},reconnect=1",
                 "-device",
                 f"vgpu-stub,chardev=l,vm_id={vm.vm_id},pool_id={self.lab.options.pool}"],
                files={"/bin/vgpu-client": self.lab.bin / "vgpu-client"}, memory_mib=128)
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    def boot(self, vms):
        subprocess.run([*self.command, "--version"], check=True, stdout=subprocess.DEVNULL)
        failures = []
        booted = threading.Semaphore(0)
        new = [vm for vm in vms if vm.vm_id not in self.running]
        for vm in new:
            threading.Thread(target=self.boot_one, args=(vm, failures, booted), daemon=True).start()
        for _ in new:
            booted.acquire()
        if failures:
            raise LabError(f"a guest did not start: {failures[0]}")

    def close(self):
        for guest in self.running.values():
            guest.close()
        self.running.clear()
        self.closing.set()

    def start(self, vm, arguments):
        self.running[vm.vm_id].start(f"vgpu-client --json --retries 0 --keep-going {arguments}")

    def finish(self, vm):
        _, output = self.running[vm.vm_id].finish(GUEST_LIMIT_S)
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        summary = next((line for line in lines if line["event"] == "summary"), None)
        if not summary and len(lines) == 1 and lines[0]["event"] in ("result", "error"):
            return self.one_job(lines[0])
        if not summary:
            raise LabError(f"{vm.name}: vgpu-client said: {output[-500:]}")
        # The errors of a run are counted together; their name is that of the last one.
        busy = summary["last_error"] in BUSY
        errors = {} if busy or not summary["errors"] else {summary["last_error"]: summary["errors"]}
        return {"sent": summary["jobs"] + summary["errors"],
                "well": summary["jobs"] - summary["wrong"],
                "busy": summary["errors"] if busy else 0, "errors": errors,
                "wrong": summary["wrong"], "missing": 0, "p50_us": summary["p50_us"],
                "p95_us": summary["p95_us"], "max_us": summary["max_us"],
                "seconds": summary["seconds"]}

    @staticmethod
    def one_job(line):
        """A single job has no summary."""
        name = line.get("name") if line["event"] == "error" else None
        took_us = line.get("latency_us", 0)
        return {"sent": 1, "well": int(not name and line["correct"]), "busy": int(name in BUSY),
                "errors": {name: 1} if name and name not in BUSY else {},
                "wrong": int(not name and not line["correct"]), "missing": 0, "p50_us": took_us,
                "p95_us": took_us, "max_us": took_us, "seconds": max(took_us, 1) / 1e6}

    def client(self, vm, arguments):
        self.boot([vm])
        self.start(vm, arguments)
        return self.finish(vm)

    def sequential(self, vm, count, op="add"):
        work = "100 200" if op == "add" else f"--op {op}"
        load = self.client(vm, f"{work} --count {count}")
        # Quarantine ends vgpu-client at once: as many requests as are asked for.
        while "VM_QUARANTINED" in load["errors"] and load["sent"] < count:
            more = self.client(vm, f"{work} --count {count - load['sent']}")
            load["sent"] += more["sent"]
            for name, number in more["errors"].items():
                load["errors"][name] = load["errors"].get(name, 0) + number
        return load

    def saturate(self, vms, op, seconds):
        name, _, amount = op.partition(":")
        for vm in vms:
            self.start(vm, f"--op {name} --us {amount} --seconds {seconds}")
        return {vm.vm_id: self.finish(vm) for vm in vms}, 0

    def flood(self, vm, rate_hz, count):
        return self.client(vm, f"--op nop --count {count}")

    def burst(self, vm, op, count):
        return None  # a protocol 1.0 device has one request at a time
