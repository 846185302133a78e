# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding QEMUs: sockets in chroots, whose they are, what hostile chroots can't do."""
import os
import stat
import subprocess

import pytest

import wire
from fake_qemu import QEMU_UID, FakeQemu, Proc
from mediator import Mediator, wait_for

UUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot: run as root")


@pytest.fixture
def mediator(lab):
    with Mediator(lab, trust=False, discovery=True) as running:
        yield running


def test_a_socket_appears_works_and_goes(mediator, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu("-uuid", UUID, "-name", "guest=jailed", "-device", "vgpu-stub,vm_id=4",
                  root=jail, uid=QEMU_UID) as qemu:
        wait_for(path.exists, "the socket")
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        assert (status.st_uid, status.st_gid) == (QEMU_UID, QEMU_UID)
        with wait_for(lambda: qemu.connect(vm_id=4), "the socket to listen") as device:
            assert device.add(40, 2) == 42
            vm = mediator.vm(4)
            assert vm["uuid"] == UUID and vm["name"] == "jailed"
            with mediator.admin() as admin:
                assert admin.call(wire.SHOW_HEALTH)["mediator"]["qemus"] == 1
    wait_for(lambda: not path.exists(), "the socket to be removed")


def test_a_qemu_that_was_there_before(lab, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        with Mediator(lab, trust=False, discovery=True):
            wait_for(path.exists, "the socket")
            with wait_for(lambda: qemu.connect(vm_id=9), "the socket to listen") as device:
                assert device.add(1, 2) == 3
        assert not path.exists()


def test_folder_of_root(mediator, jail):
    """The QEMU's user may not write there: the socket is its all the same."""
    os.chown(jail / "tmp", 0, 0)
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        wait_for(lambda: path.exists() and path.stat().st_uid == QEMU_UID, "the socket")
        with wait_for(lambda: qemu.connect(), "the socket to listen") as device:
            assert device.add(1, 2) == 3


def test_missing_folder_is_made_and_removed(mediator, jail):
    (jail / "tmp").rmdir()
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        wait_for(path.exists, "the socket")
        with wait_for(lambda: qemu.connect(), "the socket to listen") as device:
            assert device.add(1, 2) == 3
    wait_for(lambda: not (jail / "tmp").exists(), "the folder to be removed")


def test_the_path_of_its_chardev(mediator, jail):
    (jail / "run").mkdir()
    os.chown(jail / "run", QEMU_UID, QEMU_UID)
    path = jail / "run" / "gpu.sock"
    with FakeQemu("-uuid", UUID, "-chardev", "socket,id=g,path=/run/gpu.sock,reconnect=1",
                  "-device", "vgpu-stub,chardev=g", root=jail, uid=QEMU_UID, path="/run/gpu.sock"):
        wait_for(path.exists, "the socket")
        assert not (jail / "tmp" / "vgpu-mediator.sock").exists()


def test_links_in_a_chroot_lead_nowhere(mediator, jail, lab):
    """A hostile QEMU points its tmp, or the socket's name, at something outside."""
    outside = lab / "outside"
    outside.mkdir()
    (jail / "tmp").rmdir()
    (jail / "tmp").symlink_to(outside)
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID):
        wait_for(lambda: "no socket can be made" in mediator.log(), "the refusal")
        assert list(outside.iterdir()) == []


def test_a_name_that_is_taken_is_left_alone(mediator, jail, lab):
    precious = lab / "precious"
    precious.write_text("keep")
    (jail / "tmp" / "vgpu-mediator.sock").symlink_to(precious)
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID):
        wait_for(lambda: "no socket can be made" in mediator.log(), "the refusal")
        assert precious.read_text() == "keep" and precious.stat().st_uid == 0
        assert (jail / "tmp" / "vgpu-mediator.sock").is_symlink()


def test_two_qemus_in_one_chroot_share_its_socket(mediator, jail):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with FakeQemu("-device", "vgpu-stub,vm_id=1", root=jail, uid=QEMU_UID) as one:
        wait_for(path.exists, "the socket")
        with FakeQemu("-device", "vgpu-stub,vm_id=2", root=jail, uid=QEMU_UID) as two:
            wait_for(lambda: one.found_by(mediator) and two.found_by(mediator), "both to be found")
            with one.connect(vm_id=1) as first, two.connect(vm_id=2) as second:
                assert first.add(1, 1) == 2 and second.add(1, 2) == 3
            with two.connect(vm_id=1) as liar:
                try:
                    assert liar.run(wire.NOP).status != wire.OK
                except (wire.Closed, BrokenPipeError):
                    pass
        with one.connect(vm_id=1) as again:
            assert again.add(1, 1) == 2
        assert path.exists()
    wait_for(lambda: not path.exists(), "the socket to be removed")


def test_nobody_poses_as_a_vm_in_a_user_namespace(mediator, jail):
    """Any local user may go into a chroot there, with any command line."""
    try:
        subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=True,
                       stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespaces here")
    body = ("import ctypes, os, sys\n"
            "assert ctypes.CDLL(None).unshare(0x10000000) == 0\n"
            "os.chroot(sys.argv[1])\n"
            "sys.stdout.write('r'); sys.stdout.flush()\n"
            "sys.stdin.read()\n")
    with subprocess.Popen(["qemu-system-x86_64", "-c", body, str(jail), "-uuid", UUID, "-device",
                           "vgpu-stub"], executable="/usr/bin/python3", stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, user=QEMU_UID, group=QEMU_UID,
                          extra_groups=[]) as process:
        assert process.stdout.read(1) == b"r"
        Proc.current.show(process.pid)
        with FakeQemu("-uuid", UUID, "-device", "vgpu-stub") as qemu:
            wait_for(lambda: qemu.found_by(mediator), "a scan")
        wait_for(lambda: "user namespace" in mediator.log(), "the refusal")
        assert list((jail / "tmp").iterdir()) == []
        process.stdin.close()


def test_other_processes_get_nothing(mediator, jail):
    with FakeQemu("-uuid", UUID, "-device", "virtio-net", "-name", "vgpu-stub", root=jail):
        with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", path=mediator.socket) as plain:
            with plain.connect(vm_id=2) as device:
                assert device.add(1, 2) == 3
            wait_for(lambda: plain.found_by(mediator), "the scan")
        assert list((jail / "tmp").iterdir()) == []


def test_many_come_and_go_without_a_leak(mediator, lab):
    before = mediator.fds()
    for round_number in range(2):
        qemus = []
        for i in range(6):
            root = lab / f"root{i}"
            (root / "tmp").mkdir(parents=True, exist_ok=True)
            qemus.append(FakeQemu("-device", f"vgpu-stub,vm_id={i + 1}", root=root))
        wait_for(lambda: all((lab / f"root{i}/tmp/vgpu-mediator.sock").exists() for i in range(6)),
                 "the sockets")
        for qemu in qemus:
            qemu.end()
        wait_for(lambda: not any((lab / f"root{i}/tmp/vgpu-mediator.sock").exists()
                                 for i in range(6)), "the sockets to go")
    wait_for(lambda: mediator.fds() <= before, "the descriptors to be closed")


@pytest.mark.parametrize("program", ["/usr/bin/timeout", "/usr/bin/dash"])
def test_a_wrapper_is_no_qemu(mediator, jail, program):
    """It has the whole command line of the QEMU that it starts on its own."""
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID,
                  program=program) as wrapper, FakeQemu("-device", "vgpu-stub,vm_id=2") as qemu:
        wait_for(lambda: qemu.found_by(mediator), "a scan")
        assert not wrapper.found_by(mediator)
        assert list((jail / "tmp").iterdir()) == []


def test_a_mediator_of_this_host_leaves_the_tests_alone(lab, jail):
    """Their QEMUs are Python's processes: so the tests pass beside a mediator that runs."""
    with FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu, \
            Mediator(lab, trust=False, discovery=True, proc=False) as of_host, \
            Mediator(lab / "qemus", trust=False, discovery=True) as mediator:
        wait_for(lambda: qemu.found_by(mediator), "a scan")
        with wait_for(lambda: qemu.connect(), "the socket to listen") as device:
            assert device.add(1, 2) == 3
        with of_host.device() as stranger:
            assert stranger.ended()
        assert not qemu.found_by(of_host)
