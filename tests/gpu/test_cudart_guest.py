# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs on the CUDA runtime, through our libcudart.so.13 and libcuda.so.1: real mediator, real
worker, the strict stand-in for the driver."""

import ctypes
import os
import subprocess
import sys

import pytest

from test_cuda_guest import BUILD, LIBRARY, TREE, finish, running, start  # noqa: F401

RUNTIME = BUILD / "guest" / "cudart" / "libcudart.so.13"
TRY = BUILD / "tests" / "cuda" / "try_runtime"
NOT_SUPPORTED = 801

sys.path.insert(0, str(TREE / "cuda"))
import runtime  # noqa: E402

through_us = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libcuda have no sanitizer")


def lines(output):
    """What the program itself said."""
    return [line for line in output.splitlines() if not line.startswith("lib")]


@through_us
def test_a_program(running, lab):  # noqa: F811
    output = finish(start(lab, TRY))
    assert lines(output) == ["runtime: 0 wrong"], output
    assert "came late" not in running.log_path.read_text()


@through_us
def test_what_is_refused_is_named_once(running, lab):  # noqa: F811
    output = finish(start(lab, TRY))
    for name in ("cudaMallocManaged", "cudaIpcGetMemHandle", "cudaDeviceEnablePeerAccess"):
        assert output.count(f"libcudart (vgpu): {name} is not built") == 1, output


@through_us
def test_a_fault_comes_again_with_the_next_call(running, lab):  # noqa: F811
    other = start(lab, TRY, vm=1)
    assert lines(finish(start(lab, TRY, "fault"))) == ["runtime: 0 wrong"]
    finish(other)
    finish(start(lab, TRY))


# ---- the library by itself ----

def symbols():
    return {symbol for function in runtime.functions() for symbol in function.symbols}


def test_every_function_is_exported_under_its_version_and_nothing_else():
    listed = subprocess.run(["nm", "-D", "--defined-only", RUNTIME], capture_output=True,
                            text=True, check=True).stdout
    exported = {line.split()[-1] for line in listed.splitlines()}
    assert exported == {f"{s}@@{runtime.NODE}" for s in symbols()} | {runtime.NODE}


def alone(code, *libraries):
    """Runs a script on the library alone; `libraries`: folders with a libcuda.so.1."""
    folders = ":".join(map(str, libraries)) or str(RUNTIME.parent)
    return subprocess.run([sys.executable, "-c", f"import ctypes\nl = ctypes.CDLL({str(RUNTIME)!r})"
                           f"\n{code}"], capture_output=True, text=True, check=False,
                          env=dict(os.environ, LD_LIBRARY_PATH=folders))


def test_without_a_driver():
    """As NVIDIA's runtime answers where no driver is installed."""
    found = ctypes.util.find_library("cuda") if hasattr(ctypes, "util") else None
    if found:
        pytest.skip("this host has a driver")
    done = alone("n = ctypes.c_int(7)\n"
                 "print(l.cudaGetDeviceCount(ctypes.byref(n)), n.value)\n"
                 "print(l.cudaDriverGetVersion(ctypes.byref(n)), n.value)\n"
                 "print(l.cudaMalloc(ctypes.byref(ctypes.c_void_p()), 16), l.cudaGetLastError())\n"
                 "print(l.cudaRuntimeGetVersion(ctypes.byref(n)), n.value)")
    assert done.stdout.splitlines() == ["35 0", "0 0", "35 35", "0 13000"], done.stderr
    assert done.stderr.count("there is no driver") == 1, done.stderr


def test_all_that_is_not_built_refuses():
    names = sorted(s for f in runtime.functions() if not f.built for s in f.symbols)
    done = alone("for name in %r:\n"
                 "    print(name, getattr(l, name)(), l.cudaGetLastError())" % names)
    assert done.stdout.splitlines() == [f"{n} {NOT_SUPPORTED} {NOT_SUPPORTED}" for n in names]
    assert len(done.stderr.splitlines()) == len(names)


@pytest.mark.parametrize("call", [
    "__cudaUnregisterFatBinary(None)", "__cudaRegisterFatBinaryEnd(None)",
    "__cudaRegisterFunction(None, None, None, None, -1, None, None, None, None, None)",
    "__cudaRegisterVar(None, None, None, None, 0, 4, 0, 0)",
    "__cudaRegisterManagedVar(None, None, None, None, 0, 4, 0, 0)",
    "cudaMalloc(None, 16)", "cudaGetDevice(None)", "cudaGetDeviceProperties(None, 0)",
    "cudaMemcpy(None, None, 4, 1)", "cudaPointerGetAttributes(None, None)",
    "cudaGetSymbolAddress(None, None)", "cudaFuncGetAttributes(None, None)",
])
def test_nothing_where_something_belongs(call):
    """Without a driver, too, none of them crashes."""
    assert alone(f"l.{call}").returncode == 0


def test_unregistering_twice():
    done = alone("w = ctypes.create_string_buffer(24)\n"
                 "f = l.__getattr__('__cudaRegisterFatBinary')\n"
                 "f.restype = ctypes.c_void_p\n"
                 "h = ctypes.c_void_p(f(w))\n"
                 "u = l.__getattr__('__cudaUnregisterFatBinary')\n"
                 "u(h); u(h)\n"
                 "l.__getattr__('__cudaRegisterFunction')(h, w, w, b'k', -1, 0, 0, 0, 0, 0)\n"
                 "print('fine')")
    assert done.stdout == "fine\n", done.stderr
