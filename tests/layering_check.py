#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that #include lines point downwards only.

    layering_check.py [FOLDER]      default: the tree this script lies in

Each top folder is a component; ALLOWED says whose headers it may include besides
its own.  Also checked: include/ needs nothing but two freestanding headers, the
core includes nothing that could reach a clock or a system call, and nobody
includes by way of "..".

mediator/mediator.h holds all parts of the daemon together: only MEDIATOR_KEY_HOLDERS
may include it, every other part is handed what it uses.

No circle of more than CIRCLE_MAX modules.  A module is a .c file and the .h file of the
same name.  Files of one folder that share a private header (PRIVATE) are one module in
several files, which is what such a header says, and count as one.
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
    "cuda": {"include"},
    "worker": {"include", "common", "cuda"},
    "keeper": {"include", "common"},
    "admin": {"include", "common", "store"},
    "guest": {"include", "common", "cuda"},
    "qemu": {"include"},
    "bench": {"include", "common", "core", "sim", "loadgen", "guest"},
    "loadgen": {"include", "common"},
    "bridge": {"include", "common", "guest"},
    "tests": {"include", "common", "core", "store", "mediator", "sim", "worker", "keeper", "admin",
              "guest", "bench", "loadgen", "bridge", "cuda"},
}

# libvgpu stands alone: it is taken into other trees, and its licence is another one.
ALONE = ("guest/lib/", {"include"})

# Where a quoted name is looked up besides the including file's own folder.
SEARCH = {"guest": ["", "include", "guest/lib"], "qemu": ["include"],
          "bridge": ["", "include", "guest/lib"]}
SEARCH_DEFAULT = ["", "include"]

# System headers of components that must stay pure.  Tests beside the modules are free.
PURE = {
    "include": {"stdint.h", "stddef.h", "linux/stddef.h", "linux/types.h"},
    "core": {"assert.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdalign.h",
             "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h", "stdlib.h", "string.h",
             "sys/queue.h"},  # macros only
}

MEDIATOR_KEY = "mediator/mediator.h"
MEDIATOR_KEY_HOLDERS = re.compile(r"mediator/(main\.c|effects\.c|control/.*)|tests/.*")

CIRCLE_MAX = 3
# A header whose name says that it is shared by the files of one module only.
PRIVATE = re.compile(r".*internal\.h")

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
    allowed = ALONE[1] if path.startswith(ALONE[0]) else ALLOWED[component]
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
                    and first not in allowed:
                yield number, f"{component} must not include {first} ({name})"
            elif bracket == "<" and component in PURE and name not in PURE[component] \
                    and not is_test:
                yield number, f"{component} must stay pure and not include <{name}>"
            continue
        owner = target.split(os.sep)[0]
        if owner != component and owner not in allowed:
            yield number, f"{component} must not include {owner} ({target})"
        elif target == MEDIATOR_KEY and not MEDIATOR_KEY_HOLDERS.fullmatch(path):
            yield number, f"{target} is for main, effects and control only: take what you use"
        elif path.startswith("guest/lib/") and target.startswith("guest/client/"):
            yield number, f"libvgpu must not include its client ({target})"


def includes(root, path):
    """The files of this tree that one file includes."""
    component, folder = path.split(os.sep)[0], os.path.dirname(path)
    with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
        for match in filter(None, map(INCLUDE.match, source)):
            target = resolve(root, folder, component, *match.groups())
            if target:
                yield target


def circles(root, paths):
    """Sets of modules that reach each other, as printable lines."""
    direct = {path: set(includes(root, path)) for path in paths
              if not os.path.basename(path).startswith("test_")}
    module = {path: os.path.splitext(path)[0] for path in direct}
    for path, targets in direct.items():
        for target in targets:
            if PRIVATE.fullmatch(os.path.basename(target)) and \
                    os.path.dirname(target) == os.path.dirname(path):
                module[path] = module[target] = os.path.splitext(target)[0]
    # The header of a file that belongs to a module belongs to it, too.
    for path in direct:
        pair = os.path.splitext(path)[0] + ".c"
        if path.endswith(".h") and pair in direct:
            module[path] = module[pair]
    arrows = {}
    for path, targets in direct.items():
        arrows.setdefault(module[path], set()).update(
            module[t] for t in targets if t in module and module[t] != module[path])
    for circle in strongly_connected(arrows):
        if len(circle) > CIRCLE_MAX:
            yield f"a circle of {len(circle)} modules: {', '.join(sorted(circle))}"


def strongly_connected(arrows):
    """Tarjan's algorithm, without recursion."""
    number, low, stack, on_stack, found = {}, {}, [], set(), []
    for start in arrows:
        if start in number:
            continue
        work = [(start, iter(arrows.get(start, ())))]
        number[start] = low[start] = len(number)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in number:
                    number[target] = low[target] = len(number)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(arrows.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], number[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == number[node]:
                    circle = set()
                    while not circle or node not in circle:
                        circle.add(stack.pop())
                    on_stack -= circle
                    found.append(circle)
    return found


def check_tree(root):
    """The violations as printable lines, and how many files were read."""
    paths = list(tree.files(root, sorted(ALLOWED), endings=(".c", ".h", ".cu", ".inc")))
    found = [f"{path}:{n}: {text}" for path in paths for n, text in check_file(root, path)]
    found += circles(root, paths)
    return found, len(paths)


def main(argv):
    return tree.run("layering_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
