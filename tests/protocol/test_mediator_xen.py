# SPDX-License-Identifier: GPL-2.0-or-later
"""On a Xen host: XenStore says which VM a QEMU is, whatever that QEMU says about itself."""
import os
import socket
import subprocess

import pytest

import wire
from fake_qemu import QEMU_UID, FakeQemu
from fake_xenstore import FakeXenStore
from mediator import Mediator, wait_for

ATTACKER = "00000000-0000-4000-8000-00000000000a"
VICTIM = "00000000-0000-4000-8000-00000000000b"
ARGUMENTS = ("-xen-domid", "1", "-device", "vgpu-stub")
PID_NODE = "/image/device-model-pid"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot: run as root")


@pytest.fixture
def store(lab, monkeypatch):
    with FakeXenStore(lab / "xenstored") as fake:
        fake.domain(1, ATTACKER, "attacker")
        # The victim's device model is a process that lives, and is not the attacker's.
        fake.domain(2, VICTIM, "victim", os.getpid())
        monkeypatch.setenv("XENSTORED_PATH", fake.path)
        yield fake


def start(lab, *arguments, **options):
    return Mediator(lab, *arguments, trust=False, discovery=True, **options)


def not_served(mediator, qemu):
    return [line for line in mediator.log().splitlines()
            if f"QEMU {qemu.process.pid} is not served" in line]


def check_served(mediator, qemu, vm_id, uuid, name):
    with wait_for(lambda: qemu.connect(vm_id), "the socket to listen") as device:
        assert device.add(40, 2) == 42
        assert (mediator.vm(vm_id)["uuid"], mediator.vm(vm_id)["name"]) == (uuid, name)


def check_not_served(mediator, qemu, path):
    """The mediator has looked at it and has told why; there is no socket, and no VM has a job."""
    line, *_ = wait_for(lambda: not_served(mediator, qemu), "the refusal")
    assert not path.exists() and not qemu.found_by(mediator)
    assert mediator.status()["vms"] == []
    return line


def refused(device):
    """Whoever it is, it gets nothing done."""
    try:
        return device.run(wire.NOP).status != wire.OK
    except (wire.Closed, BrokenPipeError, ConnectionResetError):
        return True


def test_xenstore_decides(lab, store, jail):
    """What the command line says besides the domain's number does not count."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    with start(lab) as mediator, FakeQemu("-uuid", VICTIM, "-name", "victim", *ARGUMENTS,
                                          root=jail, uid=QEMU_UID) as qemu:
        store.device_model(1, qemu.process.pid)
        wait_for(path.exists, "the socket")
        check_served(mediator, qemu, 4, ATTACKER, "attacker")


def test_a_lie_does_not_outlive_the_mediator(lab, store, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu(*ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
        store.device_model(1, qemu.process.pid)
        with start(lab) as mediator:
            wait_for(path.exists, "the socket")
            qemu.rewrite(b"-xen-domid\0001\0", b"-xen-domid\0002\0")
            check_served(mediator, qemu, 4, ATTACKER, "attacker")
        mediator.log_path.unlink()
        with start(lab) as mediator:
            line = check_not_served(mediator, qemu, path)
            assert "domain 2's" in line and "names another process" in line
            assert "/local/domain/2/image/device-model-pid" in line
            # The truth is believed again.
            qemu.rewrite(b"-xen-domid\0002\0", b"-xen-domid\0001\0")
            wait_for(path.exists, "the socket")
            check_served(mediator, qemu, 4, ATTACKER, "attacker")


def test_without_a_domain_it_is_nobody(lab, store, jail):
    """It names no domain, so that XenStore is not asked, and the victim's UUID."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    room = "x" * len(VICTIM)
    with FakeQemu("-boot", room, *ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
        store.device_model(1, qemu.process.pid)
        qemu.rewrite(b"-boot\0" + room.encode(), b"-uuid\0" + VICTIM.encode())
        qemu.rewrite(b"-xen-domid\0", b"-vga-domid\0")
        with start(lab) as mediator:
            line = check_not_served(mediator, qemu, path)
            assert "no -xen-domid" in line and "--vm UUID=PATH" in line


@pytest.mark.parametrize("arguments", [("-xen-domid", "2"), ("-uuid", VICTIM),
                                       ("-xen-domid", "32768"), ("-xen-domid", "-1")])
def test_the_shared_socket_believes_no_more(lab, store, arguments):
    with start(lab) as mediator, FakeQemu(*arguments, "-device", "vgpu-stub,vm_id=4",
                                          path=mediator.socket) as qemu:
        with qemu.connect(vm_id=4) as device:
            assert refused(device)
        wait_for(lambda: not_served(mediator, qemu), "the refusal")
        with qemu.connect(vm_id=4) as device:
            assert refused(device)
        assert mediator.status()["vms"] == [] and not qemu.found_by(mediator)


def test_claims_are_not_trusted_instead(lab, store):
    """--trust-claims is for peers that are no QEMU."""
    with Mediator(lab, proc=True) as mediator, FakeQemu(
            "-uuid", VICTIM, "-device", "vgpu-stub,vm_id=4", path=mediator.socket) as qemu:
        with qemu.connect(vm_id=4) as device:
            assert refused(device)
        assert not_served(mediator, qemu)


def test_a_process_that_the_domain_does_not_name(lab, store, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with start(lab) as mediator, FakeQemu(*ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
        store.device_model(1, os.getpid())
        assert "names another process" in check_not_served(mediator, qemu, path)


def test_the_pid_comes_late(lab, store, jail):
    """The toolstack writes it after it has started QEMU; a guest just created."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    store.destroy(1)
    with start(lab) as mediator, FakeQemu(*ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
        wait_for(lambda: store.times_asked("/1" + PID_NODE), "a look at it")
        assert not path.exists()
        store.domain(1, ATTACKER, "attacker")
        before = store.times_asked("/1" + PID_NODE)
        wait_for(lambda: store.times_asked("/1" + PID_NODE) > before + 1, "another look")
        assert not path.exists() and not qemu.found_by(mediator)
        store.device_model(1, qemu.process.pid)
        wait_for(path.exists, "the socket")
        check_served(mediator, qemu, 4, ATTACKER, "attacker")


def test_a_pid_that_is_no_number(lab, store, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with start(lab) as mediator, FakeQemu(*ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
        pid = qemu.process.pid
        for value in (f"{pid} ", pid + 2 ** 32, "9" * 4000):
            store.device_model(1, value)
            before = store.times_asked("/1" + PID_NODE)
            wait_for(lambda: store.times_asked("/1" + PID_NODE) > before + 1, "a look at it")
            assert not path.exists() and not qemu.found_by(mediator)
        line, = not_served(mediator, qemu)
        assert "domain 1" in line
        store.device_model(1, pid)
        wait_for(path.exists, "the socket")


def test_a_silent_xenstore(lab, store, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    store.silent = True
    with start(lab) as mediator, FakeQemu("-uuid", VICTIM, *ARGUMENTS, root=jail,
                                          uid=QEMU_UID) as qemu:
        store.device_model(1, qemu.process.pid)
        line = check_not_served(mediator, qemu, path)
        assert "timed out" in line and "xenstore-ls" in line
        store.silent = False
        wait_for(path.exists, "the socket")
        check_served(mediator, qemu, 4, ATTACKER, "attacker")


def test_a_xenstore_that_is_not_there(lab, jail, monkeypatch):
    """The administrator said that there is one: its absence opens no door."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    monkeypatch.setenv("XENSTORED_PATH", str(lab / "nobody"))
    with start(lab) as mediator, FakeQemu("-uuid", VICTIM, *ARGUMENTS, root=jail,
                                          uid=QEMU_UID) as qemu:
        assert "refused" in check_not_served(mediator, qemu, path)


def test_destroyed_and_created_again(lab, store, jail):
    """The VM has another domain and another process, and is the same VM."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    with start(lab) as mediator:
        with FakeQemu(*ARGUMENTS, root=jail, uid=QEMU_UID) as qemu:
            store.device_model(1, qemu.process.pid)
            wait_for(path.exists, "the socket")
            check_served(mediator, qemu, 4, ATTACKER, "attacker")
            store.destroy(1)
            # It ends a little later than its domain, and keeps what it has until then.
            check_served(mediator, qemu, 4, ATTACKER, "attacker")
        wait_for(lambda: not path.exists(), "the socket to be removed")
        with FakeQemu("-xen-domid", "3", "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
            store.domain(3, ATTACKER, "attacker", qemu.process.pid)
            wait_for(path.exists, "the socket")
            check_served(mediator, qemu, 4, ATTACKER, "attacker")
        assert len(mediator.status()["vms"]) == 1


# ---- how it is found out whether there is a XenStore ----

IN_A_WORLD_OF_ITS_OWN = "mount -t tmpfs none /run && mkdir /run/xenstored && "
DOM0_DEVICES = """
mkdir {0} && mount -t tmpfs none {0} && mkdir {0}/xen && : >{0}/xen/xenbus_backend &&
for name in null zero full random urandom; do
    : >{0}/$name && mount --bind /dev/$name {0}/$name || exit 1
done && mount --rbind {0} /dev && """


def world(lab, monkeypatch, script):
    """The mediator where there are other files: prefix for Mediator."""
    monkeypatch.delenv("XENSTORED_PATH", raising=False)
    prefix = ("unshare", "--mount", "sh", "-c", script + 'exec "$@"', "sh")
    try:
        subprocess.run([*prefix, "true"], check=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no mount namespaces here")
    for leftover in lab.glob("dev"):
        leftover.rmdir()
    return prefix


def test_found_at_its_usual_place(lab, store, jail, monkeypatch):
    path = jail / "tmp" / "vgpu-mediator.sock"
    prefix = world(lab, monkeypatch,
                   IN_A_WORLD_OF_ITS_OWN + f"ln -s {store.path} /run/xenstored/socket && ")
    with start(lab, prefix=prefix) as mediator, FakeQemu("-uuid", VICTIM, *ARGUMENTS, root=jail,
                                                         uid=QEMU_UID) as qemu:
        store.device_model(1, qemu.process.pid)
        wait_for(path.exists, "the socket")
        check_served(mediator, qemu, 4, ATTACKER, "attacker")
        with FakeQemu("-uuid", VICTIM, "-device", "vgpu-stub", path=mediator.socket) as liar:
            wait_for(lambda: not_served(mediator, liar), "the refusal")


def test_dom0_without_a_xenstore(lab, jail, monkeypatch):
    """It is restarted, or not there yet: the kernel says that this is Dom0."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    prefix = world(lab, monkeypatch, DOM0_DEVICES.format(lab / "dev"))
    with start(lab, prefix=prefix) as mediator:
        with FakeQemu(*ARGUMENTS, "-uuid", VICTIM, root=jail, uid=QEMU_UID) as qemu:
            assert "refused" in check_not_served(mediator, qemu, path)
        with FakeQemu("-uuid", VICTIM, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
            assert "no -xen-domid" in check_not_served(mediator, qemu, path)


def test_a_socket_that_is_left_over_is_no_xenstore(lab, jail, monkeypatch):
    """No Xen: the command line says who it is, as always."""
    path = jail / "tmp" / "vgpu-mediator.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as nobody:
        nobody.bind(str(lab / "left-over"))
    prefix = world(lab, monkeypatch,
                   IN_A_WORLD_OF_ITS_OWN + f"ln -s {lab}/left-over /run/xenstored/socket && ")
    with start(lab, prefix=prefix) as mediator, FakeQemu(
            "-uuid", VICTIM, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        wait_for(path.exists, "the socket")
        check_served(mediator, qemu, 4, VICTIM, "")
