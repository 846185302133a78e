# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/reliability.md's table, from what a soak wrote."""
import json
import pathlib
import statistics
import sys

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin -->\n", "<!-- soak: end -->\n"
TEXT = {
    "worker_killed": "a worker is killed with a job running",
    "worker_crashes": "a job crashes its worker",
    "worker_stopped": "a worker with a job stands still for 1.5 s",
    "worker_slow": "a worker stands still for 40 ms, 20 times",
    "client_killed": "ten clients are killed with requests under way",
    "mediator_restarted": "the mediator is restarted (SIGTERM)",
    "mediator_killed": "the mediator is killed (`kill -9`)",
    "disk_full": "the disks of database and state are full",
    "disk_read_only": "the disk of the state becomes read-only",
    "no_descriptors": "the mediator may open no more files",
    "connections": "10,000 connections that say nothing",
    "memory_limit": "a cgroup limits the mediator's memory",
    "clock_jumps": "the clock jumps",
}


def middle(records, key):
    values = [record[key] for record in records if record[key] is not None]
    return f"{statistics.median(values):.1f}" if values else "-"


def rows(document):
    for name, text in TEXT.items():
        records = [r for r in document["records"] if r["fault"] == name]
        done = [r for r in records if "skipped" not in r]
        if done:
            yield (f"| {text} | {len(done)} | {sum(r['accepted'] for r in done)} | "
                   f"{sum(r['cut'] for r in done)} | {sum(r['lost'] for r in done)} | "
                   f"{sum(r['wrong'] for r in done)} | "
                   f"{middle(done, 'p99_before_ms')} / {middle(done, 'p99_during_ms')} / "
                   f"{middle(done, 'p99_after_ms')} | "
                   f"{statistics.median(r['recovery_s'] for r in done):.2f}, at most "
                   f"{max(r['recovery_s'] for r in done):.2f} |")
        elif records:
            yield f"| {text} | 0 | | | | | | {records[0]['skipped']} |"


def write(path):
    document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    problems = sum(len(r.get("problems", [])) for r in document["records"])
    lines = [f"{document['minutes']:.0f} minutes, {document['vms']} neighbours, "
             f"{document['processors']} processors, seed {document['seed']}, "
             f"{problems} problems:", "",
             "| fault | times | accepted | told that the mediator is gone | lost | wrong "
             "| p99 before / during / after, ms | all answered again after, s |",
             "|---|---|---|---|---|---|---|---|", *rows(document), ""]
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n".join(lines) + END + after, encoding="utf-8")
    print(f"{PAGE}: {len(document['records'])} faults", file=sys.stderr)
    return 0
