# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands that the documents tell to type.

A block that starts with ```sh is run here, in the order of its document and in one folder per
document: /tmp and /etc/vgpu stand for that folder, build/bin is in PATH.  What can't be run here
says why behind the word: ```sh elsewhere: REASON.  So a block of commands is either run or has
a reason, and a new one without a mark fails.  `vgpu-sim ...` within a sentence is run, too.
"""
import os
import pathlib
import re
import signal
import subprocess

import pytest

from mediator import BIN, TREE, wait_for

DOCUMENTS = [TREE / "README.md", TREE / "CONTRIBUTING.md", *sorted((TREE / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(.*)$")
INLINE = re.compile(r"`(vgpu-sim --[^`]*)`")
# The first word of a command of this project, or of one that it tells to type.
COMMAND = re.compile(r"^(\w+=\S+ )*(build/|scripts/|qemu/\S+\.sh|qemu/vgpu-qemu|make\b|vgpu-\w+ -|"
                     r"vgpu-(admin|client|mediator|sim|loadgen)\b|meson |ninja |sqlite3 |"
                     r"systemctl )")
# Recorded by scripts/first-ten-minutes, or printed by a program.
NO_COMMANDS = ("console", "text", "c", "xml", "ini", "json", "yaml")


def blocks(path):
    """(line, information, text) of each fenced or indented block."""
    fence = indented = None
    previous = ""
    for number, line in enumerate([*path.read_text().splitlines(), ""], 1):
        mark = FENCE.match(line)
        if fence:
            if mark:
                yield (*fence[:2], "\n".join(fence[2]))
                fence = None
            else:
                fence[2].append(line)
        elif indented:
            if line.startswith("    "):
                indented[2].append(line[4:])
            else:
                yield (*indented[:2], "\n".join(indented[2]))
                indented = None
        elif mark:
            fence = (number, mark[1].strip(), [])
        elif line.startswith("    ") and not previous.strip():
            indented = (number, "indented", [line[4:]])
        previous = line


def sentences(path):
    """The text without its blocks, so that a command may be broken between lines."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.M | re.S)
    return re.sub(r"\s*\n\s*", " ", text)


def runnable(path):
    return [block for block in blocks(path) if block[1] == "sh"]


def test_each_block_of_commands_is_run_or_says_why_not():
    unmarked = []
    for path in DOCUMENTS:
        for line, info, text in blocks(path):
            if info == "sh" or info in NO_COMMANDS:
                continue
            if re.fullmatch(r"sh elsewhere: \S.*", info):
                continue
            # A synopsis with choices or optional parts, and a status line, are nothing to type.
            if any(COMMAND.match(x) and not re.search(r"[\[|]|  up ", x)
                   for x in text.splitlines()):
                unmarked.append(f"{path.relative_to(TREE)}:{line}: {info or 'no mark'}")
    assert not unmarked, "commands that are neither run nor explained:\n" + "\n".join(unmarked)


@pytest.fixture
def shell(lab):
    """Runs a document's blocks; what they leave running ends with the test."""
    for name in ("build", "scripts", "qemu", "store", "docs", "tests", "bench"):
        (lab / name).symlink_to(BIN.parent if name == "build" else TREE / name)
    started = []

    def run(text, limit=300):
        text = text.replace("/tmp/", f"{lab}/").replace("/etc/vgpu/", f"{lab}/")
        env = {**os.environ, "PATH": f"{BIN}:/usr/bin:/bin", "VGPU_DB": f"{lab}/vgpu_config.db",
               "TMPDIR": str(lab), "LC_ALL": "C.UTF-8"}
        process = subprocess.Popen(["/bin/bash", "-eu", "-o", "pipefail", "-c", text], cwd=lab,
                                   env=env, stdin=subprocess.DEVNULL, start_new_session=True,
                                   stdout=open(lab / "out", "wb"), stderr=subprocess.STDOUT)
        started.append(process)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = f"still running after {limit} s"
        output = (lab / "out").read_text(errors="replace")
        assert status == 0, f"{text}\n--- {status}:\n{output[-3000:]}"
        return output

    yield run
    for process in started:
        try:
            os.killpg(process.pid, signal.SIGTERM)
        except ProcessLookupError:
            continue
    for process in started:
        wait_for(lambda: not group_exists(process.pid), "the document's programs to end")


def group_exists(group):
    """Does a process of this group live?  Zombies do not."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if runnable(path)],
                         ids=lambda path: path.name)
def test_the_commands_of(path, shell):
    for line, _, text in runnable(path):
        print(f"{path.name}:{line}")
        shell(text)


COMMANDS = sorted({(path.name, command) for path in DOCUMENTS
                   for command in INLINE.findall(sentences(path))
                   if not re.search(r"=N\b| N\b|\.\.\.", command)})


@pytest.mark.parametrize("command", [command for _, command in COMMANDS])
def test_the_simulations_that_sentences_name(command, shell):
    """They run, and what they check (shares, the bound, one answer each) holds."""
    if not re.search(r"--seconds|--help", command):
        command += " --seconds 20"
    shell(command)
