#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that docs/cuda-coverage.md and the like are what the tables in cuda/ say, and the
tables themselves.

    cuda_coverage_check.py [FOLDER]      default: the tree this script lies in

Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import sys

import tree


def check_tree(root):
    sys.dont_write_bytecode = True
    sys.path.insert(0, os.path.join(root, "cuda"))
    import driver
    import generate
    names = {entry.name for entry in driver.entries()}
    found = [f"cuda/driver.py: {name} is no function of the interface"
             for name in sorted({*driver.HAND, *driver.AUTO_BY_NAME, *driver.ALIAS, *driver.REAL})
             if name not in names]
    ops = [row[0] for row in driver.RECORDS + driver.AUTO]
    found += [f"cuda/driver.py: opcode 0x{op:03X} is used twice" for op in sorted(set(ops))
              if ops.count(op) > 1]
    found += [f"cuda/driver.py: {name} is in two tables" for name in sorted(names)
              if (name in driver.HAND) + (name in driver.AUTO_BY_NAME) + (name in driver.ALIAS) > 1]
    with open(os.path.join(root, "docs", "cuda-coverage.md"), encoding="utf-8") as page:
        if page.read() != "\n".join(generate.coverage()).rstrip("\n") + "\n":
            found.append("docs/cuda-coverage.md: run cuda/generate.py coverage "
                         "docs/cuda-coverage.md")
    return found + check_runtime(root), len(names)


def check_runtime(root):
    """The same for the runtime's table."""
    import cublas
    import frontends
    import generate_cublas
    import generate_frontends
    import generate_runtime
    import runtime
    names = {function.name for function in runtime.functions()}
    tables = (runtime.CALLS, runtime.HAND, runtime.OWN)
    found = [f"cuda/runtime.py: {name} is no function of the runtime"
             for name in sorted({n for table in tables for n in table} - names)]
    found += [f"cuda/runtime.py: {name} is in two tables" for name in sorted(names)
              if sum(name in table for table in tables) > 1]
    numbers = [row[0] for row in cublas.CALLS]
    found += [f"cuda/cublas.py: the number {n} is used twice" for n in sorted(set(numbers))
              if numbers.count(n) > 1]
    arguments = {f.name: f.arguments for f in cublas.functions()
                 if any(f.name == name for _, name, _ in cublas.CALLS)}
    found += [f"cuda/cublas.py: {name}: how much lies behind each pointer is to be said"
              for _, name, sizes in cublas.CALLS
              if set(sizes) != {a for kind, a in arguments[name][1:] if "*" in kind}]
    for name, library in frontends.LIBRARIES.items():
        names = {function.name for function in frontends.functions(name)}
        found += [f"cuda/frontends.py: {function} is no function of {name}"
                  for function in sorted(library["built"] - names)]
    pages = [("cudart", generate_runtime, "coverage"), ("cublas", generate_cublas, "coverage")]
    pages += [(name, generate_frontends, f"coverage-{name}") for name, library
              in frontends.LIBRARIES.items() if len(library["built"]) > 2]
    for name, maker, what in pages:
        path = os.path.join("docs", f"{name}-coverage.md")
        with open(os.path.join(root, path), encoding="utf-8") as page:
            if page.read() != "\n".join(maker.MAKERS[what]()).rstrip("\n") + "\n":
                found.append(f"{path}: run cuda/{maker.__name__}.py {what} {path}")
    return found


def main(argv):
    return tree.run("cuda_coverage_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
