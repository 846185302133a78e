# SPDX-License-Identifier: GPL-2.0-or-later
"""More QEMUs than there are places for, in a /proc of our own."""
import re
import shutil

import pytest

import wire
from adminkit import TREE
from mediator import Mediator, wait_for

FIRST = 100000  # of those that were there before; later ones have lower numbers


class Proc:
    """Entries appear and go as a whole, as those of the kernel do."""

    def __init__(self, folder):
        self.folder = folder / "proc"
        self.folder.mkdir()

    def add(self, pid, *arguments, start=1, uid=0):
        entry = self.folder / f"new-{pid}"
        entry.mkdir()
        words = ("qemu-system-x86_64", *(arguments or ("-device", f"vgpu-stub,vm_id={pid}")))
        (entry / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        (entry / "stat").write_text(f"{pid} (qemu-system-x86) S" + " 1" * 18 + f" {start} 1\n")
        (entry / "status").write_text(f"Name:\tqemu-system-x86\nUid:\t0\t{uid}\t0\t0\n"
                                      "Gid:\t0\t0\t0\t0\n")
        entry.rename(self.folder / str(pid))

    def remove(self, pid):
        gone = (self.folder / str(pid)).rename(self.folder / f"gone-{pid}")
        shutil.rmtree(gone)


@pytest.fixture
def proc(lab):
    return Proc(lab)


def limit():
    text = (TREE / "mediator" / "sessions" / "discovery.h").read_text(encoding="utf-8")
    return int(re.search(r"DISCOVERY_QEMUS_MAX (\d+)u", text).group(1))


def health(mediator):
    with mediator.admin() as admin:
        return admin.call(wire.SHOW_HEALTH)["mediator"]


def wait_for_counts(mediator, qemus, left_out, pids):
    def there():
        found = health(mediator)
        return ((found["qemus"], found["qemus_left_out"]) == (qemus, left_out)
                and found["qemu_left_out_pid"] in pids)
    wait_for(there, f"{qemus} QEMUs and {left_out} left out")


def told(mediator):
    return [line for line in mediator.log().splitlines() if "no place for more" in line]


def test_when_it_is_full(lab, proc, kit):
    full = limit()
    for pid in range(FIRST, FIRST + full):
        proc.add(pid)
    proc.add(FIRST + full, "-device", "virtio-net")  # none of ours needs no place
    with Mediator(lab, "--proc", proc.folder, discovery=True) as mediator:
        wait_for_counts(mediator, full, 0, {None})
        assert health(mediator)["ok"] and health(mediator)["qemus_limit"] == full
        assert "no place for more" not in kit.ok("show-health").out and told(mediator) == []

        # Whoever the kernel lists first: those that have a place keep it.
        for pid in (7, 8, 9):
            proc.add(pid)
        wait_for_counts(mediator, full, 3, {7, 8, 9})
        assert not health(mediator)["ok"] and "is gone" not in mediator.log()
        line, = told(mediator)
        assert f"{full} QEMUs" in line and re.search(r"for QEMU [789] until", line)
        r = kit.run("show-health", check=1)
        assert f"{full} are found, and there is no place for more" in r.out
        assert re.search(r"for QEMU [789] and 2 others until", r.out)
        document = kit.json("show-health", check=1)
        assert document["mediator"]["qemus_left_out"] == 3 and not document["healthy"]

        # Some end, and those left out have their places.
        for pid in range(FIRST, FIRST + 4):
            proc.remove(pid)
        wait_for_counts(mediator, full - 1, 0, {None})
        assert all(f"QEMU {pid} found" in mediator.log() for pid in (7, 8, 9))
        assert health(mediator)["ok"]

        # There was space, and there is none again: that is news.
        before = len(told(mediator))
        for pid in (20, 21):
            proc.add(pid)
        wait_for_counts(mediator, full, 1, {20, 21})
        assert len(told(mediator)) == before + 1


def limit_of_user():
    text = (TREE / "mediator" / "sessions" / "discovery_scan.h").read_text(encoding="utf-8")
    return int(re.search(r"DISCOVERY_OF_USER_MAX (\d+)u", text).group(1))


def test_one_user_does_not_take_all_places(lab, proc, kit):
    """Any local user can start programs that look like QEMUs."""
    most = limit_of_user()
    for pid in range(FIRST, FIRST + most + 5):
        proc.add(pid, uid=1000)
    with Mediator(lab, "--proc", proc.folder, discovery=True) as mediator:
        wait_for_counts(mediator, most, 5, range(FIRST, FIRST + most + 5))
        r = kit.run("show-health", check=1)
        assert f"and 4 others, because one user has {most} already" in r.out
        assert mediator.log().count("is left out") == 1 and told(mediator) == []
        # Others are not affected; one that ends makes room for one.
        proc.add(7, uid=0)
        proc.add(8, uid=1001)
        wait_for_counts(mediator, most + 2, 5, range(FIRST, FIRST + most + 5))
        first = next(pid for pid in range(FIRST, FIRST + most) if f"QEMU {pid} found"
                     in mediator.log())
        proc.remove(first)
        wait_for_counts(mediator, most + 2, 4, range(FIRST, FIRST + most + 5))
    with Mediator(lab, "--proc", proc.folder, "--qemu-user", "nobody", discovery=True) as mediator:
        for pid in range(200000, 200000 + most + 9):
            proc.add(pid, uid=65534)
        wait_for_counts(mediator, 2 * most + 2 + 9, 4, range(FIRST, FIRST + most + 5))
