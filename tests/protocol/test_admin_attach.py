# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin attach-vm and detach-vm, with the stand-in xe."""
import pytest

from adminkit import UUID, Kit

DEVICE = "-device vgpu-stub,pool_id=B,priority=high,vm_id=5"


@pytest.fixture
def kit(tmp_path):
    k = Kit(tmp_path)
    k.tool = "xe"
    yield k
    k.close()


def host(kit, args=None, state="halted"):
    vm = {"uuid": UUID[1], "name": "web 1", "state": state}
    kit.toolstack("xe", [{**vm, "args": args} if args is not None else vm])
    kit.ok("init-db")
    kit.ok("register-vm", "--vm-name=web 1", "--pool=B", "--priority=high", "--vm-id=5")


def args(kit):
    return kit.state()["vms"][0].get("args")


@pytest.mark.parametrize("before, after", [
    (None, DEVICE),
    ("-trace enable", "-trace enable " + DEVICE),
    ("-device vgpu-stub2,a=b", "-device vgpu-stub2,a=b " + DEVICE),
    # There already, with what the database said at an earlier time.
    ("-x 'a  b' -device vgpu-stub,vm_id=9,chardev=c -y",
     "-x 'a  b' -device vgpu-stub,vm_id=5,chardev=c,pool_id=B,priority=high -y"),
])
def test_attach(kit, before, after):
    host(kit, before)
    assert "has a vgpu device now" in kit.ok("attach-vm", "--vm-name=web 1").out
    assert args(kit) == after
    calls = len(kit.state()["calls"])
    assert "already" in kit.ok("attach-vm", "--vm-name=web 1").out
    assert [call[1] for call in kit.state()["calls"][calls:]] == ["vm-param-get"]


@pytest.mark.parametrize("before, after", [
    (DEVICE, None),
    ("-device vgpu-stub", None),
    (f"-trace  enable {DEVICE}", "-trace  enable"),
    (f"{DEVICE} -trace enable", "-trace enable"),
    (f"-a {DEVICE}\t-device   vgpu-stub,vm_id=2 -device e1000 -b", "-a -device e1000 -b"),
])
def test_detach(kit, before, after):
    host(kit, before)
    assert "no vgpu device any more" in kit.ok("detach-vm", f"--vm-uuid={UUID[1]}").out
    assert args(kit) == after
    assert "has no vgpu device." in kit.ok("detach-vm", "--vm-id=5").out


@pytest.mark.parametrize("before", [None, "-trace vgpu-stub", "-device vgpu-stub2 -device",
                                    "-device virtio-rng-pci,id=vgpu-stub"])
def test_nothing_to_detach(kit, before):
    host(kit, before)
    assert "has no vgpu device." in kit.ok("detach-vm", "--vm-name=web 1").out
    assert args(kit) == before


def test_a_running_vm_needs_a_restart(kit):
    host(kit, state="running")
    out = kit.ok("attach-vm", "--vm-name=web 1").out
    assert "not enough" in out and f"xe vm-shutdown uuid={UUID[1]} && xe vm-start" in out
    document = kit.json("detach-vm", "--vm-name=web 1")
    assert document["changed"] and document["restart_needed"]
    assert kit.state()["vms"][0]["state"] == "running"
    document = kit.json("detach-vm", "--vm-name=web 1")
    assert not document["changed"] and not document["restart_needed"]


def test_refused(kit):
    host(kit)
    r = kit.run("attach-vm", "--vm-name=other", check=1)
    assert "other" in r.err and args(kit) is None
    r = kit.run("attach-vm", "--vm-name=web 1", "--toolstack=none", check=1)
    assert "works with xe" in r.err
    kit.write_state({**kit.state(), "fail": "Lost connection to the server.",
                     "fail_at": "vm-param-set"})
    r = kit.run("attach-vm", "--vm-name=web 1", check=1)
    assert "Lost connection" in r.err
    host_args = "-x " + "y" * 5000
    kit.write_state({"vms": [{"uuid": UUID[1], "name": "web 1", "state": "halted",
                              "args": host_args}]})
    for command in ("attach-vm", "detach-vm"):
        assert "too long" in kit.run(command, "--vm-name=web 1", check=1).err
    assert args(kit) == host_args
