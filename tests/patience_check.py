#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that no test fails because something took long: what it waits for has time enough.

    patience_check.py [FOLDER]      default: the tree this script lies in

In the tests that run programs (TOPS) a wait of 1 s to PATIENCE_S is a violation: `timeout=30`,
`limit_s=5`, `.settimeout(30)`, `.wait(1)`, `.join(10)`.  Below 1 s a test says that something does
*not* happen, or polls.  A line that is right as it is ends with "# short: why".
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import sys

import tree

TOPS = ("tests/protocol", "tests/vm", "tests/xen", "tests/packages")
PATIENCE_S = 60
WAIT = re.compile(r"""(?:\b(?:timeout|limit_s|timeout_s|limit)=      # a parameter or its default
                       | \.(?:settimeout|wait|join)\(              # the call of a library
                       | ^(?:\w*WAIT_S|PATIENCE\w*)\s=\s)          # a name for it
                      (\d+(?:\.\d+)?)(?=[,)\s]|$)""", re.VERBOSE | re.MULTILINE)


def check_tree(root):
    found, count = [], 0
    for path in tree.files(root, TOPS, endings=(".py",)):
        count += 1
        with open(os.path.join(root, path), encoding="utf-8") as source:
            for number, line in enumerate(source, 1):
                for seconds in WAIT.findall(line):
                    if 1 <= float(seconds) < PATIENCE_S and "# short: " not in line:
                        found.append(f"{path}:{number}: waits {seconds} s, which a busy host may "
                                     f"need: {PATIENCE_S} and more, or \"# short: why\"")
    return found, count


def main(argv):
    return tree.run("patience_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
