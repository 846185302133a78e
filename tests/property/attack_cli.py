#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The attacker from outside: the same seed finds the same, what it prints repeats, it can write.

    attack_cli.py ATTACK

It must find what `urgency` does to shares, or it would find nothing.
"""
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

PROGRAM = "attack"
BUDGET = ["--seconds", "100", "--kind", "priorities", "--policy", "urgency", "--evaluations", "2",
          "--seed", "3"]


def run(*args):
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, check=False)


class Attack(unittest.TestCase):
    def test_a_policy_without_shares_is_found_out(self):
        done = run(*BUDGET)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("BROKEN", done.stdout)

    def test_same_seed_same_attack(self):
        self.assertEqual(run(*BUDGET).stdout, run(*BUDGET).stdout)

    def test_what_is_printed_repeats(self):
        out = run(*BUDGET).stdout
        ratio = re.search(r"priorities +([0-9.]+)", out).group(1)
        words = shlex.split(re.search(r"vgpu-sim (--judge .*)", out).group(1))
        sim = pathlib.Path(PROGRAM).resolve().parent.parent / "bin" / "vgpu-sim"
        again = subprocess.run([sim, *words], capture_output=True, text=True, check=False)
        self.assertIn(f"Worst ratio: {ratio} ", again.stdout)

    def test_the_corpus_takes_what_is_worse_only(self):
        with tempfile.TemporaryDirectory() as folder:
            entry = os.path.join(folder, "priorities.attack")
            run(*BUDGET, "--corpus", folder, "--write")
            first = pathlib.Path(entry).read_text(encoding="utf-8")
            out = run("--seconds", "100", "--kind", "priorities", "--policy", "urgency",
                      "--evaluations", "1", "--seed", "4", "--corpus", folder, "--write").stdout
            second = pathlib.Path(entry).read_text(encoding="utf-8")
        ratios = [float(re.search(r"ratio (.*)", text).group(1)) for text in (first, second)]
        self.assertIn("as it is in the corpus", out)
        self.assertLessEqual(ratios[1], ratios[0])

    def test_usage(self):
        for args in [["--kind", "kindness"], ["--seconds", "x"], ["more"]]:
            self.assertEqual(run(*args).returncode, 2)
        self.assertEqual(run("--help").returncode, 0)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
