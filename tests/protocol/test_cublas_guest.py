# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs on cuBLAS, through our front end: real mediator, real worker, strict stand-ins for the
driver and the library."""

import subprocess

import pytest

from test_cudart_guest import finish, lines, running, runtime, start  # noqa: F401
from test_cuda_guest import BUILD, LIBRARY

STAND_IN = BUILD / "tests" / "cuda" / "libvgpu-stand-in-cublas.so"
FRONT_END = BUILD / "guest" / "frontends" / "libcublas.so.13"
TRY = BUILD / "tests" / "cuda" / "try_cublas"

import cublas  # noqa: E402  the table; test_cudart_guest says where it is

pytestmark = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libraries have no sanitizer")


@pytest.fixture
def library(monkeypatch):
    """Before the mediator, whose environment the worker gets."""
    monkeypatch.setenv("VGPU_CUBLAS", str(STAND_IN))


def test_a_program(library, running, lab):  # noqa: F811
    output = finish(start(lab, TRY))
    assert lines(output) == ["cublas: 0 wrong"], output
    assert output.count("libcublas (vgpu): cublasGemmGroupedBatchedEx is not built") == 1
    log = running.log_path.read_text()
    assert "too late" not in log and "came late" not in log


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setenv("VGPU_CUBLAS", "none")


def test_a_host_without_the_library(no_library, running, lab):  # noqa: F811
    """The program is told, and so is the host's administrator."""
    output = finish(start(lab, TRY), 1)
    assert "the host has no cuBLAS 13" in output
    assert "which this host has not" in running.log_path.read_text()


def test_every_function_is_exported_under_its_version():
    listed = subprocess.run(["nm", "-D", "--defined-only", FRONT_END], capture_output=True,
                            text=True, check=True).stdout
    exported = {line.split()[-1] for line in listed.splitlines()}
    assert exported == {f"{f.name}@@{cublas.NODE}" for f in cublas.functions()} | {cublas.NODE}
