# SPDX-License-Identifier: GPL-2.0-or-later
"""Random faults against a real keeper, mediator and workers, while neighbours go on computing.

Each neighbour is a device of protocol 1.0 in a thread of its own: one request at a time, each
answer checked. After each fault the soak waits until all neighbours are answered again and looks
for what is left over. A request counts as lost when the mediator had accepted it, by its own
counters, and nobody got an answer."""
import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "protocol"), str(HERE)]
import faults as injected  # noqa: E402
import table  # noqa: E402
import wire  # noqa: E402
from keeper import Keeper  # noqa: E402
from mediator import Mediator, program, wait_for  # noqa: E402

PATIENCE_S = 120
EXIT_FAILED, EXIT_USAGE = 1, 2


class Neighbour(threading.Thread):
    """One VM that computes, and finds the mediator again by itself."""

    def __init__(self, lab, vm_id):
        super().__init__(daemon=True)
        self.lab, self.vm_id = lab, vm_id
        self.samples = []  # (when it was answered, seconds)
        self.answers = self.errors = self.wrong = self.cut = 0
        self.ended = False
        self.pause, self.paused = threading.Event(), threading.Event()

    def run(self):
        while not self.ended:
            try:
                with wire.Device(self.lab.socket, self.vm_id, timeout=PATIENCE_S) as device:
                    self.work(device)
            except (OSError, wire.Closed):
                time.sleep(0.02)

    def work(self, device):
        value = 0
        while not self.ended:
            if self.pause.is_set():
                self.paused.set()
                time.sleep(0.005)
                continue
            self.paused.clear()
            value += 1
            began = time.monotonic()
            try:
                answer = device.run(wire.ADD, (self.vm_id, value))
            except wire.Closed:
                self.cut += 1
                raise
            self.samples.append((time.monotonic(), time.monotonic() - began))
            self.answers += 1
            if answer.status != wire.OK:
                self.errors += 1
            elif answer.results[0] != self.vm_id + value:
                self.wrong += 1
            time.sleep(self.lab.think_s)


def p99_ms(samples):
    times = sorted(seconds for _, seconds in samples)
    return round(times[min(len(times) - 1, len(times) * 99 // 100)] * 1e3, 2) if times else None


class Lab:
    think_s = 0.002

    def __init__(self, options):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-soak-"))
        self.disk = self.folder / "disk"
        self.disk.mkdir()
        self.mounted = injected.mount_tmpfs(self.disk)
        # Of its own: nothing there is open for longer than a writing takes.
        self.state_disk = self.folder / "state-disk"
        self.state_disk.mkdir()
        self.state_mounted = injected.mount_tmpfs(self.state_disk)
        self.random = random.Random(options.seed)
        self.keeper = Keeper(self.folder, "--confine", "never")
        self.keeper.__enter__()
        self.lives = 0
        self.mediator = None
        subprocess.run([program("vgpu-admin"), "--db", self.disk / "vgpu.db", "--toolstack", "none",
                        "init-db"], check=True, stdout=subprocess.DEVNULL)
        self.start_mediator()
        self.socket = self.mediator.socket
        self.neighbours = [Neighbour(self, vm_id) for vm_id in range(1, options.vms + 1)]
        for neighbour in self.neighbours:
            neighbour.start()
        self.all_answered()

    def start_mediator(self):
        self.lives += 1
        self.mediator = Mediator(self.folder, "--enable-test-ops", "--fault-threshold", "0",
                                 "--keeper-socket", self.keeper.path, "--unregistered", "allow",
                                 "--state", self.state_disk / "state", "--metrics-listen", "off",
                                 "--log-level", "notice", "--linger-ms", "500",
                                 db=self.disk / "vgpu.db")
        self.mediator.start()

    def all_answered(self):
        """Waits until each neighbour has had an answer that is newer than now."""
        begun = time.monotonic()
        marks = [neighbour.answers for neighbour in self.neighbours]
        wait_for(lambda: all(n.answers > mark + 1 for n, mark in zip(self.neighbours, marks)),
                 "all neighbours to be answered", PATIENCE_S)
        return time.monotonic() - begun

    def quiet(self):
        """Nobody has a request under way; what the mediator counted of the neighbours."""
        for neighbour in self.neighbours:
            neighbour.pause.set()
        wait_for(lambda: all(n.paused.is_set() for n in self.neighbours), "the neighbours to pause",
                 PATIENCE_S)
        vms = {vm["vm_id"]: vm for vm in self.mediator.status()["vms"]}
        return sum(vms[n.vm_id]["submitted"] for n in self.neighbours if n.vm_id in vms)

    def go_on(self):
        for neighbour in self.neighbours:
            neighbour.paused.clear()
            neighbour.pause.clear()

    def left_over(self):
        """What should be the same after each fault."""
        return {"mediator_fds": self.mediator.fds(), "keeper_fds": self.keeper.fds(),
                "workers": len(self.keeper.workers())}

    def rss_kib(self):
        text = pathlib.Path(f"/proc/{self.mediator.process.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    def close(self):
        for neighbour in self.neighbours:
            neighbour.ended = True
        if self.mediator.process.poll() is None:
            self.mediator.process.send_signal(signal.SIGTERM)
            self.mediator.process.wait(PATIENCE_S)
        self.keeper.__exit__(None, None, None)
        for mounted, disk in ((self.mounted, self.disk),
                              (self.state_mounted, self.state_disk)):
            if mounted:
                injected.unmount(disk)
        shutil.rmtree(self.folder, ignore_errors=True)


def between(neighbours, begin, end):
    return [sample for n in neighbours for sample in n.samples if begin <= sample[0] < end]


def sums(lab, key):
    return sum(getattr(neighbour, key) for neighbour in lab.neighbours)


def one_fault(lab, name, inject, options):
    """Its record; a problem is text, and fails the soak."""
    window = options.window
    problems = []
    before_at = time.monotonic()
    time.sleep(window)
    submitted, answers = lab.quiet(), sums(lab, "answers")
    left = lab.left_over()
    lab.go_on()
    wrong, errors, cut = sums(lab, "wrong"), sums(lab, "errors"), sums(lab, "cut")
    begun = time.monotonic()
    skipped = inject(lab)
    if skipped:
        return {"fault": name, "skipped": skipped}
    recovery_s = lab.all_answered()
    over = time.monotonic()
    time.sleep(window)
    after_at = time.monotonic()
    accepted = lab.quiet() - submitted
    answered = sums(lab, "answers") - answers
    try:
        wait_for(lambda: same(left, lab.left_over()), "leftovers to go", 60)
    except AssertionError:
        problems.append(f"left over: {left} before, {lab.left_over()} after")
    lab.go_on()
    cut = sums(lab, "cut") - cut
    if name == "mediator_killed":
        accepted = answered + cut  # its counters miss what came after their last writing
        lost = 0
    else:
        lost = max(0, accepted - answered)
    if lost:
        problems.append(f"{lost} accepted requests were not answered")
    if sums(lab, "wrong") != wrong:
        problems.append("a result is wrong")
    return {"fault": name, "accepted": accepted, "answered": answered, "cut": cut,
            "lost": lost, "wrong": sums(lab, "wrong") - wrong,
            "errors": sums(lab, "errors") - errors,
            "p99_before_ms": p99_ms(between(lab.neighbours, before_at, begun)),
            "p99_during_ms": p99_ms(between(lab.neighbours, begun, over)),
            "p99_after_ms": p99_ms(between(lab.neighbours, over, after_at)),
            "recovery_s": round(recovery_s, 3), "rss_kib": lab.rss_kib(), "life": lab.lives,
            "problems": problems}


def same(before, after):
    """Fewer descriptors are well: something that was on its way has ended."""
    return (after["mediator_fds"] <= before["mediator_fds"] + 2 and
            after["keeper_fds"] <= before["keeper_fds"] + 1 and
            after["workers"] == before["workers"])


def parse(arguments):
    parser = argparse.ArgumentParser(prog="soak", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30, help="how long (default 30)")
    parser.add_argument("--faults", help="only these, separated by commas: " +
                        ", ".join(injected.ALL))
    parser.add_argument("--each-once", action="store_true", help="each fault once, then the end")
    parser.add_argument("--seed", type=int, default=None, help="of the order of the faults")
    parser.add_argument("--vms", type=int, default=6, help="neighbours (default 6)")
    parser.add_argument("--window", type=float, default=2, metavar="S",
                        help="for the p99 before and after a fault (default 2)")
    parser.add_argument("--json", metavar="FILE", help="write what was found")
    parser.add_argument("--table", metavar="FILE",
                        help="do nothing but write docs/reliability.md's table from this JSON")
    options = parser.parse_args(arguments)
    names = options.faults.split(",") if options.faults else list(injected.ALL)
    unknown = [name for name in names if name not in injected.ALL]
    if unknown:
        parser.error(f"--faults {unknown[0]}: there are {', '.join(injected.ALL)}")
    options.names = names
    options.seed = random.SystemRandom().randrange(1 << 32) if options.seed is None \
        else options.seed
    return options


def write(options, began, records):
    document = {"seed": options.seed, "minutes": round((time.monotonic() - began) / 60, 1),
                "vms": options.vms, "processors": len(os.sched_getaffinity(0)),
                "records": records}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(document, indent=1) + "\n",
                                              encoding="utf-8")


def soak(lab, options):
    began = time.monotonic()
    end = began + options.minutes * 60
    records, names = [], []
    while options.each_once or time.monotonic() < end:
        if not names:
            if options.each_once and records:
                break
            names = list(options.names)
            lab.random.shuffle(names)
        name = names.pop()
        record = one_fault(lab, name, injected.ALL[name], options)
        records.append(record)
        write(options, began, records)
        if "skipped" in record:
            options.names.remove(name)
            print(f"{name}: skipped: {record['skipped']}", flush=True)
            if not options.names:
                break
            continue
        print(f"{name}: {record['accepted']} accepted, {record['lost']} lost, "
              f"{record['wrong']} wrong, p99 {record['p99_before_ms']} / {record['p99_during_ms']}"
              f" / {record['p99_after_ms']} ms, again after {record['recovery_s']} s"
              + "".join(f"; PROBLEM: {text}" for text in record["problems"]), flush=True)
    return records


def main(arguments):
    options = parse(arguments)
    if options.table:
        return table.write(options.table)
    print(f"seed {options.seed}", flush=True)
    lab = Lab(options)
    try:
        records = soak(lab, options)
    finally:
        lab.close()
    failed = sum(len(record.get("problems", [])) for record in records)
    print(f"{sum('skipped' not in r for r in records)} faults, {failed} problems, "
          f"seed {options.seed}")
    return EXIT_FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
