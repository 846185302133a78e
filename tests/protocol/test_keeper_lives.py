# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-keeper: who outlives whom, and what happens where there is no room."""
import contextlib
import errno
import os
import resource
import signal
import socket
import struct

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
                assert device.ended()
            assert mediator.process.wait(60) == 0
            assert set(keeper.workers()) == workers
            mediator.process.poll()
        with with_keeper(lab, keeper) as again:
            for vm_id in (1, 2, 3):
                with again.device(vm_id) as device:
                    assert device.add(vm_id, 20) == vm_id + 20
            assert set(keeper.workers()) == workers


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
