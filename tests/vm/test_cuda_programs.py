# SPDX-License-Identifier: GPL-2.0-or-later
"""CUDA programs in a guest: our libraries, the guest's driver, the device, the real mediator and
workers; the host's driver is the strict stand-in of tests/cuda.

Skipped where no headers of the guest's kernel are installed, as test_linux_driver is.
"""
import pytest

from conftest import TREE
from qemu_process import wait_for
from test_driver_end_to_end import boot, channels  # noqa: F401 (fixtures)
from test_end_to_end import BIN, mediate, programs  # noqa: F401 (fixtures)
from test_linux_driver import (driver_files, healthy, kernel, nothing_left,  # noqa: F401
                               qemu)

BUILD = BIN.parent
IMAGES = TREE / "tests" / "cuda" / "images"
PROGRAMS = ("try_driver", "parity_driver", "fault_driver", "try_runtime", "try_cublas",
            "try_cudnn")
LIBRARIES = ("cuda/libcuda.so.1", "cudart/libcudart.so.13", "frontends/libcublas.so.13",
             "frontends/libcublasLt.so.13", "frontends/libcudnn.so.9")
STAND_INS = {"VGPU_CUDA_DRIVER": "cuda", "VGPU_CUBLAS": "cublas", "VGPU_CUDNN": "cudnn"}
# As in a folder of ld.so.conf; the device is found by itself.
RUN = "LD_LIBRARY_PATH=/lib/vgpu"
pytestmark = pytest.mark.skipif(
    b"__asan_init" in (BUILD / "guest/cuda/libcuda.so.1").read_bytes(),
    reason="programs that use our libcuda have no sanitizer")


@pytest.fixture
def guest(mediate, boot, monkeypatch):  # noqa: F811
    for variable, library in STAND_INS.items():
        monkeypatch.setenv(variable, str(BUILD / f"tests/cuda/libvgpu-stand-in-{library}.so"))
    files = {f"/bin/{name}": BUILD / "tests" / "cuda" / name for name in PROGRAMS}
    files.update({f"/lib/vgpu/{name.split('/')[1]}": BUILD / "guest" / name for name in LIBRARIES})
    files["/stand_in.txt"] = IMAGES / "stand_in.txt"
    mediator = mediate()
    found = boot(mediator, more_files=files, memory_mib=1280)
    found.mediator = mediator
    return found


def said_by(output):
    return [line for line in output.splitlines() if not line.startswith("lib")]


def test_programs(guest):
    """Those of tests/protocol: the same answers, word by word."""
    code, output = guest.run(f"{RUN} try_driver /stand_in.txt", 300)
    assert code == 0 and output.endswith("Stand-in GPU: 0 wrong"), output
    code, output = guest.run(f"{RUN} parity_driver /stand_in.txt", 300)
    assert said_by(output) == (IMAGES / "parity.txt").read_text().splitlines(), output
    for name in ("runtime", "cublas", "cudnn"):
        code, output = guest.run(f"{RUN} try_{name}", 300)
        assert (code, said_by(output)) == (0, [f"{name}: 0 wrong"]), output
    assert "came late" not in guest.mediator.output()
    # Killed with work in flight, by a fault of the GPU, and two at a time.
    guest.run(f"while {RUN} try_driver /stand_in.txt; do :; done >/dev/null 2>&1 &")
    wait_for(lambda: channels(guest.mediator) == 1, "it works")
    wait_for(lambda: guest.run("killall -9 try_driver")[0] == 0, "it is killed")
    nothing_left(guest)
    said = dict(line.rsplit(" ", 1) for line in
                said_by(guest.run(f"{RUN} fault_driver /stand_in.txt bad", 300)[1]))
    assert said["launch"] == "0" and "700" in said.values(), said
    code, output = guest.run(f"export {RUN}; for n in 1 2; do "
                             "try_driver /stand_in.txt 1 >/tmp/$n 2>&1 & done; wait; "
                             "tail -qn1 /tmp/1 /tmp/2", 300)
    assert output == "\n".join(["Stand-in GPU: 0 wrong"] * 2), output
    wait_for(lambda: channels(guest.mediator) == 0, "no channel is left on the host")
    nothing_left(guest)
    healthy(guest)
