#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long do VMs wait for answers when the mediator is restarted as planned?

Fifty VMs have one request each under way, all the time.  The mediator gets SIGTERM, and the next
one is started as soon as it has ended, as systemd does.  The gap is the time from the SIGTERM on
until the last VM has an answer of the next mediator.  With --old an earlier version, without a
keeper, is measured in turns with this one, in the same run."""

import argparse
import errno
import json
import os
import pathlib
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP / "tests" / "protocol")]
import wire  # noqa: E402

LIMIT_S = 120


class Host:
    """The programs of one version, in a folder of their own.  An old one has no keeper."""

    def __init__(self, folder, programs, backend, work_us):
        self.folder, self.programs = pathlib.Path(folder), pathlib.Path(programs)
        self.backend = backend
        self.socket = str(self.folder / "vgpu.sock")
        self.log = open(self.folder / "log", "ab")
        self.keeper = self.mediator = None
        self.work_us = work_us
        if (self.programs / "vgpu-keeper").exists():
            self.keeper = self.run("vgpu-keeper", "--socket", self.folder / "keeper.sock",
                                   "--no-cache")
            self.wait(self.folder / "keeper.sock")

    def run(self, name, *arguments):
        libraries = self.programs.parent / "lib"  # as in scripts/gpu-bundle
        environment = dict(os.environ)
        if libraries.is_dir():
            environment["LD_LIBRARY_PATH"] = str(libraries)
        return subprocess.Popen([str(self.programs / name), *map(str, arguments)], env=environment,
                                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def wait(self, path):
        end = time.monotonic() + LIMIT_S
        while not path.exists():
            assert time.monotonic() < end, f"{path} does not come: see {self.folder}/log"
            time.sleep(0.001)

    def start(self):
        kept = ["--keeper-socket", self.folder / "keeper.sock", "--state", self.folder / "state"]
        self.mediator = self.run(
            "vgpu-mediator", "--socket-path", self.socket, "--admin-socket",
            self.folder / "admin.sock", "--metrics-listen", "off", "--no-discovery", "--no-db",
            "--no-nvml", "--trust-claims", "--backend", self.backend, "--enable-test-ops",
            *(kept if self.keeper else []))

    def accepted(self):
        """By all mediators; an old one forgets what was before it."""
        with wire.Admin(self.folder / "admin.sock") as admin:
            return sum(vm["submitted"] for vm in admin.call(wire.SHOW_METRICS)["vms"])

    def stop(self):
        for process in (self.mediator, self.keeper):
            if process and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(LIMIT_S)
        self.log.close()


class VM:
    """Its device, and a guest that asks again.  A connection that is lost is made again after
    --reconnect-ms, as QEMU does for a device."""

    def __init__(self, host, number, loop):
        self.host, self.number, self.loop = host, number, loop
        self.sock = None
        self.sent = self.answers = self.wrong = self.told = self.busy = 0
        self.answered_ns = 0
        self.due_ns = None  # when it asks next; None: it waits for an answer
        self.connect_ns = 0  # when it tries next

    def connect(self):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self.host.socket)
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.EAGAIN), error
            sock.close()
            self.connect_ns = time.monotonic_ns() + self.loop.reconnect_ns
            return
        self.sock, self.bytes = sock, b""
        self.loop.add(self)
        self.ask()

    def ask(self):
        self.due_ns = None
        body = wire.request_body(wire.SPIN, (self.host.work_us,))
        try:
            self.sock.send(wire.frame(wire.MSG_REQUEST, body, vm_id=self.number,
                                      request_id=self.sent + 1))
            self.sent += 1
        except OSError:
            self.sent += 1
            self.lost()

    def lost(self):
        self.told += 1
        self.loop.remove(self)
        self.sock.close()
        self.sock = None
        self.connect_ns = time.monotonic_ns() + self.loop.reconnect_ns

    def read(self):
        try:
            more = self.sock.recv(4096)
        except ConnectionResetError:
            more = b""
        if not more:
            self.lost()
            return
        self.bytes += more
        while self.sock and len(self.bytes) >= wire.HEADER.size:
            head = wire.HEADER.unpack_from(self.bytes)
            size = wire.HEADER.size + head[7]
            if len(self.bytes) < size:
                return
            payload, self.bytes = self.bytes[wire.HEADER.size:size], self.bytes[size:]
            self.answer(head, payload)

    def answer(self, head, payload):
        if head[1] not in (wire.MSG_RESPONSE, wire.MSG_BUSY):
            return
        status = wire.RESPONSE.unpack_from(payload)[1] if payload else wire.QUEUE_FULL
        if status in (wire.UNAVAILABLE, wire.QUEUE_FULL, wire.GPU_UNAVAILABLE):
            self.busy += 1  # it is to come again
        else:
            self.wrong += head[3] != self.sent or status != wire.OK
            self.answers += 1
            self.answered_ns = time.monotonic_ns()
        self.due_ns = time.monotonic_ns() + self.loop.think_ns


class Loop:
    def __init__(self, host, count, think_ns, reconnect_ns):
        self.think_ns, self.reconnect_ns = think_ns, reconnect_ns
        self.poll = select.epoll()
        self.by_fd = {}
        self.ending = False
        self.vms = [VM(host, number, self) for number in range(1, count + 1)]

    def add(self, vm):
        self.by_fd[vm.sock.fileno()] = vm
        self.poll.register(vm.sock.fileno(), select.EPOLLIN)

    def remove(self, vm):
        self.poll.unregister(vm.sock.fileno())
        del self.by_fd[vm.sock.fileno()]

    def turn(self):
        now_ns = time.monotonic_ns()
        for vm in self.vms:
            if vm.sock is None:
                if now_ns >= vm.connect_ns:
                    vm.connect()
            elif vm.due_ns is not None and now_ns >= vm.due_ns and not self.ending:
                vm.ask()
        for fd, _ in self.poll.poll(0.001):
            if fd in self.by_fd:
                self.by_fd[fd].read()

    def until(self, condition, what):
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"waited {LIMIT_S} s until {what}"
            self.turn()

    def all_answered_since(self, when_ns):
        return all(vm.answered_ns > when_ns for vm in self.vms)


def measure_once(host, loop, load_s):
    """The gap in seconds."""
    end = time.monotonic() + load_s
    loop.until(lambda: time.monotonic() > end, "some load is over")
    begin_ns = time.monotonic_ns()
    host.mediator.send_signal(signal.SIGTERM)
    loop.until(lambda: host.mediator.poll() is not None, "the mediator has ended")
    started_ns = time.monotonic_ns()
    host.start()
    loop.until(lambda: loop.all_answered_since(started_ns), "all VMs have an answer")
    return (time.monotonic_ns() - begin_ns) / 1e9, (started_ns - begin_ns) / 1e9


def measure(programs, args):
    """A dictionary of figures; one of the two versions, from start to end."""
    with tempfile.TemporaryDirectory(prefix="vgpu-restart-") as folder:
        host = Host(folder, programs, args.backend, args.work_us)
        loop = Loop(host, args.vms, int(args.think_ms * 1e6), int(args.reconnect_ms * 1e6))
        try:
            host.start()
            loop.until(lambda: loop.all_answered_since(0), "all VMs have an answer")
            gaps = [measure_once(host, loop, args.load) for _ in range(args.restarts)]
            loop.ending = True
            loop.until(lambda: all(vm.due_ns for vm in loop.vms), "the end")
            figures = {
                "gaps_s": [gap for gap, _ in gaps],
                "stopping_s": [stopping for _, stopping in gaps],
                "sent": sum(vm.sent for vm in loop.vms),
                "answered": sum(vm.answers for vm in loop.vms),
                "told": sum(vm.told + vm.busy for vm in loop.vms),
                "wrong": sum(vm.wrong for vm in loop.vms),
            }
            figures["accepted"] = host.accepted() if host.keeper else None
            figures["lost"] = figures["accepted"] - figures["answered"] if host.keeper else None
            return figures
        except AssertionError:
            print((host.folder / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            host.stop()


def add(total, part):
    for key, value in part.items():
        if value is None or key not in total:
            total[key] = value
        else:
            total[key] = total[key] + value


def print_line(name, figures):
    gaps = sorted(figures["gaps_s"])
    lost = "?" if figures["lost"] is None else figures["lost"]
    print("%-5s %3d restarts: gap median %.3f s, %.3f to %.3f; to stop %.3f s; %d requests, "
          "%d told that it is gone, %d wrong, %s lost"
          % (name, len(gaps), statistics.median(gaps), gaps[0], gaps[-1],
             statistics.median(figures["stopping_s"]), figures["sent"], figures["told"],
             figures["wrong"], lost))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin-dir", default=str(TOP / "build" / "bin"),
                        help="where the programs are (build/bin)")
    parser.add_argument("--old", metavar="FOLDER", help="programs of an earlier version")
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--vms", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5, help="of each version, in turns (5)")
    parser.add_argument("--restarts", type=int, default=3, help="in each round (3)")
    parser.add_argument("--load", type=float, default=1, metavar="SECONDS",
                        help="before each restart (1)")
    parser.add_argument("--work-us", type=int, default=200, help="of each request (200)")
    parser.add_argument("--think-ms", type=float, default=20, metavar="MS",
                        help="of a VM between an answer and its next request (20)")
    parser.add_argument("--reconnect-ms", type=float, default=1000, metavar="MS",
                        help="from the loss of a VM's connection to its next try (1000, as QEMU "
                        "does for a vgpu-stub; 0: at once)")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    totals = {"new": {}, **({"old": {}} if args.old else {})}
    for _ in range(args.rounds):
        for name, total in totals.items():
            add(total, measure(args.old if name == "old" else args.bin_dir, args))
    for name, total in totals.items():
        print_line(name, total)
    result = {"vms": args.vms, "processors": os.cpu_count(), "reconnect_ms": args.reconnect_ms,
              **totals}
    if args.old:
        result["ratio"] = (statistics.median(totals["new"]["gaps_s"]) /
                           statistics.median(totals["old"]["gaps_s"]))
        print("ratio of the medians: %.3f (wanted: 0.25 at most)" % result["ratio"])
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 1 if totals["new"]["lost"] or totals["new"]["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
