#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the C files with cppcheck; .cppcheck lists the checks that are off, and why.

    cppcheck_check.py [FOLDER [BUILD]]      default: the tree this script lies in, its build/

Looks at the files that tidy_check looks at.  cppcheck keeps in BUILD/cppcheck what it found, and
looks at a file again only after a change.
Exit status: 0 all well, 1 violations, 2 nothing to look at, 77 skipped: no cppcheck.
"""
import json
import os
import shutil
import subprocess
import sys

import tidy_check
import tree


def system_header(name):
    """Where the compiler finds it: cppcheck itself reads no system headers."""
    ran = subprocess.run(["cc", "-M", "-x", "c", "-"], input=f"#include <{name}>\n", text=True,
                         capture_output=True, check=True)
    return next(word for word in ran.stdout.split() if word.endswith("/" + name))


def main(argv):
    root = os.path.realpath(tree.root_of(argv))
    build = os.path.realpath(argv[2] if len(argv) > 2 else os.path.join(root, "build"))
    program = shutil.which("cppcheck")
    if not program:
        print("skipped: no cppcheck")
        return 77
    sources = tidy_check.find_sources(root, build)
    if not sources:
        print(f"cppcheck_check: no source files in {build}", file=sys.stderr)
        return 2
    folder = os.path.join(build, "cppcheck")
    os.makedirs(folder, exist_ok=True)
    project = os.path.join(folder, "compile_commands.json")
    with open(project, "w", encoding="utf-8") as out:
        json.dump([{"directory": build, "file": os.path.join(root, path), "command": command}
                   for path, command in sorted(sources.items())], out)
    ran = subprocess.run(
        [program, "--quiet", "--enable=warning,style,performance,portability", "--inline-suppr",
         f"--suppressions-list={os.path.join(root, '.cppcheck')}", f"-j{os.cpu_count()}",
         f"--cppcheck-build-dir={folder}", f"--project={project}",
         # Lists are made of its macros: without them half a file would be a syntax error.
         f"--include={system_header('sys/queue.h')}",
         "--template={file}:{line}: {message} [{id}]"],
        cwd=root, capture_output=True, text=True)
    found = sorted({line.replace(root + os.sep, "") for line in ran.stderr.splitlines() if line})
    print("\n".join(found), end="\n" if found else "")
    print(f"{len(sources)} files, {len(found)} violations")
    if ran.returncode and not found:
        print(f"cppcheck failed: {ran.stdout.strip()[-500:]}")
    return 1 if found or ran.returncode else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
