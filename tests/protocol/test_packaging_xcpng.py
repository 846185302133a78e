# SPDX-License-Identifier: GPL-2.0-or-later
"""packaging/xcp-ng.  The lines that qemu-wrapper.diff adds run here in a stand-in for XCP-ng's
qemu-wrapper: of a key that a VM's administrator may write, only vgpu-stub devices reach a QEMU
that is still root."""
import configparser
import pathlib
import re
import shutil
import subprocess

import pytest

from adminkit import TREE, UUID

FOLDER = TREE / "packaging" / "xcp-ng"
KEY = "/local/domain/7/platform/device-model-args"
BEFORE = ["qemu-dm-7", "-device", "VGA,vgamem_mb=16,addr=2"]
DEVICE = "vgpu-stub,pool_id=A,priority=medium,vm_id=1"


def hunk():
    """The diff's one hunk: (its counts, its lines)."""
    lines = (FOLDER / "qemu-wrapper.diff").read_text(encoding="ascii").splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("@@")]
    assert len(starts) == 1
    counts = re.match(r"@@ -\d+,(\d+) \+\d+,(\d+) @@", lines[starts[0]])
    return tuple(map(int, counts.groups())), lines[starts[0] + 1:]


def added():
    return [line[1:] for line in hunk()[1] if line[0] == "+"]


def wrapped(value, depriv=True):
    """QEMU's arguments when XenStore has this value (bytes, as the binding gives them)."""
    lines = ["def main(qemu_args, domid, depriv, xenstore_read):"]
    lines += [line[1:] for line in hunk()[1] if line[0] in " +"]
    lines += ["        qemu_args += ['-chroot', root_dir]", "    return qemu_args"]
    names = {}
    exec(compile("\n".join(lines), "qemu-wrapper", "exec"), names)  # pylint: disable=exec-used
    args = names["main"](list(BEFORE), 7, depriv, {KEY: value}.get)
    tail = args[len(BEFORE):]
    assert args[:len(BEFORE)] == BEFORE
    # What the wrapper has of its own stays, in its order.
    own = ["-chardev", "stdio,id=ovmf", "-device", "isa-debugcon,chardev=ovmf,iobase=0x402"]
    assert tail[:len(own)] == own
    end = ["-chroot", "/var/xen/qemu/root-7"] if depriv else []
    assert tail[len(tail) - len(end):] == end
    return tail[len(own):len(tail) - len(end)]


def test_the_diff_is_one_hunk_that_only_adds():
    (old, new), lines = hunk()
    assert {line[0] for line in lines} == {" ", "+"}
    assert old == sum(line[0] == " " for line in lines) and new == len(lines)
    # XCP-ng's names, none of which is imported for us; after VGA and "-priv", before the chroot.
    assert not re.search(r"\bimport\b|shlex|\bre\.", "\n".join(added()))
    assert lines[lines.index("+") + 1] == "     if depriv:"


@pytest.mark.skipif(not shutil.which("patch"), reason="no patch(1)")
def test_the_diff_applies_and_comes_off(tmp_path):
    kept = [line[1:] for line in hunk()[1] if line[0] == " "]
    text = "\n".join(["import os"] * 290 + ["def main(argv):"] + kept + ["import os"] * 60) + "\n"
    wrapper = tmp_path / "qemu-wrapper"
    wrapper.write_text(text, encoding="ascii")
    wrapper.chmod(0o755)
    for options in ([], ["-R"]):
        with open(FOLDER / "qemu-wrapper.diff", encoding="ascii") as diff:
            subprocess.run(["patch", "--no-backup-if-mismatch", *options, wrapper], stdin=diff,
                           check=True, stdout=subprocess.DEVNULL)
        assert ("vgpu-stub" in wrapper.read_text(encoding="ascii")) == (not options)
        assert wrapper.stat().st_mode & 0o777 == 0o755
    assert wrapper.read_text(encoding="ascii") == text
    assert list(tmp_path.iterdir()) == [wrapper]


@pytest.mark.parametrize("value, passed", [
    (None, []),
    ("", []),
    ("-device vgpu-stub", ["vgpu-stub"]),
    ("-device vgpu-stub,addr=1e", ["vgpu-stub,addr=1e"]),
    (f"-device {DEVICE}", [DEVICE]),
    (f"  -device\t{DEVICE},wait-mediator=on ", [DEVICE + ",wait-mediator=on"]),
    ("-device vgpu-stub,vm_id=1 -device vgpu-stub,vm_id=2,priority=0",
     ["vgpu-stub,vm_id=1", "vgpu-stub,vm_id=2,priority=0"]),
    # Other arguments that somebody keeps there don't hide the device.
    (f"-trace enable -device {DEVICE} -nodefaults", [DEVICE]),
])
def test_the_devices_pass(value, passed):
    want = [word for device in passed for word in ("-device", device)]
    for depriv in (True, False):
        assert wrapped(value.encode() if value else value, depriv) == want
        assert wrapped(value, depriv) == want


HOSTILE = [
    "-priv", "-xen-domid 0", "-runas 0:0", "-chroot /", "-S", "--syslog",
    "-drive file=/etc/shadow,format=raw,if=none", "-hda /dev/sda", "-cdrom /etc/shadow",
    "-chardev file,id=x,path=/etc/cron.d/x", "-serial file:/root/.ssh/authorized_keys",
    "-monitor unix:/tmp/m,server,nowait", "-qmp tcp:0.0.0.0:4444,server", "-loadvm /etc/shadow",
    "-incoming exec:id", "-object secret,id=s,file=/etc/shadow", "-readconfig /tmp/c",
    "-fsdev local,id=f,path=/,security_model=none", "-netdev tap,id=n,script=/tmp/s",
    "-D /etc/passwd", "-pidfile /etc/passwd", "-sandbox off", "-L /tmp", "-plugin /tmp/p.so",
    # Other devices, and names that only begin like ours.
    "-device virtio-9p-pci,fsdev=f", "-device VGA", "-device vgpu-stub2,a=b", "-device vgpu",
    "-device xvgpu-stub", "-device vgpu-stub=,a=b", "-device driver=VGA,id=vgpu-stub",
    "-device vgpu-stub.so", "-device VGPU-STUB", "-device", "-device -device", "vgpu-stub",
    "--device vgpu-stub", "-device=vgpu-stub", "-device vgpu-stub;id", "-device ,vgpu-stub",
    '-device {"driver":"vgpu-stub"}', "-device 'vgpu-stub'", '-device "vgpu-stub"',
    # Our device with what every PCI device has: its option ROM is any file that root can read.
    "-device vgpu-stub,romfile=/etc/shadow", "-device vgpu-stub,romfile=shadow",
    f"-device {DEVICE},romfile=/etc/shadow",
    "-device vgpu-stub,driver=VGA", "-device vgpu-stub,chardev=ovmf", "-device vgpu-stub,addr=1.0",
    "-device vgpu-stub,bus=pci.0", "-device vgpu-stub,id=x", "-device vgpu-stub,multifunction=on",
    "-device vgpu-stub,help", "-device vgpu-stub,?", "-device vgpu-stub,", "-device vgpu-stub,,",
    "-device vgpu-stub,rombar=1", "-device vgpu-stub,pool_id", "-device vgpu-stub,pool_id=",
    # More hidden in a value, by QEMU's own quoting or another.
    "-device vgpu-stub,pool_id=A,,romfile=/x", "-device vgpu-stub,pool_id=A,romfile=/x",
    "-device vgpu-stub,pool_id=A=,x", "-device vgpu-stub,pool_id==A", "-device vgpu-stub,=A",
    "-device vgpu-stub,pool_id=/etc", "-device vgpu-stub,pool_id=../x",
    "-device vgpu-stub,pool_id=A%n",
    "-device vgpu-stub,vm_id=-1", "-device vgpu-stub,vm_id=$(id)",
    "-device vgpu-stub,vm_id=1;-priv",
    "-device vgpu-stub,priority='low'", "-device vgpu-stub,priority=\\x41",
    "-device vgpu-stub, romfile=/x", "-device \x00vgpu-stub",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_nothing_else_passes(value, capsys):
    own = ["-device", DEVICE]
    assert wrapped(value.encode()) == []
    # Nor beside a device that does pass; what follows "-device" is never an option by itself.
    assert wrapped(f"{value} -device {DEVICE}".encode()) == own
    assert wrapped(f"-device {DEVICE} {value}".encode()) == own
    for line in capsys.readouterr().out.splitlines():
        assert re.match("vgpu-mediator: left out: -device ['\"]vgpu-stub,", line)
        assert line.isascii() and line.isprintable()


@pytest.mark.parametrize("byte", [0x80, 0xb2, 0xe9, 0xff])
def test_bytes_that_are_no_text_stop_no_vm(byte, capsys):
    """Under Dom0's Python 3.6 and its C locale, to print such a byte raised an exception."""
    assert wrapped(b"-device vgpu-stub,pool_id=A" + bytes([byte])) == []
    assert wrapped(bytes([byte]) + b" -device vgpu-stub") == ["-device", "vgpu-stub"]
    assert capsys.readouterr().out.isascii()


def test_what_attach_vm_writes_passes(kit):
    kit.toolstack("xe", [{"uuid": UUID[1], "name": "web 1", "state": "halted"}])
    kit.ok("init-db")
    for n, (pool, priority) in enumerate((("A", "low"), ("B", "medium"), ("A", "high")), 1):
        kit.ok("register-vm", "--vm-name=web 1", f"--pool={pool}", f"--priority={priority}",
               f"--vm-id={n}")
        kit.ok("attach-vm", f"--vm-id={n}")
        args = kit.state()["vms"][0]["args"]
        assert wrapped(args.encode()) == args.split() and len(args.split()) == 2
        kit.ok("remove-vm", f"--vm-id={n}", "--yes")


def release(spec_diff):
    return re.search(r"^\+Release: %\{\?xsrel\}\.(\S+)%\{\?dist\}$", spec_diff, re.M).group(1)


def parts(version):
    """rpm's order, as far as these need it: a number is newer than letters, more is newer."""
    return [(1, int(p)) if p.isdigit() else (0, p) for p in re.findall(r"\d+|[a-z]+", version)]


def test_the_release_lies_between_xcpngs_own():
    diff = (FOLDER / "qemu.spec.diff").read_text(encoding="utf-8")
    old = re.search(r"^-Release: %\{\?xsrel\}\.(\d+)%\{\?dist\}$", diff, re.M).group(1)
    ours = parts(f"5.2.15.{release(diff)}.xcpng8.3")
    assert parts(f"5.2.15.{old}.xcpng8.3") < ours
    for later in (f"{old}.1", str(int(old) + 1)):
        assert ours < parts(f"5.2.15.{later}.xcpng8.3")
    assert ours < parts("5.2.16.1.xcpng8.3")


def test_the_unit_suits_old_and_new_systemd():
    """219, CentOS 7's, knows the start limit only in [Service] and only by its old name."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((TREE / "packaging" / "systemd" / "vgpu-mediator.service").read_text())
    assert unit["Service"]["StartLimitInterval"] == "60"
    assert unit["Service"]["StartLimitBurst"] == "10"
    assert not [key for key in unit["Unit"] if key.startswith("StartLimit")]


def test_the_package_has_what_the_procedure_takes():
    spec = (FOLDER / "vgpu-mediator.spec").read_text(encoding="utf-8")
    files = spec.split("%files")[1]
    for program in re.findall(r"^/usr/bin/(\S+)$", files, re.M):
        assert f"/usr/share/man/man8/{program}.8.gz\n" in files, program
    for name in ("qemu-wrapper.diff", "qemu.spec.diff", "troubleshooting.md", "operations.md"):
        assert f"/usr/share/vgpu/xcp-ng/{name}\n" in files
    guide = (TREE / "docs" / "xcp-ng.md").read_text(encoding="utf-8")
    for path in set(re.findall(r"/usr/share/vgpu/xcp-ng/[\w.-]+", guide)):
        assert path in files and (FOLDER / pathlib.Path(path).name).exists(), path


def test_the_reset_command_asks_systemd(tmp_path):
    """The unit gives the mediator's children no right to reset a GPU."""
    for name, body in (("systemctl", 'echo "$@" >>asked; test ! -e fails'),
                       ("journalctl", 'echo "nvidia-smi says no"')):
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = TREE / "packaging" / "systemd" / "vgpu-gpu-reset"
    command = [str(script), "GPU-0123-ab"]
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert (tmp_path / "asked").read_text() == "start vgpu-gpu-reset@GPU-0123-ab.service\n"
    (tmp_path / "fails").touch()
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "nvidia-smi says no\n")
