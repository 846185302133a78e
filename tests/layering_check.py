#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that #include lines point downwards only.

    layering_check.py [FOLDER]      default: the tree this script lies in

Each top folder is a component; ALLOWED says whose headers it may include besides
its own.  Also checked: include/ needs nothing but two freestanding headers, the
core includes nothing that could reach a clock or a system call, and nobody
includes by way of "..".
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import sys

import tree

ALLOWED = {
    "include": set(),
    "common": {"include"},
    "core": {"include", "common"},
    "store": {"include", "common"},
    "mediator": {"include", "common", "core", "store"},
    "sim": {"include", "common", "core"},
    "worker": {"include", "common"},
    "admin": {"include", "common", "store"},
    "guest": {"include"},
    "qemu": {"include"},
    "bench": {"include", "common", "core", "sim", "loadgen"},
    "loadgen": {"include", "common"},
    "tests": {"include", "common", "core", "store", "mediator", "sim", "worker", "admin",
              "guest", "bench", "loadgen"},
}

# Where a quoted name is looked up besides the including file's own folder.
SEARCH = {"guest": ["include", "guest/lib"], "qemu": ["include"]}
SEARCH_DEFAULT = ["", "include"]

# System headers of components that must stay pure.  Tests beside the modules are free.
PURE = {
    "include": {"stdint.h", "stddef.h", "linux/stddef.h", "linux/types.h"},
    "core": {"assert.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdalign.h",
             "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h"},
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def resolve(root, folder, component, bracket, name):
    """The included file relative to root, or None when it is not of this tree."""
    places = list(SEARCH.get(component, SEARCH_DEFAULT))
    if bracket == '"':
        places.insert(0, folder)
    for place in places:
        path = os.path.normpath(os.path.join(place, name))
        if not path.startswith("..") and os.path.isfile(os.path.join(root, path)):
            return path
    return None


def check_file(root, path):
    """Yields (line number, message) for each violation in one file."""
    component = path.split(os.sep)[0]
    folder = os.path.dirname(path)
    is_test = os.path.basename(path).startswith("test_")
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
        lines = source.readlines()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        bracket, name = match.groups()
        if ".." in name.split("/"):
            yield number, f'"{name}" climbs out of its folder: name it from the tree\'s root'
            continue
        target = resolve(root, folder, component, bracket, name)
        if target is None:
            first = name.split("/")[0]
            if "/" in name and first in ALLOWED and first != component \
                    and first not in ALLOWED[component]:
                yield number, f"{component} must not include {first} ({name})"
            elif bracket == "<" and component in PURE and name not in PURE[component] \
                    and not is_test:
                yield number, f"{component} must stay pure and not include <{name}>"
            continue
        owner = target.split(os.sep)[0]
        if owner != component and owner not in ALLOWED[component]:
            yield number, f"{component} must not include {owner} ({target})"
        elif path.startswith("guest/lib/") and target.startswith("guest/client/"):
            yield number, f"libvgpu must not include its client ({target})"


def check_tree(root):
    """The violations as printable lines, and how many files were read."""
    paths = list(tree.files(root, sorted(ALLOWED), endings=(".c", ".h", ".cu", ".inc")))
    found = [f"{path}:{n}: {text}" for path in paths for n, text in check_file(root, path)]
    return found, len(paths)


def main(argv):
    return tree.run("layering_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
