# SPDX-License-Identifier: GPL-2.0-or-later
"""Mixes of VMs in which some try to get more than their share, played against a real mediator over
real sockets, and what each VM got of its share of what it has alone.

The words of a mix are vgpu-sim's (--vms), so what the attacker of sim/ found can be played here.
vgpu-loadgen plays VMs with a steady load; those that change between tiny and huge jobs, rest, or
leave and come back are played by a process of Python.  Lies are told by lying_worker.py.  Standard
library only."""

import glob
import heapq
import itertools
import json
import math
import multiprocessing
import os
import random
import select
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]
import wire  # noqa: E402
from lab import Lab  # noqa: E402

OVERRUN_US, PATIENCE_US, QUANTUM_US = 100000, 100000, 6000
LONGEST_US = 3000000  # longer jobs are cut to that: they overrun all the same
WARMUP_S, ALONE_WARMUP_S = 3, 1
UUID = "00000000-0000-4000-8000-%012d"
PRIORITIES = ("low", "medium", "high")
TINY_US = 20  # a job of no more is a NOP

# Name and words.  The faults for which they stand are those of the corpus (sim/corpus).
MIXES = (
    ("a job aside, ten of depth 60, and one that pauses",
     "weight=50,job_us=3000000,depth=1;n=10,weight=50,job_us=1000,depth=60;"
     "weight=50,job_us=1000,depth=1,think_us=20000"),
    ("weight 1 with 90 ms jobs beside weight 100 that pauses",
     "weight=1,job_us=90000,depth=4;weight=100,job_us=1000,depth=1,think_us=1000"),
    ("tiny jobs and 95 ms ones beside weight 20",
     "weight=1,depth=16,tiny=60,huge=16,job_us=95000,tiny_us=5;weight=20,job_us=1000,depth=4"),
    ("two long jobs beside weight 100 that pauses",
     "n=2,weight=1,job_us=3000000,depth=1;weight=100,job_us=1000,depth=1,think_us=20000"),
    ("16 of crumbs beside a saturated one",
     "n=16,weight=1,job_us=10,depth=1,think_us=5000;weight=100,job_us=1000,depth=8"),
)  # fmt: skip

LIES = (
    ("one DONE of an hour, six jobs outstanding",
     "depth=6,job_us=1000,lie_us=3.6e9,lie_every=500;n=2,job_us=1000,depth=1,think_us=500"),
    ("50 ms reported as 0 beside two of equal weight",
     "job_us=50000,depth=4,lie_factor=0;n=2,job_us=1000,depth=4"),
)  # fmt: skip


class Unplayable(Exception):
    """Something that can't be done over sockets, or not yet."""


class Group:
    """VMs of one kind, in vgpu-sim's words."""

    NUMBERS = {"n": 1, "weight": 50, "prio": 1, "depth": 8, "think_us": 0, "rate": 0, "on_ms": 0,
               "off_ms": 0, "disconnect_ms": 0, "away_ms": 0, "batch": 0, "tiny": 0, "tiny_us": 1,
               "huge": 1, "lie_factor": 1, "lie_step": 1, "lie_us": 0, "lie_every": 1,
               "slow_us": 0}  # fmt: skip

    def __init__(self, words):
        self.lengths_us = [1000.0]
        for name, value in self.NUMBERS.items():
            setattr(self, name, value)
        for pair in filter(None, words.split(",")):
            name, _, text = pair.partition("=")
            if name == "job_us":
                self.lengths_us = [min(us, LONGEST_US) for us in lengths_us(text)]
            elif name in self.NUMBERS:
                setattr(self, name, float(text) if "." in text or "e" in text else int(text))
            else:
                raise Unplayable(name)

    @property
    def job_us(self):
        """A job's mean length, without the tiny ones."""
        return sum(self.lengths_us) / len(self.lengths_us)

    @property
    def lies(self):
        """Or is slow, on purpose: it has the stand-in for the worker."""
        return self.lie_factor != 1 or self.lie_step != 1 or self.lie_us > 0 or self.slow_us > 0

    @property
    def lie(self):
        said = {"us": self.lie_us} if self.lie_us else {"factor": self.lie_factor,
                                                       "step": self.lie_step}
        return dict(said, every=self.lie_every, slow_us=self.slow_us)

    @property
    def by_loadgen(self):
        return not (self.tiny or self.on_ms or self.disconnect_ms or self.batch)

    @property
    def why_not_judged(self):
        """The promise is none for these; empty: it is one."""
        pause_us = max(self.think_us, self.off_ms * 1e3, self.away_ms * 1e3,
                       1e6 / self.rate if self.rate else 0)  # fmt: skip
        if self.lies:
            return "its worker lies, or is slow"
        if max(self.lengths_us) >= OVERRUN_US:
            return "its jobs overrun"
        if self.disconnect_ms:
            return "it leaves"
        return "it pauses beyond patience" if pause_us > PATIENCE_US else ""

    def loadgen_words(self, first, count):
        share = ["spin:%d" % us for us in self.lengths_us]
        op = share[0] if len(share) == 1 else "+".join("%s=1" % spin for spin in share)
        words = "n=%d,vm_id=%d,op=%s" % (count, first, op)
        if self.rate:
            return words + ",rate=%g" % self.rate
        return words + ",depth=%d,think_us=%d" % (min(self.depth, 256), self.think_us)


def lengths_us(text):
    """Of vgpu-sim's lengths: one, or nine that stand for a distribution."""
    middles = [(i + 0.5) / 9 for i in range(9)]
    if text.startswith("exp:"):
        mean = float(text[4:])
        return [max(1, -mean * math.log(1 - at)) for at in middles]
    even = text.startswith("uniform:")
    low, dash, high = text.replace("uniform:", "").partition("-")
    if not dash:
        return [float(low)]
    low, high = float(low), float(high)
    return [low + (high - low) * at if even else low * (high / low) ** at for at in middles]


def groups_of(words):
    return [Group(one) for one in words.split(";") if one]


def corpus(folder):
    """[(name, words)] of the attacks that vgpu-sim's attacker keeps.  Those on several GPUs can't
    be played here, and say so when they are to be."""
    found = []
    for path in sorted(glob.glob(os.path.join(folder, "*.attack"))):
        with open(path, encoding="utf-8") as source:
            lines = source.read().splitlines()
        keys = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
        several = [key for key in ("gpus", "pools") if keys.get(key, "1") != "1"]
        words = ";".join(["%s=%s" % (key, keys[key]) for key in several] + [keys["vms"]])
        found.append((os.path.basename(path).partition(".")[0], words))
    return found


# ---- VMs that vgpu-loadgen can't play ----


class Guest:
    """One VM: what it does next, and what it got while it was measured."""

    def __init__(self, path, vm_id, group):
        self.path, self.vm_id, self.group = path, vm_id, group
        self.random = random.Random(vm_id)
        self.device, self.in_flight, self.drawn = None, {}, 0
        self.jobs, self.work_us = 0, 0.0
        self.due = []
        self.begin = time.monotonic()
        self.leaves_at = self.next_leave()
        self.comes_at = 0

    def next_leave(self):
        mean = self.group.disconnect_ms / 1e3
        return time.monotonic() + self.random.expovariate(1 / mean) if mean else math.inf

    def connect(self):
        self.device = wire.Device(self.path, self.vm_id)
        self.in_flight = {}
        self.due = [time.monotonic()] * self.group.depth

    def resting_until(self, now):
        """The end of its rest, or now."""
        group = self.group
        if not group.on_ms:
            return now
        at = (now - self.begin) % ((group.on_ms + group.off_ms) / 1e3)
        return now if at < group.on_ms / 1e3 else now + (group.on_ms + group.off_ms) / 1e3 - at

    def next_us(self):
        group = self.group
        tiny = group.tiny and self.drawn % (group.tiny + group.huge) < group.tiny
        self.drawn += 1
        return group.tiny_us if tiny else self.random.choice(group.lengths_us)

    def submit(self, now):
        while self.due and self.due[0] <= now:
            heapq.heappop(self.due)
            us = self.next_us()
            job = (wire.NOP,) if us <= TINY_US else (wire.SPIN, (int(us),))
            self.in_flight[self.device.submit(*job)] = us

    def answered(self, measured):
        answer = self.device.read()
        us = self.in_flight.pop(answer.request_id)
        wait = self.group.think_us / 1e6
        if answer.status == wire.OK and measured:
            self.jobs += 1
            self.work_us += us
        elif answer.status != wire.OK:
            wait += 0.1
        if not self.group.batch:
            heapq.heappush(self.due, time.monotonic() + wait)
        elif not self.in_flight:
            self.due = [time.monotonic() + wait] * self.group.depth

    def step(self, now):
        """Does what is due; returns when something is next."""
        if not self.device:
            if now < self.comes_at:
                return self.comes_at
            self.connect()
        if now >= self.leaves_at:
            self.device.close()
            self.device = None
            self.leaves_at = self.next_leave()
            away = self.group.away_ms / 1e3
            self.comes_at = now + (self.random.expovariate(1 / away) if away else 0.02)
            return self.comes_at
        rested = self.resting_until(now)
        if rested > now:
            return min(rested, self.leaves_at)
        self.submit(now)
        return min(self.due[0] if self.due else math.inf, self.leaves_at)


def play(path, vms, begin, end, results):
    """Plays [(vm_id, group)] until `end`; what they got from `begin` on goes into `results`."""
    guests = [Guest(path, vm_id, group) for vm_id, group in vms]
    while True:
        now = time.monotonic()
        if now >= end:
            break
        wake = min(min(guest.step(now) for guest in guests), end)
        there = {guest.device.sock: guest for guest in guests if guest.device}
        wait = max(0, wake - time.monotonic())
        for sock in select.select(list(there), [], [], wait)[0]:
            there[sock].answered(begin <= time.monotonic())
    results.put({guest.vm_id: (guest.jobs, guest.work_us) for guest in guests})


class Players:
    """Those VMs of a mix, in a process of their own."""

    def __init__(self, path, vms, warmup_s, seconds):
        self.results, self.process = multiprocessing.Queue(), None
        if vms:
            begin = time.monotonic() + warmup_s
            self.process = multiprocessing.Process(
                target=play, args=(path, vms, begin, begin + seconds, self.results), daemon=True)
            self.process.start()

    def finish(self):
        if not self.process:
            return {}
        got = self.results.get(timeout=120)
        self.process.join()
        return got


# ---- a mix ----


def write_worker(folder, bin_dir, lies):
    """Makes a program to be the mediator's --worker, which tells `lies` by vm_id; its path."""
    path = os.path.join(folder, "lying-worker")
    with open(path, "w", encoding="utf-8") as script:
        script.write("#!/bin/sh\nexec python3 '%s' '%s' '%s' \"$@\"\n" % (
            os.path.join(HERE, "lying_worker.py"),
            os.path.abspath(os.path.join(bin_dir, "vgpu-worker")), json.dumps(lies)))  # fmt: skip
    os.chmod(path, 0o755)
    os.chmod(folder, 0o711)  # workers have uids of their own, and must get there
    return path


class Mix:
    """A mix against a mediator of its own."""

    def __init__(self, bin_dir, backend, words, seconds, alone_s=4, options=()):
        self.bin_dir, self.backend, self.options = bin_dir, backend, options
        self.seconds, self.alone_s = seconds, alone_s
        self.groups = groups_of(words)
        self.vms, first = [], 1  # (vm_id, group)
        for group in self.groups:
            self.vms += [(vm_id, group) for vm_id in range(first, first + group.n)]
            first += group.n
        self.phi_sum = sum(self.phi(group) for _, group in self.vms)
        self.asides = sum(max(group.lengths_us) >= OVERRUN_US for _, group in self.vms)

    @staticmethod
    def phi(group):
        return group.weight << group.prio

    def lab(self):
        db = [("--vm-name=v%d" % vm_id, "--vm-uuid=" + UUID % vm_id, "--vm-id=%d" % vm_id,
               "--weight=%d" % group.weight, "--priority=" + PRIORITIES[group.prio])
              for vm_id, group in self.vms]  # fmt: skip
        lies = {str(vm_id): group.lie for vm_id, group in self.vms if group.lies}
        lab = Lab(self.bin_dir, *self.options, backend=self.backend, db=db)
        if lies:
            lab.args += ["--worker", write_worker(lab.folder, self.bin_dir, lies)]
        return lab

    def play(self, lab, vms, warmup_s, seconds):
        """{vm_id: (jobs, us of GPU work a second, p99_us)}, what the mediator's own figures grew by
        meanwhile, and loadgen's report."""
        steady = [(vm_id, group) for vm_id, group in vms if group.by_loadgen]
        words, result, load = [], None, None
        for group, of_it in itertools.groupby(steady, key=lambda vm: vm[1]):
            ids = [vm_id for vm_id, _ in of_it]
            words.append(group.loadgen_words(ids[0], len(ids)))
        players = Players(lab.socket, [vm for vm in vms if not vm[1].by_loadgen], warmup_s, seconds)
        if words:
            load = lab.loadgen_start(";".join(words), "--seconds", str(seconds), "--warmup",
                                     str(warmup_s))  # fmt: skip
        time.sleep(warmup_s)
        before = figures_of(lab)
        time.sleep(seconds)  # the last jobs, which end alone, are not to count
        figures = difference(before, figures_of(lab))
        if load:
            result = lab.loadgen_finish(load)
        got = {vm_id: (jobs, us / seconds, None) for vm_id, (jobs, us) in players.finish().items()}
        by_id = {vm["vm_id"]: vm for vm in result["vms"]} if result else {}
        for vm_id, group in steady:
            vm = by_id[vm_id]
            us = vm["jobs"] * group.job_us if len(group.lengths_us) == 1 else vm["gpu_us"]
            got[vm_id] = (vm["jobs"], us / result["seconds"], vm["p99_us"])
        return got, figures, result

    def alone(self, lab):
        """{group: d}, of those to whom something is promised."""
        found = {}
        for vm_id, group in self.vms:
            if group not in found and not group.why_not_judged:
                got, _, _ = self.play(lab, [(vm_id, group)], ALONE_WARMUP_S, self.alone_s)
                found[group] = got[vm_id][1] / 1e6
        return found

    def verdict(self, vm_id, group, got, d, figures):
        """One VM's line, all of it parts of the GPU's time."""
        jobs, us, p99_us = got[vm_id]
        share = self.phi(group) / self.phi_sum
        line = {"vm_id": vm_id, "weight": group.weight, "priority": group.prio,
                "due_share": share, "alone": d, "got": us / 1e6, "of_share": us / 1e6 / share,
                "jobs": jobs, "p99_us": p99_us,
                "why_not_judged": group.why_not_judged}  # fmt: skip
        line.update(figures.get(vm_id, {}))
        if d:
            due = share * d / (self.asides + 1)
            edges = (max(group.lengths_us) + QUANTUM_US) / 1e6 / self.seconds
            line.update(due=due, plain=line["got"] / due, ratio=(line["got"] + edges) / due)
        return line

    def run(self):
        """What it came to: each VM's line, and loadgen's report."""
        with self.lab() as lab:
            d = self.alone(lab)
            got, figures, result = self.play(lab, self.vms, WARMUP_S, self.seconds)
        lines = [self.verdict(vm_id, group, got, d.get(group), figures)
                 for vm_id, group in self.vms]  # fmt: skip
        judged = [line["ratio"] for line in lines if "ratio" in line]
        return {"vms": lines, "asides": self.asides, "busy": sum(line["got"] for line in lines),
                "worst": min(judged) if judged else None, "loadgen": result}  # fmt: skip


def speed(bin_dir, backend):
    """How much of the time one VM with much work keeps the GPU busy: far below 1 where the host's
    processors have other things to do, and then nothing here means much."""
    mix = Mix(bin_dir, backend, "job_us=1000,depth=4", 2)
    with mix.lab() as lab:
        got, _, _ = mix.play(lab, mix.vms, ALONE_WARMUP_S, mix.seconds)
    return got[1][1] / 1e6


FIGURES = ("entitled_ns", "gpu_time_ns", "kept_idle_ns", "switching_ns")


def figures_of(lab):
    """{vm_id: what the mediator says of it}."""
    return {vm["vm_id"]: {name: vm[name] for name in FIGURES}
            for vm in lab.admin_must("show-metrics")["vms"]}  # fmt: skip


def difference(before, after):
    return {vm_id: {name: now[name] - before.get(vm_id, {}).get(name, 0) for name in FIGURES}
            for vm_id, now in after.items()}  # fmt: skip
