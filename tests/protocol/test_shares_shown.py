# SPDX-License-Identifier: GPL-2.0-or-later
"""What the mediator shows of each VM's share: entitled, got, kept idle, switches caused.  With
real workers, so the figures are not known to the nanosecond; which VM has them is."""
import subprocess
import time

import pytest

import wire
from mediator import Mediator, program, wait_for
from test_mediator_db import db, register  # noqa: F401
from test_metrics import Samples

FIGURES = {"entitled_ns": "vgpu_vm_entitled_seconds_total",
           "gpu_time_ns": "vgpu_gpu_seconds_total",
           "kept_idle_ns": "vgpu_vm_kept_idle_seconds_total",
           "switching_ns": "vgpu_vm_switching_seconds_total"}


def start(lab, db, *options):  # noqa: F811
    """A mediator where VM 1 has weight 1, VM 2 weight 100."""
    register(db, 1, weight=1)
    register(db, 2, weight=100)
    return Mediator(lab, "--enable-test-ops", "--linger-ms", "10", "--metrics-listen",
                    "127.0.0.1:0", *options, db=db)


@pytest.fixture
def strong_and_weak(lab, db):  # noqa: F811
    with start(lab, db) as running:
        yield running


class Load:
    """A VM that always has work, until the end of the block."""

    def __init__(self, mediator, words):
        self.process = subprocess.Popen(
            [program("vgpu-loadgen"), "--socket", str(mediator.socket), "--vms", words, "--quiet",
             "--seconds", "3600"], stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(60) == 0


def figures(mediator, vm_id):
    vm = mediator.vm(vm_id)
    return {name: vm[name] for name in FIGURES}


def grown(before, after):
    """`after`, in which nothing is less than before."""
    for name in FIGURES:
        assert after[name] >= before[name], (name, before, after)
    return after


def play(device, spin_us, pause_s, until):
    """One job at a time, with pauses; until the condition holds."""
    end = time.monotonic() + 120
    while not until():
        assert time.monotonic() < end
        for _ in range(20):
            assert device.run(wire.SPIN, (spin_us,)).status == wire.OK
            time.sleep(pause_s)


def test_got_is_what_was_handed_out(strong_and_weak):
    with strong_and_weak.device(vm_id=1) as one, strong_and_weak.device(vm_id=2) as two:
        for _ in range(10):
            one.submit(wire.SPIN, (2000,))
            two.submit(wire.SPIN, (3000,))
        for device in (one, two):
            for _ in range(10):
                assert device.read().status == wire.OK
        status = strong_and_weak.status()
        samples = Samples(strong_and_weak)
        with strong_and_weak.admin() as admin:
            metrics = {vm["vm_id"]: vm for vm in admin.call(wire.SHOW_METRICS)["vms"]}
    vms = {vm["vm_id"]: vm for vm in status["vms"]}
    assert sum(vm["gpu_time_ns"] for vm in vms.values()) == status["gpus"][0]["busy_ns"]
    assert vms[1]["gpu_time_ns"] >= 20e6 and vms[2]["gpu_time_ns"] >= 30e6
    for vm_id, vm in vms.items():
        assert vm["entitled_ns"] > 0 and vm["suspended"] is False
        for name, series in FIGURES.items():
            assert metrics[vm_id][name] == vm[name]
            assert samples(series, vm=f"vm{vm_id}") * 1e9 == pytest.approx(vm[name], abs=2)
    # Alone, it is entitled to all of the time in which it has work.
    with strong_and_weak.device(vm_id=1) as one:
        before = figures(strong_and_weak, 1)
        assert one.run(wire.SPIN, (50000,)).status == wire.OK
        after = figures(strong_and_weak, 1)
    assert after["entitled_ns"] - before["entitled_ns"] >= 50e6


def test_kept_idle_for_the_strong_one_that_pauses(lab, db):  # noqa: F811
    # On a busy host all takes long: no job overruns here, and no pause is too long.
    with start(lab, db, "--overrun-ms", "0", "--patience-ms", "5000") as mediator, \
            Load(mediator, "n=1,vm_id=1,op=spin:30000,depth=4"):
        with mediator.device(vm_id=2) as device:
            play(device, 1000, 0.001, lambda: figures(mediator, 2)["kept_idle_ns"] > 5e6)
        weak, strong = figures(mediator, 1), figures(mediator, 2)
    assert weak["kept_idle_ns"] < strong["kept_idle_ns"]
    assert weak["entitled_ns"] < strong["entitled_ns"]


def test_switches_are_theirs_who_cause_them(strong_and_weak):
    with Load(strong_and_weak, "n=1,vm_id=2,op=spin:1000,depth=16"):
        with strong_and_weak.device(vm_id=1) as crumbs:
            play(crumbs, 10, 0.005,
                 lambda: figures(strong_and_weak, 1)["switching_ns"] > 50 * 135e3)
        assert figures(strong_and_weak, 2)["switching_ns"] \
            < figures(strong_and_weak, 1)["switching_ns"] / 2


def test_figures_go_on_over_disconnect_and_quarantine(strong_and_weak):
    with strong_and_weak.device(vm_id=2) as neighbour:
        with strong_and_weak.device(vm_id=1) as device:
            for _ in range(5):
                assert device.run(wire.SPIN, (1000,)).status == wire.OK
                assert neighbour.run(wire.SPIN, (1000,)).status == wire.OK
            seen = figures(strong_and_weak, 1)
            assert seen["entitled_ns"] >= 5e6 and seen["switching_ns"] > 0
        wait_for(lambda: strong_and_weak.vm(1)["gpu"] is None, "the VM's place to be free")
        seen = grown(seen, figures(strong_and_weak, 1))
        assert Samples(strong_and_weak)(FIGURES["entitled_ns"], vm="vm1") * 1e9 \
            == pytest.approx(seen["entitled_ns"], abs=2)
        with strong_and_weak.device(vm_id=1) as device, strong_and_weak.admin() as admin:
            assert device.run(wire.SPIN, (1000,)).status == wire.OK
            seen = grown(seen, figures(strong_and_weak, 1))
            admin.call(wire.QUARANTINE_VM, 1)
            wait_for(lambda: not strong_and_weak.vm(1)["worker_pid"], "its worker to be gone")
            seen = grown(seen, figures(strong_and_weak, 1))
            admin.call(wire.UNQUARANTINE_VM, 1)
            assert device.run(wire.SPIN, (1000,)).status == wire.OK
            now = grown(seen, figures(strong_and_weak, 1))
    assert now["entitled_ns"] >= seen["entitled_ns"] + 1e6


def test_suspended_while_its_job_is_aside(strong_and_weak):
    def is_suspended():
        return strong_and_weak.vm(1)["suspended"]

    with strong_and_weak.device(vm_id=1) as hog, strong_and_weak.device(vm_id=2) as other:
        other.add(1, 1)
        hog.submit(wire.SPIN, (2000000,))
        wait_for(lambda: strong_and_weak.vm(1)["in_flight"] == 1, "the job to run")
        other.submit(wire.SPIN, (1000,))
        wait_for(is_suspended, "the VM to be suspended")
        assert strong_and_weak.vm(1)["lag_ns"] < 0
        assert Samples(strong_and_weak)("vgpu_vm_suspended", vm="vm1") == 1
        assert Samples(strong_and_weak)("vgpu_vm_suspended", vm="vm2") == 0
        assert other.read().status == wire.OK and hog.read().status == wire.OK
        # What it has had ahead is made good while the GPU idles.  The mediator looks when a job
        # comes; one each second leaves the GPU idle, however slow the host is.
        def made_good():
            time.sleep(1)
            return other.add(1, 1) == 2 and not is_suspended()

        wait_for(made_good, "its debt to be made good", 240)


def test_64_workers_that_start_at_once(lab):
    """On few processors most of them wait for one when their first job is there: that is nobody's
    fault."""
    with Mediator(lab, "--enable-test-ops") as mediator:
        devices = [mediator.device(vm_id=vm_id) for vm_id in range(1, 65)]
        for device in devices:
            for _ in range(4):
                device.submit(wire.SPIN, (1000,))
        for device in devices:
            assert [device.read().status for _ in range(4)] == [wire.OK] * 4
        with mediator.admin() as admin:
            vms = admin.call(wire.SHOW_METRICS)["vms"]
        assert len(vms) == 64
        for vm in vms:
            assert vm["completed"] == 4 and vm["errors"] + vm["faults"] + vm["timeouts"] == 0, vm
            assert vm["gpu_time_ns"] >= 4e6 and vm["entitled_ns"] > 0, vm
            assert vm["worker_restarts"] == 0, vm
        for device in devices:
            device.close()
