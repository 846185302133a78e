# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-keeper: what workers have for themselves, and what it says and takes."""
import contextlib
import os
import signal
import struct
import subprocess

import pytest

import keeper as kp
from keeper import Keeper, Link
from mediator import Mediator, alive, program, wait_for

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="own uids and namespaces need root")


def with_keeper(lab, keeper, *arguments, **options):
    return Mediator(lab, "--enable-test-ops", "--keeper-socket", keeper.path, *arguments, **options)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return dict(line.rstrip("\n").split(":\t", 1) for line in status if ":\t" in line)


def run_keeper(*arguments, **options):
    return subprocess.run([program("vgpu-keeper"), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, check=False, **options)


# ---- the command line ----


def test_help_and_version():
    result = run_keeper("--help")
    assert result.returncode == 0 and "Example" in result.stdout
    assert run_keeper("--version").stdout.startswith("vgpu-keeper ")


@pytest.mark.parametrize("arguments, word", [
    ([], "either --socket PATH or --private"),
    (["--private", "--socket", "/x"], "either"),
    (["--socket", ""], "1 to 107"),
    (["--socket", "/" + "x" * 108], "1 to 107"),
    (["--socket", "/x", "--uid-base", "0"], "1 to 2147483647"),
    (["--socket", "/x", "--uid-base", "-1"], "1 to 2147483647"),
    (["--socket", "/x", "--uid-base", "2147483647"], "go beyond"),
    (["--socket", "/x", "--uid-count", "65537"], "1 to 65536"),
    (["--socket", "/x", "--confine", "perhaps"], "auto, always or never"),
    (["--socket", "/x", "--alone-s", "x"], "seconds"),
    (["--socket", "/x", "--log-format", "xml"], "text or json"),
    (["--scoket", "/x"], "Did you mean --socket?"),
    (["--socket", "/x", "more"], "unexpected argument"),
])
def test_wrong_usage(arguments, word):
    result = run_keeper(*arguments)
    assert result.returncode == 2 and word in result.stderr


def test_what_keeps_it_from_starting(lab):
    result = run_keeper("--private", stdin=subprocess.DEVNULL)
    assert result.returncode == 1 and "file descriptor 3 is not" in result.stderr
    result = run_keeper("--socket", lab / "k", "--worker", lab / "none")
    assert result.returncode == 1 and "give its place with --worker" in result.stderr
    (lab / "file").write_text("precious")
    result = run_keeper("--socket", lab / "file")
    assert result.returncode == 1 and "is no socket" in result.stderr
    assert (lab / "file").read_text() == "precious"
    with Keeper(lab) as keeper:
        result = run_keeper("--socket", keeper.path)
        assert result.returncode == 1 and "running already" in result.stderr
        with Link(keeper.path) as link:
            link.hello()


@AS_ROOT
def test_a_range_that_has_a_user(lab):
    result = run_keeper("--socket", lab / "k", "--uid-base", "1")
    assert result.returncode == 1
    assert "uids 1 to 65536 are not free" in result.stderr and "the user " in result.stderr
    assert "--uid-base" in result.stderr and not (lab / "k").exists()


# ---- what a worker has for itself ----


@AS_ROOT
def test_a_worker_has_nothing_but_its_work(lab):
    with Mediator(lab) as mediator, mediator.device(1) as one, mediator.device(2) as two:
        assert one.add(1, 2) == 3 and two.add(2, 3) == 5
        keeper = mediator.status()["keeper"]
        assert all(keeper[key] for key in ("own_uids", "own_networks", "own_ipc", "own_mounts"))
        uids = set()
        for worker in mediator.workers():
            status = status_of(worker)
            uid, = set(status["Uid"].split() + status["Gid"].split())
            uids.add(int(uid))
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[name], 16) == 0
            assert status["NoNewPrivs"] == "1" and status["Groups"].strip() == ""
            for name in ("net", "ipc", "mnt"):
                ours = os.readlink(f"/proc/self/ns/{name}")
                assert os.readlink(f"/proc/{worker}/ns/{name}") != ours
            root = f"/proc/{worker}/root"
            assert {"null", "urandom", "zero"} <= set(os.listdir(f"{root}/dev"))
            assert all(name in ("null", "zero", "full", "random", "urandom")
                       or name.startswith("nvidia") for name in os.listdir(f"{root}/dev"))
            assert os.listdir(f"{root}/run") == []
            in_tmp = str(program("vgpu-worker")).startswith("/tmp/")  # then it must be seen there
            assert os.listdir(f"{root}/tmp") == [] or in_tmp
            with open(f"/proc/{worker}/net/unix", encoding="ascii") as sockets:
                assert len(sockets.readlines()) == 1  # the heading
        assert len(uids) == 2
        first = keeper["uid_first"]
        assert all(first <= uid < first + keeper["uid_count"] for uid in uids)


@AS_ROOT
def test_a_vm_has_one_uid_and_two_keepers_none_in_common(lab):
    with Keeper(lab, "--uid-base", "2100000000", "--uid-count", "2") as keeper, \
            Link(keeper.path) as link:
        link.hello()
        sockets = [link.start(n, vm_id=vm_id) for n, vm_id in ((1, 7), (2, 7), (3, 8))]
        uids = [struct.unpack("<2I", link.hear()[2])[1] for _ in sockets]
        assert uids[0] == uids[1] != uids[2]
        # No uid is left in the range.
        sockets.append(link.start(4, vm_id=9))
        kind, number, body, _ = link.hear()
        step, error, _, _ = struct.unpack("<IiII", body)
        assert (kind, number, step) == (kp.ENDED, 4, 2) and os.strerror(error)
        (lab / "other").mkdir()
        with Keeper(lab / "other", "--uid-base", "2100000001", "--uid-count", "1") as other, \
                Link(other.path) as second:
            second.hello()
            sockets.append(second.start(1, vm_id=7))
            kind, _, body, _ = second.hear()
            assert kind == kp.ENDED and struct.unpack("<IiII", body)[0] == 2
            link.say(kp.KILL, uids.index(2100000001) + 1)
            if uids[0] == 2100000001:
                link.say(kp.KILL, 2)
            wait_for(lambda: len(keeper.workers()) < 3, "an end")
            assert link.hear()[0] == kp.ENDED
            if uids[0] == 2100000001:
                assert link.hear()[0] == kp.ENDED
            sockets.append(second.start(2, vm_id=7))
            kind, _, body, _ = second.hear()
            assert kind == kp.STARTED and struct.unpack("<2I", body)[1] == 2100000001
        for sock in sockets:
            sock.close()


@AS_ROOT
def test_without_root_it_says_so_once(lab):
    (lab / "k").mkdir()
    os.chown(lab / "k", 12345, 12345)
    prefix = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    with Keeper(lab / "k", prefix=prefix) as keeper, with_keeper(lab, keeper) as mediator:
        with mediator.device(1) as one, mediator.device(2) as two:
            assert one.add(1, 2) == 3 and two.add(1, 2) == 3
        assert keeper.log().count("not root: workers run as uid 12345") == 1
        status = mediator.status()["keeper"]
        assert not status["own_uids"] and status["uid_first"] == 12345
        assert {status_of(worker)["Uid"].split()[0] for worker in keeper.workers()} == {"12345"}
    result = run_keeper("--socket", lab / "other", "--confine", "always", user=12345)
    assert result.returncode == 1 and "--confine always" in result.stderr


@pytest.fixture(name="visible")
def _visible(lab):
    """A folder that a worker with its own uid may look into."""
    for folder in (lab, *lab.parents):
        if os.stat(folder).st_uid == os.geteuid() and not os.stat(folder).st_mode & 0o001:
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
    return lab


def fake_worker(folder, text):
    path = folder / "worker"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


def all_children(pid):
    """Those that nobody has awaited among them."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as text:
        return text.read().split()


def limits_of(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as text:
        return {line[:26].strip(): line[26:].split()[:2] for line in text}


def processes_of(uid):
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and int(status_of(entry)["Uid"].split()[0]) == uid:
                found.append(int(entry))
    return found


@AS_ROOT
@pytest.mark.parametrize("how", ["end", "kill", "term"])
def test_what_a_worker_leaves_behind_ends_with_it(visible, how):
    worker = fake_worker(visible, "setsid sleep 1000 &\nsetsid sleep 1000 &\n" +
                         ("exit 0\n" if how == "end" else "exec sleep 1000\n"))
    with Keeper(visible, "--worker", worker, "--alone-s", "0") as keeper, \
            Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=1):
            kind, _, body, _ = link.hear()
            uid = struct.unpack("<2I", body)[1] if kind == kp.STARTED else None
            if how != "end":
                wait_for(lambda: len(processes_of(uid)) == 3, "all three")
            if how == "kill":
                link.say(kp.KILL, 1)
            if how == "term":
                keeper.process.send_signal(signal.SIGTERM)
            else:
                assert kind == kp.ENDED or link.hear()[0] == kp.ENDED
            if uid:
                wait_for(lambda: not processes_of(uid), "its children to end")
        if how == "kill":
            assert "has left processes behind" in keeper.log()
            with link.start(2, vm_id=1):  # its uid is good for another one
                assert struct.unpack("<2I", link.hear()[2])[1] == uid


@AS_ROOT
def test_a_uid_that_somebody_has_is_given_to_nobody(lab):
    """A keeper that was killed may have left some: they end before the uid has a VM again."""
    with subprocess.Popen(["setpriv", "--reuid=2100065536", "--clear-groups", "sleep", "1000"],
                          user=0) as stranger:
        wait_for(lambda: processes_of(2100065536), "the stranger")
        with Keeper(lab, "--uid-base", "2100065536", "--uid-count", "2") as keeper, \
                Link(keeper.path) as link:
            link.hello()
            with link.start(1, vm_id=1), link.start(2, vm_id=2):
                first = [link.hear() for _ in range(2)]
            uids = [struct.unpack("<2I", body)[1] for kind, _, body, _ in first
                    if kind == kp.STARTED]
            assert stranger.wait(60) == -signal.SIGKILL
            assert uids and len(set(uids)) == len(uids)


def test_a_worker_has_nothing_of_the_keepers(visible):
    """No terminal, no folder, no descriptor; its limits are its own."""
    worker = fake_worker(visible, "echo hello >&2\nexec sleep 1000\n")
    with Keeper(visible, "--worker", worker) as keeper, Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=7):
            pid = struct.unpack("<2I", link.hear()[2])[0]
            wait_for(lambda: f"VM 7: worker {pid}: hello" in keeper.log(), "its line")
            wait_for(lambda: b"sleep" in open(f"/proc/{pid}/cmdline", "rb").read(), "sleep")
            fds = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            assert fds["0"] == fds["1"] == "/dev/null" and fds["2"].startswith("pipe:")
            assert set(fds) == {"0", "1", "2", "3"}
            assert os.readlink(f"/proc/{pid}/cwd") == "/"
            assert os.getsid(pid) == pid
            limits = limits_of(pid)
            assert limits["Max core file size"] == ["0", "0"]
            assert int(limits["Max open files"][1]) <= 4096
            if os.geteuid() == 0:
                assert limits["Max processes"] == ["1024", "1024"]
                assert limits["Max locked memory"] == ["65536", "65536"]


@AS_ROOT
def test_limits_below_ours_are_a_workers_too(visible):
    """The keeper of the unit may not raise one."""
    worker = fake_worker(visible, "echo hello >&2\nexec sleep 1000\n")
    prefix = ["prlimit", "--nproc=500:600", "--memlock=16384:32768", "--nofile=100:200"]
    with Keeper(visible, "--worker", worker, prefix=prefix) as keeper, \
            Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=7):
            pid = struct.unpack("<2I", link.hear()[2])[0]
            wait_for(lambda: f"VM 7: worker {pid}: hello" in keeper.log(), "its line")
            limits = limits_of(pid)
            assert limits["Max processes"] == ["600", "600"]
            assert limits["Max locked memory"] == ["32768", "32768"]
            assert limits["Max open files"] == ["200", "200"]


@AS_ROOT
def test_paths_that_begin_where_the_keeper_was_started(visible):
    """A worker's folder is another one, and it has a cache all the same."""
    fake_worker(visible, ': > "$CUDA_CACHE_PATH/x" && echo "cache $CUDA_CACHE_PATH" >&2\n'
                         "exec sleep 1000\n")
    prefix = ["sh", "-c", 'cd "$0" && exec "$@"', str(visible)]
    with Keeper(visible, "--worker", "worker", "--cache-dir", "cache", prefix=prefix) as keeper, \
            Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=7, flags=kp.CUDA | kp.HAS_UUID):
            cache = visible / "cache" / "00000000-0000-0000-0000-000000000000"
            wait_for(lambda: f"cache {cache}" in keeper.log(), "its line")
            assert (cache / "x").exists()


def test_many_orphans_are_all_awaited(visible):
    """More than are taken at once, and one signal tells of all."""
    worker = fake_worker(visible, """
for i in $(seq 200); do
    (sleep 1000 & echo $! >> "$0.pids")
done
echo all >&2
exec sleep 1000
""")
    with Keeper(visible, "--worker", worker, "--confine", "never") as keeper, \
            Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=7):
            pid = struct.unpack("<2I", link.hear()[2])[0]
            wait_for(lambda: f"worker {pid}: all" in keeper.log(), "all of them")
            orphans = [int(orphan) for orphan in (visible / "worker.pids").read_text().split()]
            keeper.process.send_signal(signal.SIGSTOP)
            for orphan in orphans:
                os.kill(orphan, signal.SIGKILL)
            wait_for(lambda: not any(map(alive, orphans)), "their ends")
            keeper.process.send_signal(signal.SIGCONT)
            wait_for(lambda: all_children(keeper.process.pid) == [str(pid)], "them to be awaited")


def test_what_a_worker_says_is_one_line_of_ours_and_has_a_limit(visible):
    worker = fake_worker(visible, """
echo out
printf '<4>bad\\033[31m news\\n\\377\\000x\\n' >&2
head -c 3000000 /dev/zero | tr '\\0' 'y' >&2 2>/dev/null
exec sleep 1000
""")
    with Keeper(visible, "--worker", worker) as keeper, Link(keeper.path) as link:
        link.hello()
        with link.start(1, vm_id=7), link.start(2, vm_id=8):
            for vm_id in (7, 8):
                wait_for(lambda vm_id=vm_id: f"VM {vm_id}: worker" in keeper.log(), "its lines")
            wait_for(lambda: keeper.log().count("yyyy") > 10, "some of the flood")
            log = keeper.log()
        assert "warning: VM 7: worker" in log and "bad?[31m news" in log and "\033" not in log
        assert "??x" in log and "out" not in log.split("VM 7", 1)[1]
        assert all(line.startswith("20") for line in log.splitlines())
        for number in (1, 2):
            link.say(kp.KILL, number)
        assert keeper.log_path.stat().st_size < 1000000


# ---- its socket ----


def nonsense():
    """Messages that no mediator sends, as functions of a link."""
    worker = kp.WORKER.pack(1, 0, 2, 0, 0, bytes(16), b"CPU-0")
    yield "no header", lambda link: link.socket.send(b"VGPK")
    yield "other magic", lambda link: link.say(kp.KILL, 1, magic=1)
    yield "other version", lambda link: link.say(kp.KILL, 1, version=2)
    yield "other length", lambda link: link.say(kp.KILL, 1, length=25)
    yield "padding", lambda link: link.say(kp.KILL, 1, pad=1)
    yield "unknown kind", lambda link: link.say(99)
    yield "a keeper's kind", lambda link: link.say(kp.STARTED, 1, bytes(8))
    yield "kill with a body", lambda link: link.say(kp.KILL, 1, b"12345678")
    yield "kill with a descriptor", lambda link: link.say(kp.KILL, 1, fds=[0])
    yield "start without descriptors", lambda link: link.say(kp.START, 1, worker)
    yield "start with one", lambda link: link.say(kp.START, 1, worker, fds=[0])
    yield "start with too many", lambda link: link.say(kp.START, 1, worker, fds=[0] * 9)
    yield "start too short", lambda link: link.say(kp.START, 1, worker[:-1], fds=[0, 0])
    yield "too long", lambda link: link.say(kp.START, 1, worker + bytes(500), fds=[0, 0])
    yield "start of number 0", lambda link: link.start(0).close()
    yield "unknown flags", lambda link: link.start(1, flags=8).close()
    yield "padding in it", lambda link: link.start(1, pad=1).close()
    yield "no GPU", lambda link: link.start(1, gpu="").close()
    yield "an option for a GPU", lambda link: link.start(1, gpu="--probe").close()
    yield "a path for a GPU", lambda link: link.start(1, gpu="../x").close()
    yield "a GPU without end", lambda link: link.start(1, gpu="x" * 64).close()


@pytest.mark.parametrize("say", [pytest.param(say, id=name) for name, say in nonsense()])
def test_nonsense_ends_the_connection_and_nothing_else(lab, say):
    with Keeper(lab) as keeper:
        before = keeper.fds()
        with Link(keeper.path) as link:
            link.hello()
            say(link)
            assert link.ended()
        # Fewer, when the connection that found it ready was not closed yet.
        wait_for(lambda: keeper.fds() <= before, "all descriptors to be closed")
        assert "sent nonsense" in keeper.log()
        with Link(keeper.path) as link:
            link.hello()
            assert keeper.process.poll() is None and keeper.workers() == []


def test_numbers_are_not_used_twice(lab):
    with Keeper(lab) as keeper, Link(keeper.path) as link:
        link.hello()
        with link.start(5), contextlib.closing(link.start(5)):
            assert link.ended()
        assert len(keeper.workers()) == 1  # and it waits for the next mediator


def test_one_mediator_at_a_time(lab):
    (lab / "two").mkdir()
    with Keeper(lab) as keeper, with_keeper(lab, keeper) as mediator:
        second = with_keeper(lab / "two", keeper)
        result = subprocess.run(second.command, capture_output=True, text=True, timeout=60,
                                check=False)
        assert result.returncode == 1
        assert f"serves another vgpu-mediator (process {mediator.process.pid})" in result.stderr
        with mediator.device() as device:
            assert device.add(1, 2) == 3


def test_two_mediators_beside_each_other(lab):
    """Each with a keeper of its own: they share nothing, uids neither."""
    (lab / "two").mkdir()
    with Mediator(lab) as one, Mediator(lab / "two") as two:
        with one.device(1) as first, two.device(1) as second:
            assert first.add(1, 2) == 3 and second.add(2, 3) == 5
            uids = [status_of(mediator.workers()[0])["Uid"].split()[0] for mediator in (one, two)]
            assert len(set(uids)) == (2 if os.geteuid() == 0 else 1)
