#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that the unit tests beside the modules keep up with what they test.

    unit_tests_check.py [FOLDER]      default: the tree this script lies in

For each folder of FLOORS: the lines of its tests for a hundred lines of its code.  Lines of C
count that are neither blank nor only a comment.  A test is a file test_*.c that includes
cmocka's header or another test's (admin/commands/test_mode.c is a command).  The number says
that somebody wrote tests, not that they are good; it falls when code grows without any.
Exit status: 0 all well, 1 a folder is below its floor, 2 no files there.
"""
import os
import re
import sys

import tree

FLOORS = {"admin": 40, "mediator": 40}
COMMENT = re.compile(r"/\*.*?\*/", re.S)
OF_TESTS = re.compile(r'^#include (<cmocka\.h>|"[^"]*\btest_\w+\.h")', re.M)


def is_test(path, text):
    return os.path.basename(path).startswith("test_") and OF_TESTS.search(text) is not None


def code_lines(text):
    lines = COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text).splitlines()
    return sum(bool(line.strip()) for line in lines)


def check_tree(root):
    found, count = [], 0
    for folder, floor in FLOORS.items():
        lines = {True: 0, False: 0}
        for path in tree.files(root, tops=(folder,), endings=(".c",)):
            with open(os.path.join(root, path), encoding="utf-8") as source:
                text = source.read()
            lines[is_test(path, text)] += code_lines(text)
            count += 1
        if lines[True] * 100 < lines[False] * floor:
            found.append(f"{folder}: {lines[True]} lines of unit tests for {lines[False]} of code: "
                         f"{100 * lines[True] / lines[False]:.1f} %, {floor} % are the least")
    return found, count


def main(argv):
    return tree.run("unit_tests_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
