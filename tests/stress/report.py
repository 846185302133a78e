# SPDX-License-Identifier: GPL-2.0-or-later
"""What a run found: numbers and checks of each scenario, as text and as JSON."""
import json
import sys
import time


class Scenario:
    def __init__(self, report, number, name, what):
        self.report = report
        self.number, self.name, self.what = number, name, what
        self.numbers = {}
        self.checks = []
        self.skipped = None
        self.started = time.monotonic()
        self.seconds = 0

    def say(self, text):
        self.report.say(f"   {text}")

    def number_of(self, name, value, unit=""):
        """A figure for the report; shown and kept."""
        self.numbers[name] = value
        shown = f"{value:.2f}" if isinstance(value, float) else str(value)
        self.report.say(f"   {name.replace('_', ' '):<34} {shown}{' ' + unit if unit else ''}")

    def check(self, passed, what, measured, of_times=False):
        """A check that can fail: `measured` says what was found, in both cases.  of_times: it
        judges how long something took, so other work on the host can make it fail."""
        passed = bool(passed)
        self.checks.append({"check": what, "passed": passed, "measured": str(measured),
                            "of_times": of_times})
        self.report.say(f"   {'pass' if passed else 'FAIL'}  {what}: {measured}")
        return passed

    def equal(self, what, metrics, load):
        return self.check(metrics == load, what, f"metrics {metrics}, load {load}")

    def skip(self, why):
        self.skipped = why
        self.report.say(f"   skipped: {why}")

    @property
    def outcome(self):
        if self.skipped:
            return "skipped"
        return "pass" if self.checks and all(c["passed"] for c in self.checks) else "FAIL"

    def __enter__(self):
        self.report.say(f"{self.number}. {self.name}: {self.what}")
        return self

    def __exit__(self, kind, error, _trace):
        self.seconds = time.monotonic() - self.started
        if kind is not None and issubclass(kind, Exception):
            self.check(False, "ran to its end", f"{kind.__name__}: {error}")
            self.report.say("")
            return True
        self.report.say("")
        return False


class Report:
    def __init__(self, about, quiet=False):
        self.about = about
        self.quiet = quiet
        self.scenarios = []

    def say(self, text):
        if not self.quiet:
            print(text, flush=True)

    def scenario(self, number, name, what):
        self.scenarios.append(Scenario(self, number, name, what))
        return self.scenarios[-1]

    def counts(self):
        checks = [c["passed"] for s in self.scenarios for c in s.checks]
        return sum(checks), len(checks) - sum(checks)

    def summary(self):
        passed, failed = self.counts()
        for s in self.scenarios:
            self.say(f"{s.outcome:<8} {s.number}. {s.name} "
                     f"({sum(c['passed'] for c in s.checks)} of {len(s.checks)} checks, "
                     f"{s.seconds:.1f} s)")
        self.say(f"{passed} passed, {failed} failed")

    def write_json(self, path):
        passed, failed = self.counts()
        document = {**self.about, "passed": passed, "failed": failed, "scenarios": [
            {"number": s.number, "name": s.name, "outcome": s.outcome, "skipped": s.skipped,
             "seconds": round(s.seconds, 3), "numbers": s.numbers, "checks": s.checks}
            for s in self.scenarios]}
        text = json.dumps(document, indent=2) + "\n"
        if path == "-":
            sys.stdout.write(text)
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
