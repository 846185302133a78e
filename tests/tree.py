# SPDX-License-Identifier: GPL-2.0-or-later
"""What the checks of this folder have in common: which files the tree has, and how
a check that looks at each of them ends."""
import os
import re
import shutil
import subprocess
import sys


def root_of(argv):
    """The tree to look at: the first argument, or the one that the check lies in."""
    return argv[1] if len(argv) > 1 else os.path.join(os.path.dirname(argv[0]), "..")


def files(root, tops=("",), skipped=(), endings=("",)):
    """Paths below the folders `tops`, relative to root, in order.

    Builds, caches and hidden folders (but .ci) are left out, and those in `skipped`."""
    for top in tops:
        for folder, folders, names in os.walk(os.path.join(root, top)):
            inside = os.path.relpath(folder, root)
            folders[:] = sorted(f for f in folders if f != "__pycache__" and
                                not (inside == "." and f.startswith("build")) and
                                (not f.startswith(".") or f == ".ci") and
                                os.path.normpath(os.path.join(inside, f)) not in skipped)
            for name in sorted(names):
                if name.endswith(tuple(endings)):
                    yield os.path.normpath(os.path.join(inside, name))


def find_clang_tool(tool, version):
    """The path of clang-format or the like of that major version, or None: other versions judge
    differently."""
    for name in (f"{tool}-{version}", tool):
        path = shutil.which(name)
        if path:
            text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
            match = re.search(r"version (\d+)\.", text)
            if match and int(match.group(1)) == version:
                return path
    return None


def run(name, check_tree, argv):
    """check_tree(root) gives the violations as lines and how many files it read.

    The exit status: 0 all well, 1 violations, 2 nothing was there to check."""
    root = root_of(argv)
    found, count = check_tree(root)
    if count == 0:
        print(f"{name}: no source files under {root}", file=sys.stderr)
        return 2
    for line in found:
        print(line)
    print(f"{count} files, {len(found)} violations")
    return 1 if found else 0
