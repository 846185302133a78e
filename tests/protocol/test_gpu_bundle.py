# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/gpu-bundle packs is whole: its checks start without the tree around them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mediator import BIN

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", name="bundle")
def make_bundle(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle")
    subprocess.run(
        [ROOT / "scripts" / "gpu-bundle", "--no-guests", BIN.parent, out], check=True, timeout=120
    )
    return out / "gpu-bundle"


@pytest.mark.parametrize("check", ["worker_check", "keeper_check", "mediator_check", "guest_check",
                                   "guest_cuda_check"])
def test_each_check_starts(bundle, tmp_path, check):
    shutil.copytree(bundle, tmp_path / "elsewhere")
    result = subprocess.run(
        [sys.executable, tmp_path / "elsewhere" / "tests" / "gpu" / (check + ".py"), "--help"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "--out" in result.stdout


def test_abuse_starts(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "elsewhere")
    bench = tmp_path / "elsewhere" / "bench" / "bench_abuse.py"
    result = subprocess.run([sys.executable, bench, "--help"], env={"PATH": os.environ["PATH"]},
                            cwd=tmp_path, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "--backend" in result.stdout
    assert list((bench.parent.parent / "sim" / "corpus").glob("*.attack"))
