# SPDX-License-Identifier: GPL-2.0-or-later
"""Another VM beside the one that is looked at: tiny jobs, one after the other, in a process
of its own, and when each was answered."""

import multiprocessing
import time


class Neighbour:
    """connect() is called in the other process.  It gives a context manager, whose value runs
    one job and tells whether the answer was right; a ConnectionError ends the jobs."""

    def __init__(self, connect):
        context = multiprocessing.get_context("fork")
        self.connect = connect
        self.stop = context.Event()
        self.answers = context.Queue()
        self.process = context.Process(target=self.serve, daemon=True)

    def serve(self):
        seen, failed = [], 0
        with self.connect() as job:
            job()
            self.answers.put("ready")
            try:
                while not self.stop.is_set():
                    begin = time.monotonic()
                    failed += not job()
                    seen.append((begin, time.monotonic() - begin))
            except ConnectionError:
                failed += 1
        self.answers.put((failed, seen))

    def __enter__(self):
        self.process.start()
        self.answers.get(timeout=60)
        return self

    def finish(self):
        """How many jobs failed, and of each when it was sent and how long it took, in s."""
        self.stop.set()
        return self.answers.get(timeout=60)

    def __exit__(self, *_):
        self.stop.set()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def back_to_normal(seen, begin, normal_s):
    """Seconds from `begin` to the first of ten jobs in a row that were as quick as ever."""
    for i in range(len(seen) - 10):
        if seen[i][0] > begin and all(t < normal_s for _, t in seen[i : i + 10]):
            return seen[i][0] - begin
    return None
