# SPDX-License-Identifier: GPL-2.0-or-later
"""A process of the host and its VM's worker share the channel's eventfds, and either can make them
blocking.  What a hostile process can do with that is its own VM's loss."""

import fcntl
import os
import struct

import host_channel as hc
import wire
from host_channel import Host
from mediator import wait_for
from test_channels import backend, ready, running  # noqa: F401 (fixtures)

FULL = struct.pack("<Q", 2 ** 64 - 2)


def block(channel):
    """The worker's next signal waits until somebody reads."""
    for fd in (channel.doorbell, channel.interrupt):
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    os.write(channel.interrupt, FULL)
    channel.store(hc.PARKED, 1, "I")
    channel.put(channel.record(wire.NOP, struct.pack("<2I", 0, 0)))
    channel.publish()
    wait_for(lambda: channel.word(hc.PARKED, "I") == 0, "the worker is about to signal")


def test_a_worker_that_is_made_to_wait(running, lab):  # noqa: F811
    with Host(lab / "vm1.sock") as hostile, Host(lab / "vm2.sock") as other:
        mine, theirs = ready(hostile.open()), ready(other.open())
        block(mine)
        for n in range(50):
            assert theirs.op(wire.ADD, (n, 1)) == (wire.OK, (n + 1,), b"")
        other.ping()
        os.read(mine.interrupt, 8)
        assert mine.answer()[0] == wire.OK
        assert mine.op(wire.ADD, (3, 4)) == (wire.OK, (7,), b"")


def test_a_worker_that_waits_for_a_process_that_is_gone(running, lab):  # noqa: F811
    """Nobody ever wakes it; the VM's next process waits, other VMs' do not."""
    with Host(lab / "vm2.sock") as other:
        with Host(lab / "vm1.sock") as hostile:
            block(ready(hostile.open()))
        theirs = ready(other.open())
        for n in range(50):
            assert theirs.op(wire.ADD, (n, 1)) == (wire.OK, (n + 1,), b"")
        other.close()
    with Host(lab / "vm2.sock") as other:
        assert ready(other.open()).op(wire.ADD, (3, 4)) == (wire.OK, (7,), b"")
