# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs through the real path, socket to worker and back, and what happens when workers fail."""
import os
import random
import signal
import struct

import pytest

import wire
from mediator import Mediator, alive, program, wait_for


def test_a_sum(mediator):
    with mediator.device() as device:
        assert device.add(100, 200) == 300
        assert device.add(0xFFFFFFFF, 2) == 1


def test_device_info(mediator):
    with mediator.device() as device:
        answer = device.run(wire.DEVICE_INFO)
        assert answer.status == wire.OK and len(answer.results) == 5
        assert answer.results[0] == 0 and answer.data.startswith(b"CPU")


@pytest.mark.parametrize("count", [1, 2, 64, 124])
def test_vectors(mediator, count):
    rng = random.Random(count)
    a = [rng.getrandbits(32) for _ in range(count)]
    b = [rng.getrandbits(32) for _ in range(count)]
    with mediator.device() as device:
        answer = device.run(wire.VECTOR_ADD_I32, (), struct.pack(f"<{2 * count}I", *a, *b))
        assert answer.status == wire.OK
        assert list(struct.unpack(f"<{count}I", answer.data)) == [
            (x + y) & 0xFFFFFFFF for x, y in zip(a, b)]


def test_pipelining_answers_each_once_in_order(mediator):
    with mediator.device() as device:
        for _ in range(20):
            ids = [device.submit(wire.ADD, (i, 7)) for i in range(60)]
            answers = [device.read() for _ in ids]
            assert [answer.request_id for answer in answers] == ids
            assert [answer.results[0] for answer in answers] == [i + 7 for i in range(60)]


def test_a_frame_may_come_byte_by_byte(mediator):
    with mediator.device() as device:
        for byte in device.frame(wire.MSG_REQUEST, wire.request_body(wire.ADD, (1, 2)),
                                 request_id=5):
            device.send(bytes([byte]))
        answer = device.read()
        assert (answer.request_id, answer.results) == (5, (3,))


def test_many_vms_at_once(mediator):
    devices = [mediator.device(vm_id) for vm_id in range(1, 25)]
    for round_number in range(10):
        for device in devices:
            device.submit(wire.ADD, (device.vm_id, round_number))
        for device in devices:
            assert device.read().results == (device.vm_id + round_number,)
    assert len(mediator.workers()) == len(devices)
    for device in devices:
        device.close()


def test_ping(mediator):
    with mediator.device() as device:
        device.send(device.frame(wire.MSG_PING, b"are you there", request_id=9))
        answer = device.read()
        assert (answer.msg, answer.request_id, answer.data) == (wire.MSG_PONG, 9, b"are you there")


def test_hello_and_config(mediator):
    with mediator.device(vm_id=4, pool="B", priority=2) as device:
        version, features, _, _ = device.hello()
        assert version == wire.VERSION and features == 3
        answer = device.read()
        assert answer.msg == wire.MSG_CONFIG
        vm_id, pool, priority = struct.unpack_from("<IBB", answer.data)
        assert (vm_id, chr(pool), priority) == (4, "B", 2)


def test_queue_full_is_said_and_passes(mediator):
    with mediator.device() as device:
        device.add(1, 1)
        device.submit(wire.SPIN, (300000,))
        ids = [device.submit(wire.NOP) for _ in range(400)]
        answers = [device.read() for _ in range(401)]
        full = [answer for answer in answers if answer.status == wire.QUEUE_FULL]
        assert full and all(answer.msg == wire.MSG_BUSY for answer in full)
        assert sorted(answer.request_id for answer in answers) == [ids[0] - 1] + ids
        assert mediator.vm(1)["rejected_queue"] == len(full)
        assert device.add(1, 2) == 3


def test_test_operations_must_be_allowed(lab):
    with Mediator(lab) as mediator, mediator.device() as device:
        for opcode in (wire.SPIN, wire.HANG, wire.CRASH, wire.FAIL):
            params = (1,) if opcode == wire.SPIN else ()
            assert device.run(opcode, params).status == wire.UNSUPPORTED_OP
        assert device.add(1, 2) == 3


def test_a_failing_job_fails_alone(mediator):
    with mediator.device() as device:
        device.add(1, 1)
        worker = mediator.vm(1)["worker_pid"]
        assert device.run(wire.FAIL).status == wire.CUDA_ERROR
        assert device.add(1, 2) == 3
        assert mediator.vm(1)["worker_pid"] == worker


def test_crash_is_the_job_s_own(mediator):
    with mediator.device(1) as device, mediator.device(2) as neighbour:
        neighbour.add(1, 1)
        before = mediator.vm(2)["worker_pid"]
        assert device.run(wire.CRASH).status == wire.CUDA_ERROR
        assert neighbour.add(2, 2) == 4
        assert device.add(2, 3) == 5
        assert mediator.vm(2)["worker_pid"] == before
        assert mediator.vm(1)["worker_restarts"] >= 1


def test_worker_killed_from_outside(mediator):
    with mediator.device() as device:
        device.add(1, 1)
        device.submit(wire.SPIN, (30000000,))
        wait_for(lambda: mediator.vm(1)["in_flight"], "the job to run")
        os.kill(mediator.vm(1)["worker_pid"], signal.SIGKILL)
        assert device.read().status == wire.CUDA_ERROR
        assert device.add(3, 4) == 7
        # The OOM killer or an administrator did it, not the VM.
        assert mediator.vm(1)["fault_count"] == 0
    assert "killed by the host (signal 9" in mediator.log() and "fault 1" not in mediator.log()


def test_a_stopped_worker_is_ended_at_its_own_time(lab):
    """Workers that don't react are killed each at its deadline, and nobody waits for them."""
    with Mediator(lab, "--linger-ms", "200") as mediator:
        stopped = []
        with mediator.device(9) as neighbour:
            for vm_id in (1, 2, 3):
                with mediator.device(vm_id) as device:
                    device.add(1, 1)
                    stopped.append(mediator.vm(vm_id)["worker_pid"])
                    os.kill(stopped[-1], signal.SIGSTOP)
            rounds = 0
            while any(alive(pid) for pid in stopped):
                assert neighbour.add(rounds, 1) == rounds + 1
                rounds += 1
        assert mediator.log().count("told to go and did not in time: killed") == 3


def test_a_worker_that_closes_its_socket_and_lives_on(lab):
    script = lab / "worker"
    script.write_text("#!/bin/sh\n"
                      f'case "$*" in *--probe*) exec {program("vgpu-worker")} "$@" ;; esac\n'
                      "exec 3>&-\nexec sleep 300\n")
    script.chmod(0o755)
    with Mediator(lab, "--worker", script) as mediator, mediator.device() as device:
        assert device.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE
        assert mediator.vm(1)["fault_count"] == 0
    assert mediator.log().count("closed its socket and lives on: killed") == 3


def test_a_hang_times_out_and_neighbours_go_on(lab):
    with Mediator(lab, "--enable-test-ops", "--job-timeout-ms", "1500", "--overrun-ms",
                  "50") as mediator:
        with mediator.device(1) as device, mediator.device(2) as neighbour:
            neighbour.add(1, 1)
            device.add(1, 1)
            hung = device.submit(wire.HANG)
            wait_for(lambda: mediator.vm(1)["in_flight"], "the job to run")
            for i in range(20):
                assert neighbour.add(i, i) == 2 * i
            answer = device.read()
            assert (answer.request_id, answer.status) == (hung, wire.TIMEOUT)
            assert device.add(5, 6) == 11
            assert mediator.vm(1)["timeouts"] == 1


def test_quarantine_at_the_threshold(lab):
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "3") as mediator:
        with mediator.device(1) as device, mediator.device(2) as neighbour:
            for _ in range(3):
                assert device.run(wire.CRASH).status == wire.CUDA_ERROR
            answer = device.run(wire.ADD, (1, 2))
            assert (answer.msg, answer.status) == (wire.MSG_QUARANTINED, wire.VM_QUARANTINED)
            assert mediator.vm(1)["state"] == "quarantined"
            assert neighbour.add(1, 2) == 3
            with mediator.admin() as admin:
                assert admin.call(wire.UNQUARANTINE_VM, 1) == {"ok": True}
            assert device.add(1, 2) == 3
        assert "quarantined after 3 faults" in mediator.log()


def test_a_device_that_leaves_takes_its_worker_along(lab):
    with Mediator(lab, "--linger-ms", "100") as mediator:
        with mediator.device() as device:
            device.add(1, 1)
            assert len(mediator.workers()) == 1
        wait_for(lambda: not mediator.workers(), "the worker to leave")
        with mediator.device() as device:
            assert device.add(1, 1) == 2


def test_a_device_that_leaves_in_the_middle(mediator):
    for _ in range(20):
        device = mediator.device()
        for i in range(40):
            device.submit(wire.ADD, (i, i))
        device.read()
        device.close()
        wait_for(lambda: not (mediator.vm(1) or {}).get("connected"), "the session to end")
    with mediator.device() as device:
        assert device.add(8, 9) == 17
