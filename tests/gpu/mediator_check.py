#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks and measures the whole host side on a real GPU: vgpu-mediator, its workers, and many
VMs played by vgpu-loadgen over real sockets.

  tests/gpu/mediator_check.py [--bin-dir build/bin] [--out FILE.json] [--only NAME]...

Needs Python's standard library and an NVIDIA driver.  Without a usable GPU it says so and exits
with 77.  --backend cpu runs the same on the CPU backend: good for trying the script itself, its
figures say nothing about a GPU."""

import contextlib
import os
import re
import signal
import statistics
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]
import abuse  # noqa: E402
import wire  # noqa: E402
import worker_link  # noqa: E402
from lab import Lab, faults  # noqa: E402
from neighbour import Neighbour, back_to_normal  # noqa: E402
from report import Report, cpu_seconds, parser_of, percentiles, run_text  # noqa: E402
from report import skipped_without_gpu  # noqa: E402

UUID = "00000000-0000-4000-8000-%012d"


def brief(result):
    """One line's worth of a vgpu-loadgen total."""
    total = result["total"]
    return {name: total[name] for name in ("jobs", "jobs_per_s", "p50_us", "p95_us", "p99_us",
                                           "max_us", "errors", "wrong", "missing")}  # fmt: skip


def connect(path, vm_id):
    return wire.Device(path, vm_id, timeout=60)


def call(device, opcode, *params):
    """(status, results) of one job."""
    answer = device.run(opcode, params)
    return answer.status, answer.results


@contextlib.contextmanager
def tiny_jobs(path, vm_id=5):
    """For a Neighbour."""
    with connect(path, vm_id) as device:

        def job():
            try:
                return call(device, wire.ADD, 100, 200) == (wire.OK, (300,))
            except wire.Closed:
                raise ConnectionError from None

        yield job


def hang_then_add(path, story):
    """VM 9: an endless kernel, and as soon as that is answered an addition."""
    with connect(path, 9) as client:
        story["hang"] = call(client, wire.HANG)
        story["killed_at"] = time.monotonic()
        story["add"] = call(client, wire.ADD, 4, 5)
        story["served_at"] = time.monotonic()


def is_running(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def eventually(condition, timeout=10):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Suite:
    def __init__(self, report, bin_dir, backend):
        self.report = report
        self.bin_dir = bin_dir
        self.backend = backend

    def lab(self, *args, **kwargs):
        return Lab(self.bin_dir, *args, backend=self.backend, **kwargs)

    # ---- right answers ----

    def jobs_of_four_vms(self):
        with self.lab() as lab:
            result = lab.loadgen(
                "4", "--op", "add=40,vadd-i32=20,vadd-f32=20,spin:200=10,nop=5,info=5", "--depth",
                "4", "--count", "250",
            )  # fmt: skip
            self.report.check("1,000 jobs from 4 VMs: every answer right",
                              result["total"]["jobs"] == 1000 and faults(result) == 0,
                              brief(result))  # fmt: skip
            ready = [int(ms)
                     for ms in re.findall(r"ready on GPU \d+ after (\d+) ms", lab.log_text())]
            self.report.measure("ms from a worker's start to READY, 4 at once", ready)
            if self.backend == "cuda":
                apps, _ = run_text("nvidia-smi", "--query-compute-apps=pid,used_memory",
                                   "--format=csv,noheader,nounits")  # fmt: skip
                self.report.measure("MiB of GPU memory per worker",
                                    [line.split(",")[1].strip()
                                     for line in apps.splitlines()])  # fmt: skip

    def latency(self):
        with self.lab() as lab:
            for op in ("add", "nop", "vadd-i32"):
                lab.client("--bench", "--op", op, "--count", "2000")
                self.report.measure("vgpu-client on a host socket: %s" % op,
                                    lab.client("--bench", "--op", op, "--count",
                                               "20000"))  # fmt: skip
            result = lab.loadgen("1", "--op", "add", "--seconds", "3", "--warmup", "0.5")
            self.report.measure("vgpu-loadgen, one VM, add, one in flight", brief(result))
            p50 = result["total"]["p50_us"]
            self.report.check("an addition's p50 on a host socket is at most 45 us", p50 <= 45, p50)
            cpu = cpu_seconds(lab.process.pid)
            result = lab.loadgen("1", "--op", "add", "--depth", "32", "--seconds", "3")
            cpu = cpu_seconds(lab.process.pid) - cpu
            self.report.measure("one VM, add, 32 in flight", brief(result))
            self.report.measure("mediator's CPU us a job, 32 in flight",
                                round(cpu * 1e6 / result["total"]["jobs"], 2))  # fmt: skip
            result = lab.loadgen("4", "--op", "add", "--depth", "1", "--seconds", "3")
            self.report.measure("4 VMs, add, one in flight each", brief(result))
            result = lab.loadgen("16", "--op", "add", "--depth", "16", "--seconds", "3")
            self.report.measure("16 VMs, add, 16 in flight each", brief(result))

    # ---- shares ----

    def shares_once(self, spin_us, busy_wanted, *args, seconds=10):
        weights = (80, 60, 40, 20)
        due = [w / sum(weights) for w in weights]
        vms = [("--vm-name=w%d" % w, "--vm-uuid=" + UUID % w, "--vm-id=%d" % (i + 1),
                "--weight=%d" % w) for i, w in enumerate(weights)]  # fmt: skip
        name = "4 saturated VMs, weights 80/60/40/20, %d us kernels%s" % (
            spin_us, " (%s)" % " ".join(args) if args else "")  # fmt: skip
        with self.lab(*args, db=vms) as lab:
            load = lab.loadgen_start("4", "--op", "spin:%d" % spin_us, "--depth", "8", "--seconds",
                                     str(seconds), "--warmup", "1.5")  # fmt: skip
            time.sleep(1.5 + seconds / 2)
            smi, _ = run_text("nvidia-smi", "--query-gpu=utilization.gpu",
                              "--format=csv,noheader,nounits")  # fmt: skip
            cpu = cpu_seconds(lab.process.pid)
            begin = time.monotonic()
            pids = lab.workers().values()
            worker_cpu = sum(cpu_seconds(pid) for pid in pids)
            time.sleep(seconds / 4)
            span = time.monotonic() - begin
            cpu = (cpu_seconds(lab.process.pid) - cpu) / span
            worker_cpu = (sum(cpu_seconds(pid) for pid in pids) - worker_cpu) / span
            result = lab.loadgen_finish(load)
            switches = lab.health()["gpus"][0]["context_switches"]
        jobs = [vm["jobs"] for vm in result["vms"]]
        by_time = [vm["share"] for vm in result["vms"]]
        by_jobs = [n / max(1, sum(jobs)) for n in jobs]
        error = max(abs(a - b) for a, b in zip(by_time, due)) * 100
        error_jobs = max(abs(a - b) for a, b in zip(by_jobs, due)) * 100
        busy = sum(jobs) * spin_us / 1e6 / result["seconds"]
        self.report.measure(name, {
            "share": [round(s, 4) for s in by_time],
            "share_of_jobs": [round(s, 4) for s in by_jobs],
            "share_error_points": round(error, 2),
            "share_error_of_jobs_points": round(error_jobs, 2),
            "kernels_of_wall": round(busy, 4),
            "events_of_wall": round(result["total"]["gpu_us"] / 1e6 / result["seconds"], 4),
            "gpu_us_a_job": round(result["total"]["gpu_us"] / max(1, sum(jobs)), 2),
            "nvidia_smi_utilisation": smi.splitlines(),
            "context_switches_per_s": round(switches / (result["seconds"] + 1.5), 1),
            "mediator_cpu_of_wall": round(cpu, 3),
            "workers_cpu_of_wall": round(worker_cpu, 3),
            "p50_us": [vm["p50_us"] for vm in result["vms"]],
            "p99_us": [vm["p99_us"] for vm in result["vms"]],
        })  # fmt: skip
        self.report.check(name + ": no wrong answer", faults(result) == 0, brief(result))
        if busy_wanted:
            self.report.check(name + ": share error at most 2 points", max(error, error_jobs) <= 2,
                              "%.2f by GPU time, %.2f by jobs" % (error, error_jobs))  # fmt: skip
            # What ran, or what the GPU's own clock says it was at: launching is part of a job.
            self.report.check(name + ": GPU busy at least %d %%" % (busy_wanted * 100),
                              busy >= busy_wanted, "%.2f %%" % (busy * 100))  # fmt: skip

    def shares(self):
        self.shares_once(1000, 0.97)
        self.shares_once(100, 0.90)

    # ---- shares against those who abuse them ----

    def abuse_once(self, name, words, seconds):
        """What each VM had, of its share of what it has alone; halved beside each job aside."""
        result = abuse.Mix(self.bin_dir, self.backend, words, seconds).run()
        judged = [vm for vm in result["vms"] if "ratio" in vm]
        worst = min(judged, key=lambda vm: vm["ratio"])
        names = ("vm_id", "due_share", "alone", "got", "ratio", "p99_us")
        self.report.measure("abuse: " + name, {
            "worst": {name: worst[name] and round(worst[name], 5) for name in names},
            "ratios": [round(vm["ratio"], 3) for vm in judged],
            "of_share_of_those_not_judged":
                [round(vm["of_share"], 3) for vm in result["vms"] if "ratio" not in vm],
            "beside_asides": result["asides"], "busy": round(result["busy"], 4)})  # fmt: skip
        total = result["loadgen"]["total"]
        self.report.check("abuse: %s: no wrong answer" % name,
                          total["wrong"] + total["missing"] == 0,
                          brief(result["loadgen"]))  # fmt: skip
        # On the CPU backend a job aside has a processor of its own: not judged there.
        if self.backend == "cuda":
            self.report.check("abuse: %s: each VM has at least 0.8 of its due" % name,
                              worst["ratio"] >= 0.8, "%.3f" % worst["ratio"])  # fmt: skip

    def abuse(self, seconds=20):
        for name, words in abuse.MIXES + abuse.LIES:
            self.abuse_once(name, words, seconds)

    def quanta(self):
        """Not judged: what the quantum and the depth cost and bring."""
        for spin_us in (1000, 100):
            for args in (("--quantum-us", "2000"), ("--quantum-us", "12000"), ("--depth", "4"),
                         ("--depth", "1")):  # fmt: skip
                self.shares_once(spin_us, None, *args, seconds=3)

    # ---- health ----

    def health(self):
        """What the mediator reads through NVML is what nvidia-smi shows."""
        with self.lab() as lab:
            with connect(lab.socket, 1) as client:
                assert call(client, wire.ADD, 1, 2) == (wire.OK, (3,))
                if self.backend == "cpu":
                    self.report.check("health without an NVIDIA GPU is null",
                                      lab.health()["gpus"][0]["health"] is None)  # fmt: skip
                    return
                got = eventually(lambda: (lab.health()["gpus"][0]["health"] or
                                          {}).get("age_ms", 1e9) < 1500
                                 and lab.health()["workers"][0]["gpu_memory_bytes"])  # fmt: skip
                self.report.check("NVML answers, the worker's memory is known", got,
                                  lab.health()["mediator"]["nvml_error"])  # fmt: skip
                time.sleep(2.5)  # a reading after which nothing has changed
                health, uuid = lab.health(), lab.health()["gpus"][0]["uuid"]
                names = ("temperature.gpu", "memory.total", "memory.used", "power.draw",
                         "power.limit", "clocks.sm", "ecc.errors.uncorrected.volatile.total",
                         "utilization.gpu")  # fmt: skip
                smi, err = run_text("nvidia-smi", "--id=" + uuid, "--query-gpu=" + ",".join(names),
                                    "--format=csv,noheader,nounits")  # fmt: skip
                apps, _ = run_text("nvidia-smi", "--id=" + uuid,
                                   "--query-compute-apps=pid,used_memory",
                                   "--format=csv,noheader,nounits")  # fmt: skip
        ours = health["gpus"][0]["health"]
        self.report.measure("health", ours)
        shown = dict(zip(names, (part.strip() for part in smi.split(","))))
        self.report.measure("nvidia-smi", shown or err)

        def close(name, value, allowed):
            try:
                there = float(shown[name])
            except (KeyError, ValueError):
                return self.report.measure("nvidia-smi does not show " + name, shown.get(name))
            return self.report.check("NVML: %s as nvidia-smi" % name,
                                     value is not None and abs(value - there) <= allowed,
                                     "%s, nvidia-smi %s" % (value, there))  # fmt: skip

        mib = 1 << 20
        close("temperature.gpu", ours["temperature_c"], 3)
        close("memory.total", ours["memory_total_bytes"] / mib, 1)
        close("memory.used", ours["memory_used_bytes"] / mib, 8)
        close("power.draw", ours["power_mw"] / 1e3, 25)
        close("power.limit", ours["power_limit_mw"] / 1e3, 1)
        close("clocks.sm", ours["sm_clock_mhz"], 400)
        close("ecc.errors.uncorrected.volatile.total", ours["ecc_uncorrected"], 0)
        (worker,) = health["workers"]
        of_smi = dict(line.replace(",", "").split()[:2] for line in apps.splitlines())
        self.report.check("NVML: the worker's memory as nvidia-smi",
                          str(worker["gpu_memory_bytes"] // mib) in of_smi.values(),
                          "%s, nvidia-smi %s"
                          % (worker["gpu_memory_bytes"] // mib, of_smi))  # fmt: skip
        self.report.check("a healthy GPU is available", ours["available"] and
                          not ours["needs_reset"], ours["reason"] + ours["warning"])  # fmt: skip

    def memory_limit(self):
        vm = ("--vm-name=small", "--vm-uuid=" + UUID % 7, "--vm-id=7")
        with self.lab(db=[vm]) as lab:
            lab.admin_must("set-memory-limit", "--vm-id=7", "--limit=3G")
            with connect(lab.socket, 7) as client:
                status, results = call(client, wire.DEVICE_INFO)
        self.report.check("vgpu-admin set-memory-limit reaches the VM",
                          status == wire.OK and results[4] == 3072, results)  # fmt: skip

    # ---- faults ----

    def endless_kernel(self, timeout_ms=3000):
        with self.lab("--job-timeout-ms", str(timeout_ms)) as lab, \
                Neighbour(lambda: tiny_jobs(lab.socket)) as beside:  # fmt: skip
            before = lab.loadgen("1", "--seconds", "1.5", "--warmup", "0.3")
            story = {}
            hung = threading.Thread(target=hang_then_add, args=(lab.socket, story))
            hung.start()
            hung_at = time.monotonic()
            time.sleep(0.6)
            during = lab.loadgen("1", "--seconds", "1.5")
            hung.join(60)
            after = lab.loadgen("1", "--seconds", "1.5")
            failed, seen = beside.finish()
            log = lab.log_text()
        self.report.check("endless kernel: it is killed and answers TIMEOUT",
                          story["hang"][0] == wire.TIMEOUT, story["hang"])  # fmt: skip
        self.report.measure("endless kernel: s until TIMEOUT (limit %.1f)" % (timeout_ms / 1e3),
                            round(story["killed_at"] - hung_at, 3))  # fmt: skip
        self.report.check("endless kernel: the neighbours' jobs are right",
                          failed == 0 and not any(map(faults, (before, during, after))),
                          "%d failed of %d" % (failed, len(seen)))  # fmt: skip
        for name, result in (("before", before), ("during", during), ("after", after)):
            self.report.measure("endless kernel: neighbour %s" % name, brief(result))
        grown = during["total"]["p99_us"] - before["total"]["p99_us"]
        self.report.check("endless kernel: neighbour's p99 at most 5 ms above normal",
                          grown <= 5000,
                          "%.0f us above" % grown)  # fmt: skip
        gap = max((t for at, t in seen if hung_at - 0.1 <= at < hung_at + 1), default=0)
        self.report.measure("endless kernel: the neighbours' longest wait, until overrun, ms",
                            round(gap * 1e3, 1))  # fmt: skip
        normal = statistics.median(t for at, t in seen if at < hung_at - 0.05) * 2
        kill_at = story["killed_at"]
        # The TIMEOUT is answered after the kill: neighbours may be quick a little before it.
        back = back_to_normal(seen, kill_at - 0.01, normal)
        back = None if back is None else back - 0.01
        self.report.check("endless kernel: neighbours back to normal within 100 ms of the kill",
                          back is not None and back <= 0.1,
                          None if back is None else "%.1f ms" % (back * 1e3))  # fmt: skip
        self.report.check("endless kernel: the VM's new worker gives its result",
                          story["add"] == (wire.OK, (9,)), story["add"])  # fmt: skip
        ready = re.findall(r"VM 9: its worker is ready on GPU \d+ after (\d+) ms", log)
        first_ms = (story["served_at"] - story["killed_at"]) * 1e3
        self.report.measure("endless kernel: ms from the VM's next request to its result, "
                            "new worker",
                            {"request_to_result": round(first_ms, 1),
                             "start_to_ready": ready})  # fmt: skip
        self.report.check("endless kernel: new worker's first result within 250 ms",
                          first_ms <= 250,
                          "%.1f ms" % first_ms)  # fmt: skip

    def illegal_addresses(self, count=100):
        with self.lab("--fault-threshold", "0") as lab, \
                Neighbour(lambda: tiny_jobs(lab.socket)) as beside:  # fmt: skip
            load = lab.loadgen_start("3", "--op", "add=70,vadd-i32=20,spin:200=10", "--depth", "2",
                                     "--seconds", "3600")  # fmt: skip
            right, took = 0, []
            try:
                with connect(lab.socket, 9) as client:
                    for i in range(count):
                        begin = time.monotonic()
                        broken = call(client, wire.CRASH)[0] == wire.CUDA_ERROR
                        fine = call(client, wire.ADD, i, 1) == (wire.OK, (i + 1,))
                        right += broken and fine
                        took.append(time.monotonic() - begin)
            finally:
                load[0].send_signal(signal.SIGINT)
                result = lab.loadgen_finish(load)
            failed, seen = beside.finish()
        self.report.check("illegal address %d times: CUDA_ERROR, and the VM's next job is right"
                          % count, right == count, "%d of %d" % (right, count))  # fmt: skip
        self.report.check("illegal address %d times: 0 failed jobs elsewhere" % count,
                          faults(result) == 0 and failed == 0 and result["total"]["jobs"] > 0,
                          "%d of %d" % (faults(result) + failed,
                                        result["total"]["jobs"] + len(seen)))  # fmt: skip
        self.report.measure("illegal address: from the fault to the VM's next result",
                            percentiles(took))  # fmt: skip
        self.report.measure("illegal address: neighbours meanwhile", brief(result))

    def quarantine(self):
        vm = ("--vm-name=bad", "--vm-uuid=" + UUID % 9, "--vm-id=9")
        with self.lab("--fault-threshold", "5", db=[vm]) as lab, connect(lab.socket, 9) as client:
            answers = [call(client, wire.CRASH)[0] for _ in range(5)]
            refused = call(client, wire.ADD, 1, 2)[0]
            row = eventually(lambda: lab.admin_must("show-vm", "--vm-id=9")["vm"]["quarantined"])
            # A new mediator knows it too.
            lab.terminate()
            lab.start()
            with connect(lab.socket, 9) as again:
                still = call(again, wire.ADD, 1, 2)[0]
                lab.admin_must("clear-quarantine", "--vm-id=9")
                cleared = call(again, wire.ADD, 1, 2)
        self.report.check("5 faults quarantine a VM, also in the database, until it is cleared",
                          answers == [wire.CUDA_ERROR] * 5
                          and refused == still == wire.VM_QUARANTINED
                          and cleared == (wire.OK, (3,))
                          and row, (answers, refused, still, cleared))  # fmt: skip

    def killed_worker(self):
        with self.lab("--fault-threshold", "0") as lab:
            load = lab.loadgen_start("3", "--op", "spin:500", "--depth", "2", "--seconds", "4")
            victim = lab.loadgen_start("n=1,vm_id=9,op=spin:500,depth=2", "--seconds", "4")
            kills = 0
            for _ in range(4):
                time.sleep(0.7)
                pid = lab.workers().get(9)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
            others, own = lab.loadgen_finish(load), lab.loadgen_finish(victim)
        self.report.check("worker killed from outside: 0 failed jobs elsewhere",
                          kills > 0 and faults(others) == 0, brief(others))  # fmt: skip
        errors = sum(own["total"]["errors"].values())
        self.report.check("worker killed from outside: at most its own jobs in flight fail",
                          kills > 0 and errors <= 2 * kills and own["total"]["wrong"] == 0
                          and own["total"]["missing"] == 0 and own["total"]["jobs"] > 100,
                          "%d kills, %s" % (kills, brief(own)))  # fmt: skip

    # ---- a worker's end, until its VM's next result ----

    def alone_ms(self, end):
        """The driver's own part: a worker that ends, is gone, and the next one's first result."""
        worker = self.worker()
        with worker:
            worker.run(wire.ADD, (1, 1))
            begin = time.monotonic()
            end(worker)
            worker.process.wait()
            gone = time.monotonic()
        with self.worker() as following:
            assert following.run(wire.ADD, (2, 3)).results == (5,)
            return {"gone": (gone - begin) * 1e3, "result": (time.monotonic() - begin) * 1e3}

    def worker(self):
        return worker_link.Worker("--enable-test-ops", backend=self.backend,
                                  path=os.path.join(self.bin_dir, "vgpu-worker"))

    def through_ms(self, lab, client, end):
        assert call(client, wire.ADD, 1, 1) == (wire.OK, (2,))
        pid = lab.workers()[9]
        begin = time.monotonic()
        end(pid, client)
        assert call(client, wire.ADD, 2, 3) == (wire.OK, (5,))
        return (time.monotonic() - begin) * 1e3

    def ends_of_workers(self, count=15):
        """What the mediator adds to what the driver takes for one context's end and the next.

        A bystander holds a context throughout: the driver makes the first context on a GPU more
        slowly than the next ones, and the mediator's worker would be the first.
        """

        def crash(_, client):
            assert call(client, wire.CRASH)[0] == wire.CUDA_ERROR

        def kill(pid, client):
            # The job behind it finds the worker dying, or gone; either way it is to be answered.
            os.kill(pid, signal.SIGKILL)
            while call(client, wire.NOP)[0] != wire.OK:
                pass

        ways = {"illegal address": (lambda worker: worker.send(wire.CRASH), crash),
                "worker killed": (lambda worker: worker.kill(), kill)}  # fmt: skip
        with self.worker() as bystander, self.lab("--fault-threshold", "0") as lab, \
                connect(lab.socket, 9) as client:  # fmt: skip
            assert bystander.run(wire.ADD, (1, 1)).results == (2,)
            for name, (alone_end, end) in ways.items():
                alone, through = [], []
                for _ in range(count):  # in turns, so that both see the same host
                    alone.append(self.alone_ms(alone_end))
                    through.append(self.through_ms(lab, client, end))
                own = statistics.median(times["result"] for times in alone)
                ratio = statistics.median(through) / own
                self.report.measure(
                    "%s: ms until the next result" % name,
                    {"driver_alone": round(own, 1),
                     "of_which_until_it_is_gone":
                         round(statistics.median(times["gone"] for times in alone), 1),
                     "through_the_mediator": round(statistics.median(through), 1),
                     "ratio": round(ratio, 3)})  # fmt: skip
                if self.backend == "cuda":
                    self.report.check("%s: at most 1.15 times what the driver takes alone" % name,
                                      ratio <= 1.15, "%.3f" % ratio)  # fmt: skip

    def mediator_restart(self):
        with self.lab() as lab:
            load = lab.loadgen_start("4", "--op", "add=80,spin:300=20", "--depth", "4",
                                     "--reconnect",
                                     "--seconds", "6")  # fmt: skip
            time.sleep(2)
            old = list(lab.workers().values())
            before = time.monotonic()
            lab.kill()
            lab.start()
            started = time.monotonic() - before
            time.sleep(1)
            left = [pid for pid in old if is_running(pid)]
            served = sum(vm["submitted"] for vm in lab.admin_must("show-metrics")["vms"])
            result = lab.loadgen_finish(load)
        total = result["total"]
        self.report.check("mediator killed and started again under load: all VMs go on",
                          total["wrong"] == 0 and total["missing"] == 0 and served > 0
                          and all(vm["disconnects"] == 1 for vm in result["vms"]),
                          dict(brief(result), lost=total["lost"],
                               served_by_the_new_one=served))  # fmt: skip
        self.report.check("mediator killed: its workers are gone", not left, left)
        self.report.measure("mediator: s from SIGKILL until the new one listens", round(started, 3))


def main():
    names = ["jobs_of_four_vms", "latency", "shares", "health", "memory_limit", "endless_kernel",
             "illegal_addresses",
             "quarantine", "killed_worker", "ends_of_workers", "mediator_restart",
             "abuse", "quanta"]  # fmt: skip
    args = parser_of(__doc__, names).parse_args()
    status = skipped_without_gpu(args)
    if status is not None:
        return status
    report = Report()
    suite = Suite(report, args.bin_dir, args.backend)
    report.run([(name, getattr(suite, name)) for name in args.only or names])
    return report.finish(args.out)


if __name__ == "__main__":
    sys.exit(main())
