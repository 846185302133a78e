# SPDX-License-Identifier: GPL-2.0-or-later
"""bench/bench_abuse.py and what it plays with.  What the figures are is not judged here: a host has
other things to do."""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

import wire
from mediator import BIN, Mediator

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "gpu"))
import abuse  # noqa: E402


def test_words():
    one, two = abuse.groups_of("n=2,weight=80,prio=2,job_us=500-50000,depth=4;job_us=90000000")
    assert (one.n, one.weight, one.prio, one.depth) == (2, 80, 2, 4)
    assert len(one.lengths_us) == 9 and min(one.lengths_us) > 500 and max(one.lengths_us) < 50000
    assert one.lengths_us[4] == pytest.approx((500 * 50000) ** 0.5)
    assert one.why_not_judged == "" and one.by_loadgen
    assert one.loadgen_words(3, 2).startswith("n=2,vm_id=3,op=spin:")
    assert two.lengths_us == [abuse.LONGEST_US] and "overrun" in two.why_not_judged
    assert sum(abuse.lengths_us("exp:1000")) / 9 == pytest.approx(1000, rel=0.1)
    assert abuse.lengths_us("uniform:100-1000")[4] == pytest.approx(550)
    with pytest.raises(abuse.Unplayable, match="change_ms"):
        abuse.groups_of("change_ms=5")


def test_what_is_not_said_is_as_in_the_simulator():
    """Or the mixes of the corpus would be other ones here."""
    said = subprocess.run([BIN / "vgpu-sim", "--help"], capture_output=True, text=True, check=True)
    (group,) = abuse.groups_of("job_us=1000")
    for name, words in (("weight", r"weight \((\d+)\)"), ("prio", r"prio 0-2 \((\d+)\)"),
                        ("depth", r"depth \((\d+)\)"), ("think_us", r"think_us \((\d+)\)")):
        assert getattr(group, name) == int(re.search(words, said.stdout).group(1)), name


@pytest.mark.parametrize("words, why", [
    ("lie_factor=0.5", "lies"), ("lie_us=5", "lies"), ("lie_step=0.9", "lies"),
    ("slow_us=5", "slow"),
    ("think_us=200000", "patience"),
    ("rate=2", "patience"), ("disconnect_ms=100", "leaves"), ("on_ms=5,off_ms=500", "patience"),
])
def test_to_whom_nothing_is_promised(words, why):
    (group,) = abuse.groups_of(words)
    assert why in group.why_not_judged


def test_whole_corpus_can_be_played():
    found = abuse.corpus(ROOT / "sim" / "corpus")
    assert {"f1-aside", "f3-hour", "f5-crumbs", "lies-slow"} <= {name for name, _ in found}
    assert len(found) == len(list((ROOT / "sim" / "corpus").glob("*.attack")))
    for _, words in found:
        if words.startswith("gpus="):  # what is on one GPU can be said over sockets, every key
            continue
        assert abuse.groups_of(words)


def test_what_needs_several_gpus_says_so(tmp_path):
    (tmp_path / "two.attack").write_text("# a comment\nratio 1.0\ngpus 2\npools 2\nvms n=2\n")
    ((name, words),) = abuse.corpus(tmp_path)
    assert name == "two"
    with pytest.raises(abuse.Unplayable, match="gpus"):
        abuse.groups_of(words)


def gpu_time_us(device, spin_us):
    """What the answer says that the job took, which is what the worker has said."""
    request_id = device.submit(wire.SPIN, (spin_us,))
    header = wire.HEADER.unpack(wire.receive(device.sock, wire.HEADER.size))
    assert header[3] == request_id
    return wire.RESPONSE.unpack_from(wire.receive(device.sock, header[7]))[5]


def test_lying_worker(lab):
    lies = {"1": {"factor": 0}, "2": {"us": 3.6e9, "every": 3}, "4": {"factor": 10, "step": 4}}
    worker = abuse.write_worker(str(lab), str(BIN), lies)
    with Mediator(lab, "--enable-test-ops", "--worker", worker) as mediator:
        with mediator.device(vm_id=1) as zero, mediator.device(vm_id=2) as hour, \
                mediator.device(vm_id=3) as honest:
            assert zero.add(3, 4) == 7  # the first job of a worker may be late for nothing
            assert gpu_time_us(zero, 20000) == 0
            assert [gpu_time_us(hour, 1000) >= 3600000000 for _ in range(6)] == [
                False, False, True, False, False, True]
            assert 20000 <= gpu_time_us(honest, 20000) < 60000000
            with mediator.device(vm_id=4) as more:  # 4 times the truth, and once more from 1
                assert all(gpu_time_us(more, 20000) >= floor for floor in (80000, 20000, 80000))
        # What is charged goes by the clock: neither nothing nor two hours.
        assert mediator.vm(1)["gpu_time_ns"] >= 10e6
        assert mediator.vm(2)["gpu_time_ns"] < 120e9


def test_slow_worker(lab):
    """It takes up each job late, and is charged for the time for which it keeps the GPU."""
    worker = abuse.write_worker(str(lab), str(BIN), {"1": {"slow_us": 20000}})
    with Mediator(lab, "--enable-test-ops", "--worker", worker) as mediator:
        with mediator.device(vm_id=1) as slow:
            for _ in range(12):
                assert slow.add(3, 4) == 7
        # Twelve times 20 ms on average; 100 of the first one, and 10 more, are for nothing.
        assert mediator.vm(1)["gpu_time_ns"] >= 20e6


def run(tmp_path, *arguments):
    bench = [sys.executable, ROOT / "bench" / "bench_abuse.py", "--bin-dir", BIN, "--seconds", "2",
             "--alone", "1", "--json", tmp_path / "out.json", *arguments]
    done = subprocess.run(bench, env=dict(os.environ), capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode in (0, 1), done.stderr
    return done, json.loads((tmp_path / "out.json").read_text())


def test_bench(tmp_path):
    """Every way of playing: steady, tiny and huge, on and off, leaving, lying."""
    words = ("n=2,job_us=1000,depth=4;depth=4,tiny=6,huge=2,job_us=2000;"
             "job_us=500,depth=1,on_ms=50,off_ms=20;"
             "job_us=500,depth=2,disconnect_ms=300,away_ms=50;"
             "job_us=1000,depth=2,lie_factor=0;job_us=500,depth=3,batch=1,think_us=1000")
    done, result = run(tmp_path, "--vms", words, "--least", "0")
    assert done.returncode == 0
    vms = result["mixes"][words]["vms"]
    assert [vm["vm_id"] for vm in vms] == list(range(1, 8))
    assert all(vm["jobs"] > 0 and vm["got"] > 0 for vm in vms), vms
    for vm in vms:
        assert ("ratio" in vm) == (vm["why_not_judged"] == "")
    assert sum("ratio" in vm for vm in vms) == 5
    assert all(vm["entitled_ns"] > 0 and vm["gpu_time_ns"] > 0 for vm in vms)
    assert sum(vm["due_share"] for vm in vms) == pytest.approx(1)
    assert result["below"] == 0 and "not judged: its worker lies, or is slow" in done.stdout


def test_bench_fails_where_one_is_below(tmp_path):
    done, result = run(tmp_path, "--vms", "n=2,job_us=1000,depth=4;change_ms=5", "--vms",
                       "n=2,job_us=1000,depth=4", "--least", "1000")
    assert done.returncode == 1 and result["below"] == 2 and len(result["mixes"]) == 1
    assert "BELOW 1000" in done.stdout and "Not played: n=2,job_us=1000,depth=4;change_ms=5" \
        in done.stdout
    assert list(result["not_played"].values()) == ["change_ms"]
