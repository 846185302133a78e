# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/stress_test.sh: five scenarios against a vgpu-mediator, the proof that an
administrator runs.  Each ends by comparing the mediator's metrics to what the load was."""
import argparse
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import load as loads  # noqa: E402
from lab import Lab, LabError  # noqa: E402
from report import Report  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402

EXIT_FAILED, EXIT_USAGE, EXIT_IMPOSSIBLE = 1, 2, 3

EPILOG = """\
scenarios:
  1 baseline        50 sequential requests, one VM
  2 fairness        4 VMs with different weights, all with more work than there is time
  3 rate limit      a low rate, a flood; refusals are counted
  4 back-pressure   a short queue, a burst; refusals are counted
  5 quarantine      faults trigger it; requests are refused; it is cleared

With --live the VMs are registered in the running mediator's database under names that
begin with "stress-" and removed at the end. Wire-level VMs claim a vm_id on the shared
socket, which a mediator believes only with --trust-claims; real guests (--vms qemu) are
known by their QEMU. Faults and GPU time of a known length need --enable-test-ops; without,
the fairness scenario adds vectors and the quarantine is set by command.

exit status: 0 all checks passed, 1 some failed, 2 wrong usage, 3 could not run

examples:
  tests/stress_test.sh
  tests/stress_test.sh --vms qemu --json report.json
  sudo tests/stress_test.sh --live --only baseline,fairness
"""


def parse_options(arguments):
    parser = argparse.ArgumentParser(prog="stress_test.sh", description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", action="store_true",
                        help="use the running mediator instead of starting one")
    parser.add_argument("--db", default=os.environ.get("VGPU_DB", "/etc/vgpu/vgpu_config.db"),
                        metavar="PATH", help="with --live: its database (default %(default)s)")
    parser.add_argument("--admin-socket", metavar="PATH",
                        default=os.environ.get("VGPU_ADMIN_SOCKET", "/var/vgpu/admin.sock"),
                        help="with --live: its admin socket (default %(default)s)")
    parser.add_argument("--socket", default="/tmp/vgpu-mediator.sock", metavar="PATH",
                        help="with --live: the socket for VMs (default %(default)s)")
    parser.add_argument("--vms", choices=("wire", "qemu"), default="wire",
                        help="wire: vgpu-loadgen plays the devices (default); qemu: real guests")
    parser.add_argument("--pool", default="A", metavar="LETTER", help="pool of the VMs (default A)")
    parser.add_argument("--backend", choices=("auto", "cpu", "cuda"), default="auto",
                        help="of the mediator started here (default auto)")
    parser.add_argument("--only", metavar="NAMES",
                        help="scenarios by name or number, separated by commas")
    parser.add_argument("--seconds", type=float, default=8, metavar="S",
                        help="how long the fairness scenario runs (default 8)")
    parser.add_argument("--json", metavar="FILE",
                        help="write the report as JSON; - is the standard output, without the text")
    parser.add_argument("--bin", metavar="FOLDER", help="where the programs are "
                        "(default $VGPU_BIN, build/bin, PATH)")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    options = parser.parse_args(arguments)
    if len(options.pool) != 1 or not "A" <= options.pool <= "Z":
        parser.error("--pool must be one letter from A to Z")
    if not 1 <= options.seconds <= 3600:
        parser.error("--seconds must be from 1 to 3600")
    options.chosen = choose(parser, options.only)
    return options


def choose(parser, only):
    names = [name for name, _, _ in SCENARIOS]
    if not only:
        return range(len(SCENARIOS))
    chosen = []
    for word in only.split(","):
        word = word.strip()
        found = [i for i, name in enumerate(names) if word in (name, str(i + 1))]
        if not found:
            parser.error(f"--only {word}: the scenarios are {', '.join(names)}, or 1 to "
                         f"{len(names)}")
        chosen += found
    return sorted(set(chosen))


def pick_work(lab, load):
    """The job that keeps a GPU busy: a known time, if the mediator allows that."""
    probe = lab.register("probe")
    load.boot([probe])
    answer = load.sequential(probe, 1, "nop")
    if answer["well"] != 1:
        raise LabError(f"the mediator does not serve the test's VM ({answer['errors'] or answer}). "
                       "Wire-level VMs need a mediator with --trust-claims; --vms qemu needs none")
    answer = load.sequential(probe, 1, "fail")
    allowed = "UNSUPPORTED_OP" not in answer["errors"]
    if load.name == "qemu":
        return "spin:20000" if allowed else "vadd-f32:100"
    return "spin:1000" if allowed else "vadd-f32:100"


def run(options, report):
    lab = Lab(options)
    load = None
    failed = None
    try:
        lab.start()
        load = loads.Qemu(lab) if options.vms == "qemu" else loads.Wire(lab)
        options.work = pick_work(lab, load)
        report.about.update(version=lab.about.get("version"), backend=lab.about.get("backend"),
                            policy=lab.about.get("policy"), work=options.work)
        report.say(f"vgpu-mediator {lab.about.get('version')}, backend {lab.about.get('backend')}, "
                   f"policy {lab.about.get('policy')}, "
                   f"{'running already' if options.live else 'started here'}; VMs: {load.name}; "
                   f"work: {options.work}\n")
        for i in options.chosen:
            name, function, what = SCENARIOS[i]
            with report.scenario(i + 1, name, what) as scenario:
                function(scenario, lab, load)
    except (LabError, OSError, AssertionError) as error:
        failed = f"{error}" if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    finally:
        if load:
            load.close()
        left = lab.close()
        if left:
            failed = f"{failed + '; ' if failed else ''}not cleaned up: {left}"
    return failed


def on_signal(number, _frame):
    raise SystemExit(128 + number)


def main():
    options = parse_options(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    about = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "live": options.live,
             "vms": options.vms}
    report = Report(about, quiet=options.json == "-")
    try:
        failed = run(options, report)
    except LabError as error:
        failed = str(error)
    if report.scenarios:
        report.summary()
    if failed:
        about["error"] = failed
        print(f"stress_test.sh: {failed}", file=sys.stderr)
    if options.json:
        report.write_json(options.json)
    if failed:
        return EXIT_IMPOSSIBLE
    return EXIT_FAILED if report.counts()[1] else 0


if __name__ == "__main__":
    sys.exit(main())
