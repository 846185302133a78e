#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that the tests that docs/security.md names are there.

    security_doc_check.py [FOLDER]      default: the tree this script lies in

`FILE`: `test_a`, `test_b` means that FILE has these functions; each row of a table with "held by"
names at least one.
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import sys

PAGE = os.path.join("docs", "security.md")
NAMED = re.compile(r"`([\w/]+\.(?:py|c))`:((?:\s*`test_\w+`,?)+)")


def missing(root, path, names):
    full = os.path.join(root, path)
    if not os.path.isfile(full):
        return [f"{PAGE}: there is no {path}"]
    with open(full, encoding="utf-8") as text:
        functions = set(re.findall(r"\b(test_\w+)\(", text.read()))
    return [f"{PAGE}: {path} has no {name}" for name in names if name not in functions]


def rows_without(text):
    """Rows below a heading with "held by" that name no test."""
    found, held = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            held = False
        elif line.rstrip(" |").endswith("held by"):
            held = True
        elif held and not line.startswith("|---") and not NAMED.search(line):
            found.append(f"{PAGE}: no test holds: {line[:60]}")
    return found


def main(argv):
    root = argv[1] if len(argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    if not os.path.isdir(root):
        print(f"{root}: no such folder")
        return 2
    if not os.path.isfile(os.path.join(root, PAGE)):
        print(f"{PAGE}: it is not there")
        return 1
    with open(os.path.join(root, PAGE), encoding="utf-8") as page:
        text = page.read()
    named = NAMED.findall(text)
    problems = rows_without(text)
    for path, names in named:
        problems += missing(root, path, re.findall(r"test_\w+", names))
    print("\n".join(problems) or f"{len(named)} places name their tests")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
