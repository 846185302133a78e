# SPDX-License-Identifier: GPL-2.0-or-later
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from mediator import Mediator  # noqa: E402


@pytest.fixture
def lab():
    """A folder whose name is short enough for sockets, gone afterwards."""
    folder = tempfile.mkdtemp(prefix="vgpu-")
    yield pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mediator(lab):
    """A mediator with short limits and the test operations."""
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0") as running:
        yield running
