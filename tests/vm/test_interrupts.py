# SPDX-License-Identifier: GPL-2.0-or-later
"""INTx and MSI, enabled before and after the event, and an MSI aimed at the device itself."""
import pytest

import regs
from fake_mediator import CONFIG, REQUEST, config, frame
from qemu_process import wait_for

MSI_TARGET = 0x100000  # a word of RAM: the message is a write there, for us to see
MSI_DATA = 0x4142


def fail_request(dev):
    """A completion without a mediator: REQUEST_LEN is 0."""
    dev.write(regs.REQUEST_LEN, 0)
    dev.write(regs.DOORBELL, 1)
    assert dev.reg(regs.STATUS) == regs.ERROR


def take_message(vm):
    """Whether a message has been sent since the last call."""
    seen = vm.read(MSI_TARGET, 4)
    vm.write(MSI_TARGET, 0, 4)
    assert seen in (0, MSI_DATA)
    return seen == MSI_DATA


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_intx_is_a_level(start, machine):
    vm, dev = start(machine=machine)
    vm.command("irq_intercept_in ioapic")
    assert not dev.intx()
    fail_request(dev)
    assert not dev.intx()  # nobody asked for it
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    assert dev.intx()
    fail_request(dev)
    assert dev.intx()
    dev.write(regs.IRQ_CTRL, regs.IRQ_CONFIG)
    assert not dev.intx()
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    assert dev.intx()
    dev.write(regs.IRQ_STATUS, regs.IRQ_CONFIG)
    assert dev.intx()  # the other bit was acknowledged
    dev.write(regs.IRQ_STATUS, regs.IRQ_COMPLETION)
    assert not dev.intx()
    if machine == "q35":  # q35 wires the pin to the I/O APIC without a firmware's help
        assert not vm.irqs
        fail_request(dev)
        dev.reg(regs.STATUS)
        assert vm.irqs
        dev.write(regs.IRQ_STATUS, regs.IRQ_COMPLETION)
        dev.reg(regs.STATUS)
        assert not vm.irqs


def test_intx_of_config(start, mediator):
    _, dev = start()
    conn = mediator.accept()
    dev.write(regs.IRQ_CTRL, regs.IRQ_CONFIG)
    conn.send(frame(CONFIG, 0, config(8, "B", 0)))
    conn.expect(CONFIG)
    wait_for(dev.intx, "INTx after CONFIG")
    assert dev.reg(regs.IRQ_STATUS) == regs.IRQ_CONFIG


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_msi(start, mediator, machine):
    vm, dev = start(machine=machine)
    conn = mediator.accept()
    dev.enable_msi(MSI_TARGET, MSI_DATA)
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    for _ in range(3):  # never acknowledged, yet one message for each
        dev.submit()
        got = conn.expect(REQUEST)
        assert not take_message(vm)
        conn.answer(got)
        dev.finished()
        assert take_message(vm)
        assert not dev.intx()
    conn.send(frame(CONFIG, 0, config(8, "B", 0)))
    conn.expect(CONFIG)
    assert dev.reg(regs.VM_ID) == 8
    assert not take_message(vm)  # not asked for, until now:
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION | regs.IRQ_CONFIG)
    assert take_message(vm)
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION | regs.IRQ_CONFIG)
    assert not take_message(vm)  # nothing new


def test_msi_needs_bus_mastering(start):
    vm, dev = start()
    dev.enable_msi(MSI_TARGET, MSI_DATA)
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    dev.config_write(0x04, 0x0002, 2)
    fail_request(dev)
    assert not take_message(vm)
    dev.config_write(0x04, 0x0006, 2)
    fail_request(dev)
    assert take_message(vm)


def test_level_follows_when_msi_is_turned_off(start):
    _, dev = start()
    cap = dev.enable_msi(MSI_TARGET, MSI_DATA)
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    fail_request(dev)
    assert not dev.intx()
    dev.config_write(cap + 2, dev.config_read(cap + 2, 2) & ~1, 2)
    assert dev.intx()
    dev.config_write(cap + 2, dev.config_read(cap + 2, 2) | 1, 2)
    assert not dev.intx()


@pytest.mark.parametrize("register,data", [(regs.DOORBELL, 1), (regs.IRQ_CTRL, 3),
                                           (regs.REQUEST_LEN, 0), (regs.REQUEST, 0xFF)])
def test_msi_aimed_at_the_device_itself(start, mediator, register, data):
    """A hostile guest: each interrupt would ring the doorbell, which would interrupt."""
    vm, dev = start()
    conn = mediator.accept()
    dev.enable_msi(dev.base + register, data)
    dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
    before = dev.read_bytes(regs.REQUEST, 4)
    fail_request(dev)
    assert dev.read_bytes(regs.REQUEST, 4) == before
    assert dev.reg(regs.IRQ_CTRL) == regs.IRQ_COMPLETION
    dev.submit()
    request = conn.expect(REQUEST)
    conn.answer(request)
    dev.finished()
    dev.submit()
    conn.expect(REQUEST)
    conn.close()  # the completion comes from within the chardev's own lock
    assert dev.finished() == (regs.ERROR, regs.E_MEDIATOR_UNAVAILABLE)
    assert vm.qmp("query-status")["running"]


def test_two_devices_that_interrupt_each_other(start, folder):
    from conftest import Device
    vm, one = start("", "-chardev", f"socket,id=link2,path={folder}/none.sock,reconnect=1",
                    "-device", "vgpu-stub,id=gpu1,addr=6,chardev=link2")
    two = Device(vm, 6).enable()
    one.enable_msi(two.base + regs.DOORBELL, 1)
    two.enable_msi(one.base + regs.DOORBELL, 1)
    for dev in (one, two):
        dev.write(regs.IRQ_CTRL, regs.IRQ_COMPLETION)
        dev.write(regs.REQUEST_LEN, 32)
    one.write(regs.DOORBELL, 1)
    assert one.reg(regs.STATUS) == regs.ERROR
    assert two.reg(regs.STATUS) == regs.ERROR  # rung by the other's interrupt, once
    assert vm.qmp("query-status")["running"]
