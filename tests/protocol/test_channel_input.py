# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hostile process of the host writes into its channel."""

import os
import struct

import pytest

import host_channel as hc
import wire
from host_channel import Host
from test_channels import backend, running  # noqa: F401  (fixtures)
from test_channels import ready, with_vms


def bad_position(tail):
    return lambda channel: channel.publish(tail)


def bad_record(**fields):
    def spoil(channel):
        channel.put(channel.record(wire.NOP, bytes(8), **fields))
        channel.publish()
    return spoil


def backwards(channel):
    channel.op(wire.NOP)
    channel.publish(8)


def half_a_header(channel):
    channel.put(channel.record(wire.NOP, bytes(8)))
    channel.publish(16)


BAD = {
    "ahead": (bad_position((1 << 20) + 8), hc.BAD_POSITION),
    "far": (bad_position(1 << 63), hc.BAD_POSITION),
    "odd": (bad_position(4), hc.BAD_POSITION),
    "wrapped": (bad_position(2 ** 64 - 8), hc.BAD_POSITION),
    "backwards": (backwards, hc.BAD_POSITION),
    "half": (half_a_header, hc.BAD_RECORD),
    "short": (bad_record(length=8), hc.BAD_RECORD),
    "zero": (bad_record(length=0), hc.BAD_RECORD),
    "long": (bad_record(length=0xFFFFFFF8), hc.BAD_RECORD),
    "beyond": (bad_record(length=64), hc.BAD_RECORD),
    "unaligned": (bad_record(length=28), hc.BAD_RECORD),
    "number": (bad_record(seq=9), hc.BAD_RECORD),
    "lane": (bad_record(lane=4), hc.BAD_RECORD),
    "flags": (bad_record(flags=0x8001), hc.BAD_RECORD),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_the_channel_alone(running, lab, name):
    spoil, reason = BAD[name]
    with Host(lab / "vm1.sock") as host, Host(lab / "vm1.sock") as other, \
            Host(lab / "vm2.sock") as neighbour:
        friend, far = ready(other.open()), ready(neighbour.open())
        assert friend.op(wire.NOP)[0] == far.op(wire.NOP)[0] == wire.OK
        workers, faults = set(running.workers()), running.vm(1)["fault_count"]
        channel = ready(host.open())
        spoil(channel)
        assert host.closed() == (0, reason)
        assert channel.state() == (1, reason)
        assert running.vm(1)["fault_count"] == faults + 1
        assert friend.op(wire.ADD, (1, 2))[1] == (3,) and far.op(wire.ADD, (3, 4))[1] == (7,)
        assert set(running.workers()) == workers
        assert ready(host.open()).op(wire.NOP)[0] == wire.OK


def test_faults_lead_to_quarantine(lab):
    with with_vms(lab, "--fault-threshold", "2") as running, Host(lab / "vm1.sock") as host, \
            Host(lab / "vm1.sock") as other:
        friend = ready(other.open())
        for _ in range(2):
            ready(host.open()).publish(4)
            assert host.closed() == (0, hc.BAD_POSITION)
        assert other.closed() == (0, hc.QUARANTINED)
        assert friend.state() == (1, hc.QUARANTINED)
        assert host.open() == wire.VM_QUARANTINED
        assert running.vm(1)["quarantined"]


@pytest.mark.parametrize("body", [b"", struct.pack("<2I", 0xFFFFFFFF, 0),
                                  struct.pack("<2I", 0, 0xFFFFFFFF), struct.pack("<2I", 1, 0),
                                  struct.pack("<2I", 0x40000000, 8) + bytes(8)])
def test_lengths_inside_a_record(running, lab, body):
    with Host(lab / "vm1.sock") as host:
        channel = ready(host.open())
        channel.put(channel.record(wire.NOP, body))
        channel.publish()
        assert channel.answer()[0] in (wire.INVALID_LENGTH, wire.INVALID_REQUEST)
        assert channel.op(wire.NOP)[0] == wire.OK


def test_garbage_in_the_ring(lab):
    """Any bytes: answered or closed, never a dead worker."""
    with with_vms(lab, "--fault-threshold", "0") as running, \
            Host(lab / "vm2.sock") as neighbour:
        far = ready(neighbour.open())
        far.op(wire.NOP)
        workers = len(running.workers())
        for seed in range(40):
            with Host(lab / "vm1.sock") as host:
                channel = ready(host.open())
                noise = os.urandom(400)
                head = hc.RECORD.pack(noise[0] | (noise[1] & 1) << 8, noise[2] & 7, 424, 1,
                                      noise[3] & 3, 0, 0)
                channel.put(head + noise if seed % 2 else noise)
                channel.publish()
                channel.wait(lambda: channel.state()[0] or channel.word(hc.RETIRED) or
                             channel.word(hc.HEAD), "an end")
        assert far.op(wire.NOP)[0] == wire.OK
        assert len(running.workers()) == workers + 1 and running.process.poll() is None
