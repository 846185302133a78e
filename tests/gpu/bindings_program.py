#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on NVIDIA's Python bindings of the driver interface and of its compiler
(cuda.bindings), for guest_cuda_check.py.  Exit status: 0, or 1 with the call that failed."""

import sys

import numpy as np
from cuda.bindings import driver, nvrtc

SOURCE = b"""
extern "C" __global__ void saxpy(float a, const float *x, float *y, size_t n)
{
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

    if (i < n) {
        y[i] = a * x[i] + y[i];
    }
}
"""


def ok(answer):
    """The call's results without its status."""
    if int(answer[0]) != 0:
        raise SystemExit("failed: %s" % (answer[0],))
    return answer[1] if len(answer) == 2 else answer[1:]


def image(device):
    major = ok(driver.cuDeviceGetAttribute(
        driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device))
    minor = ok(driver.cuDeviceGetAttribute(
        driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device))
    program = ok(nvrtc.nvrtcCreateProgram(SOURCE, b"saxpy.cu", 0, [], []))
    ok(nvrtc.nvrtcCompileProgram(program, 1, [b"--gpu-architecture=sm_%d%d" % (major, minor)]))
    data = b" " * ok(nvrtc.nvrtcGetCUBINSize(program))
    ok(nvrtc.nvrtcGetCUBIN(program, data))
    return data


def main():
    ok(driver.cuInit(0))
    device = ok(driver.cuDeviceGet(0))
    context = ok(driver.cuDevicePrimaryCtxRetain(device))
    ok(driver.cuCtxSetCurrent(context))
    cubin = np.frombuffer(image(device), dtype=np.uint8)
    module = ok(driver.cuModuleLoadData(cubin.ctypes.data))
    kernel = ok(driver.cuModuleGetFunction(module, b"saxpy"))
    stream = ok(driver.cuStreamCreate(0))
    n = 1 << 20
    x = np.arange(n, dtype=np.float32) % 1000
    y = np.ones(n, dtype=np.float32)
    dx, dy = ok(driver.cuMemAlloc(x.nbytes)), ok(driver.cuMemAlloc(y.nbytes))
    ok(driver.cuMemcpyHtoDAsync(dx, x.ctypes.data, x.nbytes, stream))
    ok(driver.cuMemcpyHtoDAsync(dy, y.ctypes.data, y.nbytes, stream))
    values = [np.array([2], dtype=np.float32), np.array([int(dx)], dtype=np.uint64),
              np.array([int(dy)], dtype=np.uint64), np.array([n], dtype=np.uint64)]
    addresses = np.array([value.ctypes.data for value in values], dtype=np.uint64)
    ok(driver.cuLaunchKernel(kernel, (n + 255) // 256, 1, 1, 256, 1, 1, 0, stream,
                             addresses.ctypes.data, 0))
    out = np.zeros(n, dtype=np.float32)
    ok(driver.cuMemcpyDtoHAsync(out.ctypes.data, dy, out.nbytes, stream))
    ok(driver.cuStreamSynchronize(stream))
    if not np.array_equal(out, 2 * x + 1):
        raise SystemExit("wrong values")
    name = ok(driver.cuDeviceGetName(64, device))
    print("saxpy of cuda.bindings: right, on", name.split(b"\0")[0].decode())


if __name__ == "__main__":
    sys.exit(main())
