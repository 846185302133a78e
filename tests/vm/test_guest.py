# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests: a kernel finds the device, a program maps it, the test is the mediator."""
import threading

import pytest

from conftest import chardev
from fake_mediator import REQUEST, FakeMediator
from vm import Guest


def serve(conn, limit):
    """Answers each request; returns how many there were when the device hangs up."""
    count = 0
    while count < limit:
        got = conn.recv()
        if got is None:
            break
        assert got.type == REQUEST
        conn.answer(got)
        count += 1
    return count


pytestmark = pytest.mark.boots


@pytest.fixture
def guest(qemu, folder, guest_mmio):
    made = []

    def run(*arguments, machine="q35"):
        made.append(Guest(qemu, folder, arguments, files={"/bin/guest_mmio": guest_mmio},
                          machine=machine))
        return made[-1]

    yield run
    for one in made:
        one.__exit__(None)


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_registers_in_a_guest(guest, folder, machine):
    """Two devices, and the real instructions of every size."""
    vm = guest(*chardev(folder / "a.sock", "a"), *chardev(folder / "b.sock", "b"),
               "-device", "vgpu-stub,chardev=a,vm_id=11,pool_id=A,priority=low",
               "-device", "vgpu-stub,chardev=b,vm_id=12,pool_id=B,priority=high",
               machine=machine)
    code, output = vm.run("guest_mmio")
    assert code == 0, output
    lines = output.splitlines()
    assert len(lines) == 2, output
    assert "vm_id 11 pool A priority 0" in output and "vm_id 12 pool B priority 2" in output


def test_a_guest_without_a_device(guest):
    assert guest().run("guest_mmio") == (2, "no vgpu device in /sys/bus/pci/devices")


def test_requests_and_a_mediator_that_comes_back(guest, folder, mediator):
    vm = guest(*chardev(mediator.path), "-device", "vgpu-stub,chardev=link,wait-mediator=on")
    count = 500
    conn = mediator.accept()
    vm.start(f"guest_mmio submit {count}")
    served = serve(conn, 100)
    # Dies with the next request in flight, and comes again.
    conn.expect(REQUEST)
    conn.close()
    mediator.close()
    second = FakeMediator(mediator.path)
    conn = second.accept()
    rest = {}
    thread = threading.Thread(target=lambda: rest.update(count=serve(conn, count - served)))
    thread.start()
    assert vm.finish() == (0, f"{count} requests done")
    thread.join()
    assert rest["count"] == count - served  # the one in flight was sent again
    second.close()


def test_requests_fail_at_once_when_the_mediator_dies(guest, mediator):
    vm = guest(*chardev(mediator.path), "-device", "vgpu-stub,chardev=link")
    conn = mediator.accept()
    vm.start("guest_mmio submit 1000000")
    served = serve(conn, 50)
    conn.expect(REQUEST)
    conn.close()
    assert vm.finish() == (1, f"request {served}: status 3, error 3")


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_hot_plug_in_a_guest(guest, mediator, machine):
    """The guest's own kernel does its part (ACPI; on q35, behind a root port)."""
    port = ["-device", "pcie-root-port,id=slot1,chassis=1"] if machine == "q35" else []
    vm = guest(*chardev(mediator.path), *port, machine=machine)
    assert vm.run("guest_mmio")[0] == 2
    for vm_id in (1, 2):
        vm.qmp("device_add", driver="vgpu-stub", id="gpu0", chardev="link", vm_id=vm_id,
               **({"bus": "slot1"} if port else {}))
        conn = mediator.accept()
        code, output = vm.run("n=0; until guest_mmio; do n=$((n+1)); [ $n -lt 300 ] || exit 9; "
                              "sleep 0.1; done >/tmp/out; tail -n 1 /tmp/out")
        assert code == 0 and f"vm_id {vm_id} " in output, output
        vm.events.clear()
        vm.qmp("device_del", id="gpu0")
        vm.wait_event("DEVICE_DELETED")
        conn.expect_close()
        assert vm.run("guest_mmio")[0] == 2
