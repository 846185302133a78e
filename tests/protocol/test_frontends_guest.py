# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs on cuBLAS and on cuDNN's backend interface, through our front ends: real mediator, real
worker, strict stand-ins for the driver and the libraries; and the front ends of which nothing is
built."""

import subprocess
import sys

import pytest

from test_cudart_guest import finish, lines, running, runtime, start  # noqa: F401
from test_cuda_guest import BUILD, LIBRARY

STAND_INS = BUILD / "tests" / "cuda"
FOLDER = BUILD / "guest" / "frontends"
WITH_CALLS = {"cublas": "cuBLAS 13", "cudnn": "cuDNN 9"}

import cublas  # noqa: E402  the tables; test_cudart_guest says where they are
import frontends  # noqa: E402

pytestmark = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libraries have no sanitizer")


@pytest.fixture(params=WITH_CALLS)
def library(request, monkeypatch):
    """Before the mediator, whose environment the worker gets."""
    monkeypatch.setenv(f"VGPU_{request.param.upper()}",
                       str(STAND_INS / f"libvgpu-stand-in-{request.param}.so"))
    return request.param


def test_a_program(library, running, lab):  # noqa: F811
    output = finish(start(lab, STAND_INS / f"try_{library}"))
    assert lines(output) == [f"{library}: 0 wrong"], output
    if library == "cublas":
        assert output.count("libcublas (vgpu): cublasGemmGroupedBatchedEx is not built") == 1
    log = running.log_path.read_text()
    assert "too late" not in log and "came late" not in log


@pytest.fixture(params=WITH_CALLS)
def no_library(request, monkeypatch):
    monkeypatch.setenv(f"VGPU_{request.param.upper()}", "none")
    return request.param


def test_a_host_without_the_library(no_library, running, lab):  # noqa: F811
    """The program is told, and so is the host's administrator."""
    output = finish(start(lab, STAND_INS / f"try_{no_library}"), 1)
    assert f"the host has no {WITH_CALLS[no_library]}" in output
    assert "which this host has not" in running.log_path.read_text()


def path_of(library):
    return FOLDER / library["node"]  # which is the soname


# Name: the file, the node of its versions, the functions.
EXPORTS = {"cublas": (FOLDER / "libcublas.so.13", cublas.NODE, cublas.functions())} | {
    name: (path_of(row), row["node"], frontends.functions(name))
    for name, row in frontends.LIBRARIES.items()}


@pytest.mark.parametrize("name", EXPORTS)
def test_every_function_is_exported_under_its_version(name):
    path, node, functions = EXPORTS[name]
    listed = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True,
                            check=True).stdout
    exported = {line.split()[-1] for line in listed.splitlines()}
    assert exported == {f"{f.name}@@{node}" for f in functions} | {node}


@pytest.mark.parametrize("name", frontends.LIBRARIES)
def test_what_is_not_built_says_its_name_once(name):
    """Without a driver, too."""
    library = frontends.LIBRARIES[name]
    refused = [f for f in frontends.functions(name) if f.name not in library["built"]]
    texts = {f.name for f in refused if f.returns.startswith("const char")}
    code = ("import ctypes, sys\n"
            f"l = ctypes.CDLL({str(path_of(library))!r})\n"
            f"for n in {[f.name for f in refused]!r}:\n"
            "    f = getattr(l, n)\n"
            f"    f.restype = ctypes.c_char_p if n in {texts!r} else ctypes.c_int\n"
            "    f(); print(n, f())\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          timeout=120)
    value, text = library["refusal"]
    assert done.stdout.splitlines() == [
        f"{f.name} {text.encode()!r}" if f.name in texts else f"{f.name} {value}" for f in refused]
    assert sorted(done.stderr.splitlines()) == sorted(
        f"{library['file']} (vgpu): {f.name} is not built: {text}" for f in refused
        if f.name not in texts)


@pytest.mark.parametrize("name", [n for n, row in frontends.LIBRARIES.items() if "version" in row])
def test_versions_are_told(name):
    """Programs compare them before they ask for anything else."""
    row = frontends.LIBRARIES[name]
    major, minor, patch = row["version"]
    before = "None, " if name == "cusparse" else ""
    code = ("import ctypes\n"
            f"l, n = ctypes.CDLL({str(path_of(row))!r}), ctypes.c_int()\n"
            f"print(l.{name}GetVersion({before}ctypes.byref(n)), n.value)\n"
            f"for i in range(3):\n    print(l.{name}GetProperty(i, ctypes.byref(n)), n.value)\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          timeout=120)
    whole = major * 1000 + minor * 100 + patch
    assert done.stdout.split() == ["0", str(whole), "0", str(major), "0", str(minor), "0",
                                   str(patch)], done.stderr
