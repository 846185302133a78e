#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Do shares hold against VMs that pause, overrun, lie or send crumbs?

Plays mixes of VMs against a mediator of its own, over real sockets and with real workers: the
known kinds, and what the attacker of sim/ keeps (sim/corpus).  What each VM got is compared with
s x d: its due share, times the part of the time for which it keeps the GPU busy alone, which is
measured first.  Beside k jobs that overrun it is due a (k+1)th of that.  A VM may lack one own job
and one quantum, which a window's edges can cost it."""

import argparse
import json
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.join(HERE, "..")
sys.path[:0] = [os.path.join(TOP, "tests", "gpu")]
import abuse  # noqa: E402

QUIET = 0.85  # of the time, by one VM with much work, on a host without other things to do

EXAMPLE = """Exit status: 0 no VM is below --least of its due, 1 one is, 2 wrong usage.

Examples:
  bench/bench_abuse.py
  bench/bench_abuse.py --only lies --seconds 30 --json abuse.json
  bench/bench_abuse.py --vms 'weight=1,job_us=90000,depth=4;weight=100,depth=1,think_us=1000'"""


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin-dir", default=os.path.join(TOP, "build", "bin"),
                        help="where the programs are (build/bin)")
    parser.add_argument("--backend", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--seconds", type=float, default=20, help="of each mix (20)")
    parser.add_argument("--alone", type=float, default=4, metavar="SECONDS",
                        help="of each VM alone (4)")
    parser.add_argument("--least", type=float, default=0.8, metavar="RATIO",
                        help="of its due that each VM is to have (0.8)")
    parser.add_argument("--only", choices=("known", "lies", "corpus"), action="append",
                        help="these mixes alone; may be repeated")
    parser.add_argument("--vms", action="append", metavar="GROUPS",
                        help="this mix alone, in the words of vgpu-sim --vms; may be repeated")
    parser.add_argument("--corpus", metavar="FOLDER", default=os.path.join(TOP, "sim", "corpus"))
    parser.add_argument("--policy", default="wfq", help="of the mediator (wfq)")
    parser.add_argument("--quick", action="store_true", help="8 s of each mix, 2 s alone")
    parser.add_argument("--json", metavar="FILE", help="everything; - for standard output")
    return parser.parse_args(argv)


def mixes_of(args):
    """[(name, words)]"""
    if args.vms:
        return [(words, words) for words in args.vms]
    kinds = args.only or ("known", "lies", "corpus")
    found = list(abuse.MIXES) * ("known" in kinds) + list(abuse.LIES) * ("lies" in kinds)
    if "corpus" in kinds:
        known = {words for _, words in found}
        found += [mix for mix in abuse.corpus(args.corpus) if mix[1] not in known]
    return found


def percent(part):
    return "%7.3f" % (100 * part)


def percent_of(ns, seconds):
    return "%7s" % "-" if ns is None else "%7.2f" % (100e-9 * ns / seconds)


def print_mix(name, result, least):
    print("\n%s%s" % (name, " (beside %d aside)" % result["asides"] if result["asides"] else ""))
    print("%5s %6s %7s %7s %7s %7s %6s %6s %8s %7s %7s %7s" % (
        "vm_id", "weight", "s %", "d %", "due %", "got %", "plain", "ratio", "p99 ms", "entitl.",
        "kept %", "switch."))  # fmt: skip
    for line in result["vms"]:
        figures = " ".join(percent_of(line.get(name), result["seconds"])
                           for name in ("entitled_ns", "kept_idle_ns", "switching_ns"))
        p99 = "%8.1f" % (line["p99_us"] / 1e3) if line["p99_us"] is not None else "%8s" % "-"
        if "ratio" in line:
            ratios = "%6.2f %6.2f" % (line["plain"], line["ratio"])
            verdict = "  BELOW %g" % least if line["ratio"] < least else ""
            d, due = percent(line["alone"]), percent(line["due"])
        else:
            ratios, verdict = "%6s %6s" % ("-", "-"), "  not judged: %s; has %.2f of s" % (
                line["why_not_judged"], line["of_share"])  # fmt: skip
            d = due = "%7s" % "-"
        print("%5d %6d %s %s %s %s %s %s %s%s" % (
            line["vm_id"], line["weight"], percent(line["due_share"]), d, due,
            percent(line["got"]), ratios, p99, figures, verdict))  # fmt: skip
    print("GPU time used: %.1f %%" % (100 * result["busy"]), flush=True)


def main(argv=None):
    args = parse(argv)
    if args.quick:
        args.seconds, args.alone = 8, 2
    out = sys.stderr if args.json == "-" else sys.stdout
    results, not_played, below = {}, {}, 0
    speed = abuse.speed(args.bin_dir, args.backend)
    print("One VM with much work keeps the GPU busy for %.1f %% of the time.%s" % (
        100 * speed, "" if speed >= QUIET else
        " The host is busy with something else: the figures say little."), file=out)  # fmt: skip
    for name, words in mixes_of(args):
        try:
            mix = abuse.Mix(args.bin_dir, args.backend, words, args.seconds, args.alone,
                            ("--policy", args.policy))  # fmt: skip
        except abuse.Unplayable as key:
            print("\n%s: NOT PLAYED: %s can't be said over sockets" % (name, key), file=out)
            not_played[name] = str(key)
            continue
        result = mix.run()
        result.update(words=words, seconds=args.seconds)
        del result["loadgen"]
        results[name] = result
        if args.json != "-":
            print_mix(name, result, args.least)
        below += sum(line.get("ratio", 1) < args.least for line in result["vms"])
    worst = min((result["worst"], name) for name, result in results.items()
                if result["worst"] is not None)  # fmt: skip
    print("\n%d mixes, %d VMs below %g of their due; the worst has %.2f: %s"
          % (len(results), below, args.least, worst[0], worst[1]), file=out)
    for name, key in not_played.items():
        print("Not played: %s (%s)" % (name, key), file=out)
    if args.json:
        text = json.dumps({"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                           "command": " ".join(["bench_abuse.py", *(argv or sys.argv[1:])]),
                           "cpus": os.cpu_count(), "backend": args.backend, "speed": speed,
                           "mixes": results, "not_played": not_played,
                           "worst": worst[0], "below": below}, indent=1)  # fmt: skip
        if args.json == "-":
            print(text)
        else:
            with open(args.json, "w", encoding="utf-8") as file:
                file.write(text + "\n")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
