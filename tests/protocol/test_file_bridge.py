# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-file-bridge: Phase 2's request files, done by a real mediator and its workers."""

import os
import re
import signal
import subprocess

import pytest
import wire
from mediator import Mediator, program, wait_for

READY = "0:Ready\n"


class Bridge:
    """A running vgpu-file-bridge on the folders below `root`."""

    def __init__(self, root, socket_path, *arguments):
        self.root = root
        self.log_path = root.parent / "bridge.log"
        self.command = [program("vgpu-file-bridge"), "--root", root, "--socket", socket_path,
                        "--log-level", "debug", *arguments]  # fmt: skip

    def __enter__(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for(lambda: "serving" in self.log() or self.process.poll() is not None, "the bridge")
        assert self.process.poll() is None, self.log()
        return self

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        assert failure[0] or status == 0, self.log()
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def folder(self, vm_id):
        return self.root / f"vm{vm_id}"

    def response(self, vm_id):
        return (self.folder(vm_id) / "response.txt").read_text()

    def write(self, vm_id, text):
        (self.folder(vm_id) / "request.txt").write_text(text)

    def answered(self, vm_id):
        """The next answer; the request file is empty by then."""
        text = wait_for(
            lambda: (lambda r: r.endswith("\n") and r != READY and r)(self.response(vm_id)),
            f"VM {vm_id}'s answer",
        )
        return text

    def ask(self, vm_id, text):
        self.write(vm_id, text)
        wait_for(lambda: not (self.folder(vm_id) / "request.txt").read_text(), "it is taken")
        return self.answered(vm_id)


def set_up(root, *vm_ids):
    subprocess.run(
        [program("vgpu-file-bridge"), "--root", root, "--set-up", *map(str, vm_ids)],
        check=True,
        stdout=subprocess.DEVNULL,
    )


@pytest.fixture(name="root")
def make_root(lab):
    root = lab / "files"
    set_up(root, 1, 2, 200)
    return root


@pytest.fixture(name="path")
def bridge_socket(lab):
    return lab / "bridge.sock"


@pytest.fixture(name="host")
def start_mediator(lab, path):
    with Mediator(lab, "--bridge-socket", path, "--enable-test-ops", trust=False) as running:
        yield running


@pytest.fixture(name="bridge")
def start_bridge(root, path, host):
    with Bridge(root, path) as running:
        yield running


def test_sums_and_vectors(bridge):
    assert bridge.response(1) == READY
    assert bridge.ask(1, "A:2:1:100:200\n") == "1:300\n"
    assert bridge.ask(1, "A:2:1:-100:40\n") == "1:-60\n"
    assert bridge.ask(200, "B:0:200:2147483647:1\n") == "1:-2147483648\n"
    assert (
        bridge.ask(2, "A:1:2:VECTOR_ADD\n") == "1:Vector add completed on Pool A (vm=2, prio=1)\n"
    )


def test_the_jobs_are_the_vms_own(bridge, host):
    """What the host counts is counted for the VM whose folder it is."""
    assert bridge.ask(2, "A:1:2:1:2\n") == "1:3\n"
    assert re.search(r"VM 2: its worker is ready", host.log())


def test_plain_sums(root, path, host):
    """vm_client_vector: the first number in the response is the sum, whatever else it is."""
    (root / "vm1" / "response.txt").write_text("")
    with Bridge(root, path, "--plain-sums") as bridge:
        assert bridge.response(1) == ""
        assert bridge.ask(1, "A:2:1:100:200\n") == "300\n"
        assert bridge.ask(1, "A:2:3:100:200\n").startswith("not done: this folder")


def test_a_line_in_pieces_and_without_end(bridge):
    with open(bridge.folder(1) / "request.txt", "w") as file:
        for piece in ("A:2:", "1:100", ":20"):
            file.write(piece)
            file.flush()
        file.write("0")
    assert bridge.answered(1) == "1:300\n"


def test_a_renamed_file(bridge):
    new = bridge.folder(1) / ".request.new"
    new.write_text("A:2:1:1:2\n")
    os.rename(new, bridge.folder(1) / "request.txt")
    assert bridge.answered(1) == "1:3\n"


@pytest.mark.parametrize("text, why", [
    ("hello\n", "2:the request does not begin with"),
    ("A:9:1:1:2\n", "2:the priority"),
    ("A:2:2:1:2\n", "2:this folder is VM 1's, and the request says VM 2"),
    ("A:2:1:MATRIX_MUL\n", "2:what follows"),
    ("A:2:1:" + "1" * 5000 + "\n", "2:the request is too long"),
    ("A:2:1:\0:2\n", "2:what follows"),
])  # fmt: skip
def test_wrong_requests_are_answered(bridge, text, why):
    assert bridge.ask(1, text).startswith(why)
    assert bridge.ask(1, "A:2:1:1:2\n") == "1:3\n"


def test_what_is_no_file_is_refused(bridge):
    request, response = (bridge.folder(1) / name for name in ("request.txt", "response.txt"))
    secret = bridge.root.parent / "secret"
    secret.write_text("A:2:1:1:2\n")
    request.unlink()
    response.unlink()
    response.symlink_to(secret)
    request.symlink_to(secret)
    wait_for(lambda: not response.is_symlink(), "the answer takes the link's place")
    assert bridge.answered(1) == "2:request.txt is a symbolic link\n"
    assert secret.read_text() == "A:2:1:1:2\n"
    request.unlink()
    os.mkfifo(request)
    wait_for(lambda: "no plain file" in bridge.response(1), "the refusal")
    request.unlink()
    request.write_text("A:2:1:2:3\n")
    wait_for(lambda: bridge.response(1) == "1:5\n", "the next request")
    assert bridge.ask(2, "A:1:2:1:2\n") == "1:3\n"


def test_folders_come_and_go(bridge):
    set_up(bridge.root, 7)
    assert bridge.ask(7, "A:1:7:1:2\n") == "1:3\n"
    (bridge.folder(7) / "request.txt").unlink()
    (bridge.folder(7) / "response.txt").unlink()
    bridge.folder(7).rmdir()
    wait_for(lambda: "VM 7: its folder is gone" in bridge.log(), "it is let go")
    (bridge.root / "vm01").mkdir()
    (bridge.root / "vmx").mkdir()
    (bridge.root / "vm9").symlink_to(bridge.folder(1))
    assert bridge.ask(1, "A:1:1:1:2\n") == "1:3\n"
    assert not re.search(r"VM 9:|VM 0:", bridge.log())


def test_a_mediator_that_comes_back_loses_no_request(lab, root, path):
    with Bridge(root, path) as bridge:
        bridge.write(1, "A:2:1:100:200\n")
        wait_for(lambda: "no connection" in bridge.log(), "it has tried")
        with Mediator(lab, "--bridge-socket", path, trust=False):
            assert bridge.answered(1) == "1:300\n"


def test_the_end_clears_the_files(root, path, host):
    with Bridge(root, path) as bridge:
        bridge.ask(1, "A:2:1:1:2\n")
    for name in ("request.txt", "response.txt"):
        assert (root / "vm1" / name).read_text() == ""


def test_the_socket_is_for_our_own_user_only(lab, path):
    """Also where a group may use the other sockets."""
    with Mediator(lab, "--bridge-socket", path, "--socket-group", "daemon", trust=False) as host:
        assert host.socket.stat().st_mode & 0o777 == 0o660
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_gid == os.getegid()


def test_a_vm_in_quarantine_is_told(bridge, host):
    assert bridge.ask(1, "A:2:1:1:2\n") == "1:3\n"
    with host.admin() as admin:
        admin.call(wire.QUARANTINE_VM, 1)
    assert "quarantine" in bridge.ask(1, "A:2:1:1:2\n").lower()
    assert bridge.ask(2, "A:1:2:1:2\n") == "1:3\n"


def test_one_bridge_serves_a_root(bridge):
    """Two would take each other's requests, and the mediator refuses a VM's second connection."""
    result = subprocess.run(bridge.command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "another vgpu-file-bridge" in result.stderr
    assert bridge.ask(1, "A:2:1:1:2\n") == "1:3\n"


def test_wrong_options():
    for arguments in (["--poll-ms", "5"], ["--set-up"], ["word"], ["--nonsense"]):
        result = subprocess.run(
            [program("vgpu-file-bridge"), *arguments], capture_output=True, text=True
        )
        assert result.returncode == 2, arguments
        assert "vgpu-file-bridge" in result.stderr
    result = subprocess.run(
        [program("vgpu-file-bridge"), "--root", "/nowhere"], capture_output=True, text=True
    )
    assert result.returncode == 1 and "--set-up" in result.stderr
