#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds guest/linux/vgpu.ko for each kernel whose headers are installed.

    kernel_module_check.py [FOLDER]      default: the tree this script lies in

As DKMS would, from a folder of its own, with W=1 and no warning; and with sparse, where it is
installed.  checkpatch (scripts/checkpatch.pl of a kernel's source: $CHECKPATCH, or that of a
linux-source unpacked in /usr/src) must have nothing to say; where there is none, that is left
out and said.  The version of dkms.conf must be the project's.
Exit status: 0 all well, 1 something to mend, 77 no kernel headers here (scripts/setup has them).
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

# One file tells the kernels apart, which drivers of the kernel's own tree have no need to do;
# the contracts of include/ have the names of their own tree.
CHECKPATCH = ["--no-tree", "--no-signoff", "--strict", "--terse", "--max-line-length=100",
              "--ignore", "CAMELCASE,LINUX_VERSION_CODE,FILE_PATH_CHANGES"]
NOISE = re.compile(r"make(\[\d+\])?: |make -C |  [A-Z ]+(\[M\])? +/|Skipping BTF generation")


def kernels():
    """The build folders of the installed headers."""
    folders = glob.glob("/lib/modules/*/build") + glob.glob("/usr/src/linux-headers-*")
    real = {os.path.realpath(folder) for folder in folders}
    return sorted(folder for folder in real if os.path.exists(folder + "/Module.symvers"))


def make(where, *arguments):
    done = subprocess.run(["make", "-C", where, *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def build(root, kernel, folder):
    """What is wrong with the module for one kernel, as printable lines."""
    driver = os.path.join(root, "guest", "linux")
    status, output = make(driver, "dkms-source", f"DESTDIR={folder}")
    if status:
        return [f"make dkms-source fails:\n{output}"]
    source = glob.glob(f"{folder}/usr/src/vgpu-*")[0]
    # "C=1": each file goes through the checker before the compiler.
    sparse = ["C=1", "CF=-D__CHECK_ENDIAN__"] if shutil.which("sparse") else []
    status, output = make(source, "modules", f"KDIR={kernel}", "W=1", *sparse)
    said = [line for line in output.splitlines() if line and not NOISE.match(line)]
    if status or said or not os.path.exists(source + "/vgpu.ko"):
        return [f"{os.path.basename(kernel)}: status {status}, and the compiler says:", *said]
    return []


def checkpatch(root):
    """The same for the style; None: no checkpatch here."""
    found = [os.environ.get("CHECKPATCH", "")]
    found += glob.glob("/usr/src/linux-*/scripts/checkpatch.pl")
    script = next((path for path in found if os.path.isfile(path)), None)
    if not script:
        return None
    files = sorted(glob.glob(os.path.abspath(f"{root}/guest/linux/*.[ch]")))
    with tempfile.TemporaryDirectory() as folder:  # it leaves files where it runs
        done = subprocess.run(["perl", script, *CHECKPATCH, "--file", *files], cwd=folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("total: ")]


def versions(root):
    with open(f"{root}/meson.build", encoding="utf-8") as file:
        project = re.search(r"version: '([^']+)'", file.read()).group(1)
    with open(f"{root}/guest/linux/dkms.conf", encoding="utf-8") as file:
        ours = re.search(r'PACKAGE_VERSION="([^"]+)"', file.read()).group(1)
    return [] if ours == project else [f"dkms.conf says {ours}, meson.build {project}"]


def main(argv):
    root = tree.root_of(argv)
    found = versions(root)
    style = checkpatch(root)
    if style is None:
        print("no checkpatch here: left out (CHECKPATCH=PATH names one)")
    found += style or []
    there = kernels()
    for kernel in there:
        with tempfile.TemporaryDirectory(prefix="vgpu-ko-") as folder:
            found += build(root, kernel, folder)
    for line in found:
        print(line)
    print(f"{len(there)} kernels{'' if shutil.which('sparse') else ', without sparse'}, "
          f"{len(found)} findings")
    if found:
        return 1
    return 0 if there else 77


if __name__ == "__main__":
    sys.exit(main(sys.argv))
