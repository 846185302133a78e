#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Does dashboards_check.py find what it is there for?"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).with_name("dashboards_check.py")
EXPORT = """#!/bin/sh
/bin/cat << 'END'
# HELP vgpu_jobs_total Jobs.
# TYPE vgpu_jobs_total counter
vgpu_jobs_total{vm="a",pool="A",gpu="0"} 1
# HELP vgpu_job_seconds Times.
# TYPE vgpu_job_seconds histogram
vgpu_job_seconds_bucket{vm="a",le="+Inf"} 1
vgpu_job_seconds_sum{vm="a"} 1
vgpu_job_seconds_count{vm="a"} 1
END
"""
DOCUMENT = "`vgpu_jobs_total` and `vgpu_job_seconds`\n"


class DashboardsCheck(unittest.TestCase):
    def run_check(self, expression, rules="", document=DOCUMENT, advice="", panel=None):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "dashboards").mkdir()
            (root / "docs").mkdir()
            dashboard = {"targets": [{"expr": expression}]}
            (root / "dashboards/d.json").write_text(json.dumps(
                {"panels": [{"title": panel, **dashboard}]} if panel else dashboard))
            (root / "dashboards/r.yml").write_text(rules or "- record: vm:x:y\n  expr: "
                                                   "vgpu_jobs_total\n")
            (root / "docs/monitoring.md").write_text(document)
            (root / "docs/operations.md").write_text(advice)
            exporter = root / "exporter"
            exporter.write_text(EXPORT)
            exporter.chmod(0o755)
            done = subprocess.run([sys.executable, CHECK, root, exporter], capture_output=True,
                                  text=True, check=False, env={**os.environ, "PATH": "/bin-none"})
        return done.returncode, done.stdout

    def found(self, message, *args, **kwargs):
        status, text = self.run_check(*args, **kwargs)
        self.assertEqual(status, 1, text)
        self.assertIn(message, text)

    def test_all_well(self):
        status, text = self.run_check('rate(vgpu_job_seconds_bucket{vm="a",le="1"}[5m]) + vm:x:y')
        self.assertEqual(status, 0, text)

    def test_alerts_and_advice(self):
        rules = "- alert: VgpuSlow\n  expr: vgpu_jobs_total > 1\n"
        self.found("nothing about the alert VgpuSlow", "vgpu_jobs_total", rules=rules,
                   advice="VgpuSlow: see there\n")
        self.found("there is no alert VgpuFast", "vgpu_jobs_total", rules=rules,
                   advice="### VgpuSlow\n### VgpuFast\n")
        status, text = self.run_check("vgpu_jobs_total", rules=rules, advice="### VgpuSlow\n")
        self.assertEqual(status, 0, text)

    def test_a_name_that_is_not_there(self):
        self.found("no metric vgpu_job_total", "rate(vgpu_job_total[5m])")

    def test_a_histogram_is_no_series(self):
        self.found("no metric vgpu_job_seconds", "rate(vgpu_job_seconds[5m])")

    def test_a_label_that_is_not_there(self):
        self.found("has no label reason", 'vgpu_jobs_total{reason="timeout"}')

    def test_a_rule_that_is_not_recorded(self):
        self.found("no metric vm:x:z", "vm:x:z + vgpu_jobs_total")

    def test_a_rule_that_uses_what_is_not_there(self):
        self.found("no metric vgpu_old", "vgpu_jobs_total",
                   rules="- record: vm:x:y\n  expr: vgpu_old\n")

    def test_a_test_of_an_alert_that_is_not_there(self):
        rules = ("- record: vm:x:y\n  expr: vgpu_jobs_total\n- alert: VgpuDown\n"
                 "  expr: vgpu_jobs_total\nrule_files:\n  - r.yml\n")
        status, text = self.run_check("vm:x:y", rules=rules + "- alertname: VgpuDown\n",
                                      advice="### VgpuDown\n")
        self.assertEqual(status, 0, text)
        self.found("tests Dwon, there is no such alert", "vm:x:y",
                   rules=rules + "- alertname: Dwon\n")

    def test_a_test_of_a_file_that_is_not_there(self):
        self.found("tests nosuch.yml, there is no such file", "vgpu_jobs_total",
                   rules="rule_files:\n  - nosuch.yml\n")

    def test_a_dashboard_without_metrics(self):
        self.found("uses no metric at all", "1 + 1")

    def test_a_query_of_all_hosts(self):
        self.found('"P" is not of the hosts that are chosen', "vgpu_jobs_total", panel="P")
        status, text = self.run_check('vgpu_jobs_total{instance=~"$instance"}', panel="P")
        self.assertEqual(status, 0, text)

    def test_what_is_not_documented(self):
        self.found("vgpu_job_seconds is exported and not described", "vgpu_jobs_total",
                   document="`vgpu_jobs_total`\n")


if __name__ == "__main__":
    unittest.main()
