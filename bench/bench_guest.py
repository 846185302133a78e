#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's channels against protocol 1.0's registers: boots a guest with the driver under TCG (KVM
where it works), with the real mediator and its CPU worker, and runs bench_guest in it.

    bench_guest.py [--json] [--quick] [--transport shared|copied]

The programs are those of $VGPU_BUILD (default build).  Needs headers of the guest's kernel.
"""
import json
import os
import pathlib
import sys
import tempfile

TREE = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("VGPU_BUILD", TREE / "build"))
os.environ.setdefault("VGPU_BIN", str(BUILD / "bin"))
sys.path.insert(0, str(TREE / "tests" / "vm"))

import channel_regs as cr  # noqa: E402
import guest_image  # noqa: E402
from conftest import build_qemu, chardev  # noqa: E402
from qemu_process import wait_for  # noqa: E402
from test_end_to_end import Mediator  # noqa: E402
from vm import Guest  # noqa: E402


def measure(folder, transport, options):
    kernel, headers = guest_image.kernel_with_headers()
    files = {"/vgpu.ko": guest_image.driver_module(folder, headers),
             "/bin/bench_guest": BUILD / "bench" / "bench_guest"}
    mediator = Mediator(folder)
    try:
        with Guest(build_qemu("module"), folder, [
                *chardev(mediator.path), *cr.memfd_machine(256), "-device",
                f"vgpu-stub,chardev=link,vm_id=1,transport={transport}", "-smp", "2"],
                files=files, kernel=kernel) as guest:
            guest.run("insmod /vgpu.ko")
            wait_for(lambda: guest.run("bench_guest --version")[0] == 0, "the guest works")
            code, output = guest.run("bench_guest --json " + " ".join(options), 600)
    finally:
        mediator.close()
    if code:
        sys.exit(f"bench_guest.py: in the guest: {output}")
    return json.loads(output)


def main():
    arguments = sys.argv[1:]
    transport = "shared"
    if "--transport" in arguments:
        at = arguments.index("--transport")
        transport = arguments[at + 1] if len(arguments) > at + 1 else ""
        del arguments[at:at + 2]
    if set(arguments) - {"--json", "--quick"} or transport not in ("shared", "copied"):
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory(prefix="vgpu-vm-") as folder:
        found = measure(pathlib.Path(folder), transport, [a for a in arguments if a == "--quick"])
    found["transport"] = transport
    if "--json" in arguments:
        print(json.dumps(found))
        return
    for figure in found["figures"]:
        print(f"{figure['name']:28} {figure['value']:14.3f} {figure['unit']}")


if __name__ == "__main__":
    main()
