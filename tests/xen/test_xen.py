# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole path under Xen, as XCP-ng runs it: vgpu-client in an HVM guest, vgpu-stub in a
deprivileged device model, the mediator and its workers in Dom0."""
import json
import re
import time
import types

import pytest

from conftest import VM_IDS
from dom0_image import DEVICE_MODEL_GID, DEVICE_MODEL_UID
from xen_lab import UUIDS


# Accesses of a guest to its device per job, polls of STATUS not counted: docs/xcp-ng.md.
ACCESSES = {"--op add": 12, "--op add --exclusive --bench": 7, "--op vadd-f32": 196}


def chroot(guest):
    return f"/var/xen/qemu/root-{guest.domid}"


def chroot_socket(guest):
    return chroot(guest) + "/tmp/vgpu-mediator.sock"


def until(condition, what, limit_s=300, pause_s=0.3):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {limit_s} s: {what}"
        time.sleep(pause_s)


def wait_for_socket(dom0, guest):
    dom0.wait(f"test -S {chroot_socket(guest)}", "the mediator makes a socket in the chroot")


def test_the_sum(guest):
    assert guest.check("vgpu-client 100 200") == "100 + 200 = 300"
    answer = json.loads(guest.check("vgpu-client --json --op vadd-f32"))
    assert answer["correct"] and answer["elements"] == 124


def test_every_register(guest):
    """Real instructions of each size, at every alignment: a thousand exits.  tests/vm has every
    offset of the buffers."""
    output = guest.check("guest_mmio sparse", 300)
    assert re.search(r"[1-9]\d{2,} checks", output), output
    # What it left in the request buffer harms nobody.
    assert guest.check("vgpu-client 1 2") == "1 + 2 = 3"


def test_identity_comes_from_xenstore(dom0, mediator, guest):
    """Neither -uuid nor -name nor vm_id= on the command line, as on XCP-ng."""
    cmdline = dom0.check(f"tr '\\0' '\\n' </proc/{guest.pid}/cmdline").splitlines()
    assert "-uuid" not in cmdline and "-name" not in cmdline
    assert "vgpu-stub" in cmdline
    assert cmdline[cmdline.index("-xen-domid") + 1] == str(guest.domid)
    assert dom0.check(f"xenstore-read /local/domain/{guest.domid}/vm") == "/vm/" + UUIDS["g1"]
    connection = mediator.connection("g1")
    assert connection["uuid"] == UUIDS["g1"]
    assert connection["pid"] == guest.pid
    assert f"QEMU {guest.pid} found: g1, 1 vgpu-stub" in mediator.log()


def test_socket_in_the_chroot(dom0, guest):
    wait_for_socket(dom0, guest)
    stat = dom0.check(f"stat -c '%F %a %u %g' {chroot_socket(guest)}")
    assert stat == f"socket 600 {DEVICE_MODEL_UID + guest.domid} {DEVICE_MODEL_GID + guest.domid}"


def test_the_confinement_holds(dom0, guest):
    """What XCP-ng's wrapper takes away stays away while jobs run."""
    guest.background("vgpu-client --json --op nop --seconds 600")
    process = f"/proc/{guest.pid}"
    status = dict(line.split(":", 1) for line in dom0.check(f"cat {process}/status").splitlines())
    uid, gid = str(DEVICE_MODEL_UID + guest.domid), str(DEVICE_MODEL_GID + guest.domid)
    assert status["Uid"].split() == [uid] * 4
    assert status["Gid"].split() == [gid] * 4
    assert status["Groups"].split() == [gid]
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[name], 16) == 0, name
    assert status["Seccomp"].strip() == "2"  # a filter
    assert dom0.check(f"readlink {process}/root") == chroot(guest)
    namespaces = [dom0.check(f"cd /proc/{pid}/ns; for n in net mnt ipc; do readlink $n; done")
                  .split() for pid in (guest.pid, 1)]
    assert len(namespaces[0]) == 3
    for theirs, ours in zip(*namespaces):
        assert theirs != ours
    limits = dom0.check(f"cat {process}/limits")
    assert re.search(r"Max file size\s+262144\s+262144", limits), limits
    assert "-xen-domid-restrict" in dom0.check(f"tr '\\0' '\\n' <{process}/cmdline").splitlines()
    summary = json.loads(guest.stop("vgpu-client")[1].splitlines()[-1])
    assert summary["jobs"] > 0 and summary["errors"] == 0, summary


def test_mmio_cost(guest, record_property):
    """Not a test of speed: the counts must be what docs/xcp-ng.md says, the times are noted."""
    times = json.loads(guest.check("mmio_time access 100"))
    published = json.loads(guest.check("mmio_time published 5", 300))
    print(f"\nadd as published: {json.dumps(published)}")
    record_property("add as published", json.dumps(published))
    assert published["mmio_writes_per_job"] == 12
    reads = published["mmio_reads_per_job"] - published["status_polls_per_job"]
    assert reads == pytest.approx(13)
    for options, count in ACCESSES.items():
        bench = json.loads(guest.check(f"vgpu-client --json {options} --count 2", 600))
        record_property(options, json.dumps(bench))
        print(f"\n{options}: {json.dumps(bench)}")
        assert bench["errors"] == 0 and bench["wrong"] == 0
        accesses = bench["mmio_writes_per_job"] + bench["mmio_reads_per_job"] - \
            bench["status_polls_per_job"]
        assert accesses <= count + 0.5, bench
    record_property("access", json.dumps(times))
    print(f"\none access: {times}")
    # A wait is looked at ever more seldom, whatever the machine's speed.
    bench = json.loads(guest.check("vgpu-client --json --op spin --us 300000 --count 2"))
    assert bench["status_polls_per_job"] < 150 + bench["max_us"] / 10_000, bench


def test_mediator_killed_under_load(dom0, mediator, guest):
    """The device connects again, inside its chroot, and the guest goes on by itself."""
    wait_for_socket(dom0, guest)
    before = mediator.connection("g1")["requests"]
    guest.background("vgpu-client --json --op add --seconds 600 --keep-going")
    until(lambda: mediator.connection("g1")["requests"] > before + 2, "the load runs")
    mediator.kill()
    mediator.start()
    connection = mediator.wait_connected("g1", guest.pid)
    assert connection["path"] == f"/proc/{guest.pid}/root/tmp/vgpu-mediator.sock"
    until(lambda: mediator.vm("g1")["completed"] > 2, "the guest goes on by itself")
    summary = json.loads(guest.stop("vgpu-client")[1].splitlines()[-1])
    print(f"\n{summary}")
    assert summary["event"] == "summary" and summary["wrong"] == 0
    assert summary["jobs"] > 4
    assert guest.check("vgpu-client 20 22") == "20 + 22 = 42"


def test_weights_80_20(dom0, mediator, guests):
    """Shares of the GPU while both have work, by the mediator's own account.  A VM's pause
    between two jobs, for which the GPU waits, is charged to it (docs/scheduling.md); here
    pauses are as long as the machine is slow, so they are counted in."""
    both = [guests("g1"), guests("g2")]
    dom0.check("vgpu-admin set-weight --vm-name=g1 --weight=80")
    dom0.check("vgpu-admin set-weight --vm-name=g2 --weight=20")

    def charged():
        """For g1 and g2: jobs done, GPU time used, and that with the time kept idle for it."""
        vms = {vm["vm_id"]: vm for vm in mediator.json("status")["vms"]}
        vms = [vms[VM_IDS[name]] for name in ("g1", "g2")]
        return [(vm["completed"], vm["gpu_time_ns"], vm["gpu_time_ns"] + vm["kept_idle_ns"])
                for vm in vms]

    def until_slower_has_done(jobs):
        until(lambda: charged()[1][0] >= jobs, f"g2 has done {jobs} jobs")
        return charged()

    first = charged()[1][0]
    for guest in both:
        guest.background("vgpu-client --json --op spin --us 200000 --seconds 600")
    # From two jobs of the slower VM on the mediator has learned how soon the faster one comes
    # back.
    begin = until_slower_has_done(first + 2)
    end = until_slower_has_done(begin[1][0] + 6)
    for guest in both:
        code, output = guest.stop("vgpu-client")
        assert code == 0 and json.loads(output.splitlines()[-1])["errors"] == 0, output
    jobs, used, held = ([after[at] - before[at] for before, after in zip(begin, end)]
                        for at in range(3))
    share, held_share = used[0] / sum(used), held[0] / sum(held)
    print(f"\n{sum(jobs)} jobs in {sum(held) / 1e9:.1f} s: g1 has {held_share:.1%} of the time "
          f"charged and {share:.1%} of the GPU time used")
    # One job of g2 is 5 % of it.  A guest on a busy host may pause for longer than the mediator's
    # patience, and then gives up a part of its share.  Even shares are 0.50.
    assert 0.62 < held_share < 0.90
    assert share > 0.5


@pytest.fixture(scope="module")
def first_life(dom0, mediator, guests):
    """g1's domid, process and socket, which it has shut down since; it starts again while the
    next tests have g2."""
    guest = guests("g1")
    first = types.SimpleNamespace(domid=guest.domid, pid=guest.pid, socket=chroot_socket(guest))
    dom0.run(guest.command("(sleep 0.3; poweroff -f) >/dev/null 2>&1 &", 30))
    dom0.wait("! xl domid g1 2>/dev/null", "g1 has shut down", 90)
    dom0.wait(f"test ! -e {first.socket}", "the mediator removes its socket")
    assert mediator.connection("g1") is None
    guest.start()
    return first


def test_shut_down(mediator, first_life):
    assert f"QEMU {first_life.pid} (g1) is gone" in mediator.log()


def test_rate_limit_reaches_the_guest(dom0, mediator, guests):
    guest = guests("g2")
    dom0.check("vgpu-admin set-rate-limit --vm-name=g2 --rate=1 --burst=1")
    code, output = guest.run("vgpu-client --json --op nop --count 8 --retries 0 --keep-going")
    summary = json.loads(output.splitlines()[-1])
    assert summary["last_error"] == "RATE_LIMITED" and summary["errors"] >= 1, output
    assert summary["jobs"] >= 1
    assert guest.run("vgpu-client --op nop --count 8 --retries 0")[0] == 4
    assert mediator.vm("g2")["rejected_rate"] >= 1
    # With retries the guest waits its turn and gets all that it asked for.
    summary = json.loads(guest.check("vgpu-client --json --op nop --count 3"))
    assert summary["jobs"] == 3 and summary["retries"] >= 1
    dom0.check("vgpu-admin set-rate-limit --vm-name=g2 --rate=0 --burst=0")
    assert json.loads(guest.check("vgpu-client --json --op nop --count 8 --retries 0"))["jobs"] == 8


def test_quarantine_reaches_the_guest(dom0, mediator, guests):
    guest = guests("g2")
    for _ in range(3):
        assert guest.run("vgpu-client --op fail")[0] == 1
    code, output = guest.run("vgpu-client 1 2")
    assert code == 5 and "quarantine" in output.lower(), output
    assert mediator.vm("g2")["quarantined"]
    dom0.check("vgpu-admin clear-quarantine --vm-name=g2")
    assert guest.check("vgpu-client 1 2") == "1 + 2 = 3"


def test_created_again(mediator, guests, first_life):
    """A new domain, a new process, a new chroot: the same VM."""
    guest = guests("g1")
    assert guest.domid > first_life.domid and guest.pid != first_life.pid
    assert mediator.connection("g1")["uuid"] == UUIDS["g1"]
    assert guest.check("vgpu-client 100 200") == "100 + 200 = 300"


def test_device_model_killed(dom0, mediator, guests):
    """The mediator forgets the process, and the other guest goes on."""
    victim, other = guests("g2"), guests("g1")
    other.background("vgpu-client --json --op nop --seconds 600")
    dom0.check(f"kill -9 {victim.pid}")
    dom0.wait(f"test ! -e {chroot_socket(victim)}", "the mediator removes its socket")
    assert mediator.connection("g2") is None
    before = mediator.connection("g1")["requests"]
    until(lambda: mediator.connection("g1")["requests"] > before + 1, "the other guest goes on")
    summary = json.loads(other.stop("vgpu-client")[1].splitlines()[-1])
    assert summary["errors"] == 0 and summary["wrong"] == 0 and summary["jobs"] > 0, summary
    assert other.check("vgpu-client 2 2") == "2 + 2 = 4"
    victim.retired = True


def test_save_is_refused(dom0, guest):
    """The device's state is in the mediator, so saving fails, with the reason in the device
    model's log or, with XCP-ng's QEMU, from xl, and the guest goes on.  The last test of its
    guest: xl's resuming is not ours."""
    code, output = dom0.run(f"xl save {guest.name} /tmp/saved 2>&1 | tr '\\r' '\\n' | "
                            "grep -v Frames", 180)
    print(output)
    dom0.run("rm -f /tmp/saved")
    assert "Failed to save domain, resuming domain" in output, output
    reason = "vgpu-stub device .* can't be migrated or saved|non-migratable device '.*vgpu-stub'"
    assert re.search(reason, output + guest.log()), output + guest.log()
    assert dom0.check(f"xl domid {guest.name}") == str(guest.domid)
    assert guest.check("vgpu-client 3 4") == "3 + 4 = 7"
    guest.retired = True
