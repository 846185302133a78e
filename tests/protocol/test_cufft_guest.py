# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs on cuFFT, through our front end: real mediator, real worker, strict stand-ins for the
driver and the library."""

import pytest

from test_cudart_guest import finish, lines, running, runtime, start  # noqa: F401
from test_cuda_guest import BUILD, LIBRARY
from mediator import children, wait_for

STAND_IN = BUILD / "tests" / "cuda" / "libvgpu-stand-in-cufft.so"
TRY = BUILD / "tests" / "cuda" / "try_cufft"

pytestmark = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libraries have no sanitizer")


@pytest.fixture
def library(monkeypatch):
    """Before the mediator, whose environment the worker gets."""
    monkeypatch.setenv("VGPU_CUFFT", str(STAND_IN))


def test_a_program(library, running, lab):  # noqa: F811
    """Twice in the same worker: nothing is left of the first."""
    for _ in range(2):
        assert lines(finish(start(lab, TRY))) == ["cufft: 0 wrong"]
    assert len(children(running.process.pid)) == 1
    log = running.log_path.read_text()
    assert "too late" not in log and "came late" not in log


@pytest.fixture
def no_library(monkeypatch):
    monkeypatch.setenv("VGPU_CUFFT", "none")


def test_a_host_without_the_library(no_library, running, lab):  # noqa: F811
    """The program is told, and so is the host's administrator."""
    output = finish(start(lab, TRY), 1)
    assert "the host has no cuFFT 12" in output
    wait_for(lambda: "which this host has not" in running.log_path.read_text(), "the log says it")
