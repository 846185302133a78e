#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that each header of include/vgpu/ compiles alone wherever the contract is needed.

    contracts_check.py [FOLDER]      default: the tree this script lies in

As C99 without a C library, as C++ where there is a compiler for it, and as a module of the
Linux kernel sees it: with __KERNEL__, and with no header but those of tests/kernel/, which
hold what the kernel's headers of these names give.  Old compilers count too: the headers
may use nothing that needs more than C99 and _Static_assert.
The compilers are those of $CC and $CXX, or cc and c++.
Exit status: 0 all well, 1 a header does not compile (with the compiler's words), 2 can't check.
"""
import os
import shlex
import shutil
import subprocess
import sys

import tree

HERE = os.path.dirname(os.path.abspath(__file__))
STRICT = ["-fsyntax-only", "-Wall", "-Wextra", "-Wundef", "-Werror"]


def ways():
    """(what it is called, the command without the header's folder and source)."""
    cc = shlex.split(os.environ.get("CC", "cc"))
    cxx = shlex.split(os.environ.get("CXX", "c++"))
    yield "C99, freestanding", cc + STRICT + ["-xc", "-std=c99", "-ffreestanding"]
    yield "Linux kernel", cc + STRICT + ["-xc", "-std=gnu11", "-ffreestanding", "-nostdinc",
                                         "-D__KERNEL__", "-I" + os.path.join(HERE, "kernel")]
    if shutil.which(cxx[0]):
        yield "C++", cxx + STRICT + ["-xc++", "-std=c++11"]


def check_tree(root):
    """The headers that don't compile, as printable lines, and how many there are."""
    include = os.path.join(root, "include")
    headers = sorted(name for name in os.listdir(os.path.join(include, "vgpu"))
                     if name.endswith(".h"))
    found = []
    for header in headers:
        # Included twice: the guard is part of it.
        source = f'#include "vgpu/{header}"\n#include "vgpu/{header}"\n'
        for name, command in ways():
            result = subprocess.run(command + ["-I" + include, "-"], input=source, text=True,
                                    capture_output=True, check=False)
            if result.returncode != 0:
                found.append(f"include/vgpu/{header}: as {name}: {result.stderr.strip()}")
    return found, len(headers)


def main(argv):
    return tree.run("contracts_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
