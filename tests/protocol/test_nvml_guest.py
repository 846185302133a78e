# SPDX-License-Identifier: GPL-2.0-or-later
"""NVML in a guest: the VM's own view, through a real mediator and worker on the stand-in."""

import json
import os
import subprocess
import sys

import pytest

from test_cuda_guest import BUILD, FAULT, IMAGE, LIBRARY, finish, running, start  # noqa: F401

NVML = BUILD / "guest" / "nvml" / "libnvidia-ml.so.1"
DRIVER = BUILD / "guest" / "cuda" / "libcuda.so.1"

pytestmark = pytest.mark.skipif(b"__asan_init" in LIBRARY.read_bytes(),
                                reason="programs that use our libraries have no sanitizer")

PROGRAM = r"""
import ctypes, json, os, sys
nvml, cuda = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(sys.argv[2])
def text(call, *args):
    to = ctypes.create_string_buffer(96)
    return call(*args, to, 96), to.value.decode()
class Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64)]
device, number, memory = ctypes.c_void_p(), ctypes.c_uint(), Memory()
said = {"before": nvml.nvmlDeviceGetCount(ctypes.byref(number)), "init": nvml.nvmlInit_v2()}
said["count"] = nvml.nvmlDeviceGetCount_v2(ctypes.byref(number)), number.value
said["index 1"] = nvml.nvmlDeviceGetHandleByIndex_v2(1, ctypes.byref(device))
said["index 0"] = nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device))
said["name"] = text(nvml.nvmlDeviceGetName, device)
said["uuid"] = text(nvml.nvmlDeviceGetUUID, device)
said["short"] = nvml.nvmlDeviceGetName(device, ctypes.create_string_buffer(2), 2)
said["no handle"] = nvml.nvmlDeviceGetName(ctypes.c_void_p(7), ctypes.create_string_buffer(96), 96)
said["nowhere"] = nvml.nvmlDeviceGetMemoryInfo(device, None)
said["by uuid"] = nvml.nvmlDeviceGetHandleByUUID(said["uuid"][1].encode(), ctypes.byref(device))
said["other uuid"] = nvml.nvmlDeviceGetHandleByUUID(b"GPU-0", ctypes.byref(device))
def used():
    result = nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    assert result == 0 and memory.total == memory.free + memory.used, result
    return memory.used
said["used before"] = used()
# The program's own CUDA is another one.
said["cuInit was not called"] = cuda.cuDeviceGetCount(ctypes.byref(number))
context, address, name = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.create_string_buffer(96)
uuid = (ctypes.c_uint8 * 16)()
pci = ctypes.create_string_buffer(32)
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuDeviceGetUuid(uuid, 0) == 0 and cuda.cuDeviceGetName(name, 96, 0) == 0
assert cuda.cuDeviceGetPCIBusId(pci, 32, 0) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(address), 64 << 20) == 0
said["by pci"] = nvml.nvmlDeviceGetHandleByPciBusId_v2(pci.value, ctypes.byref(device))
said["used after"] = used()
said["cuda uuid"] = bytes(uuid).hex()
said["cuda name"] = name.value.decode()
infos = (ctypes.c_uint64 * 3)()
count = ctypes.c_uint(0)
def processes(form):
    f = getattr(nvml, "nvmlDeviceGetComputeRunningProcesses" + form)
    return f(device, ctypes.byref(count), infos), count.value, infos[0] & 0xffffffff == os.getpid()
said["no room"] = processes("")[:2]
said["processes"] = [processes(form) for form in ("", "_v2", "_v3")]
said["its memory"] = infos[1]
assert cuda.cuMemFree_v2(address) == 0
rates = (ctypes.c_uint * 2)(99, 99)
said["rates"] = nvml.nvmlDeviceGetUtilizationRates(device, rates), rates[0]
said["temperature"] = nvml.nvmlDeviceGetTemperature(device, 0, ctypes.byref(number))
said["setter"] = nvml.nvmlDeviceSetPersistenceMode(device, 1)
said["end"] = [nvml.nvmlShutdown(), nvml.nvmlShutdown()]
said["after"] = nvml.nvmlDeviceGetCount(ctypes.byref(number))
print(json.dumps(said))
"""


def test_what_a_vm_sees(running, lab):  # noqa: F811
    said = json.loads(finish(start(lab, sys.executable, "-c", PROGRAM, NVML, DRIVER)))
    assert (said["before"], said["init"], said["count"]) == (1, 0, [0, 1])
    assert (said["index 1"], said["index 0"]) == (2, 0)
    assert said["name"] == [0, said["cuda name"]] and said["name"][1]
    assert said["uuid"] == [0, "GPU-" + said["uuid"][1][4:]]
    assert said["uuid"][1].replace("-", "")[3:] == said["cuda uuid"]
    assert (said["short"], said["no handle"], said["nowhere"]) == (7, 2, 2)
    assert (said["by uuid"], said["other uuid"], said["by pci"]) == (0, 6, 0)
    assert said["cuInit was not called"] == 3
    assert said["used after"] - said["used before"] >= 64 << 20
    assert said["no room"] == [7, 1]
    assert said["processes"] == [[0, 1, True]] * 3 and said["its memory"] >= 64 << 20
    assert said["rates"][0] == 0 and said["rates"][1] <= 100
    assert (said["temperature"], said["setter"]) == (3, 4)
    assert said["end"] == [0, 1] and said["after"] == 1


def test_another_vms_memory_is_not_seen(running, lab):  # noqa: F811
    """While another VM holds memory, this one sees none of it."""
    holder = start(lab, sys.executable, "-u", "-c", (
        "import ctypes, sys\n"
        "cuda, c, a = ctypes.CDLL(sys.argv[1]), ctypes.c_void_p(), ctypes.c_uint64()\n"
        "assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(c), 0) == 0\n"
        "assert cuda.cuCtxSetCurrent(c) == 0\n"
        "assert cuda.cuMemAlloc_v2(ctypes.byref(a), 256 << 20) == 0\n"
        "print('holds')\n"
        "import signal; signal.pause()\n"), DRIVER, vm=1)
    try:
        assert holder.stdout.readline() == "holds\n"
        said = json.loads(finish(start(lab, sys.executable, "-c", PROGRAM, NVML, DRIVER)))
        assert said["used before"] < 256 << 20
    finally:
        holder.kill()
        holder.communicate()


MONITOR = r"""
import ctypes, os, subprocess, sys
nvml, cuda = ctypes.CDLL(sys.argv[1]), ctypes.CDLL(sys.argv[2])
device, memory = ctypes.c_void_p(), (ctypes.c_uint64 * 3)()
def ask():
    assert nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)) == 0
    result = nvml.nvmlDeviceGetMemoryInfo(device, memory)
    rates = (ctypes.c_uint * 2)()
    return result or nvml.nvmlDeviceGetUtilizationRates(device, rates) or (memory[0] == 0) * 100
def child(work):
    child = os.fork()
    if child == 0:
        os._exit(work())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def test_a_monitor_does_not_keep_a_lost_worker(running, lab):  # noqa: F811
    """It stays over others' faults, each of which ends the VM's worker, and asks the next one."""
    program = MONITOR + r"""
assert nvml.nvmlInit_v2() == 0
for kernel, code in ("bad", 700), ("trap", 719):
    said = subprocess.run([*sys.argv[3:], kernel], stdout=subprocess.PIPE, text=True).stdout
    assert f"sync {code}\n" in said and "cuInit 0\n" in said, said
    assert ask() == 0
"""
    output = finish(start(lab, sys.executable, "-c", program, NVML, DRIVER, FAULT, IMAGE))
    assert "gone for this process" not in output


def test_children_and_hidden_devices(running, lab):  # noqa: F811
    """A child may ask, with nvmlInit and without; which devices CUDA sees is nothing to NVML."""
    program = MONITOR + r"""
assert nvml.nvmlInit_v2() == 0 and ask() == 0
assert child(ask) == 0 and child(lambda: nvml.nvmlInit_v2() or ask()) == 0
assert ask() == 0 and child(lambda: child(ask)) == 0
assert cuda.cuInit(0) == 100
"""
    finish(start(lab, sys.executable, "-c", program, NVML, DRIVER, CUDA_VISIBLE_DEVICES=""))


def test_without_a_device():
    done = subprocess.run([sys.executable, "-c", "import ctypes, sys\n"
                           "print(ctypes.CDLL(sys.argv[1]).nvmlInit_v2())", NVML],
                          capture_output=True, text=True, check=True,
                          env={k: v for k, v in os.environ.items() if k != "VGPU_CUDA_DEVICE"})
    assert done.stdout == "9\n"


def test_only_nvml_is_exported():
    listed = subprocess.run(["nm", "-D", "--defined-only", NVML], capture_output=True, text=True,
                            check=True).stdout
    names = {line.split()[-1] for line in listed.splitlines()}
    assert len(names) > 100 and all(name.startswith("nvml") for name in names)
