#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that no line is wider than 100 columns.

    width_check.py [FOLDER]      default: the tree this script lies in

C (clang-format leaves comments alone), Python, shell and documents.  Left out: tables and
blocks of code in documents, and a line that is one long word (an address, a command).
Exit status: 0 all well, 1 lines too wide, 2 no files there.
"""
import os
import re
import sys

import tree

COLUMNS = 100
SKIPPED = ("guest/linux", "qemu/patches", "tests/fuzz/corpus", "LICENSES", "packaging/xcp-ng")
ENDINGS = (".c", ".h", ".cu", ".inc", ".py", ".sh", ".md")
SHELL = re.compile(r"#! ?/(usr/)?bin/(env )?(ba)?sh|#! ?/usr/bin/(env )?python3")


def is_script(path):
    """A script whose name has no ending."""
    if "." in os.path.basename(path):
        return False
    with open(path, "rb") as script:
        return bool(SHELL.match(script.readline(80).decode("utf-8", "replace")))


def prose(lines):
    """(number, line) of a document but for its tables and blocks of code; commands are one word."""
    fence = None
    for number, line in enumerate(lines, 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and (fence is None or mark.group(1).startswith(fence)):
            fence = mark.group(1) if fence is None else None
        elif fence is None and not line.startswith("    ") and not line.lstrip().startswith("|"):
            yield number, re.sub(r"`[^`]+`", lambda span: span.group().replace(" ", "_"), line)


def check_file(root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
        lines = source.read().splitlines()
    for number, line in prose(lines) if path.endswith(".md") else enumerate(lines, 1):
        if len(line) > COLUMNS and len(line.split()) > 1:
            yield f"{path}:{number}: {len(line)} columns, {COLUMNS} are the most"


def check_tree(root):
    paths = [path for path in tree.files(root, skipped=SKIPPED)
             if path.endswith(ENDINGS) or is_script(os.path.join(root, path))]
    return [line for path in paths for line in check_file(root, path)], len(paths)


def main(argv):
    return tree.run("width_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
