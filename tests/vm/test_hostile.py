# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that does anything: random accesses of all sizes, requests, configuration, resets."""
import random
import select
import threading

import pytest

import regs
from fake_mediator import BUSY, CONFIG, PING, REQUEST, RESPONSE, Connection, config, frame, response


class RandomMediator(threading.Thread):
    """Answers some requests well, some late, some never, and hangs up now and then."""

    def __init__(self, mediator, seed):
        super().__init__(daemon=True)
        self.mediator = mediator
        self.rng = random.Random(seed)
        self.stop = threading.Event()
        self.requests = 0
        self.failure = None

    def run(self):
        try:
            while not self.stop.is_set():
                if select.select([self.mediator.listener], [], [], 0.1)[0]:
                    with self.mediator.listener.accept()[0] as sock:
                        self.serve(Connection(sock))
        except BaseException as failure:  # handed to the test, which raises it
            self.failure = failure

    def serve(self, conn):
        held = []
        while not self.stop.is_set():
            if not select.select([conn.sock], [], [], 0.05)[0]:
                continue
            try:
                got = conn.recv()
                if got is None:
                    return
                if got.type == REQUEST:
                    self.requests += 1
                    held.append(got.request_id)
                what = self.rng.randrange(400)
                if what == 0:
                    return
                if what < 300 and held:
                    tag = held.pop(self.rng.randrange(len(held)))
                    conn.send(frame(self.rng.choice([RESPONSE, RESPONSE, BUSY]), tag,
                                    response(self.rng.choice([0, 0, 5]), [tag])))
                elif what < 340:
                    conn.send(frame(PING, 1, b"p" * self.rng.randrange(65)))
                elif what < 380:
                    conn.send(frame(CONFIG, 1, config(self.rng.getrandbits(32), "M", 2)))
            except (BrokenPipeError, ConnectionResetError):
                return


@pytest.mark.parametrize("seed", range(3))
def test_random_guest(start, mediator, seed):
    rng = random.Random(seed)
    vm, dev = start()
    peer = RandomMediator(mediator, seed)
    peer.start()
    spots = [regs.DOORBELL, regs.REQUEST_LEN, regs.IRQ_CTRL, regs.IRQ_STATUS, regs.SCRATCH]
    cap = dev.capability(0x05)
    operations = 0
    while operations < 8000 or peer.requests < 100:
        operations += 1
        assert operations < 500000, f"only {peer.requests} requests came through"
        what = rng.randrange(1000)
        size = rng.choice([1, 2, 4, 8])
        if what < 400:
            dev.write(rng.choice(spots), rng.choice([0, 1, 1, 1, 32, 1024, rng.getrandbits(32)]))
        elif what < 600:
            dev.write(rng.randrange(regs.END), rng.getrandbits(8 * size), size)
        elif what < 900:
            dev.read(rng.randrange(regs.END), size)
        elif what < 990:  # an MSI anywhere: RAM, this BAR, nowhere
            dev.enable_msi(rng.choice([0x1000, dev.base, dev.base + rng.randrange(regs.END),
                                       0xFEE00000, rng.getrandbits(32)]) & ~3,
                           rng.getrandbits(16))
        elif what < 998:
            dev.config_write(cap + 2, rng.getrandbits(16), 2)
            dev.config_write(0x04, rng.getrandbits(16) | 0x0002, 2)
        else:
            vm.qmp("system_reset")
            vm.wait_event("RESET")
            vm.events.clear()
            dev.enable()
        assert dev.reg(regs.STATUS) in (regs.IDLE, regs.BUSY, regs.DONE, regs.ERROR)
    peer.stop.set()
    peer.join()
    if peer.failure:
        raise peer.failure

    # And then an honest guest finds a device that works.
    vm.qmp("system_reset")
    vm.wait_event("RESET")
    dev.enable()
    mediator.close()
    mediator.listen()
    conn = mediator.accept(hello=False)
    conn.send(frame(PING, 9, b"end"))
    while conn.recv().payload != b"end":
        pass
    dev.submit(b"honest")
    while True:
        got = conn.recv()
        if got.type == REQUEST and got.payload == b"honest":
            break
    conn.answer(got, results=[11])
    assert dev.result() == (11,)
