#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A program as users of Numba write them: a reduction, shared memory, streams, events, pinned
memory, and a loop of launches.  Checks every result; prints the time of a launch as JSON.
Exit status: 0 all well, 1 something is wrong, 77 no Numba."""

import json
import sys
import time

try:
    import numpy as np
    if not hasattr(np, "row_stack"):
        np.row_stack = np.vstack  # older numba-cuda on NumPy 2.4
    from numba import cuda, float32
except ImportError as error:
    print(error)
    sys.exit(77)

BLOCK = 128


@cuda.jit
def saxpy(alpha, x, y):
    i = cuda.grid(1)
    if i < x.size:
        y[i] = alpha * x[i] + y[i]


@cuda.jit
def block_sums(values, sums):
    shared = cuda.shared.array(BLOCK, float32)
    i = cuda.grid(1)
    shared[cuda.threadIdx.x] = values[i] if i < values.size else 0
    cuda.syncthreads()
    step = BLOCK // 2
    while step > 0:
        if cuda.threadIdx.x < step:
            shared[cuda.threadIdx.x] += shared[cuda.threadIdx.x + step]
        cuda.syncthreads()
        step //= 2
    if cuda.threadIdx.x == 0:
        sums[cuda.blockIdx.x] = shared[0]


def main():
    count = 1 << 16
    blocks = count // BLOCK
    x = np.arange(count, dtype=np.float32) % 100
    y = np.ones(count, dtype=np.float32)
    device_x, device_y = cuda.to_device(x), cuda.to_device(y)
    saxpy[blocks, BLOCK](2.0, device_x, device_y)
    assert np.array_equal(device_y.copy_to_host(), 2 * x + 1), "saxpy"

    sums = cuda.device_array(blocks, dtype=np.float32)
    block_sums[blocks, BLOCK](device_x, sums)
    assert sums.copy_to_host().sum() == x.sum(), "reduction"

    stream = cuda.stream()
    pinned = cuda.pinned_array(count, dtype=np.float32)
    pinned[:] = x
    start, end = cuda.event(), cuda.event()
    start.record(stream)
    on_stream = cuda.to_device(pinned, stream=stream)
    for _ in range(10):
        saxpy[blocks, BLOCK, stream](1.0, device_x, on_stream)
    on_stream.copy_to_host(pinned, stream=stream)
    end.record(stream)
    end.synchronize()
    assert np.array_equal(pinned, 11 * x), "streams and pinned memory"
    assert cuda.event_elapsed_time(start, end) > 0, "events"

    cuda.synchronize()
    rounds = 2000
    begin = time.perf_counter()
    for _ in range(rounds):
        saxpy[blocks, BLOCK](1.0, device_x, device_y)
    cuda.synchronize()
    each_us = (time.perf_counter() - begin) / rounds * 1e6
    with open("/proc/self/maps", encoding="ascii") as maps:
        libraries = sorted({line.split()[-1] for line in maps if "libcuda.so" in line})
    print(json.dumps({"saxpy_launch_us": round(each_us, 2), "libraries": libraries}))


if __name__ == "__main__":
    main()
