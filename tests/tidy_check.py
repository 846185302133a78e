#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the C files with clang-tidy 14 and .clang-tidy.

    tidy_check.py [FOLDER [BUILD]]      default: the tree this script lies in, its build/

Looks at the sources in BUILD/compile_commands.json, but for the tests.  What was found to be clean
is remembered in BUILD/tidy-cache under a hash of everything that decides: the file, the headers of
the tree below it, the compiler's options, .clang-tidy.  So a file is looked at again only after a
change.  The analyzer runs in its shallow mode (no calls followed far): the whole tree takes half a
minute on two cores; VGPU_TIDY=deep takes five times as long.
Exit status: 0 all well, 1 violations, 2 nothing to look at, 77 skipped: no clang-tidy 14.
"""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

import layering_check
import tree

VERSION = 14
SHALLOW = [f"--extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang",
                                              "mode=shallow")]
FINDING = re.compile(r"^(\S+?):(\d+):\d+: (?:warning|error): (.*?)(?:,-warnings-as-errors\])?$",
                     re.MULTILINE)


def find_sources(root, build):
    """{path relative to root: the compiler's command line} of what is to be looked at."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as source:
        entries = json.load(source)
    found = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), root)
        if not path.startswith(("..", "build", "tests" + os.sep)) and \
                not os.path.basename(path).startswith("test_"):
            found.setdefault(path, entry["command"])
    return found


class Digests:
    """What a file and the tree's headers below it say, in one hash."""

    def __init__(self, root):
        self.root = root
        self.known = {}

    def _file(self, path):
        if path not in self.known:
            with open(os.path.join(self.root, path), "rb") as source:
                text = source.read()
            lines = (layering_check.INCLUDE.match(line)
                     for line in text.decode("utf-8", "replace").splitlines())
            targets = (layering_check.resolve(self.root, os.path.dirname(path),
                                              path.split(os.sep)[0], *line.groups())
                       for line in lines if line)
            self.known[path] = (hashlib.sha256(text).hexdigest(), sorted(filter(None, targets)))
        return self.known[path]

    def of(self, path, more):
        todo, seen = [path], set()
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += self._file(one)[1]
        parts = [f"{one} {self._file(one)[0]}" for one in sorted(seen)]
        return hashlib.sha256("\n".join(parts + more).encode()).hexdigest()


def look_at(tidy, root, build, path):
    """The violations of one file, as lines."""
    ran = subprocess.run([*tidy, "-p", build, "--quiet", os.path.join(root, path)], cwd=root,
                         capture_output=True, text=True)
    found = set()
    for name, line, text in FINDING.findall(ran.stdout):
        # As the compiler was told: relative to the build.
        name = os.path.relpath(os.path.join(build, name), root)
        found.add(f"{name}:{line}: {text}" + ("]" if "[" in text else ""))
    if ran.returncode and not found:
        found.add(f"{path}: clang-tidy failed: {(ran.stderr or ran.stdout).strip()[-500:]}")
    return found


def main(argv):
    root = os.path.realpath(tree.root_of(argv))
    build = os.path.realpath(argv[2] if len(argv) > 2 else os.path.join(root, "build"))
    program = tree.find_clang_tool("clang-tidy", VERSION)
    if not program:
        print(f"skipped: no clang-tidy {VERSION}")
        return 77
    sources = find_sources(root, build)
    if not sources:
        print(f"tidy_check: no source files in {build}", file=sys.stderr)
        return 2
    tidy = [program, "--warnings-as-errors=*"]
    tidy += [] if os.environ.get("VGPU_TIDY") == "deep" else SHALLOW
    with open(os.path.join(root, ".clang-tidy"), encoding="utf-8") as config:
        same = [config.read(), " ".join(tidy)]
    digests = Digests(root)
    cache = os.path.join(build, "tidy-cache")
    os.makedirs(cache, exist_ok=True)
    marks = {path: os.path.join(cache, digests.of(path, same + [command]))
             for path, command in sources.items()}
    todo = [path for path, mark in sorted(marks.items()) if not os.path.exists(mark)]
    found = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, lines in zip(todo, pool.map(lambda p: look_at(tidy, root, build, p), todo)):
            found |= lines
            if not lines:
                open(marks[path], "w", encoding="utf-8").close()
    for name in set(os.listdir(cache)) - {os.path.basename(mark) for mark in marks.values()}:
        os.unlink(os.path.join(cache, name))
    print("\n".join(sorted(found)), end="\n" if found else "")
    print(f"{len(sources)} files, {len(todo)} new or changed, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
