# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Xen lab boots: Xen, Dom0's kernel and initramfs, and the guest's CD; and the disk
with the project's programs.

The image holds nothing of the project's build but the device model, so that it, and the
machine that has booted from it, can be kept in the cache while the programs change: those
are on a disk that is read later.  Everything comes from packages that fetch-packages.sh has
unpacked, from the build, and from this folder; it needs no root.
"""
import functools
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1]
sys.path.insert(0, str(TREE / "tests" / "vm"))

import guest_image  # noqa: E402

XEN_PROGRAMS = ["xl", "xenstored", "xen-init-dom0", "xenconsoled", "libxl-save-helper"]
STORE_PROGRAMS = ["xenstore-read", "xenstore-write", "xenstore-ls", "xenstore-list"]
MODULES = ["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs", "virtio_pci",
           "virtio_console", "virtio_blk"]
# The disk with the programs: two archives, behind what the kernels look at (and then
# remember) when they search for partitions.
DISK_MIB = 64
# In Dom0, when the disk has been read: the CD of guests that start then.
GUEST_CD = "/tmp/guest.iso"
KEPT_IMAGES = 2
# XCP-ng's qemu_base: the device model of domain N runs as this user and group plus N.
DEVICE_MODEL_UID = 65535
DEVICE_MODEL_GID = 990


class ImageError(Exception):
    pass


def tool(command, **options):
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise ImageError(f"{command[0]} failed with {done.returncode}:\n{done.stderr}")
    return done.stdout


@functools.cache
def packages():
    """The folder with the unpacked packages."""
    return pathlib.Path(tool([HERE / "fetch-packages.sh"]).strip())


@functools.cache
def device_model(root):
    """QEMU as Xen's device model, with vgpu-stub compiled in.  Takes minutes once.
    VGPU_XEN_QEMU names another one, of another QEMU line for instance."""
    given = os.environ.get("VGPU_XEN_QEMU")
    if given:
        if not os.access(given, os.X_OK):
            raise ImageError(f"VGPU_XEN_QEMU={given}: there is no program that can be run")
        return pathlib.Path(given)
    return pathlib.Path(tool([TREE / "qemu" / "build-qemu.sh", "7.2", "--xen", root]).strip())


def only(folder, pattern):
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ImageError(f"{folder} holds {len(found)} of {pattern}, expected one")
    return found[0]


def libraries(program, root):
    """{path there: path here} of what a dynamic program needs."""
    folders = [root / "usr/lib/x86_64-linux-gnu", root / "usr/lib/xen-4.17/lib/x86_64-linux-gnu",
               root / "lib/x86_64-linux-gnu"]
    text = tool(["ldd", program],
                env={**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, folders))})
    missing = re.findall(r"(\S+) => not found", text)
    if missing:
        raise ImageError(f"{program} needs {', '.join(missing)}")
    found = {}
    for path in re.findall(r"(?:=> |^\s*)(/\S+) \(0x", text, re.MULTILINE):
        name = os.path.basename(path)
        there = path if name.startswith("ld-linux") else f"/usr/lib/x86_64-linux-gnu/{name}"
        found[there] = pathlib.Path(path).resolve()
    return found


def modules_in_order(root):
    """The wanted kernel modules and those that they need, in the order of loading."""
    tree = only(root / "lib" / "modules", "*")
    files = {path.name[:-3].replace("-", "_"): path for path in tree.rglob("*.ko")}
    ordered = []

    def add(name):
        path = files.get(name.replace("-", "_"))
        if path is None:
            raise ImageError(f"{tree} has no module {name}")
        if path in ordered:
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for other in filter(None, needs.group(1).decode().split(",") if needs else []):
            add(other)
        ordered.append(path)

    for name in MODULES:
        add(name)
    return ordered


class Tree:
    """The files of an initramfs, by path."""

    def __init__(self, entries=None):
        self.entries = dict(entries or {})

    def folder(self, path, mode=0o755):
        self.entries[path] = (stat.S_IFDIR | mode, b"")

    def link(self, path, target):
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def text(self, path, text, mode=0o644):
        self.entries[path] = (stat.S_IFREG | mode, text.encode())

    def file(self, path, source, mode=0o755):
        self.entries[path] = (stat.S_IFREG | mode, pathlib.Path(source).read_bytes())

    def archive(self):
        """The files alone, as tar reads them."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            for path, (mode, content) in self.entries.items():
                member = tarfile.TarInfo(path.lstrip("/"))
                member.mode, member.size = stat.S_IMODE(mode), len(content)
                archive.addfile(member, io.BytesIO(content))
        return data.getvalue()

    def pack(self):
        """An initramfs."""
        archive = guest_image.Archive()
        made = set()

        def parents(path):
            parent = os.path.dirname(path)
            if parent not in ("", "/") and parent not in made:
                parents(parent)
                mode, _ = self.entries.get(parent, (stat.S_IFDIR | 0o755, b""))
                archive.add(parent.lstrip("/"), mode)
                made.add(parent)

        for path, (mode, content) in self.entries.items():
            parents(path)
            if path not in made:
                archive.add(path.lstrip("/"), mode, content)
                made.add(path)
        archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        return archive.finish()


def guest_initrd(files):
    return gzip.compress(guest_image.initramfs(files, (HERE / "guest-init").read_text()), 6,
                         mtime=0)


def guest_cd(root, folder, files):
    """An ISO with the guest's kernel and initramfs; SeaBIOS loads it ten times faster
    than Xen's own way for kernels, through fw_cfg."""
    tree = folder / "cd"
    (tree / "isolinux").mkdir(parents=True)
    shutil.copy(root / "usr/lib/ISOLINUX/isolinux.bin", tree / "isolinux")
    shutil.copy(root / "usr/lib/syslinux/modules/bios/ldlinux.c32", tree / "isolinux")
    shutil.copy(guest_image.kernel(), tree / "vmlinuz")
    (tree / "initrd.gz").write_bytes(guest_initrd(files))
    (tree / "isolinux/isolinux.cfg").write_text(
        "default lab\nprompt 0\ntimeout 0\nlabel lab\n kernel /vmlinuz\n"
        " append initrd=/initrd.gz console=hvc0 quiet panic=1 "
        "nokaslr mitigations=off cryptomgr.notests xen_emul_unplug=never\n")
    image = folder / "guest.iso"
    tool([root / "usr/bin/genisoimage", "-quiet", "-o", image, "-b", "isolinux/isolinux.bin",
          "-c", "isolinux/boot.cat", "-no-emul-boot", "-boot-load-size", "4",
          "-boot-info-table", "-J", "-R", tree])
    return image


def add_program(tree, there, here, root, present=()):
    """A program and its libraries, without those that are present already."""
    tree.file(there, here)
    for library, path in libraries(here, root).items():
        # /lib64 is a link there: the loader's file lies where it leads.
        if library.startswith("/lib64/"):
            library = "/usr" + library
        if library not in present:
            tree.file(library, path)


@functools.cache
def dom0_tree(root):
    """Dom0's root: Xen's tools and the device model."""
    tree = Tree()
    programs = {}
    for path in ("/proc", "/sys", "/dev", "/run", "/var/lib/xen", "/var/lib/xenstored",
                 "/var/log/xen/console", "/root", "/etc/vgpu", "/var/vgpu", "/var/xen/qemu"):
        tree.folder(path)
    tree.folder("/tmp", 0o1777)
    tree.link("/lib", "usr/lib")
    tree.link("/lib64", "usr/lib64")
    tree.link("/var/run", "/run")
    tree.link("/var/lock", "/run/lock")
    tree.file("/bin/busybox", guest_image.busybox())
    for applet in tool([guest_image.busybox(), "--list"]).split():
        if applet != "busybox":
            tree.link("/bin/" + applet, "busybox")
    for name in XEN_PROGRAMS:
        programs["/usr/lib/xen-4.17/bin/" + name] = root / "usr/lib/xen-4.17/bin" / name
    for name in STORE_PROGRAMS:
        programs["/usr/bin/" + name] = root / "usr/bin" / name
    programs["/usr/libexec/qemu-system-i386"] = device_model(root)
    for there, here in programs.items():
        add_program(tree, there, here, root)
    # What pthread_cancel() loads.
    tree.file("/usr/lib/x86_64-linux-gnu/libgcc_s.so.1", "/lib/x86_64-linux-gnu/libgcc_s.so.1")
    tree.file("/usr/lib/xen-4.17/boot/hvmloader", root / "usr/lib/xen-4.17/boot/hvmloader")
    for name in ("bios.bin", "bios-256k.bin"):
        tree.file("/usr/share/seabios/" + name, root / "usr/share/seabios" / name, 0o644)
    tree.text("/etc/xen/xl.conf", "autoballoon=0\n")
    for name in ("block", "block-common.sh", "hotplugpath.sh"):
        source = root / "etc/xen/scripts" / name
        if source.exists():
            tree.file("/etc/xen/scripts/" + name, source)
    users = [("root", 0, 0, "/bin/sh"),
             ("xen-qemuuser-range-base", DEVICE_MODEL_UID, DEVICE_MODEL_GID, "/bin/false")]
    tree.text("/etc/passwd", "".join(f"{name}:x:{uid}:{gid}::/root:{shell}\n"
                                     for name, uid, gid, shell in users))
    tree.text("/etc/group", f"root:x:0:\nvgpu:x:989:\nqemu_base:x:{DEVICE_MODEL_GID}:\n")
    tree.text("/etc/nsswitch.conf", "passwd: files\ngroup: files\n")
    tree.text("/etc/ld.so.conf", "")
    ordered = modules_in_order(root)
    for module in ordered:
        tree.file("/modules/" + module.name, module, 0o644)
    tree.text("/modules/order", "".join(module.name + "\n" for module in ordered))
    tree.file("/usr/libexec/device-model", HERE / "device-model")
    tree.file("/bin/guest-run", HERE / "guest-run")
    tree.file("/init", HERE / "dom0-init")
    return tree


def host_image(*seeds):
    """The folder in the cache with xen.elf, vmlinuz and dom0.cpio, made if it is not there.
    It is named by a hash of all that went in and of the seeds, files that it is used by."""
    root = packages()
    tree = dom0_tree(root)
    xen, kernel = only(root / "boot", "xen-*-amd64.gz"), only(root / "boot", "vmlinuz-*")
    digest = hashlib.sha256()
    for path, (mode, content) in sorted(tree.entries.items()):
        digest.update(f"{path} {mode} {len(content)} ".encode() + content)
    for path in (xen, kernel, guest_image.kernel(), pathlib.Path(__file__), *seeds):
        digest.update(pathlib.Path(path).read_bytes())
    digest.update(guest_initrd({}))
    digest.update(tool(["qemu-system-x86_64", "--version"]).encode())
    cache = root.parent
    folder = cache / ("host-" + digest.hexdigest()[:16])
    if folder.exists():
        return folder
    old = sorted(cache.glob("host-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in old[KEPT_IMAGES - 1:]:
        shutil.rmtree(path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache) as work:
        image = pathlib.Path(work) / "image"
        image.mkdir()
        image.joinpath("xen.elf").write_bytes(gzip.decompress(xen.read_bytes()))
        shutil.copy(kernel, image / "vmlinuz")
        cd = guest_cd(root, pathlib.Path(work), {}).read_bytes()
        image.joinpath("dom0.cpio").write_bytes(
            Tree({**tree.entries, "/guest.iso": (stat.S_IFREG | 0o644, cd)}).pack())
        image.rename(folder)
    return folder


def programs_disk(path, bin_folder, guest_files):
    """Writes the disk with what is read after the start: the project's programs for Dom0
    and, by path there, the files for the guests.  Returns where the two archives are, each
    as (start, length) in MiB."""
    root = packages()
    present = dom0_tree(root).entries
    dom0, guest = Tree(), Tree()
    for name in ("vgpu-mediator", "vgpu-keeper", "vgpu-worker", "vgpu-admin"):
        add_program(dom0, "/usr/bin/" + name, pathlib.Path(bin_folder) / name, root, present)
    for there, here in guest_files.items():
        guest.file(there, here)
    with tempfile.TemporaryDirectory() as work:
        dom0.file(GUEST_CD, guest_cd(root, pathlib.Path(work), guest_files), 0o644)
    places = []
    with open(path, "wb") as disk:
        start_mib = 1
        for tree in (dom0, guest):
            archive = tree.archive()
            disk.seek(start_mib << 20)
            disk.write(archive)
            places.append((start_mib, -(-len(archive) >> 20)))
            start_mib += places[-1][1]
        if start_mib >= DISK_MIB:
            raise ImageError(f"the programs need more than {DISK_MIB} MiB: raise DISK_MIB")
        disk.truncate(DISK_MIB << 20)
    return places
