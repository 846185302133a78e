# SPDX-License-Identifier: GPL-2.0-or-later
"""The test guest: the distribution's cloud kernel and an initramfs made here.

The kernel comes from its package, which is downloaded and unpacked into the cache,
never installed.  The initramfs holds a static busybox, the init below, and the files
that the caller adds.  It needs no root and takes milliseconds to write.

In the guest, init serves commands on the second serial port, one at a time:
    host:  R <id> <command for sh, on one line>
    guest: O <id> <one line of its output>      as often as there are lines
    guest: X <id> <exit status>
The first line that the guest says is "READY".
"""
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile

KERNEL_PACKAGES = ["linux-image-cloud-amd64", "linux-image-virtual"]  # Debian, Ubuntu
MACHINE_KERNEL_PACKAGES = ["linux-image-amd64", "linux-image-generic"]

INIT = """#!/bin/sh
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/null
stty -F /dev/ttyS1 115200 raw -echo
exec 3<>/dev/ttyS1
echo READY >&3
while read -r verb id command <&3; do
    [ "$verb" = R ] || continue
    { sh -c "$command" 2>&1 3>&-; echo $? >/status; } |
        awk -v id="$id" '{ print "O " id " " $0; fflush() }' >&3
    read -r status </status
    echo "X $id $status" >&3
done
"""


class GuestImageError(Exception):
    pass


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "vgpu-mediator" / "guest"


def kernel():
    """The path of a kernel image; fetched when none is in the cache.
    VGPU_GUEST_KERNEL names another one."""
    given = os.environ.get("VGPU_GUEST_KERNEL")
    if given:
        return pathlib.Path(given)
    cached = cache_folder() / "vmlinuz"
    return cached if cached.exists() else _fetch(_kernel_package(KERNEL_PACKAGES), cached)


def kernel_version(image):
    """What `uname -r` says in a guest with this kernel image."""
    data = pathlib.Path(image).read_bytes()
    at = int.from_bytes(data[0x20E:0x210], "little") + 0x200
    return data[at:data.index(b"\0", at)].split()[0].decode()


def headers(version):
    """The folder where modules of this kernel are built, or None."""
    for path in (f"/lib/modules/{version}/build", f"/usr/src/linux-headers-{version}"):
        if os.path.exists(path + "/Module.symvers"):
            return pathlib.Path(path)
    return None


def kernel_with_headers():
    """(kernel image, its headers) to build a module and run it, or None: no headers here.
    The kernel of the other tests is taken if it can be."""
    image = kernel()
    found = headers(kernel_version(image))
    if found or os.environ.get("VGPU_GUEST_KERNEL"):
        return (image, found) if found else None
    for folder in sorted(pathlib.Path("/lib/modules").glob("*/build"), reverse=True):
        version = folder.parent.name
        cached = cache_folder() / f"vmlinuz-{version}"
        try:
            if headers(version) and not cached.exists():
                _fetch(f"linux-image-{version}", cached)
        except GuestImageError:
            continue
        if cached.exists():
            return cached, headers(version)
    return None


def fetched_headers(version):
    """As headers(), of a kernel whose package of headers is fetched, once, where it is not
    installed; those that all kernels of a version have in common must be."""
    folder = cache_folder() / f"headers-{version}"
    if not headers(version) and not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            _download(f"linux-headers-{version}", work)
            tree = pathlib.Path(work) / "tree"
            (tree / "usr" / "lib").symlink_to("/usr/lib")  # for its tools
            try:
                tree.rename(folder)
            except OSError:  # another one was quicker
                pass
    return headers(version) or folder / "usr" / "src" / f"linux-headers-{version}"


def driver_module(folder, kernel_headers):
    """vgpu.ko, built in the folder as DKMS would."""
    linux = pathlib.Path(__file__).resolve().parents[2] / "guest" / "linux"
    subprocess.run(["make", "-s", "-C", linux, "dkms-source", f"DESTDIR={folder}"], check=True)
    source, = pathlib.Path(folder).glob("usr/src/vgpu-*")
    subprocess.run(["make", "-s", "-C", source, f"KDIR={kernel_headers}", "modules"], check=True)
    return source / "vgpu.ko"


def kernel_with_modules(names):
    """(kernel image, modules in the order of their loading): of the distribution's kernel for
    machines, which has drivers that the one for clouds lacks; fetched once."""
    package = _kernel_package(MACHINE_KERNEL_PACKAGES)
    key = hashlib.sha256(" ".join(sorted(names)).encode()).hexdigest()[:8]
    cached = cache_folder() / f"{package}-{key}"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as work:
            kept = pathlib.Path(work) / "kept"
            kept.mkdir()
            image = _unpack(package, work)
            image.replace(kept / "vmlinuz")
            _keep_modules(pathlib.Path(work) / "tree", names, kept)
            try:
                kept.rename(cached)
            except OSError:  # another test was quicker
                pass
    return cached / "vmlinuz", [cached / name for name in
                                (cached / "order").read_text().split()]


def _keep_modules(tree, names, kept):
    """The modules and all that they need; a file "order" says which comes before which."""
    there = {path.name.split(".")[0].replace("-", "_"): path for path in tree.rglob("*.ko*")}
    order = []

    def keep(name):
        path = there.get(name.replace("-", "_"))
        if not path or f"{name}.ko" in order:
            return  # built in, or done
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = lzma.decompress(data)
        needed = re.search(rb"\0depends=([^\0]+)\0", data)
        for other in needed.group(1).decode().split(",") if needed else ():
            keep(other)
        (kept / f"{name}.ko").write_bytes(data)
        order.append(f"{name}.ko")

    for name in names:
        keep(name)
    (kept / "order").write_text("\n".join(order))


def _fetch(package, cached):
    """The kernel image of a package, into the cache."""
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent) as work:
        _unpack(package, work).replace(cached)  # at once: several tests may do this at a time
    return cached


def _download(package, work):
    """Unpacks a package below work/tree."""
    _tool(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", package], work)
    archives = list(pathlib.Path(work).glob("*.deb"))
    _tool(["dpkg-deb", "-x", str(archives[0]), "tree"], work)


def _unpack(package, work):
    """A kernel's package below work/tree; returns the kernel image in it."""
    _download(package, work)
    images = list(pathlib.Path(work).glob("tree/boot/vmlinuz-*"))
    if len(images) != 1:
        raise GuestImageError(f"{package} holds {len(images)} kernels, expected one")
    images[0].chmod(0o644)
    return images[0]


def _tool(command, folder=None):
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise GuestImageError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def _kernel_package(names):
    for name in names:
        try:
            depends = _tool(["apt-cache", "depends", name])
        except GuestImageError:
            continue
        found = re.search(r"Depends: (linux-image-\d\S+)", depends)
        if found:
            return found.group(1)
    raise GuestImageError(f"apt knows none of {', '.join(names)}: run apt-get update, "
                          "or name a kernel image in VGPU_GUEST_KERNEL")


def busybox():
    path = shutil.which("busybox", path="/usr/bin:/bin:/usr/local/bin")
    if not path:
        raise GuestImageError("busybox is missing: apt-get install busybox-static")
    if is_dynamic(path):
        raise GuestImageError(f"{path} is not static: apt-get install busybox-static")
    return path


def is_dynamic(path):
    """Whether a file is an ELF program that asks for an interpreter."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:5] != b"\x7fELF\x02":
        return False
    offset = int.from_bytes(data[32:40], "little")
    size, count = (int.from_bytes(data[i:i + 2], "little") for i in (54, 56))
    return any(data[offset + i * size:offset + i * size + 4] == b"\3\0\0\0" for i in range(count))


def libraries(path):
    """What a dynamic program needs at run time, as the host's loader finds it."""
    return re.findall(r"(?:=> |^\s*)(/\S+) \(0x", _tool(["ldd", str(path)]), re.MULTILINE)


class Archive:
    """A cpio archive in the kernel's format ("newc")."""

    def __init__(self):
        self.data = bytearray()
        self.inode = 0

    def add(self, name, mode, content=b"", device=(0, 0)):
        self.inode += 1
        name_bytes = name.encode() + b"\0"
        fields = [self.inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name_bytes), 0]
        self.data += b"070701" + b"".join(b"%08X" % field for field in fields) + name_bytes
        self._pad()
        self.data += content
        self._pad()

    def _pad(self):
        self.data += bytes(-len(self.data) % 4)

    def finish(self):
        self.add("TRAILER!!!", 0)
        return bytes(self.data)


def initramfs(files, init=INIT):
    """files: {path in the guest: path here}; modes are kept, folders are made.  The
    libraries of dynamic programs come along, at the paths that they have here."""
    files = dict(files)
    for host_path in list(files.values()):
        if is_dynamic(host_path):
            files.update({library: library for library in libraries(host_path)})
    archive = Archive()
    made = set()

    def folder(path):
        if path and path not in made:
            folder(os.path.dirname(path))
            archive.add(path, stat.S_IFDIR | 0o755)
            made.add(path)

    for path in ("bin", "dev", "proc", "sys", "root", "tmp"):
        folder(path)
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    program = busybox()
    archive.add("bin/busybox", stat.S_IFREG | 0o755, pathlib.Path(program).read_bytes())
    for applet in _tool([program, "--list"]).split():
        if applet != "busybox":
            archive.add("bin/" + applet, stat.S_IFLNK | 0o777, b"busybox")
    archive.add("init", stat.S_IFREG | 0o755, init.encode())
    for guest_path, host_path in files.items():
        guest_path = guest_path.lstrip("/")
        folder(os.path.dirname(guest_path))
        mode = 0o755 if os.access(host_path, os.X_OK) else 0o644
        archive.add(guest_path, stat.S_IFREG | mode, pathlib.Path(host_path).read_bytes())
    return archive.finish()
