# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver and cuBLAS in this very process, by ctypes: what a program without a mediator gets.
Standard library only."""

import ctypes
import os
import time

PLACES = [folder + "/libcublas.so." + version
          for folder in ("/usr/local/cuda/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib64")
          for version in ("13", "12")]  # fmt: skip


class Native:
    """A context, two streams, a cuBLAS handle for each."""

    def __init__(self):
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        path = os.environ.get("VGPU_CUBLAS") or next(p for p in PLACES if os.path.exists(p))
        self.cuda = ctypes.CDLL("libcuda.so.1")
        self.blas = ctypes.CDLL(path)
        context = ctypes.c_void_p()
        self.must(self.cuda.cuInit(0))
        self.must(self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
        self.must(self.cuda.cuCtxSetCurrent(context))
        self.streams, self.handles = [], []
        for _ in range(2):
            stream, handle = ctypes.c_void_p(), ctypes.c_void_p()
            self.must(self.cuda.cuStreamCreate(ctypes.byref(stream), 1))
            begin = time.monotonic()
            self.must(self.blas.cublasCreate_v2(ctypes.byref(handle)))
            self.create_s = time.monotonic() - begin
            self.must(self.blas.cublasSetStream_v2(handle, stream))
            self.streams.append(stream)
            self.handles.append(handle)

    @staticmethod
    def must(error):
        if error:
            raise RuntimeError("error %d of the driver or of cuBLAS" % error)

    def memory(self, size, data=None):
        address = ctypes.c_uint64()
        self.must(self.cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size)))
        if data is not None:
            self.must(self.cuda.cuMemcpyHtoD_v2(address, data, ctypes.c_size_t(size)))
        return address.value

    def sgemm(self, n, rows, a, b, c, which=0):
        """c[rows][n] = a[rows][n] b[n][n], by rows."""
        one, zero = ctypes.c_float(1), ctypes.c_float(0)
        self.must(self.blas.cublasSgemm_v2(
            self.handles[which], 0, 0, n, rows, n, ctypes.byref(one), ctypes.c_uint64(b), n,
            ctypes.c_uint64(a), n, ctypes.byref(zero), ctypes.c_uint64(c), n))  # fmt: skip

    def wait(self):
        for stream in self.streams:
            self.must(self.cuda.cuStreamSynchronize(stream))

    def seconds(self, work, times):
        """Of one, the mean of several in a row."""
        work()
        self.wait()
        begin = time.monotonic()
        for _ in range(times):
            work()
        self.wait()
        return (time.monotonic() - begin) / times

    def in_bands(self, n, rows, a, b, c, streams):
        for i, row in enumerate(range(0, n, rows)):
            self.sgemm(n, min(rows, n - row), a + row * n * 4, b, c + row * n * 4, i % streams)
