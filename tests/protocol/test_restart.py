# SPDX-License-Identifier: GPL-2.0-or-later
"""What outlives a mediator: what VMs owe each other, what is counted, who is in quarantine."""
import contextlib
import json
import mmap
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading

import pytest

import host_channel as hc
import test_cuda_guest as cuda
import wire
from test_device_channels import BYTES, Device
from keeper import Keeper
from mediator import Mediator, alive, program, wait_for

COUNTERS = ("submitted", "completed", "errors", "invalid", "gpu_time_ns")


def begin(lab, keeper, *arguments):
    return Mediator(lab, "--enable-test-ops", "--overrun-ms", "0", "--keeper-socket", keeper.path,
                    "--state", lab / "state", *arguments)


def end(mediator, planned):
    """The devices are there still: they have not asked for this."""
    if planned:
        mediator.process.send_signal(signal.SIGTERM)
        assert mediator.process.wait(60) == 0
    else:
        wait_for_state(mediator)
        mediator.kill()
    mediator.log_file.close()


def written(mediator):
    """Another value each time."""
    try:
        return os.stat(mediator.folder / "state").st_mtime_ns
    except FileNotFoundError:
        return 0


def wait_for_state(mediator):
    """What has happened by now is in it: the second writing from now on began after this."""
    for _ in range(2):
        before = written(mediator)
        wait_for(lambda: written(mediator) != before, "the state's writing")


def make_a_debt(mediator, debtor, other, seconds=0.4):
    """VM 1 has the GPU for so long while VM 2 waits; then nothing runs.  What VM 1 owes then."""
    assert debtor.add(1, 1) == 2 and other.add(1, 1) == 2
    assert debtor.run(wire.FAIL).status != wire.OK
    debtor.submit(wire.SPIN, (int(seconds * 1e6),))
    wait_for(lambda: mediator.vm(1)["in_flight"], "the long job to run")
    with mediator.admin() as admin:
        admin.call(wire.PAUSE)
        other.submit(wire.SPIN, (1000,))
        wait_for(lambda: mediator.vm(2)["queue_depth"], "VM 2 to wait")
        assert debtor.read().status == wire.OK
    debt = mediator.vm(1)["lag_ns"]
    assert debt < -50_000_000
    return debt


@pytest.mark.parametrize("planned", [True, False])
def test_a_debt_is_not_shed_by_a_restart(lab, planned):
    with Keeper(lab) as keeper:
        mediator = begin(lab, keeper).start()
        with mediator.device(1) as debtor, mediator.device(2) as other:
            # What is idle after RESUME pays for it: on a busy host that is a while.
            debt = make_a_debt(mediator, debtor, other, 2.5 if planned else 0.4)
            before = [mediator.vm(n) for n in (1, 2)]
            if planned:
                with mediator.admin() as admin:
                    admin.call(wire.RESUME)
                assert other.read().status == wire.OK
                debt = mediator.vm(1)["lag_ns"]
                before = [mediator.vm(n) for n in (1, 2)]
            end(mediator, planned)
        ready = mediator.log().count("its worker is ready")
        with begin(lab, keeper) as again:
            after = [again.vm(n) for n in (1, 2)]
            assert abs(after[0]["lag_ns"] - debt) < 20_000_000, (after[0]["lag_ns"], debt)
            assert after[1]["lag_ns"] >= 0
            for was, now in zip(before, after):
                assert [now[key] for key in COUNTERS] == [was[key] for key in COUNTERS]
            assert before[0]["errors"] == 1
            with again.device(1) as debtor, again.device(2) as other, again.admin() as admin:
                # Who owes comes first and asks for much; who is owed is served before it.
                admin.call(wire.PAUSE)
                for device in (debtor, other):
                    for _ in range(5):
                        device.submit(wire.SPIN, (3000,))
                wait_for(lambda: [again.vm(n)["queue_depth"] for n in (1, 2)] == [5, 5], "all")
                wait_for(lambda: again.log().count("its worker is ready") >= ready + 2, "both")
                admin.call(wire.RESUME)
                for device in (other, debtor):
                    assert [device.read().status for _ in range(5)] == [wire.OK] * 5
                choices = admin.call(wire.SHOW_SCHEDULE)["dispatches"]
                served = [choice["vm_id"] for choice in choices]
                assert served == [2] * 5 + [1] * 5
            assert "accounts and counters of 2 VMs go on" in again.log()


def test_a_quarantine_without_a_database(lab):
    """The faults that led to it, too: one more than before the restart is enough."""
    with Keeper(lab) as keeper:
        mediator = begin(lab, keeper, "--fault-threshold", "3").start()
        with mediator.device(1) as one, mediator.device(2) as two:
            for _ in range(3):
                assert one.run(wire.CRASH).status == wire.CUDA_ERROR
            wait_for(lambda: mediator.vm(1)["quarantined"], "the quarantine")
            for _ in range(2):
                assert two.run(wire.CRASH).status == wire.CUDA_ERROR
            end(mediator, False)
        with begin(lab, keeper, "--fault-threshold", "3") as again:
            with again.device(1) as one, again.device(2) as two:
                assert one.run(wire.ADD, (1, 1)).status == wire.VM_QUARANTINED
                assert two.add(1, 1) == 2
                assert two.run(wire.CRASH).status == wire.CUDA_ERROR
                wait_for(lambda: again.vm(2)["quarantined"], "the quarantine")


@pytest.mark.parametrize("spoil, says", [
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), "damaged"),
    (lambda path: path.write_bytes(b""), "damaged"),
    (lambda path: path.write_bytes(b"x" * 5000), "no state of a vgpu-mediator"),
    (lambda path: path.chmod(0o644), "not a file of this user alone"),
])
def test_a_state_that_is_refused(lab, spoil, says):
    """It is said, all begin even, and the next one is written in its place."""
    with Keeper(lab) as keeper:
        with begin(lab, keeper) as mediator, mediator.device(1) as device:
            device.add(1, 1)
        spoil(lab / "state")
        with begin(lab, keeper) as again:
            assert again.vm(1) is None
            assert says in again.log() and "all VMs begin even" in again.log()
            with again.device(1) as device:
                assert device.add(1, 1) == 2
        with begin(lab, keeper) as third:
            assert third.vm(1)["completed"] == 1


def test_a_state_that_cannot_be_written(lab):
    """Said once; VMs are served as ever."""
    with Keeper(lab) as keeper:
        (lab / "folder").mkdir()
        (lab / "folder" / "state").mkdir()
        with Mediator(lab, "--keeper-socket", keeper.path,
                      "--state", lab / "folder" / "state") as mediator:
            wait_for(lambda: "cannot be written" in mediator.log(), "the warning")
            with mediator.device(1) as device:
                assert device.add(1, 2) == 3
            (lab / "folder" / "state").rmdir()
            wait_for(lambda: "is written again" in mediator.log(), "that it is mended")
            assert mediator.log().count("cannot be written") == 1


def test_a_state_in_a_folder_that_is_not_there(lab):
    """Said at the start, before anybody is served, and not that all is new."""
    with Keeper(lab) as keeper:
        with Mediator(lab, "--keeper-socket", keeper.path,
                      "--state", lab / "folder" / "state") as mediator:
            log = mediator.log()
            assert f"{lab}/folder/state cannot be written: No such file" in log
            assert "no vgpu-mediator was before" not in log
            (lab / "folder").mkdir()
            wait_for(lambda: "is written again" in mediator.log(), "that it is mended")
            assert mediator.log().count("cannot be written") == 1
        with Mediator(lab, "--keeper-socket", keeper.path,
                      "--state", lab / "folder" / "other") as mediator:
            assert "other: no vgpu-mediator was before" in mediator.log()
            assert (lab / "folder" / "other").exists()


# ---- channels ----

UUIDS = ["11111111-2222-3333-4444-00000000000%d" % n for n in range(1, 3)]


@contextlib.contextmanager
def kept_channels(lab, *arguments):
    """A keeper, and a function that starts the next mediator when the one before has ended."""
    vms = [word for n, uuid in enumerate(UUIDS) for word in ("--vm", f"{uuid}={lab}/vm{n}.sock")]
    with Keeper(lab) as keeper:
        yield lambda: Mediator(lab, *vms, "--enable-test-ops", "--keeper-socket", keeper.path,
                               *arguments, shared=False, trust=False)


def resume(host, life, number=0):
    """The answer's status."""
    socket.send_fds(host.sock, [wire.HEADER.pack(wire.MAGIC, hc.CHANNEL_RESUME, host.vm_id, 1,
                                                 ord("A"), 1, 1, hc.CLOSE.size)
                                + hc.CLOSE.pack(number, 0)], [life])
    kind, payload, _ = host.receive()
    while kind == wire.MSG_CONFIG:
        kind, payload, _ = host.receive()
    assert kind == hc.CHANNEL_RESUME
    answer = hc.CLOSE.unpack(payload)
    assert answer[0] == number
    return answer[1]


def resume_in_time(host, life, number=0):
    status = wait_for(lambda: [s for s in [resume(host, life, number)] if s != wire.QUEUE_FULL],
                      "an answer that counts")
    return status[0]


def stop(mediator, planned, at_once=False):
    """at_once: killed also before the state has been written: what is kept there is not asked."""
    if planned:
        mediator.process.send_signal(signal.SIGTERM)
        assert mediator.process.wait(60) == 0
    else:
        if not at_once and written(mediator):
            wait_for_state(mediator)
        mediator.kill()
    mediator.log_file.close()


@pytest.mark.parametrize("planned", [True, False])
def test_a_channel_goes_on(lab, planned):
    """With its buffers and chunks; also while there is no mediator, with what needs no turn."""
    with kept_channels(lab, "--state", lab / "state") as next_mediator:
        mediator = next_mediator().start()
        host = hc.Host(lab / "vm0.sock", vm_id=1)
        channel = host.open(features=hc.BULK_FEATURE | hc.LIFE)
        assert channel.life is not None
        assert channel.bulk(hc.ALLOC, target=hc.handle(0), count=4096) == wire.OK
        assert channel.bulk(hc.FILL, target=hc.handle(0), count=1024, value=7) == wire.OK
        chunk = host.add_chunk(3, 8192)
        worker = mediator.vm(1)["worker_pid"]
        if planned:
            stop(mediator, True)
        else:
            stop(mediator, False)
        assert channel.op(wire.NOP)[0] == wire.OK
        assert channel.bulk(hc.DOWNLOAD, a=hc.handle(0), count=4096,
                            chunk_offset=channel.arena) == wire.OK
        channel.put(channel.bulk_record(hc.ADD_I32, target=hc.handle(0), a=hc.handle(0),
                                        b=hc.handle(0), count=1024))
        channel.publish()  # waits for a turn, which only a mediator can give
        with next_mediator() as again:
            assert channel.answer()[0] == wire.OK  # without that its process has said anything
            assert again.vm(1)["worker_pid"] == worker
            # Nobody else can have it, and nobody can have it twice.
            with hc.Host(lab / "vm1.sock", vm_id=2) as other:
                assert resume_in_time(other, channel.life) == wire.CUDA_ERROR
                read, write = os.pipe()
                assert resume_in_time(other, write) == wire.CUDA_ERROR
            host.close()
            host = hc.Host(lab / "vm0.sock", vm_id=1)
            channel.host = host
            assert resume_in_time(host, channel.life, 5) == wire.OK
            with hc.Host(lab / "vm0.sock", vm_id=1) as second:
                assert resume_in_time(second, channel.life) == wire.CUDA_ERROR
            assert channel.bulk(hc.DOWNLOAD, a=hc.handle(0), count=4096, chunk=3) == wire.OK
            assert chunk[:4096] == (14).to_bytes(4, "little") * 1024
            host.remove_chunk(3, 5)
            assert host.removed() == (5, 3)
            host.add_chunk(3, 4096, number=5).close()
            host.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(5, 0))
            assert host.closed() == (5, hc.ASKED)
            host.close()
            os.close(read)
            os.close(write)


def jobs_after(process, count):
    """The jobs that the client has done when it has done that many more than it says first."""
    jobs = [json.loads(process.stdout.readline())["jobs"]]
    while jobs[-1] < jobs[0] + count:
        jobs.append(json.loads(process.stdout.readline())["jobs"])
    return jobs[-1]


def test_a_mediator_that_listens_and_says_nothing(lab):
    """The channel goes on with what needs no turn; its process waits for its worker alone."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})  # so that the process sleeps while its worker works
    try:
        with kept_channels(lab, "--state", lab / "state") as next_mediator:
            mediator = next_mediator().start()
            client = subprocess.Popen(
                [program("vgpu-client"), "--host", lab / "vm0.sock", "--op", "nop", "--seconds",
                 "100000", "--json", "--progress"], stdout=subprocess.PIPE, text=True)
            too_late = threading.Timer(wire.PATIENCE_S, client.kill)
            too_late.start()
            jobs_after(client, 1)
            stop(mediator, False)
            (lab / "vm0.sock").unlink()
            with socket.socket(socket.AF_UNIX) as silent:
                silent.bind(str(lab / "vm0.sock"))
                silent.listen(1)
                jobs_after(client, 1000)
            with next_mediator() as again:
                wait_for(lambda: "goes on" in again.log(), "the channel's process")
                jobs_after(client, 1000)
                client.send_signal(signal.SIGINT)
                assert client.wait(60) == 0
            too_late.cancel()
            client.stdout.close()
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_process_that_ends_while_no_mediator_is_there(lab):
    with kept_channels(lab, "--state", lab / "state") as next_mediator:
        mediator = next_mediator().start()
        with hc.Host(lab / "vm0.sock", vm_id=1) as stays, hc.Host(lab / "vm0.sock",
                                                                  vm_id=1) as goes:
            kept, left = (host.open(features=hc.BULK_FEATURE | hc.LIFE) for host in (stays, goes))
            plain = stays.open(1)  # of a process that knows nothing of this
            assert plain.op(wire.ADD, (1, 2))[1] == (3,)
            worker = mediator.vm(1)["worker_pid"]
            stop(mediator, False)
            left.close_fds()
        with next_mediator() as again:
            assert kept.op(wire.ADD, (2, 3))[1] == (5,)
            assert again.vm(1)["worker_pid"] == worker
            maps = pathlib.Path(f"/proc/{worker}/maps")
            wait_for(lambda: maps.read_text().count("vgpu-channel") == 1, "two channels to end")
            assert plain.state() == (1, hc.SESSION)
            kept.close_fds()
            wait_for(lambda: "vgpu-channel" not in maps.read_text(), "the last one to end")


def test_a_channel_whose_vm_is_gone(lab):
    """Nobody registered it, and nothing is kept of it: its worker is not for ever."""
    with kept_channels(lab) as next_mediator:
        mediator = next_mediator().start()
        host = hc.Host(lab / "vm0.sock", vm_id=1)
        channel = host.open(features=hc.BULK_FEATURE | hc.LIFE)
        worker = mediator.vm(1)["worker_pid"]
        stop(mediator, False)
        with next_mediator() as again:
            assert channel.op(wire.NOP)[0] == wire.OK
            wait_for(lambda: not alive(worker), "the orphan to leave")
            assert "nobody wants worker" in again.log()
            assert channel.state() == (1, hc.SHUTDOWN)
            with hc.Host(lab / "vm0.sock", vm_id=1) as late:
                assert resume_in_time(late, channel.life) == wire.CUDA_ERROR


# ---- channels of devices ----

FEATURES = hc.FEATURE_CHANNELS | hc.FEATURE_RESUME | 3
KEPT = hc.BULK_FEATURE | hc.LIFE


class Guest(Device):
    """A device with one channel, which is another device's after a restart."""

    def open_channel(self, transport):
        """A Channel.  COPIED: what it has of the memory is the copy; its engine is engine()."""
        geometry = (1, 0, 4096, 131072, 0)
        self.ask(0, 1 << transport, features=KEPT)
        if transport == hc.SHARED:
            ram = os.memfd_create("ram", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            os.ftruncate(ram, BYTES)
            self.part(ram, [(0, BYTES)])
        words, fds = self.answer()
        assert words[:4] == (0, wire.OK, transport, KEPT)
        assert len(fds) == (3 if transport == hc.SHARED else 5)
        if transport == hc.SHARED:
            fds.insert(2, ram)
        else:
            self.page = mmap.mmap(fds[3], 4096)
            os.close(fds.pop(3))
        return hc.Channel(self, 0, fds, (0, wire.OK, transport, KEPT, *geometry, BYTES))

    def run(self, channel, params):
        channel.put(channel.record(wire.ADD, struct.pack("<4I", 2, 0, *params)))
        channel.publish()

    def result(self, channel, transport):
        """The answer's words, when the copy engine has done all that it was asked for."""
        def done():
            if transport == hc.COPIED and self.page[:8] != self.page[0x80:0x88]:
                self.page[0x80:0x88] = self.page[:8]
                os.write(channel.doorbell, struct.pack("<Q", 1))
            return channel.word(channel.mailboxes, "I") == channel.seq
        wait_for(done, "the answer")
        return channel.answer()[1]


@pytest.mark.parametrize("transport", [hc.SHARED, hc.COPIED], ids=["shared", "copied"])
def test_a_device_channel_goes_on(lab, transport):
    """Through three restarts, one of them by kill -9; what needs a turn is done by the next one."""
    with kept_channels(lab, "--state", lab / "state") as next_mediator:
        mediator = next_mediator().start()
        device = Guest(lab / "vm0.sock", FEATURES, vm_id=1)
        assert device.features & hc.FEATURE_RESUME
        channel = device.open_channel(transport)
        device.run(channel, (1, 2))
        assert device.result(channel, transport) == (3,)
        worker = mediator.vm(1)["worker_pid"]
        wait_for(lambda: (lab / "state").exists(), "the state")
        for n, planned in enumerate((True, False, True)):
            stop(mediator, planned)
            device.run(channel, (n, 5))  # waits for a turn
            mediator = next_mediator().start()
            assert device.result(channel, transport) == (n + 5,)
            # Nobody of the host can have it, nor a device that says nothing of this.
            with hc.Host(lab / "vm0.sock", vm_id=1) as process:
                assert resume_in_time(process, channel.life) == wire.CUDA_ERROR
            device.sock.close()
            again = Guest(lab / "vm0.sock", FEATURES, vm_id=1)
            if transport == hc.COPIED:
                again.page = device.page
            again.lease, again.leased, device = device.lease, device.leased, again
            channel.host = device
            assert resume_in_time(device, channel.life, n + 7) == wire.OK
            assert mediator.vm(1)["worker_pid"] == worker
        device.run(channel, (20, 5))
        assert device.result(channel, transport) == (25,)
        device.send(hc.CHANNEL_CLOSE, hc.CLOSE.pack(9, 0))
        assert device.answer(hc.CHANNEL_CLOSED)[0] == (9, hc.ASKED)
        assert device.let_go()
        device.sock.close()
        mediator.__exit__(None, None, None)


@pytest.mark.parametrize("planned", [True, False])
def test_a_device_that_wants_its_memory_back_while_no_mediator_is_there(lab, planned):
    """A guest that is reset waits for its lease: the worker must not wait for a mediator."""
    with kept_channels(lab) as next_mediator:
        mediator = next_mediator().start()
        device = Guest(lab / "vm0.sock", FEATURES, vm_id=1)
        channel = device.open_channel(hc.SHARED)
        worker = mediator.vm(1)["worker_pid"]
        stop(mediator, planned)
        os.close(channel.life)
        channel.life = None
        assert device.let_go() and alive(worker)
        assert channel.state() == (1, hc.SESSION)
        assert "/memfd:ram" not in pathlib.Path(f"/proc/{worker}/maps").read_text()
        channel.close_fds()
        device.close()


def test_a_device_that_cannot_resume(lab):
    """Its channels have no life, whatever its guest asks for; they end as ever."""
    with kept_channels(lab) as next_mediator:
        mediator = next_mediator().start()
        with Device(lab / "vm0.sock", hc.FEATURE_CHANNELS | 3, vm_id=1) as device:
            device.ask(0, 1 << hc.COPIED, features=KEPT)
            words, fds = device.answer()
            assert words[:4] == (0, wire.OK, hc.COPIED, hc.BULK_FEATURE) and len(fds) == 4
            with pytest.raises((wire.Closed, ConnectionResetError)):
                resume(device, device.leased, 1)
        stop(mediator, True)


# Does each job.  When it is taken over, it announces channels, and never tells of all of them.
PLAYED_WORKER = """#!/usr/bin/python3 -IS
import os, socket, struct, sys
HEADER, HELD = struct.Struct("<IHHIIQ"), struct.Struct("<2I4IQ4I")
if "--vm-id" not in sys.argv:
    os.execv("%(real)s", sys.argv)
link = socket.socket(fileno=3)
def say(kind, number, body, *fds):
    frame = HEADER.pack(0x4B574756, 1, kind, HEADER.size + len(body), 0, number) + body
    socket.send_fds(link, [frame], fds)
def ready(number, held):
    say(1, number, struct.pack("<6IQ48s64s", 1, 0, 0, 0, 0, held, 0, b"CPU-0", b"played"))
vm_id = int(sys.argv[sys.argv.index("--vm-id") + 1])
ready(0, 0)
while True:
    frame = link.recv(4096)
    if not frame or HEADER.unpack_from(frame)[2] == 4:
        break
    kind, number = HEADER.unpack_from(frame)[2], HEADER.unpack_from(frame)[5]
    if kind == 2:
        say(3, number, struct.pack("<4I3Q", 0, 0, 0, 0, 0, 0, 0))
    elif kind == 11 and %(channels)s:
        ready(number, %(channels)s)
        say(20, 1, HELD.pack(1, 0, 1, 0, 4096, 131072, 0, 0, 0, 0, 0), os.pipe()[0])
"""


def play(lab, channels):
    """The keeper's arguments for a worker that says so when it is taken over; 0: nothing."""
    path = lab / "played"
    path.write_text(PLAYED_WORKER % {"channels": channels, "real": program("vgpu-worker")})
    path.chmod(0o755)
    return "--worker", path


@pytest.mark.skipif(cuda.HAS_SANITIZER, reason="for its time")
def test_a_worker_that_does_not_tell_of_all_its_channels(lab):
    with Keeper(lab, *play(lab, "65 if vm_id == 1 else 2")) as keeper:
        mediator = begin(lab, keeper).start()
        for vm_id in (1, 2):
            with mediator.device(vm_id) as device:
                assert device.run(wire.NOP).status == wire.OK
        stop(mediator, False)
        with begin(lab, keeper) as again:
            wait_for(lambda: "sent a wrong READY" in again.log(), "more than a VM may have")
            with again.device(2) as device:  # it is ready, and answers
                assert device.run(wire.NOP).status == wire.OK
                wait_for(lambda: "did not tell of all its channels" in again.log(), "its end")
                wait_for(lambda: "event=worker_lost vm_id=2" in again.log(), "it to be gone")
                assert device.run(wire.NOP).status == wire.OK


def test_a_worker_that_is_at_work_keeps_no_other_vm_waiting(lab):
    """VM 1's never answers the next mediator.  Of VM 2's channels that says nothing."""
    vms = [word for n, uuid in enumerate(UUIDS) for word in ("--vm", f"{uuid}={lab}/vm{n}.sock")]
    with Keeper(lab, *play(lab, 0)) as keeper:
        def next_mediator():
            return Mediator(lab, *vms, "--keeper-socket", keeper.path, "--job-timeout-ms", "0",
                            shared=False, trust=False)
        mediator = next_mediator().start()
        with wire.Device(lab / "vm0.sock", 1) as device:
            assert device.run(wire.NOP).status == wire.OK
        stop(mediator, False)
        read, write = os.pipe()
        with next_mediator():
            with wire.Device(lab / "vm0.sock", 1) as device, \
                    hc.Host(lab / "vm1.sock", vm_id=2) as host:
                device.submit(wire.NOP)
                assert resume_in_time(host, write) == wire.CUDA_ERROR
        os.close(read)
        os.close(write)


def test_a_second_mediator_leaves_the_state_alone(lab):
    """It gets no socket, and ends: what it has read is older than what is in the file."""
    with Mediator(lab, "--state", lab / "state") as mediator:
        wait_for(lambda: written(mediator), "the state's writing")
        mediator.process.send_signal(signal.SIGSTOP)
        try:
            before = written(mediator)
            second = subprocess.run(mediator.command, capture_output=True, text=True, timeout=60,
                                    check=False)
            assert second.returncode == 1, second.stderr
            assert written(mediator) == before
        finally:
            mediator.process.send_signal(signal.SIGCONT)


@pytest.mark.skipif(cuda.HAS_SANITIZER, reason="programs that use our libcuda have no sanitizer")
@pytest.mark.parametrize("planned", [True, False])
def test_cuda_programs_go_on(lab, planned, monkeypatch):
    monkeypatch.setenv("VGPU_CUDA_DRIVER", str(cuda.STAND_IN))
    with kept_channels(lab, "--state", lab / "state") as next_mediator:
        mediator = next_mediator().start()
        programs = [cuda.start(lab, cuda.TRY, cuda.IMAGE, "8", vm=n % 2) for n in range(4)]
        wait_for(lambda: mediator.log().count("event=channel_opened") == len(programs),
                 "the programs to be there")
        for _ in range(3):
            stop(mediator, planned, at_once=True)  # the programs take a second or two
            mediator = next_mediator().start()
        try:
            for program in programs:
                output = cuda.finish(program)
                assert output.strip().endswith("Stand-in GPU: 0 wrong"), output
        except AssertionError:
            print(mediator.log())
            raise
        stop(mediator, True)
        assert "opened (it goes on from the mediator before)" in mediator.log()
