# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin top and --watch, on real terminals: what tmux shows, and what is left of them."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import time

import pytest

import wire
from adminkit import BIN, UUID
from mediator import wait_for

needs_tmux = pytest.mark.skipif(not shutil.which("tmux"), reason="tmux is not installed")


class Lab:
    """A mediator's answers that go on from one look to the next."""

    def __init__(self, kit):
        self.kit, self.looks = kit, 0
        self.vms = [("web", 50, "active", 0.5), ("db", 80, "idle", 0.2),
                    ("batch", 20, "active", 0.3)]

    def status(self, *_):
        self.looks += 1
        return {
            "version": "9.9", "uptime_s": 100.0 + self.looks, "policy": "wfq", "paused": False,
            "backend": "cuda", "database": str(self.kit.db), "pools": [{"pool": "A", "gpus": [0]}],
            "gpus": [{"index": 0, "uuid": "GPU-1", "name": "NVIDIA H200", "state": "ok",
                      "queued": 3, "in_flight": 2, "busy_ns": self.looks * 5e8,
                      "context_switches": 7, "memory_bytes": 2 ** 37}],
            "vms": [{"vm_id": n, "uuid": UUID[n], "name": name, "pool": "A", "priority": 1,
                     "weight": weight, "connected": True, "quarantined": False, "gpu": 0,
                     "state": state, "queue_depth": n, "in_flight": 1,
                     "completed": 1000 * n * self.looks, "errors": 0, "due_share": 0.25,
                     "share": share, "lag_ns": 0}
                    for n, (name, weight, state, share) in enumerate(self.vms, 1)]}

    @staticmethod
    def health(*_):
        return {"mediator": {"ok": True}, "workers": [], "gpus": [
            {"index": 0, "name": "NVIDIA H200", "state": "ok", "health": {
                "temperature_c": 45, "power_mw": 350000, "gpu_percent": 87,
                "memory_used_bytes": 2 ** 35, "memory_total_bytes": 2 ** 37}}]}

    @staticmethod
    def metrics(*_):
        return {"vms": [{"vm_id": 1, "latency": {"total": {"samples": 9, "p99_ns": 13200000}}}]}

    def start(self):
        self.kit.start_mediator({wire.SHOW_STATUS: self.status, wire.SHOW_HEALTH: self.health,
                                 wire.SHOW_METRICS: self.metrics})


@pytest.fixture
def kit(kit):
    return kit.init("web", "db", "batch")


@pytest.fixture
def fake(kit):
    lab = Lab(kit)
    lab.start()
    return lab


# ---- once

def test_once(kit, fake):
    text = kit.ok("top", "--once", "--interval=0.2").out
    assert "\x1b" not in text and fake.looks == 2
    assert re.search(r"^  0 NVIDIA H200 +ok +45 C +350 W +87\.0% .* 32\.0/128\.0 GiB +3\+2$", text,
                     re.M)
    web = next(line for line in text.splitlines() if " web " in line)
    assert re.search(r"active +#+\|#*\.+ +50\.0% +25\.0% +1\+1 ", web) and web.endswith("13.2ms")
    assert [line.split()[1] for line in text.splitlines()[-3:]] == ["web", "db", "batch"]
    text = kit.ok("top", "--once", "--interval=0.2", "--sort=rate", "--filter=b").out
    assert [line.split()[1] for line in text.splitlines()[-3:]] == ["batch", "db", "web"]
    text = kit.ok("top", "--once", "--interval=0.2", "--filter=bat").out
    assert "batch" in text and " db " not in text and "2 hidden" in text


def test_once_json(kit, fake):
    document = kit.json("top", "--once", "--interval=0.2", "--sort=weight")
    assert [vm["name"] for vm in document["vms"]] == ["db", "web", "batch"]
    assert all(vm["jobs_per_s"] > 0 for vm in document["vms"])
    assert document["gpus"][0]["temperature_c"] == 45 and document["gpus"][0]["power_w"] == 350
    assert kit.json("top", "--interval=0.2")["policy"] == "wfq"


@pytest.mark.parametrize("args, status, text", [
    (["top"], 2, "top needs a terminal"), (["top", "--once", "--sort=colour"], 2, "--sort must be"),
    (["top", "--once", "--interval=0"], 2, "--interval must be"),
    (["top", "--once", "--interval=soon"], 2, "--interval must be"),
    (["top", "--once", "--watch"], 2, "only look"),
])
def test_wrong_usage(kit, fake, args, status, text):
    r = kit.run(*args)
    assert r.status == status and text in r.err


def test_once_without_mediator(kit):
    r = kit.run("top", "--once")
    assert r.status == 3 and "no mediator listens" in r.err


# ---- live, in tmux

class Screen:
    def __init__(self, kit, *command, width=80, height=24):
        self.socket = kit.folder / "tmux.sock"
        env = " ".join(f"{k}='{v}'" for k, v in kit.env.items())
        self.after = kit.folder / "after"
        self.before = kit.folder / "before"
        line = (f"stty -a > {self.before}; env {env} {BIN / 'vgpu-admin'} {' '.join(command)}; "
                f"echo $? > {kit.folder}/status; stty -a > {self.after}.new; "
                f"mv {self.after}.new {self.after}; cat")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), line,
                  env={**os.environ, "LC_ALL": "C.UTF-8"})
        # The height is the picture's: no line of tmux's own.
        self.tmux("set-option", "-g", "status", "off")
        self.resize(width, height)

    def tmux(self, *arguments, env=None):
        return subprocess.run(["tmux", "-S", str(self.socket), *arguments], check=True, text=True,
                              capture_output=True, timeout=60, env=env).stdout

    def resize(self, width, height):
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def text(self):
        return self.tmux("capture-pane", "-p")

    def lines(self):
        return self.text().rstrip("\n").split("\n")

    def wait(self, *texts, gone=()):
        def there():
            shown = self.text()
            return all(t in shown for t in texts) and not any(t in shown for t in gone)
        try:
            wait_for(there, f"{texts} on the screen")
        except AssertionError:
            raise AssertionError(f"waited for {texts}; the screen:\n{self.text()}") from None

    def close(self):
        try:
            if not self.after.exists():
                self.keys("Escape")
                self.keys("q")
                wait_for(self.after.exists, "top's end")
            self.tmux("kill-server")
        except subprocess.CalledProcessError:
            pass


@pytest.fixture
def top(kit, fake):
    screen = Screen(kit, "top", "--interval=0.3")
    screen.fake, screen.kit = fake, kit
    screen.wait("vgpu-mediator 9.9", "web", "q quit")
    yield screen
    screen.close()


@needs_tmux
def test_80x24_and_other_sizes(top):
    lines = top.lines()
    assert len(lines) == 24 and all(len(line) <= 80 for line in lines)
    assert re.match(r"vgpu-mediator 9\.9  up .* policy wfq  backend cuda "
                    r".*\d\d:\d\d:\d\d  every 0\.3 s$",
                    lines[0])
    assert lines[3].startswith("GPU NAME") and "45 C" in lines[4] and "350 W" in lines[4]
    assert lines[6].startswith("VM_ID NAME") and "13.2ms" in lines[7]
    assert lines[23].startswith("q quit")
    top.wait("jobs/s", gone=["- jobs/s"])  # the second look gives rates
    top.resize(132, 30)
    top.wait("PRIO", "ERR/S")
    assert len(top.lines()) == 30 and top.lines()[29].startswith("q quit")
    top.resize(50, 24)
    top.wait("50x24 is too small: 60x12 needed")
    top.resize(60, 12)
    top.wait("web", gone=["too small"])
    assert len(top.lines()) == 12 and all(len(line) <= 60 for line in top.lines())
    top.keys("q")
    wait_for(top.after.exists, "its end")
    assert (top.kit.folder / "status").read_text().strip() == "0"


def order(top):
    return [line.split()[1] for line in top.lines()[7:10] if line.strip()]


@needs_tmux
def test_sorting_filtering_stopping(top):
    assert order(top) == ["web", "db", "batch"]
    top.keys("s")
    top.wait("by name")
    assert order(top) == ["batch", "db", "web"]
    top.keys("r")
    top.wait("by name, reversed")
    assert order(top) == ["web", "db", "batch"]
    top.keys("S")
    top.wait("by vm_id")
    top.keys("/")
    top.wait("Show only: _")
    top.keys("batx", "BSpace")
    top.wait("Show only: bat_", 'only "bat": 2 hidden')
    top.keys("Enter")
    top.wait('only "bat": 2 hidden', "q quit")
    assert order(top)[0] == "batch"
    top.keys("/", "zzz")
    top.wait("no VM matches the filter")
    top.keys("Escape")
    top.wait('only "bat"', "batch")  # as it was before
    top.keys("p")
    top.wait("STOPPED")
    looks = top.fake.looks
    top.keys("?")
    top.wait("quarantine the chosen VM")
    top.keys("x")
    top.wait("STOPPED", gone=["quarantine the chosen VM"])
    assert top.fake.looks == looks
    top.keys("p")
    top.wait("q quit", gone=["STOPPED"])


def database(top, name):
    return next(vm for vm in top.kit.json("list-vms")["vms"] if vm["name"] == name)


@needs_tmux
def test_setting_a_weight(top):
    top.keys("w")
    top.wait("choose a VM first")
    top.keys("Down", "Down", "w")
    top.wait("New weight, 1 to 100")
    top.keys("7", "5", "Enter")
    top.wait("Weight of db (vm_id 2) from 80 to 75? [y/N]")
    top.keys("n")
    top.wait("nothing was changed")
    assert database(top, "db")["weight"] == 50  # as registered: the fake mediator says 80
    top.keys("w", "7", "5", "Enter")
    top.wait("[y/N]")
    top.keys("y")
    wait_for(lambda: database(top, "db")["weight"] == 75, "the new weight")
    wait_for(lambda: (wire.RELOAD_CONFIG, 0, None) in top.kit.mediator.requests,
             "the mediator is told")  # after the database's commit
    top.wait("db (vm_id 2)", "75")
    for wrong in ("0", "101", "x"):
        top.keys("w", wrong, "Enter")
        top.wait(f'not "{wrong}"')
    top.keys("w", "9", "Escape")
    top.wait("web", gone=["New weight"])
    assert database(top, "db")["weight"] == 75
    events = top.kit.json("events")["events"]
    assert any(e["uuid"] == UUID[2] and "75" in json.dumps(e["detail"]) for e in events)


@needs_tmux
def test_quarantine(top):
    top.keys("Down", "x")
    top.wait("Quarantine web (vm_id 1): refuse its requests? [y/N]")
    top.keys("Enter")
    top.wait("nothing was changed")
    assert not database(top, "web")["quarantined"]
    top.keys("x", "y")
    wait_for(lambda: database(top, "web")["quarantined"], "the quarantine")


@needs_tmux
def test_mediator_goes_and_comes_back(top):
    top.kit.mediator.close()
    top.wait("NOT REACHABLE", "no mediator listens", "web")  # over the last picture
    top.keys("Down", "w")
    top.wait("the mediator is not reachable: nothing was changed")
    top.fake.start()
    top.wait("web", gone=["NOT REACHABLE"])


@needs_tmux
def test_started_without_mediator(kit):
    screen = Screen(kit, "top", "--interval=0.3")
    try:
        screen.wait("NOT REACHABLE", "q quit")
        Lab(kit).start()
        screen.wait("NVIDIA H200", gone=["NOT REACHABLE"])
    finally:
        screen.close()


# ---- what is left of the terminal

def on_terminal(kit, *arguments, term="xterm-256color"):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen([str(BIN / "vgpu-admin"), *arguments], stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                               env={**kit.env, "TERM": term})
    return process, master, slave, before


@pytest.mark.parametrize("term", ["dumb", "no-such-terminal", ""])
def test_terminal_that_is_not_able(kit, term):
    """The sentence, not a page of blanks."""
    process, master, slave, _ = on_terminal(kit, "top", term=term)
    out = read_until(master, b"top --once")
    assert f"TERM={term} is not known here, or cannot move its cursor".encode() in out
    assert process.wait(wire.PATIENCE_S) == 1
    os.close(master)
    os.close(slave)


def read_until(master, text, out=b"", limit=wire.PATIENCE_S):
    end = time.monotonic() + limit
    while text not in out:
        assert time.monotonic() < end, out
        if select.select([master], [], [], 1)[0]:
            out += os.read(master, 65536)
    return out


LEAVES_SCREEN = b"\x1b[?1049l"


@pytest.mark.parametrize("end, status", [
    ("q", 0), (b"\x03", 0), (signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM),
    (signal.SIGHUP, -signal.SIGHUP), (signal.SIGQUIT, -signal.SIGQUIT),
    (signal.SIGABRT, -signal.SIGABRT), (signal.SIGSEGV, -signal.SIGSEGV),
])
def test_terminal_is_restored(kit, fake, end, status):
    if "sanitize" in os.environ.get("ASAN_OPTIONS", "") and end == signal.SIGSEGV:
        pytest.skip("the sanitizer takes that signal")
    process, master, slave, before = on_terminal(kit, "top", "--interval=0.2")
    out = read_until(master, b"batch")
    assert b"\x1b[?1049h" in out
    assert termios.tcgetattr(slave) != before  # it really was changed
    if isinstance(end, signal.Signals):
        process.send_signal(end)
    else:
        os.write(master, end.encode() if isinstance(end, str) else end)
    read_until(master, LEAVES_SCREEN)
    assert process.wait(60) == status
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_terminal_that_goes_away(kit, fake):
    process, master, slave, _ = on_terminal(kit, "top", "--interval=0.2")
    read_until(master, b"batch")
    os.close(slave)
    os.close(master)
    assert process.wait(60) in (0, -signal.SIGHUP)


def test_unknown_terminal(kit, fake):
    process, master, slave, _ = on_terminal(kit, "top", term="no-such-terminal")
    out = read_until(master, b"needs none")
    assert process.wait(60) == 1 and b"no-such-terminal" in out and b"\x1b" not in out
    os.close(master)
    os.close(slave)


# ---- --watch

def watched(kit, *arguments):
    return subprocess.Popen([str(BIN / "vgpu-admin"), *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=kit.env)


@pytest.mark.parametrize("command", ["status", "show-health", "show-metrics", "list-vms"])
def test_watch(kit, fake, command):
    process = watched(kit, command, "--watch=0.1", "--json")
    documents = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert all("error" not in document for document in documents)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_watch_text(kit, fake):
    process = watched(kit, "--watch=0.1", "show-health")
    text = ""
    while text.count("Health") < 3:
        text += process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "\x1b" not in text and "\n\nHealth" in text


def test_watch_outlives_the_mediator(kit):
    process = watched(kit, "show-health", "--watch=0.1", "--json")
    assert "no mediator listens" in json.loads(process.stdout.readline())["error"]
    lab = Lab(kit)
    lab.start()
    wait_for(lambda: json.loads(process.stdout.readline()).get("healthy"), "the mediator's answer")
    kit.mediator.close()
    wait_for(lambda: "error" in json.loads(process.stdout.readline()), "its end to be noticed")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_watch_on_a_terminal(kit, fake):
    process, master, slave, before = on_terminal(kit, "show-health", "--watch=0.1", "--no-color")
    out = read_until(master, b"every 0.1 s")
    out = read_until(master, b"\x1b[H\x1b[2J", out.split(b"every 0.1 s")[1])
    os.write(master, b"\x03")
    assert process.wait(60) == 0 and termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("args, text", [
    (["set-weight", "--vm-name=web", "--weight=60", "--watch"], "only look"),
    (["init-db", "--watch=1"], "only look"), (["status", "--watch=0"], "--watch must be"),
    (["status", "--watch=never"], "--watch must be"), (["status", "--watch="], "--watch must be"),
])
def test_watch_refused(kit, fake, args, text):
    r = kit.run(*args)
    assert r.status == 2 and text in r.err
    assert kit.json("list-vms")["vms"][0]["weight"] == 50
