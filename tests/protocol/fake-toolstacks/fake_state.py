# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stand-in xe and virsh share: a JSON file with the host's VMs.

$FAKE_TOOLSTACK_STATE names it: {"vms": [{"uuid", "name", "state", "args"}],
"sleep": seconds before answering, "fail": text to fail with, "fail_at": only that
subcommand or, of xe, "subcommand parameter", "stubborn": guests do not shut down}.  Every call
is appended to the list "calls"."""
import json
import os
import sys
import time

PATH = os.environ["FAKE_TOOLSTACK_STATE"]


def load():
    with open(PATH, encoding="utf-8") as f:
        return json.load(f)


def save(state):
    with open(PATH + ".new", "w", encoding="utf-8") as f:
        json.dump(state, f)
    os.replace(PATH + ".new", PATH)


def begin(argv, subcommand, parameter=None):
    state = load()
    state.setdefault("calls", []).append(argv)
    save(state)
    if state.get("sleep"):
        time.sleep(state["sleep"])
    if state.get("flood"):
        while True:
            sys.stdout.write("x" * 65536)
    if state.get("fail") and state.get("fail_at") in (None, subcommand,
                                                      f"{subcommand} {parameter}"):
        sys.stderr.write(state["fail"] + "\n")
        sys.exit(1)
    return state


def find(state, uuid):
    for vm in state["vms"]:
        if vm["uuid"] == uuid:
            return vm
    return None
