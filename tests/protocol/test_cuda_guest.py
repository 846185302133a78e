# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs on the CUDA driver interface, through our libcuda.so.1: real mediator, real worker,
a strict stand-in for the driver (tests/cuda), which ends the worker at whatever a real driver
would turn into a crash or a hang."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

import wire
from mediator import BIN, TREE, Mediator, children, wait_for

BUILD = pathlib.Path(os.environ.get("VGPU_BUILD", BIN.parent)).resolve()
RUN = BUILD / "guest" / "cuda" / "vgpu-run"
LIBRARY = BUILD / "guest" / "cuda" / "libcuda.so.1"
STAND_IN = BUILD / "tests" / "cuda" / "libvgpu-stand-in-cuda.so"
TRY = BUILD / "tests" / "cuda" / "try_driver"
PARITY = BUILD / "tests" / "cuda" / "parity_driver"
PRINT = BUILD / "tests" / "cuda" / "print_driver"
COPIES = BUILD / "tests" / "cuda" / "copies_driver"
GRAPH = BUILD / "tests" / "cuda" / "graph_driver"
MEMORY = BUILD / "tests" / "cuda" / "memory_driver"
NODES = BUILD / "tests" / "cuda" / "nodes_driver"
VIRTUAL = BUILD / "tests" / "cuda" / "virtual_driver"
HOST = BUILD / "tests" / "cuda" / "host_driver"
STORM = BUILD / "tests" / "cuda" / "storm_driver"
FAULT = BUILD / "tests" / "cuda" / "fault_driver"
IMAGE = TREE / "tests" / "cuda" / "images" / "stand_in.txt"
UUIDS = ["11111111-2222-3333-4444-00000000000%d" % n for n in range(1, 4)]

# The library moves the channel's memory (mremap) to addresses that a sanitizer in the same program
# may know as freed.  The worker's side is run with sanitizers by tests/fuzz.
HAS_SANITIZER = b"__asan_init" in LIBRARY.read_bytes()
pytestmark = pytest.mark.skipif(HAS_SANITIZER,
                                reason="programs that use our libcuda have no sanitizer")


@pytest.fixture
def running(lab, monkeypatch):
    monkeypatch.setenv("VGPU_CUDA_DRIVER", str(STAND_IN))
    vms = [word for n, uuid in enumerate(UUIDS) for word in ("--vm", f"{uuid}={lab}/vm{n}.sock")]
    with Mediator(lab, *vms, shared=False, trust=False) as mediator:
        yield mediator


def start(lab, *command, vm=0, **settings):
    return subprocess.Popen([RUN, "--socket", lab / f"vm{vm}.sock", "--vm-id", str(vm + 1), "--",
                             *command],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, env=dict(os.environ, **settings))


def finish(program, status=0):
    output = program.communicate(timeout=300)[0]
    assert program.returncode == status, output
    return output


def test_a_program(running, lab):
    output = finish(start(lab, TRY, IMAGE))
    assert output.strip().endswith("Stand-in GPU: 0 wrong"), output
    assert "came late" not in running.log_path.read_text()


def test_what_is_easily_guessed_wrong(running, lab):
    """Each answer is the driver's own, as it was measured."""
    said = [line for line in finish(start(lab, PARITY, IMAGE)).splitlines()
            if not line.startswith("libcuda (vgpu):")]
    assert said == (IMAGE.parent / "parity.txt").read_text().splitlines()


def test_captures_and_graphs(running, lab):
    said = finish(start(lab, GRAPH, IMAGE))
    assert said.splitlines() == (IMAGE.parent / "graph.txt").read_text().splitlines()
    assert "came late" not in running.log_path.read_text()


def test_nodes_of_graphs_and_copies_of_rows(running, lab):
    said = finish(start(lab, NODES, IMAGE))
    assert said.splitlines() == (IMAGE.parent / "nodes.txt").read_text().splitlines()
    assert "came late" not in running.log_path.read_text()


def test_pools_and_registered_memory(running, lab):
    said = finish(start(lab, MEMORY, IMAGE))
    assert said.splitlines() == (IMAGE.parent / "memory.txt").read_text().splitlines()


def test_virtual_memory_management(running, lab):
    said = finish(start(lab, VIRTUAL, IMAGE))
    assert said.splitlines() == (IMAGE.parent / "virtual.txt").read_text().splitlines()


def test_host_functions_and_tensor_maps(running, lab):
    said = finish(start(lab, HOST, IMAGE))
    assert said.splitlines() == (IMAGE.parent / "host.txt").read_text().splitlines()


def test_a_program_may_end_in_a_host_function(running, lab):
    """The gate that nobody opens any more holds nobody up: the worker lives, for others, too."""
    finish(start(lab, TRY, IMAGE, "1"))
    worker = children(running.process.pid)
    program = r"""
import ctypes, os, sys, time
cuda, context, stream = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p(), ctypes.c_void_p()
function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: os._exit(0))
assert cuda.cuInit(0) == cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
assert cuda.cuLaunchHostFunc(stream, function, None) == 0
cuda.cuStreamSynchronize(stream)
"""
    finish(start(lab, sys.executable, "-c", program, LIBRARY))
    finish(start(lab, TRY, IMAGE, "1"))
    assert children(running.process.pid) == worker


def test_each_launch_waited_for(running, lab):
    finish(start(lab, TRY, IMAGE, "1", CUDA_LAUNCH_BLOCKING="1"))


def test_two_programs_in_each_of_three_vms(running, lab):
    programs = [start(lab, TRY, IMAGE, "2", vm=n % 3) for n in range(6)]
    for program in programs:
        finish(program)


def test_a_fault_is_the_programs_own(running, lab):
    """Each call says the code; another VM's program notices nothing."""
    other = start(lab, TRY, IMAGE, vm=1)
    for kernel, code in (("bad", 700), ("trap", 719)):
        said = dict(line.rsplit(" ", 1) for line in
                    finish(start(lab, FAULT, IMAGE, kernel)).splitlines())
        assert said.pop("launch") == "0"
        for call in ("cuCtxSetCurrent", "cuDeviceGetAttribute", "cuInit"):
            assert said.pop(call) == "0", call
        assert set(said.values()) == {str(code)}, said
    finish(other)
    finish(start(lab, TRY, IMAGE))


def test_what_kernels_print_is_the_programs(running, lab):
    """In its place among what the programs print; two at a time, each its own."""
    programs = [start(lab, PRINT, IMAGE) for _ in range(2)]
    for program in programs:
        assert finish(program) == "".join(f"before {n}\na kernel prints {n}\nafter {n}\n"
                                          for n in range(3))


def test_the_memory_of_a_program_that_ended_is_given_back(running, lab):
    """At once, not when the next one comes: the driver of a guest waits for it."""
    finish(start(lab, TRY, IMAGE, "1"))
    worker, = children(running.process.pid)
    wait_for(lambda: "vgpu-channel" not in pathlib.Path(f"/proc/{worker}/maps").read_text(),
             "the worker has let go")


PRIMARY = r"""
import ctypes, sys
cuda, context = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p()
def ok(result):
    assert result == 0, result
ok(cuda.cuInit(0))
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
"""


def test_the_primary_context_after_a_reset(running, lab):
    """Who retains it then has one that lives, although others never released the old one."""
    program = PRIMARY + r"""
memory = ctypes.c_uint64()
ok(cuda.cuDevicePrimaryCtxReset_v2(0))
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), 4) == 709
ok(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
ok(cuda.cuCtxSetCurrent(context))
ok(cuda.cuMemAlloc_v2(ctypes.byref(memory), 4))
"""
    finish(start(lab, sys.executable, "-c", program, LIBRARY))


def test_an_attribute_of_a_kernel(running, lab):
    """A kernel serves as a function, whose attributes are the same ones."""
    program = PRIMARY + r"""
kernel, library, value = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
ok(cuda.cuLibraryLoadData(ctypes.byref(library), open(sys.argv[2], "rb").read(), None, None, 0,
                          None, None, 0))
ok(cuda.cuLibraryGetKernel(ctypes.byref(kernel), library, b"nop"))
ok(cuda.cuFuncGetAttribute(ctypes.byref(value), 8, kernel))
for most in 49152, 65536, 1024:
    ok(cuda.cuKernelSetAttribute(8, most, kernel, 0))
    ok(cuda.cuFuncGetAttribute(ctypes.byref(value), 8, kernel))
    assert value.value == most, value
"""
    finish(start(lab, sys.executable, "-c", program, LIBRARY, IMAGE))


def test_threads_that_copy_out_at_the_same_time(running, lab):
    """Together they want more pieces of the arena than there are; nobody waits for another's."""
    finish(start(lab, COPIES, IMAGE, "12"))


def test_figures_are_shown(running, lab):
    """The programs' of a VM together, also after the last one has ended."""
    program = start(lab, COPIES, IMAGE, "3")
    finish(program)

    def figures():
        with running.admin() as admin:
            found = [w["cuda"] for w in admin.call(wire.SHOW_HEALTH)["workers"] if w["cuda"]]
        ended = found and found[0]["programs"] == 0
        return found[0] if ended and found[0]["copies"] >= 18 else None

    said = wait_for(figures, "the figures, which the worker tells once the channel has ended")
    # Three memsets and kernels; 6 MiB out of three threads, in pieces of 1 MiB.
    assert (said["units"], said["copies"], said["contexts"]) == (6, 18, 0), said
    assert said["memory_bytes"] == 0 and said["turns"] > 0 and said["refused"] == 0, said


def test_without_a_driver_there_is_no_device(lab):
    with Mediator(lab, "--vm", f"{UUIDS[0]}={lab}/vm0.sock", shared=False, trust=False):
        output = finish(start(lab, TRY, IMAGE), 1)
        assert "libcuda (vgpu): no GPU:" in output and "cuInit fails" in output


def test_the_guests_library_is_no_driver(lab, monkeypatch):
    monkeypatch.setenv("VGPU_CUDA_DRIVER", str(LIBRARY))
    with Mediator(lab, "--vm", f"{UUIDS[0]}={lab}/vm0.sock", shared=False,
                  trust=False) as mediator:
        finish(start(lab, TRY, IMAGE), 1)
        wait_for(lambda: "is the library for guests, not the driver"
                 in mediator.log_path.read_text(), "what its worker says, by way of the keeper")


def test_killed_programs_leave_nothing(running, lab):
    """Their channels close, their memory is given back, the next ones find all of it."""
    worker = None
    for _ in range(5):
        program = start(lab, TRY, IMAGE, "4")
        wait_for(lambda: children(running.process.pid), "the worker")
        time.sleep(0.05)  # anywhere in its work; nothing is expected of it
        program.send_signal(signal.SIGKILL)
        program.communicate()
        worker = worker or children(running.process.pid)
    finish(start(lab, TRY, IMAGE))
    assert children(running.process.pid) == worker


def test_a_hang_is_ended_and_others_go_on(lab, monkeypatch):
    """The program gets the code that a time limit has natively, from then on in every call."""
    monkeypatch.setenv("VGPU_CUDA_DRIVER", str(STAND_IN))
    vms = [word for n, uuid in enumerate(UUIDS) for word in ("--vm", f"{uuid}={lab}/vm{n}.sock")]
    with Mediator(lab, *vms, "--job-timeout-ms", "2000", shared=False, trust=False) as mediator:
        other = start(lab, TRY, IMAGE, vm=1)
        output = finish(start(lab, FAULT, IMAGE, "hang"))
        said = dict(line.rsplit(" ", 1) for line in output.splitlines() if line[-1].isdigit())
        assert said.pop("launch") == "0"
        assert said.pop("cuDeviceGetAttribute") == "0"
        assert set(said.values()) == {"702"}, output
        assert "past the time limit" in output
        finish(other)
        finish(start(lab, TRY, IMAGE))
        assert mediator.log_path.read_text().count("event=job_timeout") == 1


def test_without_memory_nothing_else_fails(running, lab):
    finish(start(lab, STORM, IMAGE, "1"))
    finish(start(lab, TRY, IMAGE))


# ---- the library by itself ----

def cuda():
    return ctypes.CDLL(str(LIBRARY))


def table():
    rows = [line.split("\t") for line in (TREE / "cuda" / "driver.tsv").read_text().splitlines()
            if not line.startswith("#")]
    symbols = {}
    for name, variants, *_ in rows:
        for variant in variants.split():
            suffix, since = variant.split("@")
            major, minor = map(int, since.split("."))
            symbols[name + ("" if suffix == "base" else suffix)] = major * 1000 + minor * 10
    return symbols


def test_every_function_is_exported_and_nothing_else():
    listed = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True,
                            text=True, check=True).stdout
    exported = {line.split()[-1] for line in listed.splitlines()}
    assert exported - set(table()) == {"vgpu_libcuda_of_a_guest",
                                         "vgpu_libcuda_of_a_guest_calls"}
    assert set(table()) <= exported


def chosen(name, version, flags):
    """What cuGetProcAddress is to find, by the rule alone."""
    forms = {s: since for s, since in table().items()
             if re.sub(r"(_v\d+)?(_pt[sd][sz])?$", "", s) == name}
    threaded = {s: since for s, since in forms.items() if s.endswith(("_ptsz", "_ptds"))}
    forms = threaded if flags & 2 and threaded else {s: since for s, since in forms.items()
                                                     if s not in threaded}
    fit = [(since, s) for s, since in forms.items() if since <= version]
    return max(fit)[1] if fit else None


@pytest.mark.parametrize("flags", [0, 1, 2])
def test_names_and_versions(flags):
    library = cuda()
    find = library.cuGetProcAddress_v2
    names = {re.sub(r"(_v\d+)?(_pt[sd][sz])?$", "", s) for s in table()}
    for version in (2000, 3020, 6000, 7000, 7050, 10000, 11030, 12000, 12080, 13000):
        for name in names:
            got, status = ctypes.c_void_p(0x5a), ctypes.c_int(99)
            assert find(name.encode(), ctypes.byref(got), version, ctypes.c_uint64(flags),
                        ctypes.byref(status)) == 0
            wanted = chosen(name, version, flags)
            assert status.value == (0 if wanted else 2), name
            assert got.value == (ctypes.cast(getattr(library, wanted), ctypes.c_void_p).value
                                 if wanted else None), (name, version)


@pytest.mark.parametrize("name,version,flags,result,status,value", [
    (b"cuNoSuch", 13000, 0, 0, 1, None), (b"cuMemAlloc_v2", 13000, 0, 0, 1, None),
    (b"", 13000, 0, 0, 1, None), (b"cuMemAlloc", 14000, 0, 1, 99, 0x5a),
    (b"cuLaunchKernel", 13000, 4, 1, 99, 0x5a), (b"cuD3D9GetDevice", 13000, 0, 0, 1, None),
])
def test_names_that_are_none(name, version, flags, result, status, value):
    got, found = ctypes.c_void_p(0x5a), ctypes.c_int(99)
    assert cuda().cuGetProcAddress_v2(name, ctypes.byref(got), version, ctypes.c_uint64(flags),
                                      ctypes.byref(found)) == result
    assert (found.value, got.value) == (status, value)


def test_before_cuinit():
    library, value, text = cuda(), ctypes.c_int(), ctypes.c_char_p(b"x")
    assert library.cuDriverGetVersion(ctypes.byref(value)) == 0 and value.value == 13000
    assert library.cuGetErrorName(1, ctypes.byref(text)) == 0
    assert text.value == b"CUDA_ERROR_INVALID_VALUE"
    assert library.cuGetErrorString(99999, ctypes.byref(text)) == 1 and text.value is None
    for call in ("cuDeviceGetCount", "cuCtxGetCurrent", "cuMemAlloc_v2", "cuMemHostAlloc",
                 "cuCtxSetCurrent", "cuCtxPopCurrent_v2", "cuStreamSynchronize",
                 "cuArrayCreate_v2", "cuGraphCreate"):
        assert getattr(library, call)(None, None, None) == 3, call
