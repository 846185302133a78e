#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that dashboards, rules and documentation use metrics that exist.

    dashboards_check.py FOLDER EXPORTER

FOLDER is the tree; EXPORTER is a program that prints a Prometheus export when its
argument is "prometheus" (core/test_metrics_export).  Every name of a metric in
dashboards/ and in docs/monitoring.md must be in that export, or be recorded by a
rule; labels in selectors must be ones that the metric has.  What the tests of rules
name must be there: promtool passes a test of an alert, or of a file, that isn't.
A query of a panel keeps to the hosts that are chosen at the dashboard's top.
Each alert has a heading of its own in docs/operations.md, which says what to do.
Where promtool is installed (package prometheus), it looks at the export and the
rules too.
Exit status: 0 all well, 1 violations (one line each), 2 wrong usage.
"""
import json
import os
import re
import shutil
import subprocess
import sys

NAME = re.compile(r"(?<![\w:.])((?:vgpu|process)_[a-z0-9_]+|(?:vm|gpu|instance):[a-z0-9_:]+)"
                  r"(?![\w:.-])(\{[^}]*\})?")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)\s*"')
SAMPLE = re.compile(r'([a-z_:]+)(?:\{(.*)\})? \S+$')
# What Prometheus adds, and the loose ends of sentences about kinds of metrics.
SCRAPE_LABELS = {"job", "instance", "le", "quantile"}
DOCUMENTED = "docs/monitoring.md"
ADVICE = "docs/operations.md"


def exported(program):
    """{series name: its labels}; a family without a sample has None for unknown labels."""
    text = subprocess.run([program, "prometheus"], stdout=subprocess.PIPE, text=True,
                          check=True).stdout
    names = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:4]
            for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
                names[name + suffix] = None
        elif not line.startswith("#"):
            match = SAMPLE.match(line)
            labels = set(re.findall(r'(?:^|,)([a-z_]+)="', match.group(2) or ""))
            names[match.group(1)] = (names.get(match.group(1)) or set()) | labels
    return names, text


def rule_files(folder):
    """(name, text) of rules and of their tests."""
    for name in sorted(os.listdir(folder)):
        if name.endswith(".yml"):
            with open(os.path.join(folder, name), encoding="utf-8") as source:
                yield name, source.read()


def recorded(folder):
    return {rule: None for _, text in rule_files(folder)
            for rule in re.findall(r"^\s*- record: (\S+)$", text, re.M)}


def alerts_of(folder):
    return {alert for _, text in rule_files(folder)
            for alert in re.findall(r"^\s*- alert: (\S+)$", text, re.M)}


def advised(root, dashboards):
    """Alerts without advice, and advice without an alert."""
    with open(os.path.join(root, ADVICE), encoding="utf-8") as source:
        headings = set(re.findall(r"^### (Vgpu\w+)$", source.read(), re.M))
    alerts = alerts_of(dashboards)
    return [f"{ADVICE}: nothing about the alert {alert}" for alert in sorted(alerts - headings)] + \
        [f"{ADVICE}: there is no alert {alert}" for alert in sorted(headings - alerts)]


def tested(folder):
    """Problems of the tests of rules: alerts and files that they name and that aren't there."""
    problems = []
    files = dict(rule_files(folder))
    alerts = alerts_of(folder)
    for name, text in files.items():
        for alert in sorted(set(re.findall(r"\balertname: (\w+)", text)) - alerts):
            problems.append(f"dashboards/{name}: tests {alert}, there is no such alert")
        for block in re.findall(r"^rule_files:\n((?:\s+- .+\n)+)", text, re.M):
            for path in sorted(set(re.findall(r"- (\S+)", block)) - set(files)):
                problems.append(f"dashboards/{name}: tests {path}, there is no such file")
    return problems


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in ("uid", "refId"):
                yield from strings_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)


def uses(path):
    """(metric, selector) pairs of a file."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    texts = strings_of(json.loads(text)) if path.endswith(".json") else [text]
    for piece in texts:
        yield from NAME.findall(piece)


def check(path, shown, names):
    problems, used = [], set()
    for name, selector in uses(path):
        used.add(name)
        if name not in names:
            problems.append(f"{shown}: there is no metric {name}")
            continue
        labels = names[name]
        for label in LABEL.findall(selector):
            if labels is not None and label not in labels | SCRAPE_LABELS:
                problems.append(f"{shown}: {name} has no label {label}")
    if not used:
        problems.append(f"{shown}: uses no metric at all")
    return problems


def of_one_host(dashboards):
    """Panels whose queries don't keep to the hosts that are chosen at the top."""
    problems = []
    for name in sorted(os.listdir(dashboards)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(dashboards, name), encoding="utf-8") as source:
            panels = json.load(source).get("panels", [])
        for panel in panels:
            for target in panel.get("targets", []):
                if any('instance=~"$instance"' not in selector
                       for _, selector in NAME.findall(target["expr"])):
                    problems.append(f"dashboards/{name}: \"{panel['title']}\" is not of the hosts "
                                    "that are chosen (instance=~\"$instance\")")
    return problems


def promtool(dashboards, export):
    tool = shutil.which("promtool")
    if not tool:
        print("promtool is not installed: rules are not tested (package prometheus)")
        return []
    problems = []
    commands = [(["check", "metrics"], export)]
    for name, _ in rule_files(dashboards):
        commands.append((["test", "rules", name] if name.endswith("-test.yml") else
                         ["check", "rules", "--lint-fatal", name], None))
    for command, text in commands:
        done = subprocess.run([tool, *command], input=text, cwd=dashboards, text=True, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        # check metrics exits with 3 on findings, and writes them
        if done.returncode != 0 or (text is not None and done.stdout.strip()):
            problems.append(f"promtool {' '.join(command)}:\n{done.stdout}")
    return problems


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    root, program = sys.argv[1:]
    dashboards = os.path.join(root, "dashboards")
    names, export = exported(program)
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}
    names.update(recorded(dashboards))
    problems = []
    files = [f"dashboards/{name}" for name in sorted(os.listdir(dashboards))
             if name.endswith((".json", ".yml"))]
    for shown in files:
        problems += check(os.path.join(root, shown), shown, names)
    # The document may speak of a histogram as a whole, and describes all that there is.
    names.update((family, names.get(family)) for family in families)
    problems += check(os.path.join(root, DOCUMENTED), DOCUMENTED, names)
    for family in sorted(families - {name for name, _ in uses(os.path.join(root, DOCUMENTED))}):
        problems.append(f"{DOCUMENTED}: {family} is exported and not described")
    problems += tested(dashboards)
    problems += of_one_host(dashboards)
    problems += advised(root, dashboards)
    problems += promtool(dashboards, export)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{len(files) + 1} files use {len(names)} metrics and recorded names as they are")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
