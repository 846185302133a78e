# SPDX-License-Identifier: GPL-2.0-or-later
"""What outlives a mediator: what VMs owe each other, what is counted, who is in quarantine."""
import os
import signal

import pytest

import wire
from keeper import Keeper
from mediator import Mediator, wait_for

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
        # What happened before the last writing is kept: wait for one that is whole.
        for _ in range(2):
            before = written(mediator)
            wait_for(lambda: written(mediator) != before, "the state's writing")
        mediator.kill()
    mediator.log_file.close()


def written(mediator):
    """Another value each time."""
    try:
        return os.stat(mediator.folder / "state").st_mtime_ns
    except FileNotFoundError:
        return 0


def make_a_debt(mediator, debtor, other):
    """VM 1 has the GPU for 0.4 s while VM 2 waits; then nothing runs.  What VM 1 owes then."""
    assert debtor.add(1, 1) == 2 and other.add(1, 1) == 2
    assert debtor.run(wire.FAIL).status != wire.OK
    debtor.submit(wire.SPIN, (400000,))
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
            debt = make_a_debt(mediator, debtor, other)
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
