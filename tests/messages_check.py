#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that each error and warning of the programs stands in docs/troubleshooting.md: those of
the daemons' logs, of vgpu-admin and its database, of vgpu-client and libvgpu, of the device in
QEMU, and what programs print on standard error.

    messages_check.py [FOLDER]      default: the tree this script lies in
    messages_check.py --list        prints them, as they should be found there

A message is found when its words are in the document, with anything short for its values; how the
document's lines are broken doesn't matter.  EXEMPT says of the others why they have no line of
their own; what is exempt and is not there any more is a fault, too.  So is a kind of health problem
without a row.  Of a command line that is not understood the document tells once for all: USAGE are
the files that read command lines.
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import sys

# Which functions say it, in which folders.
SAY = {
    r"log_(?:error|warning)\s*\(": ("mediator", "keeper", "worker", "bridge"),
    r"(?:admin_fail|admin_note|admin_command_error|toolstack_fail)\s*\(": ("admin",),
    r"(?:db_error|db_sqlite_error)\s*\(": ("store",),
    r"vgpu_set_error\s*\(": ("guest/lib",),
    r"(?:client_report_error|usage)\s*\(": ("guest/client",),
    r"(?:cuda_say|rt_say|say)\s*\(": ("guest/cuda", "guest/cudart", "guest/nvml",
                                     "guest/frontends"),
    r"complain\s*\(": ("loadgen",),
    r"(?:error_setg|warn_report)\w*\s*\(": ("qemu",),
    r"fprintf\s*\(\s*stderr\s*,": ("admin", "bridge", "common", "guest", "keeper", "loadgen",
                                  "mediator", "qemu", "sim", "worker"),
}
USAGE = re.compile(r"(?:^|/)(?:options|args|globals|run|spec)\.c$")
SCRIPTS = ("guest/cuda/vgpu-run.in", "qemu/vgpu-qemu")
DOCUMENT = "docs/troubleshooting.md"
KINDS = "mediator/health/health.c"
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"|\b(PRI[a-zA-Z0-9]+)\b')
VALUE = re.compile(r"%[-+ #0]*(?:\*|\d+)?(?:\.(?:\*|\d+))?(?:hh|h|ll|l|z|j|t)?[a-zA-Z]|%")
PROGRAM = re.compile(r"^(?:vgpu-[a-z]+|lib[a-z]+ \(vgpu\))?: ")
SCRIPT_SAYS = re.compile(r'\b(?:refuse|die) "([^"]*)"')
SCRIPT_VALUE = re.compile(r"\$(?:\w+|\*)|@\w+@")
SHORTEST = 8
# The format's text: why no line of its own.
EXEMPT = {
    "poll: %s": "the kernel refuses to wait: nothing but a bug or a lack of memory",
    "VM %s: %s": "what a guest's request was answered with: docs/file-bridge.md",
    "%s [y/N]": "a question",
    "\\r[%.*s%*s] %3.0f %%": "how far a measurement is",
    "no GPU: %s%s": "in the document with the words of libvgpu",
    "VM %u:": "loadgen's complaints, each in the document by its own words",
    "--json %s: %s": "the command line",
    "--vms: %s": "the command line",
    "--vms '": "vgpu-sim's own command line, to run a case again",
    "attack: %s: %s": "a model of an attack, for developers",
    "attack: %s %s: there is": "the same",
    "GPU %s (%s): %s": "a change that NVML tells: docs/gpu.md",
    "GPU %s: Xid %u%s%s": "docs/operations.md, VgpuGpuXidErrors",
    "%s (vgpu): %s": "a front end's lines, each in the document by its own words",
    "QEMU %d (%s): %s": "what a look at a QEMU found: in the document by its own words",
}


def sources(root, folders):
    for folder in folders:
        for path, inside, names in os.walk(os.path.join(root, folder)):
            inside.sort()
            for name in sorted(names):
                if name.endswith((".c", ".h")) and not name.startswith("test_"):
                    yield os.path.relpath(os.path.join(path, name), root)


def arguments(text, start):
    """The text between the call's parentheses."""
    depth, at, quoted = 1, start, False
    while depth:
        character = text[at]
        if character == "\\" and quoted:
            at += 1
        elif character == '"':
            quoted = not quoted
        elif not quoted:
            depth += (character == "(") - (character == ")")
        at += 1
    return text[start:at - 1]


def format_of(call):
    """The call's first argument, of literals put beside each other; None: it is none."""
    pieces, at = [], 0
    while True:
        match = LITERAL.match(call, at)
        if not match:
            break
        # A PRIu32 behind a lone "%" is its conversion.
        pieces.append(match.group(1) if match.group(1) is not None else "s")
        at = match.end()
        at += len(call[at:]) - len(call[at:].lstrip())
    return "".join(pieces).replace('\\"', '"') if pieces else None


def says_of(text, call):
    """The formats of all calls in a source's text."""
    for match in call.finditer(text):
        inside = arguments(text, match.end())
        begin = inside.find('"')
        if begin >= 0:
            form = format_of(inside[begin:])
            form = PROGRAM.sub("", form.replace("\\n", " ").strip()).strip()
            if VALUE.sub("", form).strip(" :;,.()'\\r"):  # else it was put together before
                yield form


def messages(root):
    """{format: path} of all of them."""
    found = {}
    for call, folders in SAY.items():
        for path in sources(root, folders):
            if USAGE.search(path):
                continue
            with open(os.path.join(root, path), encoding="utf-8") as source:
                for form in says_of(source.read(), re.compile(r"\b" + call)):
                    found.setdefault(form, path)
    for path in SCRIPTS:
        if os.path.exists(os.path.join(root, path)):
            with open(os.path.join(root, path), encoding="utf-8") as source:
                for said in SCRIPT_SAYS.findall(source.read()):
                    found.setdefault(SCRIPT_VALUE.sub("%s", said), path)
    return found


def fixed_part(form):
    return max((part.strip(" :;,()'") for part in VALUE.split(form)), key=len)


def unexplained_kinds(root, document):
    """Kinds of health problems, as mediator/health/ names them, without a row."""
    with open(os.path.join(root, KINDS), encoding="utf-8") as source:
        kinds = re.findall(r'^\s*\[HEALTH_[A-Z_]+\] = \{"([a-z_]+)"', source.read(), re.M)
    return [f"{DOCUMENT}: no row for the health problem {kind}" for kind in kinds
            if f"| `{kind}` |" not in document] or \
        ([] if kinds else [f"{KINDS}: names no kinds of health problems any more"])


def pattern_of(form):
    """What to look for in the document: the words, with anything short for the values."""
    words = joined(VALUE.sub("\0", form)).strip("\0 :;,.")
    return re.compile(r".{0,60}?".join(re.escape(part) for part in words.split("\0")))


def joined(text):
    return " ".join(text.split())


def main(argv):
    listing = argv[1:] == ["--list"]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if len(argv) == 2 and not listing:
        root = argv[1]
    try:
        with open(os.path.join(root, DOCUMENT), encoding="utf-8") as source:
            document = joined(source.read())
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    problems, found = [], messages(root)
    for form, path in sorted(found.items(), key=lambda item: item[1]):
        part = fixed_part(form)
        if listing:
            print(f"{path}: {VALUE.sub('…', form)}")
        elif form in EXEMPT:
            continue
        elif len(part) < SHORTEST:
            problems.append(f"{path}: {form!r} has no words to look for, and is not exempt")
        elif not pattern_of(form).search(document):
            problems.append(f"{path}: {DOCUMENT} has no {joined(VALUE.sub('…', form))!r}")
    for form in EXEMPT:
        if form not in found and not listing:
            problems.append(f"tests/messages_check.py: no program says {form!r} any more")
    problems += [] if listing else unexplained_kinds(root, document)
    for problem in problems:
        print(problem)
    if problems:
        print(f"Add a row to a table of {DOCUMENT}: the message, and what helps.")
    elif not listing:
        print(f"{len(found)} messages, each in {DOCUMENT} or exempt")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
