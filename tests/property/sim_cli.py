#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-sim from outside: its options, its outputs, its determinism, its exit status.

    sim_cli.py VGPU_SIM [STEP]      of tests with many seeds, each STEP-th (default 1: all)
"""
import json
import os
import random
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = "vgpu-sim"
STEP = 1


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=False)


def result_of(*args):
    done = run(*args, "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Output(unittest.TestCase):
    def test_json_has_what_was_promised(self):
        result = result_of("--vms", "n=2,weight=80,prio=1,job_us=1000,depth=8;n=1,weight=20",
                           "--policy", "wfq", "--gpus", "1", "--seconds", "5", "--seed", "7")
        self.assertEqual((result["policy"], result["seed"]), ("wfq", 7))
        self.assertTrue(result["shares_promised"])
        for key in ["lag_bound_ns", "switches", "violations", "trace_hash"]:
            self.assertIn(key, result)
        self.assertEqual(len(result["vms"]), 3)
        for vm in result["vms"]:
            for key in ["weight", "priority", "due_share", "share", "jobs", "max_lag_ns",
                        "wait_p50_ns", "wait_p99_ns", "wait_max_ns"]:
                self.assertIn(key, vm)
            self.assertAlmostEqual(vm["share"], vm["due_share"], delta=0.01)
            self.assertLess(vm["max_lag_ns"], vm["lag_bound_ns"])

    def test_the_bound_shown_is_the_one_that_is_kept(self):
        """A mediator that is lost forgets how long jobs have been; the bound must not."""
        lags = 0
        for seed in range(1, 60, STEP):
            result = result_of("--faults", str(seed), "--seconds", "3")
            if not result["shares_promised"]:
                continue
            for vm in result["vms"]:
                lags += vm["max_lag_ns"] > 0
                self.assertLessEqual(vm["max_lag_ns"], vm["lag_bound_ns"], f"seed {seed}")
        self.assertGreater(lags, 20 // STEP)

    def test_changes_cut_no_long_job_off(self):
        """New memory limits, moves, quarantines during jobs of 3 and 6 s; workers that don't leave
        by themselves, and some that the host kills.  The checker knows whose time was over."""
        lost = 0
        for seed in range(1, 13, STEP):
            lost += result_of("--faults", str(seed), "--seconds", "120", "--vms",
                              "n=3,job_us=3000000,depth=2;n=1,job_us=6000000")["workers_lost"]
        self.assertGreater(lost, 100 // STEP)

    def test_table(self):
        done = run("--vms", "weight=80;weight=20", "--seconds", "1")
        self.assertEqual(done.returncode, 0)
        self.assertIn("Violations: 0.", done.stdout)

    def test_plot_is_xml_with_a_line_per_vm(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "shares.svg")
            self.assertEqual(run("--vms", "n=3;weight=20", "--seconds", "1",
                                 "--plot", path).returncode, 0)
            root = xml.etree.ElementTree.parse(path).getroot()
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(lines), 4)

    def test_plot_that_cannot_be_written(self):
        done = run("--vms", "n=1", "--seconds", "0.1", "--plot", "/nowhere/x.svg")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/nowhere/x.svg", done.stderr)

    def test_help_and_version(self):
        for option in ["--help", "--version"]:
            self.assertEqual(run(option).returncode, 0)
        self.assertIn("Example", run("--help").stdout)


class Determinism(unittest.TestCase):
    ARGS = ["--faults", "11", "--seconds", "3"]

    def test_same_seed_same_run(self):
        self.assertEqual(run(*self.ARGS).stdout, run(*self.ARGS).stdout)

    def test_another_seed_another_run(self):
        hashes = {result_of("--vms", "job_us=exp:500;n=2", "--seconds", "1", "--seed", str(seed))
                  ["trace_hash"] for seed in range(4)}
        self.assertEqual(len(hashes), 4)

    def test_options_beside_a_seed_win(self):
        self.assertEqual(result_of("--faults", "3", "--gpus", "2", "--pools", "1", "--vms", "n=2",
                                   "--seconds", "1")["gpus"], 2)


class Policies(unittest.TestCase):
    SPEC = "weight=80;weight=20"

    def share(self, policy, spec=SPEC, *args):
        return result_of("--vms", spec, "--policy", policy, "--seconds", "20",
                         *args)["vms"][0]["share"]

    def test_urgency_starves_and_wfq_does_not(self):
        self.assertGreater(self.share("urgency"), 0.99)
        self.assertAlmostEqual(self.share("wfq"), 0.8, delta=0.01)

    def test_weights_have_decimals(self):
        self.assertAlmostEqual(self.share("wfq", "weight=62.5;weight=37.5"), 0.625, delta=0.01)
        spec = "weight=1.25,job_us=50;weight=33.33,prio=2;weight=99.99,depth=2,job_us=50-50000"
        vms = result_of("--vms", spec, "--seconds", "20", "--judge")["vms"]
        self.assertEqual([vm["weight"] for vm in vms], [1.25, 33.33, 99.99])
        for vm in vms:  # and the bound holds, or result_of() fails
            self.assertLessEqual(vm["max_lag_ns"], vm["lag_bound_ns"])

    def test_priority_is_strict(self):
        self.assertGreater(self.share("priority", "prio=2;prio=1"), 0.97)

    def test_overrunning_jobs_keep_the_shares(self):
        spec = "weight=75,job_us=300000;weight=25,job_us=2000"
        # 100 ms alone, and then 200 ms of 400 beside the other, by the driver: 300 of 500.
        self.assertAlmostEqual(self.share("wfq", spec), 0.6, delta=0.03)
        self.assertAlmostEqual(self.share("wfq", spec, "--exclusive-time"), 0.6, delta=0.03)
        spec = "weight=99,prio=2,job_us=200000;weight=2,job_us=200000"
        self.assertAlmostEqual(self.share("wfq", spec), 0.99, delta=0.02)

    def test_fifo_goes_by_jobs(self):
        self.assertAlmostEqual(self.share("fifo"), 0.5, delta=0.01)


class Debts(unittest.TestCase):
    """A VM that leaves when it has had a long job, and comes back when its worker has gone."""

    def examine(self, seed):
        draw = random.Random(seed)
        job_ms = draw.choice([1000, 3000, 10000])
        spec = (f"n={draw.randint(1, 4)},weight={draw.randint(20, 100)},prio={draw.randint(0, 2)},"
                f"job_us={draw.randint(500, 5000)};weight={draw.choice([1, 5])},prio=0,depth=2,"
                f"job_us={job_ms * 1000},disconnect_ms={draw.randint(500, 2000)},"
                f"away_ms={draw.randint(12000, 30000)}")
        result = result_of("--vms", spec, "--seconds", "900", "--seed", str(seed),
                           *(["--exclusive-time"] if draw.random() < 0.5 else []))
        vm = result["vms"][-1]
        # Its share, or the 1 % at which a debt is dropped; and quantum + ahead + depth * job.
        most_ns = max(vm["due_share"], 0.01) * result["busy_ns"] + 6.2e6 + 2e6 * job_ms
        self.assertGreater(result["disconnects"], 10, spec)
        self.assertLess(vm["gpu_time_ns"], most_ns, f"seed {seed}: {spec}")

    def test_leaving_is_no_way_round(self):
        for seed in range(1, 9, STEP):
            self.examine(seed)


class LateHosts(unittest.TestCase):
    """Processors of the host make workers wait, and us: that makes no VM's jobs long."""

    def test_weights_are_shares_of_what_is_reported(self):
        spec = ";".join("weight=%d,job_us=%d,depth=16,gap_us=20" % vm for vm in
                        ((80, 210), (60, 1000), (40, 3000), (20, 10000)))
        vms = result_of("--vms", spec, "--seconds", "20")["vms"]
        for vm, due in zip(vms, (0.4, 0.3, 0.2, 0.1)):
            self.assertAlmostEqual(vm["share"], due, delta=0.01)

    def test_tiny_jobs_still_go_ahead(self):
        vms = result_of("--vms", "n=64,job_us=1,depth=32,slow_us=10", "--seconds", "3")["vms"]
        jobs = [vm["jobs"] for vm in vms]
        self.assertGreater(sum(jobs), 3 * 220000)
        self.assertGreater(min(jobs), 0.75 * sum(jobs) / 64)


class Channels(unittest.TestCase):
    """VMs whose jobs are records, which the core gives turns; the same promises hold, or
    result_of() fails."""

    def shares(self, spec, *args):
        return [vm["share"] for vm in result_of("--vms", spec, "--seconds", "10", *args)["vms"]]

    def test_weights_give_shares(self):
        for lengths in (("1000", "1000"), ("50", "30000"), ("uniform:100-5000", "20")):
            spec = "weight=80,channel=1,depth=32,job_us=%s;weight=20,channel=1,depth=32,job_us=%s"
            self.assertAlmostEqual(self.shares(spec % lengths)[0], 0.8, delta=0.02)

    def test_beside_requests(self):
        shares = self.shares("weight=60,channel=1;weight=40;weight=100,channel=1,job_us=20000")
        for share, due in zip(shares, (0.3, 0.2, 0.5)):
            self.assertAlmostEqual(share, due, delta=0.01)

    def test_a_record_that_overruns_runs_aside(self):
        result = result_of("--vms", "channel=1,job_us=2000000,depth=1;channel=1", "--seconds", "10")
        self.assertGreater(result["overruns"], 0)
        self.assertLess(result["vms"][1]["wait_p99_ns"], 100e6)

    def test_the_promise_holds_through_pauses_moves_and_lost_connections(self):
        for spec in ("channel=1,weight=90,depth=1,think_us=3000;weight=10,job_us=60000",
                     "n=3,channel=1,disconnect_ms=700;weight=90,depth=1,think_us=500",
                     "n=2,channel=1,on_ms=80,off_ms=40;channel=1,depth=1,think_us=20000;n=2"):
            done = run("--judge", "--vms", spec, "--seconds", "14")
            self.assertEqual(done.returncode, 0, spec + done.stdout + done.stderr)

    def test_faults(self):
        for seed in range(1, 13, STEP):
            result_of("--faults", str(seed), "--seconds", "6", "--vms",
                      "n=3,channel=1,job_us=100-20000;n=2,channel=1,depth=1,think_us=4000,"
                      "disconnect_ms=900;n=2,job_us=500;channel=1,job_us=300000,depth=2")

    def test_each_record_is_answered(self):
        vms = result_of("--vms", "n=2,channel=1,depth=64,job_us=100", "--seconds", "2")["vms"]
        for vm in vms:
            self.assertGreater(vm["jobs"], 5000)
            self.assertEqual((vm["errors"], vm["refused"]), (0, 0))
            self.assertLessEqual(vm["submitted"] - vm["jobs"], 64)


def judged(*args):
    """A judged run's exit status and result."""
    done = run("--judge", "--json", "-", *args)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


class Judge(unittest.TestCase):
    def alone(self, spec, *args):
        return judged("--vms", spec, "--seconds", "14", *args)[1]["vms"][0]["promise"]["alone"]

    def test_alone_is_what_a_closed_form_says(self):
        """One at a time: a job, the pause, and 30 us of hand-over."""
        for job_us, think_us in [(1000, 1000), (100, 20000), (50000, 500)]:
            spec = f"depth=1,job_us={job_us},think_us={think_us}"
            self.assertAlmostEqual(self.alone(spec), job_us / (job_us + think_us + 30), delta=0.012)
        self.assertGreater(self.alone("depth=8,job_us=1000"), 0.98)
        self.assertAlmostEqual(self.alone("rate=200,job_us=1000"), 0.2, delta=0.02)
        self.assertAlmostEqual(self.alone("job_us=1000,on_ms=300,off_ms=700"), 0.3, delta=0.1)
        self.assertAlmostEqual(self.alone("depth=1,tiny=9,tiny_us=100,job_us=9100,think_us=1000"),
                               0.5, delta=0.02)

    def test_saturated_vms_get_theirs(self):
        status, result = judged("--vms", "weight=80;weight=20;job_us=20000", "--seconds", "14")
        self.assertEqual(status, 0)
        self.assertGreater(result["promise"]["worst"], 1)
        for vm in result["vms"]:
            window = vm["promise"]["windows"][0]
            self.assertAlmostEqual(window["got_ns"], window["due_ns"], delta=0.1e9)

    def test_urgency_alone_breaks_the_promise(self):
        status, result = judged("--vms", "weight=80;weight=20", "--policy", "urgency", "--seconds",
                                "14")
        self.assertEqual(status, 1)
        self.assertEqual(result["promise"]["worst_vm_id"], 2)
        self.assertLess(result["promise"]["worst"], 0.2)

    def test_first_come_first_served_starves_who_pauses(self):
        status, result = judged("--vms", "job_us=100,depth=1,think_us=20000;n=4,depth=64",
                                "--policy", "fifo", "--seconds", "14")
        promise = result["vms"][0]["promise"]
        self.assertEqual(status, 1)
        self.assertLess(promise["wait_ratio"], 1)
        self.assertGreater(promise["windows"][0]["ratio"], 1)  # its window alone would not say so

    def test_a_liar_is_shown_and_not_judged(self):
        _, result = judged("--vms", "lie_factor=0,job_us=20000;n=2", "--seconds", "14")
        self.assertEqual([vm["promise"]["judged"] for vm in result["vms"]], [False, True, True])

    def test_windows(self):
        _, result = judged("--vms", "n=2", "--seconds", "14", "--judge-windows", "1,5,60")
        windows = result["vms"][0]["promise"]["windows"]
        self.assertEqual([w["seconds"] for w in windows], [1, 5, 60])
        self.assertEqual([w["judged"] for w in windows], [True, True, False])

    def test_settings_that_change(self):
        _, result = judged("--vms", "weight=100,change_ms=1000,to_weight=1;weight=100", "--seconds",
                           "14")
        self.assertAlmostEqual(result["vms"][0]["promise"]["due_share"], 0.25, delta=0.05)
        _, result = judged("--vms", "depth=1,think_us=100,change_ms=1000,to_pool=B;pool=B",
                           "--gpus", "2", "--pools", "2", "--seconds", "14")
        self.assertAlmostEqual(result["vms"][1]["promise"]["due_share"], 0.75, delta=0.08)
        self.assertEqual(result["violations"], 0)

    def test_batches_come_at_once(self):
        vm = result_of("--vms", "depth=16,batch=1,think_us=5000;depth=1", "--seconds",
                       "5")["vms"][0]
        self.assertGreater(vm["wait_max_ns"], 10e6)

    def test_usage(self):
        for message, args in [("exclude", ["--faults", "1"]),
                              ("--judge-windows", ["--vms", "n=1", "--judge-windows", "10,x"])]:
            done = run("--judge", *args)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)


class Usage(unittest.TestCase):
    def expect(self, message, *args):
        done = run(*args)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn(message, done.stderr)

    def test_nothing_to_simulate(self):
        self.expect("--vms")

    def test_bad_values(self):
        self.expect("weight", "--vms", "weight=101")
        self.expect("no such key", "--vms", "wait=1")
        self.expect("job_us", "--vms", "job_us=exp:1-2")
        self.expect("on_ms", "--vms", "on_ms=3")
        self.expect("channel does not go", "--vms", "channel=1,crash=0.1")
        self.expect("channel does not go", "--vms", "channel=1,limit=5")
        self.expect("--policy", "--policy", "fair", "--vms", "n=1")
        self.expect("--seconds", "--seconds", "-1", "--vms", "n=1")
        self.expect("--seed", "--seed", "-1", "--vms", "n=1")
        self.expect("can't be simulated", "--vms", "pool=C")
        self.expect("can't be simulated", "--vms", "n=200;n=200")

    def test_contradiction(self):
        self.expect("exclude", "--vms", "n=1", "--random-mix", "1")

    def test_stray_argument(self):
        self.expect("extra", "--vms", "n=1", "extra")


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    STEP = int(sys.argv.pop(1)) if sys.argv[1:] else 1
    unittest.main()
