# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin attach-vm and detach-vm, with the stand-in xe."""
import pytest

from adminkit import UUID

DEVICE = "-device vgpu-stub,pool_id=B,priority=high,vm_id=5"


def host(kit, args=None, state="halted", register=True):
    vm = {"uuid": UUID[1], "name": "web 1", "state": state}
    kit.toolstack("xe", [{**vm, "args": args} if args is not None else vm])
    kit.ok("init-db")
    if register:
        kit.ok("register-vm", "--vm-name=web 1", "--pool=B", "--priority=high", "--vm-id=5")


def args(kit):
    return kit.state()["vms"][0].get("args")


@pytest.mark.parametrize("before, after", [
    (None, DEVICE),
    ("-trace enable", "-trace enable " + DEVICE),
    ("-device vgpu-stub2,a=b", "-device vgpu-stub2,a=b " + DEVICE),
    # There already, with what the database said at an earlier time.
    ("-x 'a  b' -device vgpu-stub,vm_id=9,wait-mediator=on -y",
     "-x 'a  b' -device vgpu-stub,vm_id=5,wait-mediator=on,pool_id=B,priority=high -y"),
    ("-name vgpu-stub,x", "-name vgpu-stub,x " + DEVICE),
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


def test_two_devices_become_one(kit):
    host(kit, "-a -device vgpu-stub,vm_id=1 -b -device vgpu-stub,vm_id=2 -c")
    r = kit.ok("attach-vm", "--vm-name=web 1")
    assert "2 vgpu devices" in r.err
    assert args(kit) == "-a -device vgpu-stub,vm_id=5,pool_id=B,priority=high -b -c"
    assert kit.ok("attach-vm", "--vm-name=web 1").err == ""


@pytest.mark.parametrize("before", [
    "-device 'vgpu-stub,vm_id=1'", '-device "vgpu-stub"', "-device driver=vgpu-stub,vm_id=1",
    "--device vgpu-stub", '-a -device {"driver":"vgpu-stub"} -b'])
def test_a_form_that_does_not_reach_qemu(kit, before):
    host(kit, before)
    for command in ("attach-vm", "detach-vm"):
        r = kit.run(command, "--vm-name=web 1", check=1)
        assert "web 1 (vm_id 5)" in r.err and UUID[1] in r.err and "driver=" in r.err
        assert "xe vm-param-set" in r.err and before.removeprefix("-a ")[:12] in r.err
    assert args(kit) == before and "vm-param-set" not in kit.calls()


@pytest.mark.parametrize("command, before", [
    ("detach-vm", f"-device {DEVICE} vgpu-stub"),
    ("attach-vm", f"{DEVICE} -device {DEVICE} vgpu-stub")])
def test_what_is_left_makes_no_other_device(kit, command, before):
    host(kit, before)
    r = kit.run(command, "--vm-name=web 1", check=1)
    assert "another device" in r.err and UUID[1] in r.err
    assert args(kit) == before


def test_properties_that_do_not_reach_qemu(kit):
    before = "-device vgpu-stub,vm_id=5,chardev=c"
    host(kit, before)
    r = kit.run("attach-vm", "--vm-name=web 1", check=1)
    assert "chardev=c" in r.err and f"detach-vm --vm-uuid={UUID[1]}" in r.err
    assert args(kit) == before
    kit.ok("detach-vm", "--vm-name=web 1")
    kit.ok("attach-vm", "--vm-name=web 1")
    assert args(kit) == DEVICE


@pytest.mark.parametrize("state, first", [
    ("running", ""), ("paused", f"xe vm-unpause uuid={UUID[1]} && "),
    ("suspended", f"xe vm-resume uuid={UUID[1]} && ")])
def test_all_but_a_halted_vm_needs_a_restart(kit, state, first):
    host(kit, state=state)
    out = kit.ok("attach-vm", "--vm-name=web 1").out
    assert f"It is {state}" in out and "or rebooted" in out
    assert f"\n  {first}xe vm-shutdown uuid={UUID[1]} && xe vm-start uuid={UUID[1]}\n" in out
    document = kit.json("detach-vm", "--vm-name=web 1")
    assert document["changed"] and document["restart_needed"] and document["registered"]
    assert state in document["notes"][0] and "rebooted" in document["notes"][0]
    assert kit.state()["vms"][0]["state"] == state
    document = kit.json("detach-vm", "--vm-name=web 1")
    assert not document["changed"] and not document["restart_needed"]


def test_a_halted_vm_needs_none(kit):
    host(kit)
    assert kit.ok("attach-vm", "--vm-name=web 1").out == "web 1 (vm_id 5) has a vgpu device now.\n"
    assert not kit.json("detach-vm", "--vm-name=web 1")["restart_needed"]


def test_power_state_not_known(kit):
    host(kit)
    kit.change_state(fail="Too many sessions.", fail_at="vm-param-get power-state")
    r = kit.ok("attach-vm", "--vm-name=web 1")
    assert "Too many sessions." in r.err and "Unless it is halted" in r.out
    assert kit.json("detach-vm", "--vm-name=web 1")["restart_needed"]


@pytest.mark.parametrize("before", ["-trace enable " + DEVICE, None])
@pytest.mark.parametrize("text", ["Connection refused", "Error: Key other not found in map",
                                  "The uuid you supplied was invalid.\ntype: VM"])
def test_reading_fails(kit, text, before):
    """That is not the same as a VM without arguments."""
    host(kit, before)
    kit.change_state(fail=text, fail_at="vm-param-get platform", calls=[])
    for command in ("attach-vm", "detach-vm"):
        r = kit.run(command, "--vm-name=web 1", check=1)
        assert "web 1" in r.err and text.replace("\n", " ") in r.err
    assert args(kit) == before
    assert kit.calls() == ["vm-param-get", "vm-param-get"]


def test_a_line_break(kit):
    """What xe prints is read to its end; xe can't write it back."""
    before = f"-a {DEVICE}\n-b"
    host(kit, before)
    r = kit.run("detach-vm", "--vm-name=web 1", check=1)
    assert "line break" in r.err and UUID[1] in r.err
    assert args(kit) == before
    # Nothing to write, nothing to refuse.
    assert "already" in kit.ok("attach-vm", "--vm-name=web 1").out


@pytest.mark.parametrize("which", ["--vm-name=web 1", f"--vm-uuid={UUID[1].upper()}"])
def test_detach_of_a_vm_that_is_not_registered(kit, which):
    host(kit, "-trace enable")
    kit.ok("attach-vm", "--vm-name=web 1")
    r = kit.ok("remove-vm", "--vm-name=web 1")
    assert f"detach-vm --vm-uuid={UUID[1]}" in r.err
    r = kit.ok("detach-vm", which)
    assert f"web 1, {UUID[1]} (not registered) has no vgpu device any more." in r.out
    assert args(kit) == "-trace enable"
    assert "(not registered) has no vgpu device." in kit.ok("detach-vm", which).out
    # Nobody can be given a device without being registered.
    assert "is registered" in kit.run("attach-vm", which, check=1).err


def test_detach_of_a_vm_that_is_not_registered_json(kit):
    host(kit, DEVICE, state="running", register=False)
    document = kit.json("detach-vm", "--vm-name=web 1", f"--vm-uuid={UUID[1]}")
    assert document["changed"] and document["restart_needed"] and not document["registered"]
    assert document["vm"] == {"uuid": UUID[1], "name": "web 1"}


def test_detach_of_no_vm(kit):
    host(kit, DEVICE, register=False)
    vm = kit.state()["vms"][0]
    kit.write_state({"vms": [vm, {**vm, "uuid": UUID[2]}]})
    r = kit.run("detach-vm", "--vm-name=web 1", check=1)
    assert "2 VMs" in r.err and UUID[1] in r.err and UUID[2] in r.err
    assert 'did you mean "web 1"' in kit.run("detach-vm", "--vm-name=web1", check=1).err
    assert "xe has none" in kit.run("detach-vm", f"--vm-uuid={UUID[3]}", check=1).err
    assert "different VMs" in kit.run("detach-vm", f"--vm-uuid={UUID[1]}", "--vm-name=x",
                                      check=2).err
    assert "no UUID" in kit.run("detach-vm", "--vm-uuid=x", check=2).err
    assert "vm_id 7" in kit.run("detach-vm", "--vm-id=7", check=1).err
    kit.run("detach-vm", check=2)
    kit.change_state(fail="Connection refused")
    for which in ("--vm-name=web 1", f"--vm-uuid={UUID[1]}"):
        assert "Connection refused" in kit.run("detach-vm", which, check=1).err
    assert all(vm["args"] == DEVICE for vm in kit.state()["vms"])


def test_remove_vm_does_not_call_the_toolstack(kit):
    host(kit)
    calls = len(kit.calls())
    assert f"detach-vm --vm-uuid={UUID[1]}" in kit.json("remove-vm", "--vm-id=5")["notes"][0]
    assert len(kit.calls()) == calls
    kit.ok("register-vm", "--vm-name=web 1")
    assert "detach-vm" not in kit.ok("remove-vm", "--vm-name=web 1", "--toolstack=none").err


def test_refused(kit):
    host(kit)
    r = kit.run("attach-vm", "--vm-name=other", check=1)
    assert "other" in r.err and args(kit) is None
    r = kit.run("attach-vm", "--vm-name=web 1", "--toolstack=none", check=1)
    assert "works with xe" in r.err
    kit.change_state(fail="Lost connection to the server.", fail_at="vm-param-set")
    r = kit.run("attach-vm", "--vm-name=web 1", check=1)
    assert "Lost connection" in r.err
    host_args = "-x " + "y" * 5000
    kit.write_state({"vms": [{"uuid": UUID[1], "name": "web 1", "state": "halted",
                              "args": host_args}]})
    for command in ("attach-vm", "detach-vm"):
        assert "too long" in kit.run(command, "--vm-name=web 1", check=1).err
    assert args(kit) == host_args
