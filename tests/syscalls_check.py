#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks that common/syscalls.map knows every function by which our programs reach the kernel.

    syscalls_check.py [FOLDER [BUILD]]      default: the tree this script lies in, its build

The lists of system calls are made by looking for these functions in the source. So each function
of the C library that the objects of BUILD ask for must be in the map, or in PURE below: those that
make no system call, or only what @base has.
Exit status: 0 all well, 1 violations (one line each), 2 no such folder.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))
import sandbox_list  # noqa: E402

ARCHIVES = ("common/libcommon.a", "core/libcore.a", "store/libvgpu_store.a", "keeper/libkeeper.a",
            "worker/libworker.a", "worker/libdriver.a", "worker/libbulk.a",
            "mediator/libmediator.a")

# Memory, text, numbers, threads' locks, time as the vDSO has it, and what is in @base.
PURE = re.compile(r"""
    _GLOBAL_OFFSET_TABLE_|_?_?_(assert_fail|cpu_model|ctype_.*|errno_location|stack_chk_.*|tls_.*)
    |__isoc(99|23)_.*|__sched_.*|__xpg_basename|__.*_chk|__(asan|ubsan|gcov|sanitizer|llvm|tsan)_.*
    |(str|mem|is|to|f?put)[a-z0-9_]+|(w|v)?(s|sn|f|as)?n?printf|(sscanf|fgets|fflush|fwrite|fread)
    |(m|c|re|aligned_)alloc|free|qsort|bsearch|environ|std(in|out|err)|putc|getopt_long
    |opt(arg|ind|opt)
    |(at|gm|local|mk)?time(_r|gm)?|getenv|setenv|unsetenv|sig(add|del|empty|fill)set|inet_[np]to[np]
    |dl(addr|close|error|sym)|dirname|pthread_(mutex|cond|condattr|once|self|join|detach|attr)_?\w*
    |posix_spawn(_file_actions|attr)_\w+|syscall|usleep|get_nprocs|fclose|closedir|readdir(64)?
    |l?l?abs|(l?l?round|l?l?rint|trunc|floor|ceil|sqrt|cbrt|hypot|log(1p|2|10)?|pow|exp(2|m1)?
    |f(mod|max|min|abs|ma|dim)|ldexp|frexp|modf|nearbyint|a?(sin|cos|tan)h?|atan2|erfc?|[lt]gamma)f?
    |mmap(64)?|munmap|mremap|mprotect|madvise|read|write|close|lseek(64)?|fstat(64)?|nanosleep
    |clock_gettime|sched_(yield|getaffinity)|sysinfo|getpid|gettid|abort|_?exit|fcntl(64)?
    |sig(action|procmask)|signal|pthread_sigmask|time|atexit|posix_memalign|raise|ferror|feof|fileno
    """, re.X)
LIBRARIES = re.compile(r"(uv|sqlite3|json|MHD|lzma|ZSTD)_\w*|jansson\w*")


def symbols(path, kind):
    done = subprocess.run(["nm", kind, path], capture_output=True, text=True, check=False)
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()
            if re.search(r" [A-Za-z] \S+$", line)}


def main(argv):
    root = argv[1] if len(argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    build = argv[2] if len(argv) > 2 else os.path.join(root, "build")
    if not os.path.isdir(root):
        print(f"{root}: no such folder")
        return 2
    path = os.path.join(root, "common", "syscalls.map")
    functions, _ = sandbox_list.read_map(path)
    archives = [os.path.join(build, name) for name in ARCHIVES]
    archives = [name for name in archives if os.path.exists(name)]
    wanted = set().union(*(symbols(name, "-u") for name in archives))
    ours = set().union(*(symbols(name, "--defined-only") for name in archives))
    problems = [f"common/syscalls.map: {name}() is not there: say which system calls it makes"
                for name in sorted(wanted - ours - set(functions))
                if not PURE.fullmatch(name) and not LIBRARIES.fullmatch(name)]
    print("\n".join(problems) or f"{len(functions)} functions, {len(wanted - ours)} are used")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
