#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the list of system calls that a program may make from the program's source.

    sandbox_list.py NAME ROOT OUTPUT DEPFILE --sources PATH... [--without PATH...]
                    [--libraries NAME...] [--reads-only]

PATH is a file or a folder below ROOT; tests beside modules are left out.  What these files include
from common/ counts, too.  In all of them the functions of common/syscalls.map are looked for, and
system calls that are made by their number (SYS_name). --reads-only: files are opened for writing
before the list begins, not under it.
Exit status: 0 written, 1 the map makes no sense, 2 usage.
"""
import argparse
import os
import re
import sys

CALL = re.compile(r"(?P<name>\w+)(?:\((?P<arg>\d)&(?P<mask>[^=]+)=(?P<value>.+)\))?"
                  r"(?:!(?P<error>\w+))?$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"((?:common|cuda)/[^"]+)"', re.M)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)


def read_map(path):
    """(functions, libraries): name -> list of calls, as they are written there."""
    functions, libraries = {}, {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            names, colon, calls = line.partition(":")
            if not colon or any(not CALL.match(call) for call in calls.split()):
                raise ValueError(f"{path}:{number}: not understood")
            for name in names.split():
                table, name = (libraries, name[1:]) if name[0] == "@" else (functions, name)
                table.setdefault(name, []).extend(calls.split())
    return functions, libraries


def source_files(root, sources, without):
    """The .c and .h files of a program, and the folders that were looked through."""
    files, folders = set(), set()
    for source in sources:
        full = os.path.join(root, source)
        if os.path.isfile(full):
            files.add(source)
            continue
        for folder, names, entries in os.walk(full):
            names.sort()
            folders.add(os.path.relpath(folder, root))
            files.update(os.path.relpath(os.path.join(folder, entry), root) for entry in entries
                         if entry.endswith((".c", ".h")) and not entry.startswith("test_"))
    return {name for name in files if not is_left_out(name, without)}, folders


def is_left_out(name, without):
    return any(name == leave or name.startswith(leave + "/") for leave in without)


def text_of(root, name):
    with open(os.path.join(root, name), encoding="utf-8") as source:
        return source.read()


def with_common(root, files):
    """... and what they include of common/, module by module."""
    todo, seen = sorted(files), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        for header in INCLUDE.findall(text_of(root, name)):
            for other in (header, header[:-2] + ".c"):
                if os.path.isfile(os.path.join(root, other)):
                    todo.append(other)
    return sorted(seen)


def calls_of(text, functions):
    """What a source file asks for."""
    text = COMMENT.sub(" ", text)
    calls = ["".join(found) for found in re.findall(r"\bSYS_(\w+)", text)]
    for word in set(re.findall(r"(?<![.>\w])([a-z_]\w*)\s*\(", text)):
        calls.extend(functions.get(word, ()))
    return calls


def rules_of(calls):
    """name -> [(arg, mask, value, error)]; without a condition is stronger than with one."""
    plain, conditions, errors = set(), {}, {}
    for call in calls:
        match = CALL.match(call)
        name = match["name"]
        if match["arg"]:
            conditions.setdefault(name, set()).add((match["arg"], match["mask"], match["value"]))
        elif match["error"]:
            errors[name] = match["error"]
        else:
            plain.add(name)
    rules = {}
    for name in sorted(plain | set(conditions) | set(errors)):
        if name in plain:
            rules[name] = [("0", "0", "0", "0")]
            continue
        rules[name] = [(*condition, "0") for condition in sorted(conditions.get(name, ()))]
        if name in errors:
            rules[name].append(("0", "0", "0", errors[name]))
    return rules


def write_rules(out, rules):
    for name, rows in rules.items():
        out.write(f"#ifdef __NR_{name}\n")
        for arg, mask, value, error in rows:
            out.write(f"    {{__NR_{name}, {arg}, (uint32_t)({mask}), (uint32_t)({value}),"
                      f" {error}}},\n")
        out.write("#endif\n")


def main(argv):
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("root")
    parser.add_argument("output")
    parser.add_argument("depfile")
    parser.add_argument("--sources", nargs="+", default=[])
    parser.add_argument("--without", nargs="+", default=[])
    parser.add_argument("--libraries", nargs="*", default=[])
    parser.add_argument("--reads-only", action="store_true")
    args = parser.parse_args(argv)
    map_path = os.path.join(args.root, "common", "syscalls.map")
    functions, libraries = read_map(map_path)
    found, folders = source_files(args.root, args.sources, args.without)
    files = [name for name in with_common(args.root, found)
             if not is_left_out(name, args.without)]
    calls = list(libraries["base"])
    for library in args.libraries:
        calls.extend(libraries[library])
    for name in files:
        calls.extend(calls_of(text_of(args.root, name), functions))
    if args.reads_only:
        calls = [call for call in calls if call not in ("open", "openat")]
    rules = rules_of(calls)
    more = {name: rows for name, rows in rules_of(calls + libraries["sanitizer"]).items()
            if rows != rules.get(name)}
    with open(args.output, "w", encoding="utf-8") as out:
        out.write("/* Made by common/sandbox_list.py. */\n"
                  "#include <errno.h>\n#include <fcntl.h>\n#include <sched.h>\n"
                  "#include <sys/ioctl.h>\n#include <sys/socket.h>\n#include <sys/syscall.h>\n\n"
                  f"static const struct sandbox_rule sandbox_{args.name}[] = {{\n")
        out.write("#if SANDBOX_SANITIZER\n")
        write_rules(out, more)  # first: of several rules the first counts
        out.write("#endif\n")
        write_rules(out, rules)
        out.write("};\n")
    with open(args.depfile, "w", encoding="utf-8") as out:
        wanted = [os.path.join(args.root, name) for name in [*files, *sorted(folders)]]
        out.write(f"{args.output}: {' '.join([map_path, *wanted])}\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ValueError as problem:
        print(problem, file=sys.stderr)
        sys.exit(1)
