#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Stands in for vgpu-worker: the real one does the work, and of some VMs the GPU times that it
reports are changed on their way, or jobs are taken up late.

  lying_worker.py WORKER LIES OPTION...

WORKER is the real one, OPTION what the mediator starts it with.  LIES is a JSON object: by vm_id
what is said instead, {"factor": F} times the truth or {"us": N}, and "every": each so many jobs
(1).  "step": S begins with the truth and goes on by S times with each job, up or down to the
factor, and then once more from the truth.  "slow_us": N takes up each job so much later, on
average.  VMs that are not in it have the real worker itself."""

import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "protocol")]
import worker_link as wl  # noqa: E402

GPU_TIME_AT = wl.HEADER.size + 16  # in a DONE


class Liar:
    def __init__(self, factor=1.0, us=None, every=1, step=1.0, slow_us=0):
        self.factor, self.us, self.every, self.slow_us = factor, us, every, slow_us
        self.step, self.now = step, 1.0
        self.jobs = 0

    def next_factor(self):
        if self.step == 1:
            return self.factor
        self.now *= self.step
        if self.now < self.factor if self.step < 1 else self.now > self.factor:
            self.now = 1.0
        return self.now

    def dawdle(self, packet):
        """Before the worker gets it."""
        if self.slow_us and wl.HEADER.unpack_from(packet)[2] == wl.RUN:
            time.sleep(random.expovariate(1e6 / self.slow_us))

    def changed(self, packet):
        """The packet as the mediator gets it."""
        if len(packet) < GPU_TIME_AT + 8 or wl.HEADER.unpack_from(packet)[2] != wl.DONE:
            return packet
        self.jobs += 1
        if self.jobs % self.every:
            return packet
        (true_ns,) = struct.unpack_from("<Q", packet, GPU_TIME_AT)
        said_ns = int(true_ns * self.next_factor()) if self.us is None else int(self.us * 1000)
        packet = bytearray(packet)
        struct.pack_into("<Q", packet, GPU_TIME_AT, min(said_ns, (1 << 64) - 1))
        return bytes(packet)


def vm_id_of(options):
    return options[options.index("--vm-id") + 1] if "--vm-id" in options else None


def relay(mediator, worker, liar):
    """Until one of the two is gone."""
    while True:
        for ready in select.select([mediator, worker], [], [])[0]:
            packet = ready.recv(wl.FRAME_MAX)
            if not packet:
                return
            if ready is mediator:
                liar.dawdle(packet)
                worker.send(packet)
            else:
                mediator.send(liar.changed(packet))


def main():
    real, lies, options = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
    lie = lies.get(vm_id_of(options))
    if lie is None:
        os.execv(real, [real, *options])
    mediator = socket.socket(fileno=3)
    worker, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def place():
        os.dup2(theirs.fileno(), 3, inheritable=True)

    process = subprocess.Popen([real, *options], preexec_fn=place, close_fds=False)
    theirs.close()
    try:
        relay(mediator, worker, Liar(**lie))
    except OSError:
        pass  # as if it had said goodbye
    worker.close()
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
