# SPDX-License-Identifier: GPL-2.0-or-later
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, os.path.dirname(__file__))
from adminkit import Kit  # noqa: E402
from fake_qemu import QEMU_UID, Proc  # noqa: E402
from mediator import Mediator  # noqa: E402


@pytest.fixture
def lab():
    """A folder whose name is short enough for sockets, gone afterwards. Workers, which have uids
    of their own, may pass through it to a program that a test has made."""
    folder = tempfile.mkdtemp(prefix="vgpu-")
    os.chmod(folder, 0o711)
    Proc(f"{folder}/qemus")
    yield pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def kit(lab):
    """vgpu-admin in that folder."""
    k = Kit(lab)
    yield k
    k.close()


@pytest.fixture
def jail(lab):
    """A chroot as a toolstack makes it; its tmp belongs to the QEMU's user."""
    root = lab / "root"
    (root / "tmp").mkdir(parents=True)
    os.chown(root / "tmp", QEMU_UID, QEMU_UID)
    os.chmod(lab, 0o755)
    return root


@pytest.fixture
def mediator(lab):
    """A mediator with short limits and the test operations."""
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0") as running:
        yield running
