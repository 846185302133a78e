# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties, reset, hot-plug and hot-unplug, several devices, migration."""
import subprocess

import pytest

import regs
from conftest import SLOT, Device, chardev
from fake_mediator import FakeMediator, REQUEST
from qtest import Machine

PCIHP_EJECT, PCIHP_SELECT = 0xAE08, 0xAE10


def begin_unplug(vm, slot=SLOT, name="gpu0"):
    """device_del, and the guest's consent as its ACPI code would give it."""
    vm.events.clear()
    vm.qmp("device_del", id=name)
    vm.port_out(PCIHP_SELECT, 0, 4)
    vm.port_out(PCIHP_EJECT, 1 << slot, 4)


def unplug(vm, slot=SLOT, name="gpu0"):
    begin_unplug(vm, slot, name)
    vm.wait_event("DEVICE_DELETED")


@pytest.mark.parametrize("properties,message", [
    ("pool_id=AB", "pool_id 'AB' is not one letter from A to Z"),
    ("pool_id=a", "pool_id 'a' is not one letter from A to Z"),
    ("pool_id=", "pool_id '' is not one letter from A to Z"),
    ("pool_id=1", "pool_id '1' is not one letter from A to Z"),
    ("priority=urgent", "priority 'urgent' is none of low, medium, high, 0, 1, 2"),
    ("priority=3", "priority '3' is none of"),
    ("priority=", "priority '' is none of"),
    ("vm_id=-x", "vm_id"),
    ("vm_id=4294967296", "vm_id"),
    ("chardev=nothing", "nothing"),
])
def test_bad_properties(qemu, properties, message):
    ended = subprocess.run([*qemu, "-M", "pc", "-display", "none", "-nodefaults",
                            "-device", "vgpu-stub," + properties],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=60)
    assert ended.returncode == 1
    assert message in ended.stdout


@pytest.mark.parametrize("given,expected", [("low", 0), ("medium", 1), ("high", 2),
                                            ("0", 0), ("1", 1), ("2", 2)])
def test_priorities(start, given, expected):
    _, dev = start(f"priority={given}")
    assert dev.reg(regs.PRIORITY) == expected


def test_reset_while_busy(start, mediator):
    vm, dev = start("vm_id=6")
    conn = mediator.accept()
    dev.write(regs.IRQ_CTRL, 3)
    dev.write(regs.REQUEST_ID, 9)
    dev.write(regs.SCRATCH, 9)
    dev.submit(b"abandoned")
    old = conn.expect(REQUEST)
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    dev.enable()
    expected = {regs.POOL_ID: ord("A"), regs.PRIORITY: 1, regs.VM_ID: 6,
                regs.PROTOCOL_VER: 0x10000, regs.CAPABILITIES: 3}
    for register in range(0, 0x40, 4):
        assert dev.reg(register) == expected.get(register, 0), f"register {register:#x}"
    assert dev.read_bytes(0x40, 2048) == bytes(2048)
    conn.answer(old, results=[1])  # for a guest that is no more
    dev.submit(b"new")
    new = conn.expect(REQUEST)  # the same connection: a reset is not the mediator's business
    assert dev.reg(regs.STATUS) == regs.BUSY
    conn.answer(old, results=[1])
    conn.answer(new, results=[2])
    assert dev.result() == (2,)


def test_reset_lowers_the_interrupt(start):
    vm, dev = start()
    dev.write(regs.IRQ_CTRL, 1)
    dev.write(regs.DOORBELL, 1)
    assert dev.intx()
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    assert not dev.intx()


def test_many_resets_with_requests_in_flight(start, mediator):
    """Abandoned requests must not pile up in the device, read or not."""
    vm, dev = start()
    conn = mediator.accept()
    for i in range(20):
        dev.submit(b"%04d" % i * 256)
        vm.qmp("system_reset")
        vm.wait_event("RESET")
        vm.events.clear()
        dev.enable()
    dev.submit(b"last")
    while True:
        got = conn.expect(REQUEST)
        if got.payload == b"last":
            break
    conn.answer(got, results=[1])
    assert dev.result() == (1,)


def test_unplug_while_busy_and_plug_again(start, mediator):
    vm, dev = start("vm_id=1")
    conn = mediator.accept()
    for vm_id in (2, 3, 4):
        dev.submit(b"left behind")
        conn.expect(REQUEST)
        unplug(vm)
        conn.expect_close()  # the mediator learns at once
        assert dev.config_read(0, 4) == 0xFFFFFFFF
        vm.qmp("device_add", driver="vgpu-stub", id="gpu0", addr=str(SLOT), chardev="link",
               vm_id=vm_id)
        conn = mediator.accept()
        dev.enable()
        assert dev.reg(regs.VM_ID) == vm_id
        assert dev.reg(regs.STATUS) == regs.IDLE
        dev.submit()
        got = conn.expect(REQUEST)
        assert got.vm_id == vm_id
        conn.answer(got, results=[vm_id])
        assert dev.result() == (vm_id,)


def test_plug_with_a_chardev_of_its_own(qemu, folder):
    """The default chardev comes and goes with its device, connecting or not."""
    with Machine(qemu, folder) as vm:
        def own():
            return [c["label"] for c in vm.qmp("query-chardev")
                    if c["label"].startswith("vgpu-stub-")]
        for _ in range(50):
            vm.qmp("device_add", driver="vgpu-stub", id="gpu0", addr=str(SLOT))
            assert len(own()) == 1
            unplug(vm)
            assert own() == []


def test_bad_hotplug_leaves_nothing(qemu, folder):
    with Machine(qemu, folder) as vm:
        for _ in range(3):
            reply = vm.qmp_raw("device_add", driver="vgpu-stub", id="gpu0", pool_id="??")
            assert "pool_id '??'" in reply["error"]["desc"]
        assert not [c for c in vm.qmp("query-chardev") if c["label"].startswith("vgpu-stub-")]
        reply = vm.qmp_raw("migrate", uri="exec:cat >/dev/null")  # nothing blocks it now
        assert "return" in reply, reply


def test_two_devices_in_one_machine(start, mediator, folder):
    other = FakeMediator(folder / "other.sock")
    vm, one = start("vm_id=1", *chardev(other.path, "link2"), "-device",
                    "vgpu-stub,id=gpu1,addr=6,chardev=link2,vm_id=2,pool_id=B")
    two = Device(vm, 6).enable()
    conn1, conn2 = mediator.accept(), other.accept()
    one.submit(b"one")
    two.submit(b"two")
    got2, got1 = conn2.expect(REQUEST), conn1.expect(REQUEST)
    assert (got1.payload, got1.vm_id, got2.payload, got2.vm_id) == (b"one", 1, b"two", 2)
    assert got1.request_id != got2.request_id
    conn2.answer(got2, results=[22])
    assert two.result() == (22,)
    assert one.reg(regs.STATUS) == regs.BUSY  # untouched by its neighbour
    conn1.close()
    assert one.finished() == (regs.ERROR, regs.E_MEDIATOR_UNAVAILABLE)
    two.submit()
    conn2.answer(conn2.expect(REQUEST), results=[23])
    assert two.result() == (23,)
    other.close()


def test_two_devices_cannot_share_a_chardev(start):
    vm, _ = start()
    reply = vm.qmp_raw("device_add", driver="vgpu-stub", id="gpu1", chardev="link")
    assert "in use" in reply["error"]["desc"]


def test_migration_is_refused_with_a_reason(start, mediator):
    vm, dev = start()
    conn = mediator.accept()
    reply = vm.qmp_raw("migrate", uri="exec:cat >/dev/null")
    assert "non-migratable device" in reply["error"]["desc"]
    assert "vgpu-stub" in reply["error"]["desc"]
    reply = vm.qmp("human-monitor-command", **{"command-line": "savevm now"})
    assert "vgpu-stub" in reply or "block device" in reply
    dev.submit()
    conn.answer(conn.expect(REQUEST), results=[1])
    assert dev.result() == (1,)
    unplug(vm)
    reply = vm.qmp_raw("migrate", uri="exec:cat >/dev/null")
    assert "return" in reply, reply  # without the device it works


def test_only_migratable_machines_have_none(qemu):
    ended = subprocess.run([*qemu, "-only-migratable", "-display", "none", "-nodefaults",
                            "-device", "vgpu-stub"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           timeout=60)
    assert ended.returncode == 1
    assert "only-migratable" in ended.stdout and "vgpu-stub" in ended.stdout
