# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin and the host's toolstacks, with stand-ins that print what they print."""
import re

import pytest

import wire
from adminkit import UUID
from test_admin_general import on_terminal

ARGS = "-device vgpu-stub,pool_id=A,priority=medium,vm_id=1,chardev=c0 -trace enable"


def host(running="running", halted="halted"):
    return [
        {"uuid": UUID[1], "name": "web 1", "state": running, "args": ARGS},
        {"uuid": UUID[2], "name": "My VM, with comma: and (colon): x", "state": halted},
        {"uuid": UUID[3], "name": "twin", "state": running},
        {"uuid": UUID[4], "name": "twin", "state": halted},
        {"uuid": UUID[5], "name": "", "state": running},
    ]


@pytest.fixture(params=["xe", "virsh"])
def hosted(request, kit):
    kit.tool = request.param
    kit.toolstack(kit.tool, host() if kit.tool == "xe" else host(halted="shut off"))
    kit.ok("init-db")
    return kit


def test_scan(hosted):
    hosted.ok("register-vm", "--vm-name=web 1", "--pool=B")
    hosted.ok("register-vm", f"--vm-uuid={UUID[9]}", "--vm-name=of another host")
    document = hosted.json("scan-vms")
    assert document["toolstack"] == hosted.tool
    vms = {v["uuid"]: v for v in document["vms"]}
    assert vms[UUID[1]]["registered"] and vms[UUID[1]]["pool"] == "B"
    assert vms[UUID[1]]["power_state"] == "running"
    assert vms[UUID[2]]["name"] == "My VM, with comma: and (colon): x"
    assert vms[UUID[2]]["power_state"] == ("halted" if hosted.tool == "xe" else "shut off")
    assert not vms[UUID[4]]["registered"] and vms[UUID[5]]["name"] == ""
    assert vms[UUID[9]]["power_state"] is None
    text = hosted.ok("scan-vms").out
    groups = re.split(r"^(Pool \w|Not registered)", text, flags=re.M)
    groups = dict(zip(groups[1::2], groups[2::2]))
    assert "web 1" in groups["Pool B"] and "of another host" in groups["Pool A"]
    assert "My VM, with comma" in groups["Not registered"]
    assert "6 VMs, 4 not registered" in text


def test_a_name_that_reads_like_a_record(hosted):
    """A tenant's name is that tenant's, whatever stands in it."""
    lines = f"x\n     name-label ( RW): prod-gpu\n\n{UUID[2]} prod-gpu\nuuid ( RO)  : {UUID[6]}"
    hosted.change_state(vms=[{"uuid": UUID[1], "name": lines, "state": "running"},
                             {"uuid": UUID[2], "name": "  two  blanks", "state": "running"}])
    vms = {v["uuid"]: v for v in hosted.json("scan-vms")["vms"]}
    assert set(vms) == {UUID[1], UUID[2]}
    assert vms[UUID[1]]["name"] == lines and vms[UUID[2]]["name"] == "  two  blanks"
    assert "no VM named" in hosted.run("register-vm", "--vm-name=prod-gpu", check=1).err
    r = hosted.ok("register-vm", f"--vm-uuid={UUID[1]}")
    assert "registered without" in r.err.replace("\n", " ")
    assert hosted.json("show-vm", f"--vm-uuid={UUID[1]}")["vm"]["name"] is None


def test_toolstack_of_another_language(hosted):
    """virsh would answer "Ausgeschaltet", and the VM would never be started again."""
    old_device(hosted)
    german = {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8", "LANGUAGE": "de"}
    r = hosted.ok("set-priority", "--vm-name=web 1", "--priority=high", "--yes", "--timeout=180",
                  **german)
    assert "was restarted" in r.out
    assert hosted.state()["vms"][0]["state"] == "running"


def test_uuid_from_the_toolstack(hosted):
    name = "My VM, with comma: and (colon): x"
    assert hosted.json("register-vm", f"--vm-name={name}")["vm"]["uuid"] == UUID[2]
    assert hosted.json("register-vm", f"--vm-uuid={UUID[1]}")["vm"]["name"] == "web 1"
    r = hosted.run("register-vm", "--vm-name=twin", check=1)
    assert UUID[3] in r.err and UUID[4] in r.err and "2 VMs" in r.err
    assert 'did you mean "web 1"?' in hosted.run("register-vm", "--vm-name=web1", check=1).err
    assert "scan-vms" in hosted.run("register-vm", "--vm-name=quite different", check=1).err
    r = hosted.ok("register-vm", f"--vm-uuid={UUID[9]}")
    assert "does not know" in r.err


def test_failing_toolstack(hosted):
    hosted.change_state(fail="Lost connection to the server.\nDetails: none")
    r = hosted.run("scan-vms", check=1)
    assert "failed with status 1: Lost connection to the server. Details: none" in r.err
    assert "Lost connection" in hosted.json("scan-vms", check=1)["error"]
    hosted.run("register-vm", "--vm-name=web 1", check=1)
    # A VM that is named by UUID does not need the toolstack.
    r = hosted.ok("register-vm", f"--vm-uuid={UUID[1]}")
    assert "name is not known" in r.err


def test_slow_and_flooding_toolstack(hosted):
    hosted.change_state(sleep=60)
    r = hosted.run("scan-vms", "--timeout=1", check=1)
    assert "did not end within 1 s" in r.err and "--timeout" in r.err
    hosted.change_state(sleep=0, flood=True)
    assert "printed more than" in hosted.run("scan-vms", check=1).err


def test_choice_of_toolstack(kit):
    kit.ok("init-db")
    kit.toolstack("virsh", host(halted="shut off"))
    assert kit.json("scan-vms")["toolstack"] == "virsh"
    (kit.bin / "xe").symlink_to((kit.bin / "virsh").resolve().parent / "xe")
    assert kit.json("scan-vms")["toolstack"] == "xe"
    assert kit.json("scan-vms", "--toolstack=virsh")["toolstack"] == "virsh"
    assert kit.json("scan-vms", "--toolstack=libvirt")["toolstack"] == "virsh"
    assert kit.json("scan-vms", VGPU_TOOLSTACK="virsh")["toolstack"] == "virsh"
    assert "no toolstack" in kit.run("scan-vms", "--toolstack=none", check=1).err
    (kit.bin / "xe").unlink()
    r = kit.run("scan-vms", "--toolstack=xe", check=1, PATH=str(kit.bin))
    assert "xe is not here" in r.err


def old_device(kit, command=None):
    """A mediator whose VM 1 has a device that cannot be told."""
    kit.ok("register-vm", "--vm-name=web 1")
    return kit.start_mediator({wire.RELOAD_CONFIG: command or
                               {"changed": 1, "vms": [1], "restart_needed": [1]}})


def test_restart_of_an_old_device(hosted):
    old_device(hosted)
    r = hosted.ok("update-vm", "--vm-name=web 1", "--pool=B", "--priority=high", "--vm-id=30",
                  "--yes")
    assert "too old" in r.out and "was restarted" in r.out
    # libvirt resets the QEMU that runs, XCP-ng makes a new one.
    assert ("not enough" in r.out) == (hosted.tool == "virsh")
    assert ("or rebooted" in r.out) == (hosted.tool == "xe")
    assert re.search(r"pool +A +B", r.out) and re.search(r"priority +medium +high", r.out)
    assert re.search(r"vm_id +1 +30", r.out)
    vm = hosted.state()["vms"][0]
    assert vm["state"] == "running"
    assert vm["args"] == ("-device vgpu-stub,pool_id=B,priority=high,vm_id=30,chardev=c0 "
                          "-trace enable")
    calls = hosted.calls()
    if hosted.tool == "xe":
        assert calls[-4:] == ["vm-param-get", "vm-param-set", "vm-shutdown", "vm-start"]
    else:
        assert [c for c in calls if c != "list"][-5:] == ["dumpxml", "define", "shutdown",
                                                          "domstate", "start"]


def test_restart_json(hosted):
    old_device(hosted)
    document = hosted.json("set-pool", "--vm-name=web 1", "--pool=B", "--yes")
    assert document["restart_needed"] and document["restarted"]


def test_no_restart_without_yes(hosted):
    old_device(hosted)
    r = hosted.ok("set-pool", "--vm-name=web 1", "--pool=B")
    assert "was not restarted" in r.err and "--yes" in r.err and UUID[1] in r.err
    assert "shutdown" not in " ".join(hosted.calls())
    document = hosted.json("set-pool", "--vm-name=web 1", "--pool=A")
    assert document["restart_needed"] and not document["restarted"] and document["notes"]
    # The configuration is ready for whenever the VM restarts.
    assert "pool_id=A" in hosted.state()["vms"][0]["args"]


def test_a_restart_that_was_put_off(hosted):
    """What is stored, what the device still shows; and the same command asks again."""
    old_device(hosted)
    hosted.mediator.answers[wire.SHOW_STATUS] = {"vms": [
        {"vm_id": 1, "restart_needed": True, "device": {"vm_id": 1, "pool": "A", "priority": 1}}]}
    for _ in range(2):
        r = hosted.ok("set-pool", "--vm-name=web 1", "--pool=B")
        assert "the database has pool B, priority medium, vm_id 1" in r.err
        assert "device shows pool A, priority medium, vm_id 1 until it is" in r.err
        assert re.search(r"pool +A +B", r.out)
    assert "so already" in r.out
    assert "was restarted" in hosted.ok("set-pool", "--vm-name=web 1", "--pool=B", "--yes").out


def test_question_on_a_terminal(hosted):
    old_device(hosted)
    out, status = on_terminal(hosted, "set-pool", "--vm-name=web 1", "--pool=B", answer=b"n")
    assert status == 0 and "Restart web 1" in out and "was not restarted" in out
    out, status = on_terminal(hosted, "set-pool", "--vm-name=web 1", "--pool=A", answer=b"yes")
    assert status == 0 and "was restarted" in out


def change_that_fails(hosted, error, **failing):
    """Of an old device; failing: toolstack -> its command that fails, which is returned."""
    old_device(hosted)
    hosted.change_state(fail=error, fail_at=failing[hosted.tool])
    r = hosted.run("set-pool", "--vm-name=web 1", "--pool=B", "--yes", check=1)
    assert "saved" in r.err and error in r.err
    return failing[hosted.tool]


def test_restart_that_fails(hosted):
    change_that_fails(hosted, "The guest refuses.", xe="vm-shutdown", virsh="shutdown")
    assert hosted.json("show-vm", "--vm-name=web 1")["vm"]["pool"] == "B"
    assert hosted.state()["vms"][0]["state"] == "running"


def test_guest_that_does_not_shut_down(kit):
    kit.toolstack("virsh", host(halted="shut off"), stubborn=True)
    kit.ok("init-db")
    old_device(kit)
    r = kit.run("set-pool", "--vm-name=web 1", "--pool=B", "--yes", "--timeout=10", check=1)
    assert "did not shut down within 10 s" in r.err and "virsh destroy" in r.err


def test_device_that_the_toolstack_does_not_know(hosted):
    state = hosted.state()
    state["vms"][0]["args"] = ""
    hosted.write_state(state)
    old_device(hosted)
    r = hosted.ok("set-pool", "--vm-name=web 1", "--pool=B", "--yes")
    assert "pool_id=B,priority=medium,vm_id=1" in r.err and "was restarted" in r.out


def test_a_toolstack_that_fails_has_not_said_that_there_is_no_device(hosted):
    failing = change_that_fails(hosted, "Connection refused", xe="vm-param-get", virsh="dumpxml")
    assert hosted.calls()[-1] == failing and hosted.state()["vms"][0]["args"] == ARGS
    (hosted.bin / hosted.tool).unlink()
    r = hosted.run("set-pool", "--vm-name=web 1", "--pool=A", "--yes",
                   f"--toolstack={hosted.tool}", check=1, PATH=str(hosted.bin))
    assert "saved" in r.err and f"{hosted.tool} is not here" in r.err and "knows of no" not in r.err


def test_no_restart_for_what_the_device_does_not_show(hosted):
    old_device(hosted, {"changed": 1, "vms": [1], "restart_needed": []})
    assert not hosted.json("set-weight", "--vm-name=web 1", "--weight=3")["restart_needed"]


def test_old_device_without_toolstack(kit):
    kit.init("one")
    kit.start_mediator({wire.RELOAD_CONFIG: {"restart_needed": [{"vm_id": 1}]}})
    r = kit.ok("set-pool", "--vm-name=one", "--pool=B", "--yes")
    assert f"shut down VM {UUID[1]} and start it again" in r.err
