# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs in guests with the driver, the device, the real mediator and real workers.

Skipped where no headers of the guest's kernel are installed, as test_linux_driver is.
"""
import json
import os
import signal
import subprocess

import pytest

import channel_regs as cr
from conftest import chardev
from guest_channel import hc  # noqa: F401  (tests/protocol is in the path)
from keeper import Keeper
from qemu_process import wait_for
from test_end_to_end import BIN, mediate, programs  # noqa: F401 (fixtures)
from test_linux_driver import (driver_files, healthy, in_use, kernel, nothing_left,  # noqa: F401
                               qemu)
from vm import Guest


@pytest.fixture
def boot(qemu, folder, kernel, driver_files):  # noqa: F811
    """boot(mediator, properties, arguments...) -> a guest with the driver and vgpu-client."""
    made = []

    def run(mediator, properties="vm_id=1", *arguments, memory_mib=256, more_files=(), **more):
        place = folder / f"guest{len(made)}"
        place.mkdir()
        guest = Guest(qemu, place, [*chardev(mediator.path), *cr.memfd_machine(memory_mib),
                                    "-device", f"vgpu-stub,id=gpu0,chardev=link,{properties}",
                                    "-smp", "2", *arguments],
                      files={**driver_files, "/bin/vgpu-client": BIN / "vgpu-client",
                             **dict(more_files)},
                      kernel=kernel[0], memory_mib=memory_mib, **more)
        made.append(guest)
        assert guest.run("insmod /vgpu.ko") == (0, "")
        # The chardev connects after a second when the mediator was slower than QEMU.
        sum_done = (0, "1 + 2 = 3")
        wait_for(lambda: guest.run("vgpu-client --device /dev/vgpu0 1 2") == sum_done,
                 "the first job", 60)
        return guest

    yield run
    for guest in made:
        guest.close()


def client(guest, arguments, limit_s=240):
    """Runs vgpu-client --json; returns its exit status and its last line, decoded."""
    code, output = guest.run("vgpu-client --json " + arguments, limit_s)
    return code, json.loads(output.splitlines()[-1])


def admin(mediator, command):
    done = subprocess.run([BIN / "vgpu-admin", "--admin-socket", mediator.folder / "admin.sock",
                           "--json", *command.split()], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def completed(mediator):
    """Of VM 1; with the turns of its channels.  0: there is no mediator."""
    try:
        return sum(vm["completed"] for vm in admin(mediator, "show-metrics")["vms"])
    except subprocess.CalledProcessError:
        return 0


def channels(mediator):
    return sum(connection["channels"] for connection in admin(mediator, "show-connections")
               ["connections"])


@pytest.mark.parametrize("transport", ["shared", "copied"])
def test_the_work(mediate, boot, transport):  # noqa: F811
    """All that a channel can do, from an ordinary user's program."""
    mediator = mediate()
    guest = boot(mediator, f"vm_id=1,transport={transport}")
    code, channel = client(guest, "--channel")
    assert code == 0 and channel["device"] == "dev /dev/vgpu0", channel
    assert channel["transport"] == transport, channel
    for op in ("nop", "add", "vadd-i32", "vadd-f32"):
        code, summary = client(guest, f"--op {op} --count 300")
        assert (code, summary["jobs"], summary["wrong"], summary["errors"]) == (0, 300, 0, 0), \
            (summary, guest.run("dmesg | tail -n 20"), mediator.output()[-2000:])
        assert summary["device"] == "dev /dev/vgpu0"
    for work in ("sgemm --n 200 --check", "vadd --n 3000001", "bandwidth", "latency --n 200"):
        code, result = client(guest, work)
        assert code == 0, result
        if work == "bandwidth":  # chunks of the driver's, mapped by the program
            assert result["pinned_upload_gb_per_s"] > 0, result
            assert result["pinned_download_gb_per_s"] > 0, result
    copied = guest.qmp("qom-get", path="/machine/peripheral/gpu0", property="copied-bytes")
    assert copied == 0 if transport == "shared" else copied > 100 << 20, copied
    assert guest.run("mkdir -p /etc && echo 'alice:x:1000:1000::/:/bin/sh' >/etc/passwd && "
                     "echo 'bob:x:1001:1001::/:/bin/sh' >>/etc/passwd && "
                     "echo 'vgpu:x:1000:' >/etc/group && chgrp vgpu /dev/vgpu0")[0] == 0
    said = guest.run("su alice -c 'vgpu-client 3 4'")
    assert said == (0, "3 + 4 = 7"), (said, guest.run("dmesg | tail -n 20")[1],
                                      mediator.output()[-2000:])
    code, output = guest.run("su bob -c 'vgpu-client 3 4'")
    assert code == 3 and "group vgpu" in output
    nothing_left(guest)
    wait_for(lambda: channels(mediator) == 0, "no channel is left on the host")
    healthy(guest)


def test_two_programs_in_each_of_three_guests_and_two_of_the_host(mediate, boot,  # noqa: F811
                                                                  folder):
    """All at once, each result checked.  VGPU_SOAK_OPERATIONS=1000000: so many, in minutes."""
    checked = int(os.environ.get("VGPU_SOAK_OPERATIONS", "4000"))
    guests_count, hosts_count = checked // 20, checked * 7 // 20  # guests are slow without KVM
    limit_s = 240 + checked // 500
    uuid = "11111111-2222-3333-4444-000000000009"
    mediator = mediate("--vm", f"{uuid}={folder}/host.sock")
    guests = [boot(mediator, f"vm_id={n},pool_id={'AB'[n % 2]}")
              for n in (2, 3, 4)]  # the host's processes are VM 1
    programs = [subprocess.Popen([BIN / "vgpu-client", "--json", "--host", folder / "host.sock",
                                  "--op", op, "--count", str(hosts_count)],
                                 stdout=subprocess.PIPE, text=True)
                for op in ("add", "vadd-f32")]
    for guest in guests:
        guest.start(f"vgpu-client --json --op add --count {guests_count} >/tmp/one & vgpu-client "
                    f"--json --op vadd-i32 --count {guests_count} >/tmp/two; wait; "
                    "tail -qn1 /tmp/one /tmp/two")
    for guest in guests:
        code, output = guest.finish(limit_s)
        results = [json.loads(line) for line in output.splitlines()]
        assert [(r["jobs"], r["wrong"], r["errors"]) for r in results] == \
            [(guests_count, 0, 0)] * 2
        nothing_left(guest)
        healthy(guest)
    for program in programs:
        end = json.loads(program.communicate(timeout=limit_s)[0].splitlines()[-1])
        assert end["event"] == "summary", (end, mediator.output()[-2000:])
        assert (end["jobs"], end["wrong"], end["errors"]) == (hosts_count, 0, 0)


def test_killed_with_work_in_flight(mediate, boot):  # noqa: F811
    mediator = mediate()
    guest = boot(mediator)
    for work in ("sgemm --n 4000", "bandwidth", "--op add --seconds 600"):
        guest.run(f"vgpu-client {work} >/dev/null 2>&1 & echo $! >/tmp/pid")
        wait_for(lambda: in_use(guest)[0] == 1 and channels(mediator) == 1, "it works")
        guest.run("kill -9 $(cat /tmp/pid)")
        nothing_left(guest)
        wait_for(lambda: channels(mediator) == 0, "the host has closed it")
        assert guest.run("vgpu-client 20 22") == (0, "20 + 22 = 42")
    assert guest.run("rmmod vgpu; insmod /vgpu.ko; vgpu-client 20 22") == (0, "20 + 22 = 42")
    nothing_left(guest)
    healthy(guest)


def test_a_program_of_1_0_beside_it(mediate, boot):  # noqa: F811
    """The driver has enabled the device, and leaves BAR0 to whoever maps it."""
    guest = boot(mediate())
    address = guest.run("ls /sys/bus/pci/drivers/vgpu | grep :")[1]
    guest.start(f"vgpu-client --json --device {address} --op add --count 1500 >/tmp/old & "
                "vgpu-client --json --op add --count 3000 >/tmp/new; wait; "
                "tail -qn1 /tmp/old /tmp/new")
    code, output = guest.finish(240)
    old, new = [json.loads(line) for line in output.splitlines()]
    assert (old["jobs"], old["wrong"], old["errors"]) == (1500, 0, 0)
    assert (new["jobs"], new["wrong"], new["errors"]) == (3000, 0, 0)
    assert old["device"] == f"pci {address}" and new["device"] == "dev /dev/vgpu0"
    assert guest.run("rmmod vgpu") == (0, "")
    assert guest.run("vgpu-client 1 2") == (0, "1 + 2 = 3")
    healthy(guest)


def test_the_mediator_and_its_worker_go(mediate, boot):  # noqa: F811
    """Programs go on by themselves, as they do through BAR0."""
    mediator = mediate()
    guest = boot(mediator)
    guest.start("vgpu-client --json --op vadd-i32 --seconds 12 --keep-going --progress")
    guest.first_line()
    mediator.kill()
    mediator.start()
    code, output = guest.finish(240)
    summary = json.loads(output.splitlines()[-1])
    assert summary["event"] == "summary" and summary["wrong"] == 0, output
    assert summary["reconnects"] > 0 and summary["errors"] > 0
    assert client(guest, "20 22")[1]["sum"] == 42
    nothing_left(guest)
    healthy(guest)


def test_a_program_works_through_three_restarts(mediate, boot, folder):  # noqa: F811
    """Where a keeper holds the workers: two planned ones and a kill -9; it notices none of them."""
    with Keeper(folder) as keeper:
        mediator = mediate("--keeper-socket", keeper.path)
        guest = boot(mediator)
        guest.run("{ vgpu-client --json --op vadd-i32 --seconds 3600; echo; echo exit $?; }"
                  " >/tmp/out 2>&1 & echo $! >/tmp/pid")
        wait_for(lambda: channels(mediator) == 1, "it works")
        for kill in (False, True, False):
            if kill:
                mediator.kill()
            else:
                mediator.process.terminate()
                assert mediator.process.wait(180) == 0
            mediator.start()
            wait_for(lambda: completed(mediator) > 100 and channels(mediator) == 1,
                     "it is taken over, and works")
        assert len(keeper.workers()) == 1
        guest.run("kill -INT $(pidof vgpu-client)")
        wait_for(lambda: "exit" in guest.run("cat /tmp/out")[1], "its end")
        output = guest.run("cat /tmp/out")[1]
        summary = json.loads([line for line in output.splitlines() if "summary" in line][-1])
        assert (summary["wrong"], summary["errors"], summary["reconnects"]) == (0, 0, 0), output
        nothing_left(guest)
        healthy(guest)
        mediator.close()


def test_quarantine_reaches_the_program(mediate, boot):  # noqa: F811
    """One that is at work, and one that comes later."""
    mediator = mediate("--enable-test-ops", "--fault-threshold", "2")
    guest = boot(mediator)
    address = guest.run("ls /sys/bus/pci/drivers/vgpu | grep :")[1]
    guest.run("{ vgpu-client --op add --seconds 600 --keep-going; echo exit $?; } >/tmp/out 2>&1 &")
    wait_for(lambda: channels(mediator) == 1, "it works")
    for _ in range(2):
        guest.run(f"vgpu-client --device {address} --op fail")
    wait_for(lambda: "exit 5" in guest.run("cat /tmp/out")[1], "the program ends")
    assert "quarantined" in guest.run("cat /tmp/out")[1]
    code, output = guest.run("vgpu-client --json --device /dev/vgpu0 1 2")
    assert code == 5 and "VM_QUARANTINED" in output, (code, output)
    nothing_left(guest)


def test_unplug_under_work(mediate, boot):  # noqa: F811
    mediator = mediate()
    guest = boot(mediator, machine="pc")
    guest.start("vgpu-client --op add --seconds 600")
    wait_for(lambda: channels(mediator) == 1, "it works")
    guest.qmp("device_del", id="gpu0")
    guest.wait_event("DEVICE_DELETED")
    code, output = guest.finish(120)
    assert code != 0 and "ended" in output, output
    wait_for(lambda: guest.run("rmmod vgpu")[0] == 0, "the module can go")
    healthy(guest)


def test_a_guest_that_reboots_or_dies(mediate, boot):  # noqa: F811
    mediator = mediate()
    for end in ("reboot -f", "echo c >/proc/sysrq-trigger", None):
        guest = boot(mediator)
        guest.run("vgpu-client --op add --seconds 600 >/tmp/out 2>&1 &")
        wait_for(lambda: channels(mediator) == 1, "it works")
        if end:
            guest.start(end)
            guest.process.wait(60)
        else:
            guest.process.send_signal(signal.SIGKILL)
            guest.process.wait()
        wait_for(lambda: channels(mediator) == 0, "the host has closed it")
