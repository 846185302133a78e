#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that the files which comments and documents name are there.

    names_check.py [FOLDER]      default: the tree this script lies in

A name is a word that ends like a source file of this tree, or a path that begins with one of
its top folders; with capitals in it it is a placeholder. It is found at that path from the
root, from the naming file's folder, or as the end of some path, so "link.h" or "base/link.h"
will do; a program is found by its source. In C, Python and shell only comments are looked at,
in documents everything. Where a document has a test's name behind that of a file, as in
`tests/a.py`, `test_b`, the file has this test. An option that a document names, --like-this, stands
in some file that is no document.
ELSEWHERE lists what is of other projects, of the system, or is made by a build; FOREIGN_OPTIONS the
options of other projects' programs.
Exit status: 0 all well, 1 names of nothing, 2 no files there.
"""
import os
import re
import sys

import tree

SKIPPED = ("guest/linux", "qemu/patches", "tests/fuzz/corpus", "LICENSES", "build", "legacy")
ENDINGS = (".c", ".h", ".cu", ".inc", ".py", ".sh", ".md")
NAME = re.compile(r"(?<![\w./~$<*{}%-])((?:[\w.-]+/)*[\w-][\w.-]*"
                  r"\.(?:c|h|py|sh|md|cu|spec|diff|inc))\b(?![\w/*<{(-]|\.\w)")
PLACE = r"(?<![\w./~$<*{}%%-])((?:%s)/[\w./-]*\w)(?![\w*<{(-]|/[*<{])"
TEST = re.compile(r"`([\w./-]+\.(?:c|py))`,\s+`(test_\w+)`")
COMMENT_C = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
COMMENT_HASH = re.compile(r"(?:^|(?<=\s))#[^\n]*")
ELSEWHERE = {
    "term.h",  # ncurses
    "gpu-bundle/run.sh",  # made by scripts/gpu-bundle
    "example.c",  # the reader's
    "qemu.spec", ".../packaging/xcp-ng/qemu.spec.diff", "qemu/osdep.h",  # XCP-ng's, QEMU's
    "libxl_qmp.c", "libxl_stream_write.c",  # Xen's
}
# An option's word; where programs list theirs it is a string without its dashes.
OPTION = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
OPTION_NAMED = re.compile(rf"(?<![\w-])--({OPTION})")
OPTION_THERE = re.compile(rf"""--({OPTION})|["']({OPTION})["']""")
FOREIGN_OPTIONS = {
    "remove-rpath",  # patchelf
    "from-file",  # kubectl
    "libs",  # pkg-config
    "unix-socket",  # curl
    "dir",  # xcp-ng-dev
    "enablerepo", "downloadonly", "downloaddir", "disableexcludes",  # yum
    "oldpackage",  # rpm
    "get-dom0",  # xen-cmdline
    "durations",  # pytest
}


def comments(path, text):
    """(offset, text) of each part that is written for people."""
    if path.endswith(".md"):
        yield 0, text
    elif path.endswith((".c", ".h", ".cu", ".inc")):
        for found in COMMENT_C.finditer(text):
            yield found.start(), found.group()
    else:
        for found in COMMENT_HASH.finditer(text):
            yield found.start(), found.group()


def parents(path):
    while os.path.dirname(path):
        path = os.path.dirname(path)
        yield path


def tests_that_are_gone(root, path, text):
    """Of a document."""
    for named in TEST.finditer(text):
        place = os.path.join(root, named.group(1))
        if not os.path.exists(place):
            continue  # said already
        with open(place, encoding="utf-8") as source:
            if not re.search(rf"\b{named.group(2)}\(", source.read()):
                line = text.count("\n", 0, named.start()) + 1
                yield f"{path}:{line}: {named.group(1)} has no {named.group(2)}"


def options_that_are_gone(root, every):
    """Of the documents and manual pages, but of those that tell what was."""
    there, documents = set(FOREIGN_OPTIONS), []
    for path in every:
        if path.startswith(SKIPPED) or os.path.basename(path) == "CHANGELOG.md":
            continue
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
            text = source.read()
        if path.endswith(".md") or path.startswith(os.path.join("docs", "man")):
            documents.append((path, text.replace("\\-", "-")))
        else:
            there |= {a or b for a, b in OPTION_THERE.findall(text)}
    for path, text in documents:
        for named in OPTION_NAMED.finditer(text):
            if named.group(1) not in there:
                line = text.count("\n", 0, named.start()) + 1
                yield f"{path}:{line}: nothing here has an option --{named.group(1)}"


def check_tree(root):
    every = list(tree.files(root, skipped=("build",)))
    places = {folder for path in every for folder in parents(path)} | set(every)
    places |= {os.path.splitext(path)[0] for path in every if path.endswith(".c")}  # programs
    ends = {place[at:] for place in places for at in
            [0] + [m.end() for m in re.finditer("/", place)]}
    tops = "|".join(sorted({path.split(os.sep)[0] for path in every if os.sep in path}))
    patterns = NAME, re.compile(PLACE % tops)
    found, count = list(options_that_are_gone(root, every)), 0
    for path in tree.files(root, skipped=SKIPPED, endings=ENDINGS):
        count += 1
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as source:
            text = source.read()
        if path.endswith(".md"):
            found += tests_that_are_gone(root, path, text)
        for start, part in comments(path, text):
            for name in (m for pattern in patterns for m in pattern.finditer(part)):
                word = name.group(1)
                beside = os.path.normpath(os.path.join(os.path.dirname(path), word))
                if word not in ends and beside not in ends and word not in ELSEWHERE and \
                        not re.search(r"[A-Z]{4}", word):
                    line = text.count("\n", 0, start + name.start()) + 1
                    found.append(f"{path}:{line}: no file {word} in this tree")
    return found, count


def main(argv):
    return tree.run("names_check", check_tree, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
