#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that each source file names its licence in its first lines, the right one.

    spdx_check.py [FOLDER]      default: the tree this script lies in

What a guest's programs link, load or include (BSD_FOLDERS) is BSD-3-Clause,
everything else GPL-2.0-or-later; a Linux kernel module may be GPL-2.0-only.
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import sys

import tree

BSD_FOLDERS = ("include/", "guest/lib/", "guest/cuda/", "guest/cudart/", "guest/frontends/",
               "guest/nvml/", "cuda/")
KERNEL_FOLDERS = ("guest/linux/",)
SKIPPED_FOLDERS = ("qemu/patches", "legacy", "LICENSES", "tests/fuzz/corpus")
SOURCE_NAMES = {"meson.build", "meson_options.txt", "Makefile", "Kbuild", "Dockerfile"}
SOURCE_ENDINGS = (".c", ".h", ".cu", ".py", ".sh", ".sql", ".mak", ".te", ".service", ".socket")

SPDX = re.compile(r"SPDX-License-Identifier:\s*([A-Za-z0-9.+\- ()]+?)\s*(?:\*/|-->|$)")


def is_source(path):
    name = os.path.basename(path)
    if name in SOURCE_NAMES or name.endswith(SOURCE_ENDINGS):
        return True
    if "." in name:
        return False
    with open(path, "rb") as source:
        return source.read(2) == b"#!"


def wanted(path):
    if path.startswith(BSD_FOLDERS):
        return {"BSD-3-Clause"}
    if path.startswith(KERNEL_FOLDERS):
        return {"GPL-2.0-or-later", "GPL-2.0-only", "GPL-2.0"}
    return {"GPL-2.0-or-later"}


def check_file(root, path):
    """A message, or None when the file is in order."""
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
        lines = [source.readline() for _ in range(3)]
    at = 1 if lines[0].startswith("#!") else 0
    for line in lines[at:at + 1]:
        match = SPDX.search(line)
        if match:
            if match.group(1) in wanted(path):
                return None
            return f"{match.group(1)} where {' or '.join(sorted(wanted(path)))} belongs"
    return f"line {at + 1} has no SPDX-License-Identifier"


def check_tree(root):
    """The violations as printable lines, and how many files were read."""
    found, count = [], 0
    for path in tree.files(root, skipped=SKIPPED_FOLDERS):
        full = os.path.join(root, path)
        if os.path.islink(full) or not is_source(full):
            continue
        count += 1
        message = check_file(root, path)
        if message:
            found.append(f"{path}: {message}")
    return found, count


def main(argv):
    return tree.run("spdx_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
