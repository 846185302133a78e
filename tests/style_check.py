#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that the C files look as clang-format 14 with .clang-format would write them.

    style_check.py [FOLDER]      default: the tree this script lies in

Other versions of clang-format lay out some lines differently, so only version 14
decides (Debian 12 and Ubuntu 24.04: package clang-format-14).
Exit status: 0 all well, 1 differences, 77 skipped: no clang-format 14.
"""
import re
import subprocess
import sys

import tree

VERSION = 14
FOLDERS = ("include", "common", "core", "store", "mediator", "worker", "admin", "guest", "cuda",
           "qemu", "sim", "loadgen", "bench", "tests")
SKIPPED = ("guest/linux", "qemu/patches")


def main(argv):
    root = tree.root_of(argv)
    formatter = tree.find_clang_tool("clang-format", VERSION)
    if not formatter:
        print(f"skipped: no clang-format {VERSION}")
        return 77
    files = list(tree.files(root, FOLDERS, SKIPPED, (".c", ".h")))
    if not files:
        print(f"style_check: no source files under {root}", file=sys.stderr)
        return 1
    ran = subprocess.run([formatter, "--dry-run", "--Werror", "--style=file", *files], cwd=root,
                         capture_output=True, text=True)
    wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", ran.stderr, re.MULTILINE)))
    if ran.returncode and not wrong:
        print(ran.stderr)
    for path in wrong:
        print(f"{path}: run clang-format-{VERSION} -i {path}")
    print(f"{len(files)} files, {len(wrong)} differ")
    return 1 if ran.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
