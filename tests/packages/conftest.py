# SPDX-License-Identifier: GPL-2.0-or-later
"""The packages, built once, and a clean root to install them in."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

TREE = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(TREE / "tests" / "vm"), str(TREE / "tests" / "protocol")]

# What our packages depend on: the root has it already, so that nothing is fetched in the tests.
NEEDED = ("libjansson4", "libmicrohttpd12", "libncursesw6", "libseccomp2", "libsqlite3-0", "libuv1",
          "systemd")
SUITE = "bookworm"


def run(*command, limit_s=600, **options):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
                          check=False, **options)


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """{name: path}; VGPU_PACKAGES=FOLDER takes those that were built before."""
    folder = os.environ.get("VGPU_PACKAGES")
    if not folder:
        if not shutil.which("dh"):
            pytest.skip("no debhelper here: apt-get install debhelper")
        folder = tmp_path_factory.mktemp("packages")
        options = ["--lintian"] if shutil.which("lintian") else []
        if not shutil.which("qemu-system-x86_64"):
            options.append("--no-qemu")
        done = run(TREE / "scripts" / "build-packages", "--output", folder, *options, limit_s=1800)
        assert done.returncode == 0, done.stdout
    found = {path.name.split("_")[0]: path for path in pathlib.Path(folder).glob("*.deb")}
    return {name: path for name, path in found.items() if not name.endswith("-dbgsym")}


def root_archive():
    """A minimal system, kept in the cache; minutes the first time, and the network."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    key = hashlib.sha256(" ".join((SUITE, *NEEDED)).encode()).hexdigest()[:16]
    path = pathlib.Path(base) / "vgpu-mediator" / "roots" / f"{SUITE}-{key}.tar"
    if not path.exists():
        if not shutil.which("mmdebstrap"):
            pytest.skip("no mmdebstrap here: apt-get install mmdebstrap")
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f".{path.stem}.{os.getpid()}.tar")
        done = run("mmdebstrap", "--variant=minbase", f"--include={','.join(NEEDED)}", SUITE, made,
                   limit_s=1200)
        if done.returncode:
            made.unlink(missing_ok=True)
            pytest.skip("mmdebstrap makes no root here: " + done.stdout.strip()[-300:])
        made.replace(path)
    return path


class Root:
    """A folder with a system in it.  Each command has its own mounts and processes."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, *command, limit_s=300):
        script = ('mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/run" && '
                  'exec chroot "$0" "$@"')
        return run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script,
                   self.folder, *command, limit_s=limit_s,
                   env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                        "DEBIAN_FRONTEND": "noninteractive"})

    def ok(self, *command):
        done = self.run(*command)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def sh(self, script):
        return self.ok("sh", "-ec", script)

    def install(self, *paths):
        place = self.folder / "packages"
        place.mkdir(exist_ok=True)
        said = ""
        # The distribution's QEMU is not in this root: vgpu-qemu alone may miss something.
        for for_qemu in (False, True):
            some = [path for path in paths if path.name.startswith("vgpu-qemu") == for_qemu]
            for path in some:
                shutil.copy(path, place)
            if some:
                said += self.ok("dpkg", "--force-confdef", "--force-confold",
                                *(["--force-depends"] if for_qemu else []), "-i",
                                *(f"/packages/{path.name}" for path in some))
        shutil.rmtree(place)
        return said

    def files(self):
        """Everything but what dpkg and the loader keep about themselves."""
        ours = ("var/lib/dpkg", "var/cache", "var/log", "etc/ld.so.cache", "proc", "run", "dev",
                "var/lib/systemd/deb-systemd-helper")
        found = set()
        for folder, folders, names in os.walk(self.folder):
            inside = os.path.relpath(folder, self.folder)
            folders[:] = [name for name in folders
                          if os.path.normpath(f"{inside}/{name}") not in ours]
            found |= {os.path.normpath(f"{inside}/{name}") for name in names + folders}
        return {name for name in found if name not in ours}


@pytest.fixture
def root(tmp_path):
    if os.geteuid():
        pytest.skip("a root of its own needs root's rights here")
    if run("unshare", "--mount", "--pid", "--fork", "true").returncode:
        pytest.skip("no namespaces for a root of its own here")
    archive = root_archive()
    folder = tmp_path / "root"
    folder.mkdir(mode=0o755)
    done = run("tar", "-x", "-C", folder, "--exclude=./dev/*", "-f", archive)
    assert done.returncode == 0, done.stdout
    for name, minor in (("null", 3), ("zero", 5), ("urandom", 9)):
        os.mknod(folder / "dev" / name, 0o666 | 0o020000, os.makedev(1, minor))
    yield Root(folder)
    shutil.rmtree(folder, ignore_errors=True)
