# SPDX-License-Identifier: GPL-2.0-or-later
"""What the GPU checks have in common: one line a check, and a JSON file at the end."""

import argparse
import json
import os
import socket
import subprocess
import sys
import time

SKIPPED = 77


def run_text(*command, timeout=60, **kwargs):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, **kwargs
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    return done.stdout.strip(), done.stderr.strip()


def percentiles(seconds):
    ordered = sorted(seconds)

    def at(share):
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e6, 1)

    if not ordered:
        return None
    return {"count": len(ordered), "p50_us": at(0.5), "p95_us": at(0.95), "p99_us": at(0.99),
            "max_us": at(1.0)}  # fmt: skip


def cpu_seconds(pid):
    """User and system time of a process, from the scheduler's own clock."""
    with open("/proc/%d/stat" % pid, encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


HERE = os.path.dirname(os.path.abspath(__file__))


def parser_of(doc, sections=(), backends=("cuda", "cpu")):
    """The options that checks have in common; `doc` is the script's own, `sections` its parts."""
    parser = argparse.ArgumentParser(description=doc.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bin-dir", default=os.path.join(HERE, "..", "..", "build", "bin"))
    parser.add_argument("--out", help="write the report as JSON to this file")
    parser.add_argument("--backend", choices=backends, default="cuda")
    if sections:
        parser.add_argument("--only", action="append", metavar="NAME", choices=sections,
                            help="only this section: " + ", ".join(sections))  # fmt: skip
    return parser


def skipped_without_gpu(args):
    """The exit status where there is no GPU to test on, after saying why; else None."""
    if args.backend != "cuda":
        return None
    out, err = run_text(os.path.join(args.bin_dir, "vgpu-worker"), "--probe")
    probe = json.loads(out) if out else {"backend": "none", "reason": err}
    if probe["backend"] != "cuda":
        return skip(args.out, "no GPU to test on: " + probe["reason"])
    return None


class Report:
    def __init__(self):
        self.checks = []
        self.measures = {}
        self.begin = time.monotonic()

    def check(self, name, ok, detail=""):
        self.checks.append({"name": name, "ok": bool(ok), "detail": str(detail)})
        print("%s %s%s" % ("ok  " if ok else "FAIL", name, ": " + str(detail) if detail else ""),
              flush=True)  # fmt: skip

    def measure(self, name, value):
        self.measures[name] = value
        print("     %s: %s" % (name, json.dumps(value)), flush=True)

    def run(self, sections):
        """Each is a pair of its name and a function; one's end must not hide the others."""
        for name, section in sections:
            begin = time.monotonic()
            try:
                section()
            except Exception as error:
                self.check("%s ran to its end" % name, False,
                           "%s: %s" % (type(error).__name__, error))  # fmt: skip
            print("     -- %s: %.1f s" % (name, time.monotonic() - begin), flush=True)

    def finish(self, path):
        """Writes the file and returns the exit status."""
        smi, _ = run_text("nvidia-smi", "--query-gpu=name,driver_version,vbios_version,pstate",
                          "--format=csv,noheader")  # fmt: skip
        failed = sum(not check["ok"] for check in self.checks)
        if path:
            with open(path, "w", encoding="utf-8") as out:
                json.dump(
                    {
                        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                        "command": " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
                        "host": socket.gethostname(),
                        "kernel": os.uname().release,
                        "cpus": os.cpu_count(),
                        "gpus": smi.splitlines(),
                        "seconds": round(time.monotonic() - self.begin, 1),
                        "checks": self.checks,
                        "measures": self.measures,
                    },
                    out,
                    indent=1,
                )
        print("%d passed, %d failed" % (len(self.checks) - failed, failed))
        return 1 if failed else 0


def skip(path, reason):
    print("SKIP: %s" % reason)
    if path:
        with open(path, "w", encoding="utf-8") as out:
            json.dump({"skipped": reason}, out)
    return SKIPPED
