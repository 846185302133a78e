# SPDX-License-Identifier: GPL-2.0-or-later
"""One job's way by its id, and what the log says and does not say."""
import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import signal
import subprocess

import pytest

import wire
from mediator import Mediator, wait_for

REASONS = ("alone", "turn", "urgent", "priority", "preferred", "first")


def jobs_of(admin, **query):
    return admin.call(wire.TRACE_JOB, 0, query)["jobs"]


# ---- trace

def test_a_jobs_way(mediator):
    with mediator.device(7) as device, mediator.admin() as admin:
        assert device.add(1, 2) == 3
        job, = jobs_of(admin, vm_id=7)
        assert (job["vm_id"], job["operation"], job["opcode"], job["state"], job["status"]) == \
            (7, "add", 1, "done", "NONE")
        assert job["accepted_ns"] <= job["dispatched_ns"] <= job["started_ns"] \
            <= job["finished_ns"] <= job["ended_ns"]
        assert job["worker_ready"] is False  # its first job starts the worker
        assert job["waiting_before"] == 0
        assert job["decision"]["reason"] == "alone" and job["decision"]["waiting_vms"] == 1
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["accepted"])
        assert jobs_of(admin, job_id=job["job_id"])[0]["accepted_ns"] == job["accepted_ns"]
        device.add(1, 2)
        assert jobs_of(admin, vm_id=7)[-1]["worker_ready"] is True


def test_waiting_and_lost_jobs(mediator):
    with mediator.admin() as admin:
        with mediator.device(1) as device:
            device.add(1, 1)
            admin.call(wire.PAUSE)
            for _ in range(3):
                device.send(device.frame(wire.MSG_REQUEST, wire.request_body(1, (1, 2))))
            wait_for(lambda: mediator.vm(1)["queue_depth"] == 3, "three waiting jobs")
            waiting = jobs_of(admin, vm_id=1)[-3:]
            assert [(j["state"], j["waiting_before"]) for j in waiting] == \
                [("queued", 0), ("queued", 1), ("queued", 2)]
            for job in waiting:
                assert job["decision"] is None and job["status"] is None
                assert job["dispatched_ns"] is None and job["ended_ns"] is None
        wait_for(lambda: mediator.vm(1)["dropped"] == 3, "the jobs to be dropped")
        lost = jobs_of(admin, job_id=waiting[0]["job_id"])[0]
        assert (lost["state"], lost["status"]) == ("dropped", None)
        assert lost["ended_ns"] >= lost["accepted_ns"] and lost["dispatched_ns"] is None
        admin.call(wire.RESUME)


def test_failures_are_in_the_trace(mediator):
    with mediator.device(1) as device, mediator.admin() as admin:
        for opcode in (0x23, 0x22):  # fails; its worker dies
            assert device.run(opcode).status == wire.CUDA_ERROR
            job = jobs_of(admin, vm_id=1)[-1]
            assert (job["state"], job["status"]) == ("done", "CUDA_ERROR")
        assert job["started_ns"] is None  # no worker was left to say


def test_lists(mediator):
    with mediator.device(1) as one, mediator.device(2) as two, mediator.admin() as admin:
        for n in range(30):
            (two if n % 3 == 0 else one).add(n, n)
        everything = jobs_of(admin)
        assert len(everything) == 20
        ids = [job["job_id"] for job in everything]
        assert ids == sorted(ids) and len(set(ids)) == 20
        of_two = jobs_of(admin, vm_id=2, last=256)
        assert len(of_two) == 10 and {job["vm_id"] for job in of_two} == {2}
        wanted = of_two[4]["request_id"]
        assert [j["job_id"] for j in jobs_of(admin, vm_id=2, request_id=wanted)] == \
            [j["job_id"] for j in of_two if j["request_id"] == wanted]
        assert jobs_of(admin, last=0) == []
        assert jobs_of(admin, vm_id=99) == []
        assert all(j["decision"]["reason"] in REASONS for j in jobs_of(admin, last=256))


def test_a_busy_vm_pushes_out_its_own_jobs_only(mediator):
    with mediator.device(1) as busy, mediator.device(2) as quiet, mediator.admin() as admin:
        quiet.add(1, 1)
        kept = jobs_of(admin, vm_id=2)[0]["job_id"]
        busy.add(1, 1)
        first = jobs_of(admin, vm_id=1)[0]["job_id"]
        for n in range(256):
            busy.add(n, n)
        assert jobs_of(admin, job_id=kept)[0]["vm_id"] == 2
        with pytest.raises(wire.AdminError) as failure:
            jobs_of(admin, job_id=first)
        assert failure.value.status == errno.ENOENT and "not known any more" in failure.value.text
        assert len(jobs_of(admin, vm_id=1, last=256)) == 256


@pytest.mark.parametrize("query, status", [
    ({"job_id": 99999}, errno.ENOENT), ({"job_id": -1}, errno.EINVAL),
    ({"job_id": "1"}, errno.EINVAL), ({"job_id": 1.5}, errno.EINVAL), ({"last": 257}, errno.EINVAL),
    ({"vm_id": 2 ** 32}, errno.EINVAL), ({"vm_id": None}, errno.EINVAL),
    ({"request_id": []}, errno.EINVAL),
])
def test_wrong_queries(mediator, query, status):
    with mediator.admin() as admin:
        with pytest.raises(wire.AdminError) as failure:
            admin.call(wire.TRACE_JOB, 0, query)
        assert failure.value.status == status and len(failure.value.text) > 10
        assert admin.call(wire.TRACE_JOB)["jobs"] == []


# ---- logs

def about(log, vm_id):
    return [line for line in log.splitlines() if f"VM {vm_id}:" in line]


def test_a_flood_is_summed_up(mediator):
    """Few lines for each VM, one that counts the rest, and none that hides another VM's."""
    with mediator.device(1) as hostile, mediator.device(2) as honest:
        honest.add(1, 1)
        for _ in range(100):
            hostile.send(hostile.frame(wire.MSG_REQUEST, wire.request_body(0x99)) * 20)
            for _ in range(20):
                assert hostile.read().status == wire.UNSUPPORTED_OP
        hostile.run(0x23)  # what is rarer than a refused request is still told
        honest.run(0x23)
    wait_for(lambda: "lines were suppressed" in mediator.log(), "the sum")
    log = mediator.log()
    refusals = [line for line in about(log, 1) if "invalid request" in line]
    # Half a burst, and one for each second that the flood took.
    assert 0 < len(refusals) < 60
    assert any("fault 1" in line for line in about(log, 1))
    assert any("fault 1" in line for line in about(log, 2))

    def told():
        sums = re.findall(r"VM 1: (\d+) lines were suppressed", mediator.log())
        shown = len([line for line in about(mediator.log(), 1) if "invalid request" in line])
        return sum(map(int, sums)) + shown == 2000
    wait_for(told, "all 2000 to be told or counted")


def test_connections_of_nobody_are_bounded(mediator):
    """A process that connects and talks nonsense, again and again."""
    for _ in range(300):
        with wire.Device(mediator.socket, 1) as stranger:
            stranger.sock.sendall(b"no frame at all, but long enough to be one, surely")
            assert stranger.sock.recv(100) == b""
    with mediator.device(2) as honest:
        assert honest.add(1, 2) == 3
    assert mediator.log().count("\n") < 150


def test_text_has_fields(mediator):
    with mediator.device(3) as device, mediator.admin() as admin:
        device.run(0x23)
        job = jobs_of(admin, vm_id=3)[-1]["job_id"]
    line = next(line for line in about(mediator.log(), 3) if "fault 1" in line)
    assert " warning: VM 3: fault 1: CUDA_ERROR " in line
    fields = dict(re.findall(r" ([a-z_]+)=(\S+)", line))
    assert fields["event"] == "fault" and fields["vm_id"] == "3" and fields["gpu"] == "0"
    assert fields["job_id"] == str(job) and fields["error"] == "CUDA_ERROR"


def test_json_lines(lab):
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "2", "--log-format", "json",
                  "--log-level", "debug") as mediator:
        with mediator.device(3) as device, mediator.admin() as admin:
            device.run(0x23)
            device.run(0x23)
            job = jobs_of(admin, vm_id=3)[-1]["job_id"]
            admin.call(wire.SET_POLICY, 0, {"policy": "fifo"})
        lines = [json.loads(line) for line in mediator.log().splitlines() if line.startswith("{")]
    assert all({"time", "level", "program", "text"} <= set(line) for line in lines)
    by_event = {line["event"]: line for line in lines if "event" in line}
    fault = by_event["fault"]
    assert (fault["vm_id"], fault["gpu"], fault["job_id"], fault["error"], fault["fault_count"],
            fault["level"]) == (3, 0, job, "CUDA_ERROR", 2, "warning")
    assert by_event["quarantined"]["vm_id"] == 3
    assert by_event["policy"]["level"] == "notice" and "vm_id" not in by_event["policy"]
    assert {"session_bound", "worker_ready", "vm_placed"} <= set(by_event)


def test_journal_priorities(lab):
    """With stderr at the journal each line begins with its priority; with JOURNAL_STREAM about
    another file it does not."""
    log = lab / "mediator.log"
    log.touch()
    stat = log.stat()
    mediator = Mediator(lab, "--enable-test-ops", "--fault-threshold", "0",
                        prefix=("env", f"JOURNAL_STREAM={stat.st_dev}:{stat.st_ino}"))
    with mediator:
        with mediator.device(3) as device:
            device.run(0x23)
    lines = mediator.log().splitlines()
    assert "<4>vgpu-mediator: VM 3: fault 1: CUDA_ERROR event=fault" in mediator.log()
    assert any(line.startswith("<6>") for line in lines)
    assert all(re.match(r"<[3-7]>", line) for line in lines if "vgpu-mediator" in line)


def test_journal_elsewhere(lab):
    with Mediator(lab, prefix=("env", "JOURNAL_STREAM=1:2")) as mediator:
        assert not re.search(r"^<\d>", mediator.log(), re.M)


def test_a_stopped_reader_of_the_log_stops_nobody(lab):
    """stderr is a pipe whose reader does nothing: VMs, administrators and SIGTERM go on."""
    mediator = Mediator(lab)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(mediator.command, stdin=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    try:
        wait_for(mediator.is_ready, "the mediator")
        for vm_id in range(1, 31):  # each VM's lines are limited: it takes several VMs
            with mediator.device(vm_id) as device:
                assert device.add(1, 2) == 3
        assert mediator.vm(7)["completed"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        os.close(reader)


def test_the_log_says_what_each_vm_did(lab):
    """As Phase 2 did every minute; who did nothing has no line."""
    with Mediator(lab, "--log-stats-s", "1") as host:

        def jobs(whose):
            return sum(map(int, re.findall(rf"\[STATS\] {whose}: (\d+) jobs ", host.log())))

        with host.device(3) as device, host.device(4):
            for count in (5, 7):
                for _ in range(5 if count == 5 else 2):
                    device.add(1, 2)
                wait_for(lambda: jobs(r"VM 3 \(.*\), pool [A-Z]") == count, "its lines")
                wait_for(lambda: jobs("all") == count, "the total")
        assert re.search(r"in \d+ s, 0 failed, 0 refused, \d\.\d{3} s of GPU time \(\d+\.\d %\), "
                         r"0 waiting", host.log())  # fmt: skip
        assert "[STATS] VM 4" not in host.log()


def test_the_log_says_each_step_of_a_job(lab):
    """As Phase 2 did, at debug: who asked, when it was its turn, what came of it."""
    with Mediator(lab, "--log-level", "debug", "--enable-test-ops") as host:
        with host.device(3, priority=2) as device:
            device.add(1, 2)
            device.run(0x23)  # fails
            # The answer is sent before the line is written.
            wait_for(lambda: host.log().count("[RESPONSE]") == 2, "the lines")
        lines = [re.sub(r".*(?=\[[A-Z]+\] )", "", line) for line in host.log().splitlines()
                 if re.search(r"\[(ENQUEUE|PROCESS|RESPONSE)\]", line)]
        whose = r"VM 3 \(.*\), pool A, priority high: job \d+"
        for line, pattern in zip(lines, (
                rf"\[ENQUEUE\] {whose}, request \d+, add, 0 wait before it",
                rf"\[PROCESS\] {whose} on GPU 0, after \d+\.\d{{3}} ms, chosen: alone",
                rf"\[RESPONSE\] {whose}, NONE, \d+\.\d{{3}} ms of GPU time",
                rf"\[ENQUEUE\] {whose}, .*", rf"\[PROCESS\] {whose} .*",
                rf"\[RESPONSE\] {whose}, CUDA_ERROR, .*"), strict=True):
            assert re.fullmatch(pattern, line)


def test_no_steps_in_the_log_at_info(lab):
    with Mediator(lab) as host, host.device(3) as device:
        device.add(1, 2)
        assert "[ENQUEUE]" not in host.log() and "[RESPONSE]" not in host.log()


# ---- --test-mode

@contextlib.contextmanager
def on_a_terminal(lab, *arguments):
    """A mediator whose standard input is a terminal, and our end of that."""
    ours, theirs = pty.openpty()
    host = Mediator(lab, *arguments)
    host.log_file = open(host.log_path, "ab")
    host.process = subprocess.Popen(host.command, stdin=theirs, stdout=host.log_file,
                                    stderr=host.log_file)
    os.close(theirs)
    try:
        yield host, ours
        host.process.terminate()
        assert host.process.wait(60) == 0
    finally:
        host.kill()
        host.log_file.close()
        os.close(ours)


def waiting(host):
    return sum(vm["queue_depth"] for vm in host.status()["vms"])


def test_test_mode_asks_on_a_terminal(lab):
    """As Phase 2: nothing is served before so many wait; the preferred VM's pool goes first."""
    with on_a_terminal(lab, "--test-mode") as (host, terminal):
        wait_for(lambda: "How many requests" in host.log(), "the first question")
        os.write(terminal, b"some\n3\n")
        wait_for(lambda: "no number from 1 to 100000" in host.log() and "preferred" in host.log(),
                 "the second question")
        os.write(terminal, b"2\n")
        wait_for(host.is_ready, "the mediator")
        assert host.status()["policy"] == "priority"
        with host.device(1, pool="A", priority=2) as one, host.device(2, pool="B") as two:
            one.submit(wire.NOP)
            two.submit(wire.NOP)
            wait_for(lambda: waiting(host) == 2, "two requests")
            # Else the one whose worker is ready first would go first.
            wait_for(lambda: host.log().count("its worker is ready") == 2, "two workers")
            assert "[PROCESS]" not in host.log()
            one.submit(wire.NOP)
            for device, count in ((one, 2), (two, 1)):
                for _ in range(count):
                    assert device.read().status == 0
        assert "test mode: 3 requests wait" in host.log()
        assert re.findall(r"\[PROCESS\] VM (\d)", host.log()) == ["2", "1", "1"]


def test_test_mode_without_a_terminal(lab):
    done = subprocess.run(Mediator(lab, "--test-mode").command, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "vgpu-admin test-mode" in done.stderr


def test_test_mode_ended_by_an_administrator(lab):
    with on_a_terminal(lab, "--test-mode", "--policy", "fifo") as (host, terminal):
        os.write(terminal, b"\n\n")
        wait_for(host.is_ready, "the mediator")
        assert host.status()["policy"] == "fifo"
        with host.device(1) as device, host.admin() as admin:
            device.submit(wire.NOP)
            wait_for(lambda: waiting(host) == 1, "the request")
            admin.call(wire.RESUME)
            assert device.read().status == 0
        wait_for(lambda: "ended by an administrator" in host.log(), "the line")
