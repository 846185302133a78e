# SPDX-License-Identifier: GPL-2.0-or-later
"""make install puts everything where it belongs, make uninstall takes it away again."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VGPU_BUILD", TREE / "build"))

OLD_NAMES = {"mediator_phase3": "vgpu-mediator", "vm_client_enhanced": "vgpu-client",
             "vm_client": "vgpu-client"}


def make(*words):
    return subprocess.run(["make", "-C", str(TREE), f"BUILD={BUILD}", *words],
                          capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module")
def prefix():
    """That of the build, so that nothing is configured anew."""
    if not shutil.which("meson") or not (BUILD / "build.ninja").exists():
        pytest.skip("these programs were not built here")
    answer = subprocess.run(["meson", "introspect", "--buildoptions", str(BUILD)],
                            capture_output=True, text=True, check=True, timeout=60)
    return next(o["value"] for o in json.loads(answer.stdout) if o["name"] == "prefix")


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def test_install_and_uninstall(prefix, tmp_path):
    inside = prefix.lstrip("/")
    done = make("install", f"PREFIX={prefix}", f"DESTDIR={tmp_path}")
    assert done.returncode == 0, done.stderr
    there = files(tmp_path)
    programs = tmp_path / inside / "bin"
    for name in ("vgpu-mediator", "vgpu-worker", "vgpu-admin", "vgpu-client", "vgpu-file-bridge",
                 *OLD_NAMES):
        said = subprocess.run([programs / name, "--help"], capture_output=True, text=True,
                              timeout=60, check=False)
        assert said.returncode == 0 and "usage" in said.stdout.lower(), name
    assert (programs / "vgpu-qemu").is_file()
    for old, today in OLD_NAMES.items():
        assert os.readlink(programs / old) == today
        assert (BUILD / "bin" / old).resolve() == (BUILD / "bin" / today).resolve()
    for unit in ("vgpu-mediator.service", "vgpu-file-bridge.service", "vgpu-gpu-reset@.service"):
        text = (tmp_path / inside / "lib/systemd/system" / unit).read_text()
        if "vgpu-gpu-reset" not in unit:
            assert f"ExecStart={prefix}/bin/{unit.removesuffix('.service')}" in text
    # Each program has its page.
    pages = {p.name.split(".")[0] for p in (tmp_path / inside / "share/man").rglob("*.[18]")}
    assert {p.name for p in programs.iterdir()} <= pages
    if prefix in ("/usr", "/usr/local"):
        for name in ("init_db.sql", "migrate_phase3.sql"):
            link = os.readlink(tmp_path / "etc/vgpu" / name)
            assert (tmp_path / link.lstrip("/")).read_bytes() == \
                (TREE / "schema" / name).read_bytes()
    else:
        assert not [name for name in there if name.startswith("etc/")]

    (tmp_path / "etc/vgpu").mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/vgpu/vgpu_config.db").write_text("an administrator's")
    done = make("uninstall", f"PREFIX={prefix}", f"DESTDIR={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == ["etc/vgpu/vgpu_config.db"]
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*vgpu*") if p.is_dir()}
    assert left == {"etc/vgpu"}
