#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo behind scripts/demo, which has set up and built before.

How it works.  A mediator listens in a temporary folder; each guest has its own thread,
which boots it (tests/vm/vm.py), waits until all are there, runs vgpu-client in it and
notes the progress that the client prints.  The main thread draws the table.

Nothing may stay behind, however this ends.  The mediator and the QEMUs are started under
"setpriv --pdeathsig": the kernel kills them when the thread that started them ends, be
it by SIGKILL.  The folder is removed by a janitor, a process in a session of its own that
waits for the end of a pipe whose other end only this process holds.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TREE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TREE / "tests" / "vm"))

TIED = ["setpriv", "--pdeathsig", "KILL", "--"]
VMS_MAX = 64
MEDIATOR_LIMIT_S = 30
CLIENT_SILENCE_LIMIT_S = 120
QEMU = TIED + [str(TREE / "qemu" / "vgpu-qemu")]
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class DemoError(Exception):
    """Said to the user as it stands."""


class Interrupted(BaseException):
    def __init__(self, number):
        super().__init__(number)
        self.number = number


def parse_options(arguments):
    def whole(low, high):
        def check(text):
            value = int(text)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"must be {low} to {high}, not {value}")
            return value
        return check

    parser = argparse.ArgumentParser(prog="scripts/demo", description="Real guests, one mediator.")
    parser.add_argument("--vms", type=whole(1, VMS_MAX), default=3, metavar="N",
                        help="how many guests (default 3)")
    parser.add_argument("--seconds", type=whole(1, 86400), default=10, metavar="S",
                        help="how long they work (default 10)")
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE, - for stdout")
    parser.add_argument("--backend", choices=("auto", "cpu", "cuda"), default="auto",
                        help="what executes the jobs (default auto: CUDA where there is a GPU)")
    parser.add_argument("--keep-logs", action="store_true",
                        help="keep the logs of mediator, QEMUs and guests, and say where")
    parser.add_argument("--no-setup", action="store_true", help="don't install missing packages")
    parser.add_argument("--check-options", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# ---- Processes ------------------------------------------------------------------


def children():
    """The processes that this one has started and that have not been waited for."""
    found = []
    for task in pathlib.Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            pass  # that thread has just ended
    return found


def end_children(except_for):
    """Ends whatever still runs: politely, then by force."""
    for number, limit_s in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        for pid in children():
            if pid not in except_for:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            left = [pid for pid in children() if pid not in except_for]
            if not left:
                return
            for pid in left:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass  # another thread has waited for it
            time.sleep(0.02)


class Workplace:
    """The temporary folder and its janitor."""

    # Twice, because a process that was just killed may still have created a file.
    JANITOR = 'read -r _; rm -rf "$1"; sleep 1; rm -rf "$1"'

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-demo-"))
        reading, self.pipe = os.pipe()
        self.janitor = subprocess.Popen(["/bin/sh", "-c", self.JANITOR, "sh", str(self.path)],
                                        stdin=reading, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, start_new_session=True, cwd="/")
        os.close(reading)

    def close(self, keep):
        if not keep:
            shutil.rmtree(self.path, ignore_errors=True)
        self.janitor.kill()
        self.janitor.wait()
        os.close(self.pipe)


class Mediator:
    def __init__(self, folder, backend):
        self.socket = folder / "mediator.sock"
        self.admin_socket = folder / "admin.sock"
        self.log_path = folder / "mediator.log"
        with open(self.log_path, "wb") as log:
            # No database, no claims: each guest is who its QEMU's command line says it is.
            self.process = subprocess.Popen(
                TIED + [str(TREE / "build/bin/vgpu-mediator"), "--no-db", "--no-nvml",
                        "--no-discovery", "--backend", backend, "--socket-path", str(self.socket),
                        "--admin-socket", str(self.admin_socket)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + MEDIATOR_LIMIT_S
        while not self._answers():
            if self.process.poll() is not None:
                raise DemoError("the mediator ended with status "
                                f"{self.process.returncode}:\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise DemoError(f"the mediator does not listen after {MEDIATOR_LIMIT_S} s:\n"
                                f"{self.log_end()}")
            time.sleep(0.05)

    def _answers(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self.admin_socket))
            except OSError:
                return False
        return self.socket.exists()

    def log_end(self, lines=25):
        text = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join("    " + line for line in text[-lines:])

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise DemoError("the mediator did not stop on SIGTERM and was killed") from None
        if self.process.returncode:
            raise DemoError(f"the mediator ended with status {self.process.returncode}:\n"
                            f"{self.log_end()}")


# ---- Guests ---------------------------------------------------------------------


class Vm(threading.Thread):
    """One guest: boots, works, ends, all in its own thread."""

    def __init__(self, number, demo):
        super().__init__(name=f"vm{number}", daemon=True)
        self.number = number
        self.demo = demo
        self.state = "boots"
        self.failure = None
        self.info = {}
        self.progress = {"jobs": 0, "wrong": 0, "errors": 0}
        self.summary = None

    def run(self):
        try:
            self._work()
        except threading.BrokenBarrierError:
            self.state = "given up"
        except Exception as error:  # whatever it was, the main thread reports it
            self.failure = f"{self.name}: {error}"
            self.state = "failed"
            self.demo.all_booted.abort()

    def _work(self):
        from vm import Guest

        folder = self.demo.folder / self.name
        folder.mkdir()
        # Where three guests share two processors under TCG, the kernel's check whether timer
        # interrupts keep pace fails now and then, and it gives up: no_timer_check.
        arguments = ["-append", "console=ttyS0 quiet panic=-1 no_timer_check",
                     "-name", f"guest={self.name}",
                     "-chardev", f"socket,id=link,path={self.demo.mediator.socket},reconnect=1",
                     "-device", f"vgpu-stub,chardev=link,vm_id={self.number},pool_id=A"]
        with Guest(self.demo.qemu, folder, arguments, files={"/bin/vgpu-client": self.demo.client},
                   accel=self.demo.accel, memory_mib=128) as guest:
            self._expect(guest.run("vgpu-client --json --op info", on_line=self._on_line))
            self.state = "ready"
            self.demo.all_booted.wait()
            self.state = "works"
            self._expect(guest.run("vgpu-client --json --progress --keep-going "
                                   f"--seconds {self.demo.options.seconds}",
                                   CLIENT_SILENCE_LIMIT_S, self._on_line))
            self.state = "done"

    def _expect(self, result):
        status, output = result
        if status and not self.summary:
            raise DemoError(f"vgpu-client ended with status {status}:\n{output}")

    def _on_line(self, line):
        try:
            said = json.loads(line)
        except ValueError:
            self.failure = f"{self.name}: {line}"  # an error message on stderr
            return
        if not isinstance(said, dict):
            return
        if said.get("event") == "progress":
            self.progress = said
        elif said.get("event") == "summary":
            self.summary = self.progress = said
        elif "op" in said:
            self.info = said

    def result(self):
        """This guest's part of the JSON file."""
        final = self.summary or self.progress
        return {"name": self.name, "vm_id": self.number,
                **{key: final.get(key, 0) for key in ("jobs", "wrong", "errors")},
                **{key: final.get(key) for key in ("p50_us", "p95_us", "p99_us")}}

    def healthy(self):
        final = self.result()
        return bool(self.summary) and final["jobs"] > 0 and not final["wrong"] + final["errors"]


class Table:
    """The guests' progress: redrawn on a terminal, a line every other second elsewhere."""

    def __init__(self, vms, out):
        self.vms = vms
        self.out = out
        self.terminal = out.isatty() and os.environ.get("TERM") != "dumb"
        self.drawn = 0
        self.next = 0.0
        self.started = time.monotonic()

    def draw(self, final=False):
        now = time.monotonic()
        if not final and now < self.next:
            return
        self.next = now + (0.25 if self.terminal else 2.0)
        if self.terminal:
            lines = self._lines()
            up = f"\x1b[{self.drawn}F" if self.drawn else ""
            self.out.write(up + "".join(f"\x1b[2K{line}\n" for line in lines))
            self.drawn = len(lines)
        elif not final:
            parts = [f"{vm.name} {vm.state}" +
                     (f" {vm.progress['jobs']} jobs" if vm.progress["jobs"] else "")
                     for vm in self.vms]
            wrong = sum(vm.progress["wrong"] for vm in self.vms)
            self.out.write(f"{now - self.started:5.0f} s  {', '.join(parts)}; {wrong} wrong\n")
        else:
            self.out.write("\n".join(self._lines()) + "\n")
        self.out.flush()

    def _lines(self):
        def number(value, digits=0):
            return "-" if value is None else f"{value:.{digits}f}"

        lines = [f"{'guest':8}{'state':10}{'jobs':>10}{'wrong':>8}{'errors':>8}"
                 f"{'jobs/s':>10}{'p50 us':>10}{'p95 us':>10}{'p99 us':>10}"]
        for vm in self.vms:
            said = vm.progress
            lines.append(f"{vm.name:8}{vm.state:10}{said['jobs']:>10}{said['wrong']:>8}"
                         f"{said['errors']:>8}{number(said.get('jobs_per_s')):>10}"
                         f"{number(said.get('p50_us'), 1):>10}{number(said.get('p95_us'), 1):>10}"
                         f"{number(said.get('p99_us'), 1):>10}")
        return lines


# ---- What the guests need ----------------------------------------------------------


def prepare(qemu):
    """One at a time what would otherwise be done by all guests at once.  Returns QEMU's version."""
    import guest_image

    try:
        guest_image.kernel()
        guest_image.busybox()
    except guest_image.GuestImageError as error:
        raise DemoError(str(error)) from None
    done = subprocess.run(qemu + ["--version"], stdin=subprocess.DEVNULL, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        raise DemoError(f"qemu/vgpu-qemu does not start:\n{done.stderr}")
    return done.stdout.splitlines()[0]


# ---- All of it --------------------------------------------------------------------


class Demo:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.all_booted = threading.Barrier(options.vms + 1)
        self.qemu = QEMU
        self.client = next((str(path) for path in (TREE / "build/guest/client/vgpu-client-static",
                                                   TREE / "build/bin/vgpu-client")
                            if path.exists()), None)
        self.accel = None
        self.mediator = None

    def run(self):
        """The exit status."""
        import vm as vm_module

        if not self.client:
            raise DemoError("build/bin/vgpu-client is missing: run make")
        version = prepare(self.qemu)
        self.accel = vm_module.usable_accel(self.qemu)
        self._say(f"{version}, acceleration: {self.accel}")
        self.mediator = Mediator(self.folder, self.options.backend)
        vms = [Vm(number + 1, self) for number in range(self.options.vms)]
        self._say(f"booting {len(vms)} guests, then {self.options.seconds} s of work; "
                  "each adds random numbers and checks every sum")
        self._watch(vms)
        self.mediator.close()
        return self._report(vms)

    @staticmethod
    def _say(text):
        print(text, file=sys.stderr, flush=True)

    def _watch(self, vms):
        table = Table(vms, sys.stderr if self.options.json == "-" else sys.stdout)
        waiting = True
        for vm in vms:
            vm.start()
        while any(vm.is_alive() for vm in vms):
            if waiting and self.all_booted.n_waiting == len(vms):
                self.all_booted.wait()
                waiting = False
            if self.mediator.process.poll() is not None:
                raise DemoError(f"the mediator died:\n{self.mediator.log_end()}")
            table.draw()
            time.sleep(0.05)
        table.draw(final=True)

    def _report(self, vms):
        backend = next((vm.info["backend"] for vm in vms if "backend" in vm.info), None)
        results = [vm.result() for vm in vms]
        total = {key: sum(one[key] for one in results) for key in ("jobs", "wrong", "errors")}
        if self.options.json:
            text = json.dumps({"backend": backend, "accel": self.accel, "vms": results}, indent=2)
            if self.options.json == "-":
                print(text)
            else:
                pathlib.Path(self.options.json).write_text(text + "\n")
        for vm in vms:
            if vm.failure:
                self._say(vm.failure)
        good = all(vm.healthy() for vm in vms)
        device = next((vm.info["name"] for vm in vms if vm.info.get("name")), "?")
        self._say(f"backend {backend} ({device}), acceleration {self.accel}: {total['jobs']} jobs, "
                  f"{total['wrong']} wrong, {total['errors']} errors - "
                  + ("every guest had its results" if good else "NOT as it should be"))
        if not good:
            self._say("the end of the mediator's log:\n" + self.mediator.log_end())
        return 0 if good else 1


def main():
    options = parse_options(sys.argv[1:])
    if options.check_options:
        return 0
    if options.prepare:
        try:
            prepare(QEMU)
        except (DemoError, OSError) as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        return 0

    def interrupt(number, _frame):
        for other in ENDINGS:
            signal.signal(other, signal.SIG_IGN)  # the cleaning up is short, let it end
        raise Interrupted(number)

    for number in ENDINGS:
        signal.signal(number, interrupt)
    workplace = None
    status = 1
    try:
        workplace = Workplace()
        status = Demo(options, workplace.path).run()
    except Interrupted as stop:
        print(f"\ndemo: interrupted by {signal.Signals(stop.number).name}", file=sys.stderr)
        status = 128 + stop.number
    except (DemoError, OSError, AssertionError) as error:
        print(f"demo: {error}", file=sys.stderr)
    if workplace:
        end_children([workplace.janitor.pid])
        if options.keep_logs:
            print(f"logs: {workplace.path}", file=sys.stderr)
        workplace.close(options.keep_logs)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # threads of guests that were ended may still be unwinding


if __name__ == "__main__":
    sys.exit(main())
