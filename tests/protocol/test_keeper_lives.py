# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-keeper: who outlives whom, and what happens where there is no room."""
import contextlib
import errno
import os
import resource
import signal
import socket
import struct
import threading

import pytest

import keeper as kp
import wire
from keeper import Keeper, Link
from mediator import Mediator, alive, children, wait_for
from test_keeper import with_keeper


@pytest.mark.parametrize("shared", [False, True])
def test_a_keeper_that_is_killed(lab, shared):
    with contextlib.ExitStack() as stack:
        keeper = stack.enter_context(Keeper(lab)) if shared else None
        mediator = stack.enter_context(with_keeper(lab, keeper) if shared else
                                       Mediator(lab, "--enable-test-ops"))
        with mediator.device(1) as device, mediator.device(2) as other:
            assert device.add(1, 2) == 3
            other.submit(wire.HANG)
            wait_for(lambda: (mediator.vm(2) or {"in_flight": 0})["in_flight"], "the job to run")
            victim = keeper.process.pid if shared else mediator.keeper()
            workers = children(victim)
            assert len(workers) == 2
            os.kill(victim, signal.SIGKILL)
            assert other.read().status == wire.CUDA_ERROR
            wait_for(lambda: not any(map(alive, workers)), "the workers to end with it")
            assert mediator.vm(1)["fault_count"] == mediator.vm(2)["fault_count"] == 0
            if shared:
                with mediator.admin() as admin:
                    problems = admin.call(wire.SHOW_HEALTH)["problems"]
                assert [problem["kind"] for problem in problems] == ["keeper"]
                assert mediator.status()["keeper"]["pid"] is None
                keeper.process.wait(60)
                keeper.path.unlink()
                stack.enter_context(Keeper(lab))
            assert device.add(2, 3) == 5
            status = mediator.status()["keeper"]
            assert status["losses"] == 1 and status["pid"] not in (None, victim)
            with mediator.admin() as admin:
                assert admin.call(wire.SHOW_HEALTH)["problems"] == []


def test_a_mediator_that_is_killed_loses_no_worker(lab):
    with Keeper(lab) as keeper:
        mediator = with_keeper(lab, keeper).start()
        devices = [mediator.device(vm_id) for vm_id in (1, 2, 3)]
        for device in devices:
            device.add(1, 1)
        devices[0].submit(wire.SPIN, (300000,))  # its answer finds the mediator gone
        devices[1].submit(wire.ADD, (5, 5))
        wait_for(lambda: mediator.vm(1)["in_flight"], "a job to run")
        workers = set(keeper.workers())
        mediator.kill()
        assert all(device.ended() or True for device in devices)
        mediator.log_file.close()
        with with_keeper(lab, keeper) as again:
            assert set(keeper.workers()) == workers
            for vm_id in (1, 2, 3):
                with again.device(vm_id) as device:
                    assert device.add(vm_id, 10) == vm_id + 10
                    assert again.vm(vm_id)["worker_pid"] in workers
                    assert again.vm(vm_id)["worker_restarts"] == 0
            assert set(keeper.workers()) == workers


def test_a_worker_that_is_still_at_work_for_the_mediator_before(lab):
    """It has as long for that as any job, and not what a worker has for its start."""
    with Keeper(lab) as keeper:
        mediator = with_keeper(lab, keeper).start()
        with mediator.device(1) as device:
            device.add(1, 1)
            device.submit(wire.SPIN, (4000000,))
            wait_for(lambda: mediator.vm(1)["in_flight"], "the job to run")
            worker, = keeper.workers()
            mediator.kill()
        mediator.log_file.close()
        with with_keeper(lab, keeper, "--worker-start-timeout-ms", "100") as again, \
                again.device(1) as device:
            assert device.add(2, 3) == 5
            assert again.vm(1)["worker_pid"] == worker and again.vm(1)["worker_restarts"] == 0


def test_a_planned_restart_answers_what_was_accepted_and_keeps_the_workers(lab):
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper) as mediator:
            devices = [mediator.device(vm_id) for vm_id in (1, 2, 3)]
            for device in devices:
                device.add(1, 1)
            for device in devices:
                for i in range(10):
                    device.submit(wire.SPIN, (3000,))
            wait_for(lambda: sum(mediator.vm(n)["submitted"] for n in (1, 2, 3)) == 33,
                     "all to be accepted")
            workers = set(keeper.workers())
            mediator.process.send_signal(signal.SIGTERM)
            for device in devices:
                assert [device.read().status for _ in range(10)] == [wire.OK] * 10
            assert mediator.process.wait(60) == 0
            assert set(keeper.workers()) == workers
            mediator.process.poll()
        with with_keeper(lab, keeper):
            for vm_id, device in enumerate(devices, 1):
                assert device.add(vm_id, 20) == vm_id + 20  # the connections are the same
            assert set(keeper.workers()) == workers


def stop(mediator):
    mediator.process.send_signal(signal.SIGTERM)
    assert mediator.process.wait(60) == 0


def test_a_request_that_finds_no_mediator_is_answered_by_the_next(lab):
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper) as mediator:
            old, new, half = (mediator.device(vm_id) for vm_id in (1, 2, 3))
            old.add(1, 1)
            assert new.hello(features=1)[1] == 1
            assert new.read().msg == wire.MSG_CONFIG
            half.add(1, 1)
            request = half.frame(wire.MSG_REQUEST, wire.request_body(wire.ADD, (4, 4)),
                                 request_id=9)
            half.send(request[:31])
            wait_for(lambda: mediator.vm(3)["completed"] == 1, "the first half to be read")
            stop(mediator)
        old.submit(wire.ADD, (2, 2))
        new.submit(wire.ADD, (3, 3))
        half.send(request[31:])
        assert all(device.sock.fileno() >= 0 for device in (old, new, half))
        with with_keeper(lab, keeper) as again:
            assert old.read().results == (4,)
            assert new.read().msg == wire.MSG_CONFIG  # its vm_id may be another one by now
            assert new.read().results == (6,)
            answer = half.read()
            assert (answer.request_id, answer.results) == (9, (8,))
            with again.admin() as admin:
                shown = admin.call(wire.SHOW_CONNECTIONS)["connections"]
            assert sorted(c["vm_id"] for c in shown) == [1, 2, 3]
            # And once more, into a third one.
            stop(again)
        with with_keeper(lab, keeper):
            assert old.add(5, 5) == 10


def test_connections_that_no_mediator_comes_for(lab):
    with Keeper(lab, "--alone-s", "0") as keeper:
        with with_keeper(lab, keeper) as mediator:
            device = mediator.device(1)
            device.add(1, 1)
            stop(mediator)
            assert device.ended()
        wait_for(lambda: "no mediator came for 1 connections" in keeper.log(), "the word on it")


def test_a_keeper_that_ends_closes_what_it_holds(lab):
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper) as mediator:
            device = mediator.device(1)
            device.add(1, 1)
            stop(mediator)
    assert device.ended()


def test_a_socket_that_is_another_vms_now(lab):
    """Who connected there before is not believed any more."""
    uuids = ["11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"]
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper, "--vm", f"{uuids[0]}={lab}/vm.sock") as mediator, \
                wire.Device(lab / "vm.sock", 5) as device, mediator.device(6) as other:
            device.add(1, 1)
            other.add(1, 1)
            stop(mediator)
            with with_keeper(lab, keeper, "--vm", f"{uuids[1]}={lab}/vm.sock"):
                assert device.ended()
                assert other.add(3, 3) == 6
                with wire.Device(lab / "vm.sock", 7) as another:
                    assert another.add(2, 3) == 5


def test_claims_are_not_believed_where_the_next_mediator_believes_none(lab):
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper) as mediator, mediator.device(1) as device:
            device.add(1, 1)
            stop(mediator)
            with with_keeper(lab, keeper, trust=False):
                assert device.ended()


def test_what_another_build_has_left(lab):
    """A story that this one can't read costs its connection, and nothing else."""
    with Keeper(lab) as keeper:
        with Link(keeper.path) as link:
            link.hello()
            for size in (0, 100, 4096):
                ours, theirs = socket.socketpair()
                story = os.memfd_create("story")
                os.write(story, b"V" * size)
                link.say(kp.PARK, fds=[theirs.fileno(), story])
                theirs.close()
                os.close(story)
        with with_keeper(lab, keeper) as mediator, mediator.device(1) as device:
            assert ours.recv(1) == b""
            assert device.add(1, 2) == 3


def test_more_connections_than_a_socket_holds(lab):
    """All go on, and neither side waits for the other.  None of them needs a worker."""
    count = 300
    with Keeper(lab) as keeper:
        with with_keeper(lab, keeper) as mediator:
            devices = []
            for vm_id in range(1, count + 1):
                devices.append(mediator.device(vm_id))
                devices[-1].hello(features=0)
            stop(mediator)
        with with_keeper(lab, keeper):
            for device in devices:
                device.send(device.frame(wire.MSG_PING, b"there?"))
            for device in devices:
                answer = device.read()
                assert (answer.msg, answer.data) == (wire.MSG_PONG, b"there?")
        for device in devices:
            device.close()


def test_a_worker_that_fits_no_more_is_replaced(lab):
    with Keeper(lab) as keeper:
        mediator = with_keeper(lab, keeper).start()
        with mediator.device(1) as device, mediator.device(2) as other:
            device.add(1, 1)
            other.add(1, 1)
            old = set(keeper.workers())
            mediator.kill()
        mediator.log_file.close()
        # Without the test operations: other arguments for its worker.
        with Mediator(lab, "--keeper-socket", keeper.path) as again, again.device(1) as device:
            assert device.add(1, 2) == 3
            assert again.vm(1)["worker_pid"] not in old
            wait_for(lambda: len(keeper.workers()) == 2, "the old one to end")
            # The other VM does not come back: its worker is told to go after a while.
            wait_for(lambda: not old & set(keeper.workers()), "the orphan to leave")
            assert "nobody wants worker" in again.log()


class Between:
    """Passes the messages of one mediator at a time on to a keeper, and can cut the line."""

    def __init__(self, path, keeper):
        self.path, self.keeper, self.pairs = path, keeper, []
        self.whole = threading.Event()
        self.whole.set()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            self.whole.wait()
            far = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            far.connect(str(self.keeper))
            self.pairs.append((near, far))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, target):
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(source, 4096, 8)
                if not data:
                    break
                socket.send_fds(target, [data], fds)
            except OSError:
                break
            for fd in fds:
                os.close(fd)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self):
        self.whole.clear()
        for end in self.pairs[-1]:
            end.shutdown(socket.SHUT_RDWR)


def test_a_line_that_is_cut_leaves_no_second_worker(lab):
    """Mediator and keeper live on: a VM that wants a worker meanwhile has one, not two."""
    with Keeper(lab) as keeper:
        between = Between(lab / "between.sock", keeper.path)
        with Mediator(lab, "--enable-test-ops", "--keeper-socket", between.path) as mediator, \
                mediator.device(1) as device:
            assert device.add(1, 2) == 3
            old, = keeper.workers()
            between.cut()
            wait_for(lambda: mediator.vm(1)["worker_pid"] is None, "the loss to be seen")
            device.submit(wire.ADD, (2, 3))
            wait_for(lambda: mediator.vm(1)["queue_depth"] == 1, "the request to wait")
            between.whole.set()
            assert device.read().results == (5,)
            new = mediator.vm(1)["worker_pid"]
            assert new != old
            wait_for(lambda: keeper.workers() == [new], "the old one to end")
            assert f"worker {old} is ended, for a new one is to start" in mediator.log()
            assert "nobody wants worker" not in mediator.log()
        between.listener.close()


def test_workers_that_no_mediator_comes_for(lab):
    with Keeper(lab, "--alone-s", "0") as keeper:
        mediator = with_keeper(lab, keeper).start()
        with mediator.device(1) as device:
            device.add(1, 1)
            mediator.kill()
        mediator.log_file.close()
        wait_for(lambda: not keeper.workers(), "the workers to be ended")
        assert "no mediator came for 1 workers" in keeper.log()


def test_a_held_worker_can_be_spoken_to(lab):
    """The keeper hands its socket over, and ADOPT is answered behind what was due."""
    header, adopt, ready, quit_it = struct.Struct("<IHHIIQ"), 11, 1, 4
    with Keeper(lab) as keeper:
        with Link(keeper.path) as link:
            link.hello()
            with link.start(77) as ours:
                assert ours.recv(4096)[6:8] == struct.pack("<H", ready)
        with Link(keeper.path) as link:
            _, held = link.hello()
            (kind, number, body, fds), = held
            assert (kind, number, len(fds)) == (kp.HELD, 77, 1)
            assert struct.unpack_from("<I", body)[0] == keeper.workers()[0]
            with socket.socket(fileno=fds[0]) as worker:
                worker.settimeout(wire.PATIENCE_S)
                worker.send(header.pack(0x4B574756, 1, adopt, header.size, 0, 4711))
                _, _, kind, _, _, number = header.unpack_from(worker.recv(4096))
                assert (kind, number) == (ready, 4711)
                worker.send(header.pack(0x4B574756, 1, quit_it, header.size, 0, 0))
                kind, number, body, _ = link.hear()
                assert (kind, number) == (kp.ENDED, 77) and struct.unpack("<IiII", body)[0] == 0


def test_many_workers_are_listed_though_nobody_reads(lab):
    """More than a socket holds: what is to be told is no queue."""
    count = 300
    with Keeper(lab, "--confine", "never") as keeper:
        with Link(keeper.path) as link:
            link.hello()
            sockets = []
            for number in range(1, count + 1):
                sockets.append(link.start(number, vm_id=number))
            wait_for(lambda: len(keeper.workers()) == count, "all to start")
            for sock in sockets:
                sock.close()
        with Link(keeper.path) as link:
            _, held = link.hello()
            assert len({number for _, number, _, _ in held}) == count
            for _, _, _, fds in held:
                os.close(fds[0])
            for number in range(1, count + 1):
                link.say(kp.KILL, number)
            assert {link.hear()[1] for _ in range(count)} == set(range(1, count + 1))


def test_a_keeper_without_free_descriptors(lab):
    """A worker that can't be had is said to be so; the link, and the others, stay."""
    with Keeper(lab, "--confine", "never", prefix=["prlimit", "--nofile=24:24"]) as keeper, \
            Link(keeper.path) as link:
        link.hello()
        sockets, news = [], {}

        def hear_of(number, kinds):
            while news.get(number, (0,))[0] not in kinds:
                kind, about, body, _ = link.hear()
                news[about] = kind, body

        for number in range(1, 31):
            sockets.append(link.start(number))
            hear_of(number, (kp.STARTED, kp.ENDED))
        hear_of(30, (kp.ENDED,))
        living = [number for number, (kind, _) in news.items() if kind == kp.STARTED]
        assert 3 <= len(living) < 20
        assert all(struct.unpack("<IiII", body)[:2] == (5, errno.EMFILE)
                   for kind, body in news.values() if kind == kp.ENDED)
        for number in living[:3]:
            link.say(kp.KILL, number)
            hear_of(number, (kp.ENDED,))
        sockets.append(link.start(99))
        hear_of(99, (kp.STARTED, kp.ENDED))
        assert news[99][0] == kp.STARTED
        for sock in sockets:
            sock.close()


def test_a_connection_that_no_descriptor_is_left_for(lab):
    """It is closed: else the keeper would look at it for ever."""
    with Keeper(lab, "--confine", "never") as keeper, Link(keeper.path) as link:
        link.hello()
        pid, what = keeper.process.pid, resource.RLIMIT_NOFILE
        usual = resource.prlimit(pid, what)
        spare = min(int(fd) for fd in os.listdir(f"/proc/{pid}/fd")
                    if int(fd) > 2 and os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null")
        resource.prlimit(pid, what, (spare + 1, usual[1]))
        for _ in range(3):
            with Link(keeper.path) as other:
                assert other.hear() is None
        wait_for(lambda: "raise LimitNOFILE=" in keeper.log(), "the log line")
        resource.prlimit(pid, what, usual)
        with link.start(1):
            assert link.hear()[:2] == (kp.STARTED, 1)
