# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding QEMUs: sockets in chroots, whose they are, what hostile chroots can't do."""
import os
import pwd
import socket
import stat
import struct
import subprocess

import pytest

import keeper as kp
import wire
from fake_qemu import QEMU_UID, FakeQemu, Proc
from keeper import Keeper, Link
from mediator import Mediator, alive, children, wait_for

NOBODY = pwd.getpwnam("nobody")
UUID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may chroot: run as root")


@pytest.fixture(params=["root", "user"])
def mediator(lab, request):
    """As root it does all itself; as another user what needs root is the keeper's."""
    if request.param == "root":
        with Mediator(lab, trust=False, discovery=True) as running:
            yield running
        return
    os.chown(lab, NOBODY.pw_uid, NOBODY.pw_gid)
    os.chmod(lab, 0o755)
    with keeper_for_user(lab) as keeper, \
            Mediator(lab, "--keeper-socket", keeper.path, trust=False, discovery=True,
                     user=NOBODY.pw_uid) as running:
        assert rights_of(running.process.pid) == (NOBODY.pw_uid, 0)
        yield running


def keeper_for_user(lab, *arguments):
    return Keeper(lab, "--mediator-user", NOBODY.pw_name, "--proc", Proc.current.folder, *arguments)


def rights_of(pid):
    """Its uid and its capabilities."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        fields = dict(line.split(":", 1) for line in status)
    return int(fields["Uid"].split()[1]), int(fields["CapEff"], 16) | int(fields["CapPrm"], 16)


def helpers_of(keeper):
    """Its children that are the same program."""
    program, found = os.readlink(f"/proc/{keeper.process.pid}/exe"), []
    for pid in children(keeper.process.pid):
        try:
            found += [pid] if os.readlink(f"/proc/{pid}/exe") == program else []
        except OSError:
            pass  # it has ended meanwhile
    return found


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


# ---- a mediator without root's rights ----


@pytest.fixture(name="as_user")
def _as_user(lab):
    """A function that makes a mediator of another user, for a keeper."""
    os.chown(lab, NOBODY.pw_uid, NOBODY.pw_gid)
    os.chmod(lab, 0o755)

    def make(keeper, *arguments):
        return Mediator(lab, "--keeper-socket", keeper.path, *arguments, trust=False,
                        discovery=True, user=NOBODY.pw_uid)
    return make


def test_what_a_killed_mediator_made_is_removed(lab, jail, as_user):
    path = jail / "tmp" / "vgpu-mediator.sock"
    with keeper_for_user(lab) as keeper, \
            FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        first = as_user(keeper).start()
        wait_for(path.exists, "the socket")
        helpers = wait_for(lambda: helpers_of(keeper), "the helpers")
        first.kill()
        wait_for(lambda: not path.exists() and not any(map(alive, helpers)), "its end")
        with as_user(keeper):
            wait_for(path.exists, "the socket")
            with wait_for(qemu.connect, "the socket to listen") as device:
                assert device.add(1, 2) == 3


def test_another_keeper_has_other_helpers(lab, jail, as_user):
    other = lab / "other"
    (other / "tmp").mkdir(parents=True)
    with keeper_for_user(lab) as keeper:
        mediator = as_user(keeper).start()
        qemu = FakeQemu("-uuid", UUID, "-device", "vgpu-stub", root=jail, uid=QEMU_UID)
        wait_for((jail / "tmp" / "vgpu-mediator.sock").exists, "the socket")
        helpers = helpers_of(keeper)
        keeper.process.kill()
        wait_for(lambda: not any(map(alive, helpers)), "the helpers to end with it")
    with keeper_for_user(lab), FakeQemu("-device", "vgpu-stub,vm_id=2", root=other) as second:
        wait_for((other / "tmp" / "vgpu-mediator.sock").exists, "the other socket")
        with wait_for(second.connect, "the socket to listen") as device:
            device.vm_id = 2
            assert device.add(1, 2) == 3
        with wait_for(qemu.connect, "the first one, which stays") as device:
            assert device.add(2, 2) == 4
        mediator.__exit__(None, None, None)
        qemu.end()


def test_sockets_are_given_to_whom_they_are_for(lab, as_user):
    """A group that the mediator is not in; a QEMU's user, for the socket of its VM."""
    group, user = "daemon", pwd.getpwnam("daemon")
    path = lab / "web.sock"
    with keeper_for_user(lab) as keeper, \
            as_user(keeper, "--vm", f"{UUID}={path}", "--qemu-user", user.pw_name) as mediator:
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (NOBODY.pw_uid, 0o600)
        with FakeQemu("-uuid", UUID, "-chardev", f"socket,id=g,path={path}", "-device",
                      "vgpu-stub,chardev=g", uid=user.pw_uid, path=path) as qemu:
            wait_for(lambda: path.stat().st_uid == user.pw_uid, "the socket to be given")
            with wait_for(qemu.connect, "the socket to be open") as device:
                assert device.add(1, 2) == 3
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and mediator.log()
    with keeper_for_user(lab) as keeper, as_user(keeper, "--socket-group", group) as mediator:
        status = mediator.socket.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == \
            (NOBODY.pw_uid, user.pw_gid, 0o660)


def test_the_keepers_socket_is_for_that_user_alone(lab):
    os.chmod(lab, 0o755)
    with keeper_for_user(lab) as keeper:
        status = keeper.path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == \
            (0, NOBODY.pw_gid, 0o660)
        body = ("import socket, sys\n"
                "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
                "s.connect(sys.argv[1])\n"
                "sys.exit(len(s.recv(64)) != 48)\n")
        for uid, gid, can in ((NOBODY.pw_uid, NOBODY.pw_gid, True), (QEMU_UID, QEMU_UID, False),
                              (QEMU_UID, NOBODY.pw_gid, False)):
            done = subprocess.run(["/usr/bin/python3", "-c", body, str(keeper.path)], user=uid,
                                  group=gid, extra_groups=[], check=False, capture_output=True)
            assert (done.returncode == 0) == can, done.stderr
        assert "wants to be the mediator: refused" in keeper.log()
    done = subprocess.run([*keeper.command[:3], "--mediator-user", "no-such-user"],
                          capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "there is no user no-such-user" in done.stderr


# ---- what a helper does for a mediator that was taken over ----

REQUEST = struct.Struct("<IHHIIQIIII108sI")
REPLY = struct.Struct("<IHHiIIIQQ16s128s384s")
HOST_MAGIC = 0x48504756
LOOK, ROOT, DOMAIN, XEN, OPEN, LISTEN, CHECK, CLOSE, GIVE = range(1, 10)
IS_QEMU, IS_OTHER, IS_FOREIGN, IS_THERE, IS_HOSTS = 1, 2, 4, 8, 16
KEEP = 0xffffffff


class Helper:
    """Plays the mediator to one."""

    def __init__(self, keeper):
        self.link = Link(keeper.path)
        self.link.hello()
        ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        self.socket, self.other = ends[0][0], ends[1][0]
        self.socket.settimeout(wire.PATIENCE_S)
        self.link.say(kp.HELP, fds=[pair[1].fileno() for pair in ends])
        for pair in ends:
            pair[1].close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for end in (self.socket, self.other, self.link.socket):
            end.close()

    def ask(self, kind, pid=0, number=0, ticks=0, uid=KEEP, gid=KEEP, mode=0, flags=0, path=b"",
            fds=(), magic=HOST_MAGIC, version=1, pad=0):
        """(error, flags, place, descriptors)"""
        data = REQUEST.pack(magic, version, kind, pid, number, ticks, uid, gid, mode, flags, path,
                            pad)
        socket.send_fds(self.socket, [data], fds)
        data, got, _, _ = socket.recv_fds(self.socket, 1024, 4)
        if not data:
            return None
        reply = REPLY.unpack(data)
        assert reply[:3] == (HOST_MAGIC, 1, kind)
        return reply[3], reply[4], reply[5], got

    def open(self, qemu, path=b"/tmp/vgpu-mediator.sock", **changes):
        pid = qemu.process.pid
        return self.ask(OPEN, **{"pid": pid, "ticks": ticks_of(pid), "path": path, **changes})


def ticks_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def test_a_helper_makes_what_a_qemu_needs(lab, jail):
    with keeper_for_user(lab) as keeper, Helper(keeper) as helper, \
            FakeQemu("-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu:
        assert helper.ask(LOOK, pid=qemu.process.pid)[:2] == (0, IS_QEMU)
        error, flags, place, _ = helper.open(qemu)
        assert (error, flags) == (0, 0) and place > 0
        error, _, _, (listener,) = helper.ask(LISTEN, number=place)
        os.close(listener)
        path = jail / "tmp" / "vgpu-mediator.sock"
        assert error == 0 and (path.stat().st_uid, path.stat().st_mode & 0o777) == (QEMU_UID, 0o600)
        assert helper.ask(CHECK, number=place)[:2] == (0, IS_THERE)
        assert helper.ask(LISTEN, number=place)[0] < 0  # it is made already
        assert helper.ask(CLOSE, number=place, flags=1)[0] == 0
        assert not path.exists() and helper.ask(CHECK, number=place)[0] < 0


def test_a_helper_makes_nothing_elsewhere(lab, jail):
    """Not for a process that is no QEMU, not for one that it is no more, not where the host is."""
    with keeper_for_user(lab) as keeper, Helper(keeper) as helper, \
            FakeQemu("-device", "vgpu-stub", root=jail, uid=QEMU_UID) as qemu, \
            FakeQemu("-device", "vgpu-stub", root=jail, program="/usr/bin/dash") as shell, \
            FakeQemu("-device", "vgpu-stub") as of_host:
        assert helper.ask(LOOK, pid=shell.process.pid)[:2] == (0, IS_OTHER)
        assert helper.open(shell)[0] < 0
        assert helper.open(qemu, ticks=1)[0] < 0
        assert helper.open(qemu, path=b"/../tmp/x")[0] < 0
        assert helper.open(qemu, path=b"tmp/x")[0] < 0
        assert helper.open(qemu, path=b"/none/x")[0] < 0  # only the usual folder is made
        error, flags, place, _ = helper.open(of_host, path=bytes(lab) + b"/x")
        assert error == 0 and flags == IS_HOSTS
        assert helper.ask(LISTEN, number=place)[0] < 0 and not (lab / "x").exists()
        for number in (0, 2, 1024, 1025, KEEP):
            assert helper.ask(LISTEN, number=number)[0] < 0
        assert os.listdir(jail / "tmp") == []


def test_a_helper_gives_away_nothing_but_the_mediators_sockets(lab):
    os.chmod(lab, 0o777)
    with keeper_for_user(lab) as keeper, Helper(keeper) as helper:
        def give(name, **changes):
            fd = os.open(lab / name, os.O_PATH)
            try:
                return helper.ask(GIVE, fds=[fd], **{"uid": 1, "gid": 1, "mode": 0o660, **changes})
            finally:
                os.close(fd)

        def make(name):
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(lab / name))
        make("of-root")
        (lab / "file").write_text("")
        assert give("of-root", uid=1)[0] == 0  # the link is root's: here root is the mediator
        assert (lab / "of-root").stat().st_uid == 1
        assert give("of-root")[0] < 0  # not its own any more
        assert give("file")[0] < 0
        make("one")
        os.link(lab / "one", lab / "two")
        assert give("one")[0] < 0
        os.unlink(lab / "two")
        assert give("one", uid=0)[0] < 0 and give("one", mode=0o4777)[0] < 0
        assert helper.ask(GIVE, uid=1, gid=1, mode=0o600)[0] < 0  # nothing came with it
        assert (lab / "one").stat().st_uid == 0


@pytest.mark.parametrize("changes", [
    {"magic": 1}, {"version": 2}, {"kind": 0}, {"kind": 10}, {"flags": 2}, {"pad": 1},
    {"pid": 0x80000000}, {"path": b"x" * 108},
])
def test_a_helper_ends_with_who_makes_no_sense(lab, changes):
    with keeper_for_user(lab) as keeper, Helper(keeper) as helper:
        assert helper.ask(**{"kind": XEN, **changes}) is None
        wait_for(lambda: len(helpers_of(keeper)) == 1, "its end")
        assert keeper.process.poll() is None


def test_helpers_end_with_their_mediator_and_are_not_many(lab):
    with keeper_for_user(lab) as keeper:
        with Helper(keeper) as helper:
            wait_for(lambda: len(helpers_of(keeper)) == 2, "both")
            for _ in range(6):
                ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                helper.link.say(kp.HELP, fds=[end.fileno() for end in ends])
                ends[0].close()
                ends[1].close()
            wait_for(lambda: helper.ask(XEN)[0] == 0, "an answer")
            assert len(helpers_of(keeper)) <= 8
            for pid in helpers_of(keeper):
                wait_for(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 4,
                         "it to close all of the keeper's")
        wait_for(lambda: helpers_of(keeper) == [], "their end")
