# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits of a VM's CUDA programs: how many at a time, and how long a kernel may run; changed while
programs run.  And what is shown of them."""

import subprocess
import sys

import pytest

import wire
from mediator import BIN, Mediator, wait_for
from test_cuda_guest import (HAS_SANITIZER, IMAGE, LIBRARY, PRIMARY, STAND_IN, TRY, UUIDS, finish,
                             start)
from test_mediator_db import db, execute, reload  # noqa: F401

pytestmark = pytest.mark.skipif(HAS_SANITIZER,
                                reason="programs that use our libcuda have no sanitizer")

# It says "ready" when it has a context, and waits until its stdin ends; then it asks once more.
HOLD = PRIMARY + r"""
print("ready", flush=True)
sys.stdin.read()
free, total = ctypes.c_size_t(), ctypes.c_size_t()
print(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)), flush=True)
"""
# It launches a kernel of the image, says so, and prints what synchronising answers.
LAUNCH = PRIMARY + r"""
module, function = ctypes.c_void_p(), ctypes.c_void_p()
ok(cuda.cuModuleLoadData(ctypes.byref(module), open(sys.argv[2], "rb").read()))
ok(cuda.cuModuleGetFunction(ctypes.byref(function), module, sys.argv[3].encode()))
ok(cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, None, None, None))
print("ready", flush=True)
print(cuda.cuCtxSynchronize(), flush=True)
print(cuda.cuCtxSynchronize(), flush=True)
"""


@pytest.fixture
def running(lab, db, monkeypatch):  # noqa: F811
    monkeypatch.setenv("VGPU_CUDA_DRIVER", str(STAND_IN))
    for n in (1, 2):
        execute(db, "INSERT INTO vms (vm_id, vm_uuid, vm_name) VALUES (?, ?, ?)", n, UUIDS[n - 1],
                f"web {n}")
    vms = [word for n in (0, 1) for word in ("--vm", f"{UUIDS[n]}={lab}/vm{n}.sock")]
    with Mediator(lab, *vms, db=db, shared=False, trust=False) as mediator:
        yield mediator


def limit(mediator, db, **columns):  # noqa: F811
    for column, value in columns.items():
        execute(db, f"UPDATE vms SET {column} = ? WHERE vm_id = 1", value)
    reload(mediator)


def ready(program):
    lines = []
    while not lines or lines[-1] != "ready\n":
        lines.append(program.stdout.readline())
        assert lines[-1], lines
    return program


def held(lab, vm=0):
    return ready(start(lab, sys.executable, "-c", HOLD, LIBRARY, vm=vm))


def let_go(program):
    """What its last call answers: its stdin ends."""
    return finish(program).strip().splitlines()[-1]


def codes(program):
    return [line for line in finish(program).splitlines() if line.isdigit()]


def test_programs_at_a_time(running, lab, db):  # noqa: F811
    limit(running, db, max_processes=1)
    assert running.vm(1)["max_processes"] == 1
    first = held(lab)
    other = held(lab, vm=1)
    output = finish(start(lab, TRY, IMAGE, "1"), 1)
    assert "as many CUDA programs as it may have at a time" in output
    assert "cuInit fails" in output, output
    wait_for(lambda: "a CUDA program is refused: 1 of its programs" in running.log(), "the log")
    assert "(web 1)" in running.log() and "set-program-limits --vm-id=1" in running.log()
    # Live, and both ways: a lower limit ends nobody.
    limit(running, db, max_processes=2)
    second = held(lab)
    limit(running, db, max_processes=1)
    assert let_go(second) == "0"
    finish(start(lab, TRY, IMAGE, "1"), 1)
    assert let_go(first) == "0"
    finish(start(lab, TRY, IMAGE, "1"))
    assert let_go(other) == "0"


def test_programs_one_after_the_other(running, lab, db):  # noqa: F811
    """The place of one that has just ended, or was killed, is the next one's."""
    limit(running, db, max_processes=1)
    for n in range(4):
        program = held(lab)
        if n % 2:
            program.kill()
            program.communicate()
        else:
            assert let_go(program) == "0"
    finish(start(lab, TRY, IMAGE, "1"))
    assert "is refused" not in running.log()


def test_a_kernel_past_its_limit(running, lab, db):  # noqa: F811
    """The limit comes while the kernel runs.  Its program gets the code that a limit has natively,
    the VM's other one loses its device, another VM's goes on."""
    beside, other = held(lab), held(lab, vm=1)
    late = ready(start(lab, sys.executable, "-c", LAUNCH, LIBRARY, IMAGE, "hang"))
    limit(running, db, max_kernel_ms=300)
    assert codes(late) == ["702", "702"]
    assert let_go(beside) == "46"
    assert let_go(other) == "0"
    log = running.log()
    assert "past the VM's limit" in log and "(web 1)" in log, log
    assert log.count("event=kernel_timeout") == 1 and "event=job_timeout" not in log
    assert running.vm(1)["fault_count"] == 1 and running.vm(2)["fault_count"] == 0
    # The next worker has the limit from its start; kernels that keep to it are never ended.
    finish(start(lab, TRY, IMAGE))
    late = ready(start(lab, sys.executable, "-c", LAUNCH, LIBRARY, IMAGE, "hang"))
    assert codes(late) == ["702", "702"]
    assert running.log().count("event=kernel_timeout") == 2


def test_a_host_function_is_no_kernel(running, lab, db):  # noqa: F811
    """What waits for the program itself does not run."""
    limit(running, db, max_kernel_ms=200)
    program = PRIMARY + r"""
import time
module, nop, stream = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: time.sleep(1))
ok(cuda.cuModuleLoadData(ctypes.byref(module), open(sys.argv[2], "rb").read()))
ok(cuda.cuModuleGetFunction(ctypes.byref(nop), module, b"nop"))
ok(cuda.cuStreamCreate(ctypes.byref(stream), 1))
ok(cuda.cuLaunchHostFunc(stream, function, None))
for _ in range(3):
    ok(cuda.cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, stream, None, None))
print(cuda.cuStreamSynchronize(stream))
"""
    assert finish(start(lab, sys.executable, "-c", program, LIBRARY, IMAGE)).strip() == "0"
    assert "kernel_timeout" not in running.log()


# It takes memory of the worker (the stand-in's GPU is there) until it is refused, and says how.
TAKE = PRIMARY + r"""
memory = ctypes.c_uint64()
for n in range(int(sys.argv[2])):
    code = cuda.cuMemAlloc_v2(ctypes.byref(memory), 64 << 20)
    code = code or cuda.cuMemsetD32_v2(memory, n, 16 << 20) or cuda.cuCtxSynchronize()
    if code:
        break
print("ready", flush=True)
sys.stdin.read()
print(code, flush=True)
"""


def memory_is_limited(mediator):
    with mediator.admin() as link:
        problems = link.call(wire.SHOW_HEALTH)["problems"]
    return not any(problem["subject"] == "host memory" for problem in problems)


def test_host_memory(running, lab, db):  # noqa: F811
    """What a worker takes of the host is its VM's, and the end of it only that VM's."""
    limit(running, db, host_memory_bytes=256 << 20)
    if not memory_is_limited(running):
        pytest.skip("no control group that counts memory")
    other = ready(start(lab, sys.executable, "-c", TAKE, LIBRARY, "6", vm=1))
    assert codes(ready(start(lab, sys.executable, "-c", TAKE, LIBRARY, "2"))) == ["0"]
    assert codes(ready(start(lab, sys.executable, "-c", TAKE, LIBRARY, "8"))) == ["46"]
    wait_for(lambda: "event=worker_lost" in running.log(), "the log")
    log = running.log()
    assert "wanted more of the host's memory than the VM may have, 256 MiB" in log, log
    assert running.vm(2)["fault_count"] == 0 and codes(other) == ["0"]
    # Live: while it runs it gets more.
    held_one = held(lab)
    limit(running, db, host_memory_bytes=1 << 30)
    assert codes(ready(start(lab, sys.executable, "-c", TAKE, LIBRARY, "8"))) == ["0"]
    assert let_go(held_one) == "0"
    # Below what it has nothing is ended.
    taker = ready(start(lab, sys.executable, "-c", TAKE, LIBRARY, "8"))
    limit(running, db, host_memory_bytes=64 << 20)
    assert codes(taker) == ["0"]
    assert running.log().count("event=worker_lost") == 1


# It launches, copies, calls what is not built, says "ready" and waits.
WORK = PRIMARY + r"""
module, nop, memory = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
ok(cuda.cuModuleLoadData(ctypes.byref(module), open(sys.argv[2], "rb").read()))
ok(cuda.cuModuleGetFunction(ctypes.byref(nop), module, b"nop"))
ok(cuda.cuMemAlloc_v2(ctypes.byref(memory), 4 << 20))
for _ in range(int(sys.argv[3])):
    ok(cuda.cuLaunchKernel(nop, 1, 1, 1, 1, 1, 1, 0, None, None, None))
ok(cuda.cuMemcpyHtoD_v2(memory, b"x" * 64, 64))
ok(cuda.cuCtxSynchronize())
assert cuda.cuIpcOpenMemHandle_v2(None, None, 0) == cuda.cuArrayCreate_v2(None, None) == 801
print("ready", flush=True)
sys.stdin.read()
"""
MISSED = ["cuArrayCreate_v2", "cuIpcOpenMemHandle_v2"]


def admin(mediator, *command):
    return subprocess.run([BIN / "vgpu-admin", "--admin-socket", mediator.admin_socket, *command],
                          stdout=subprocess.PIPE, text=True, check=True).stdout


def shown(mediator, vm_id, wanted):
    """The VM's figures, when what is wanted of them is there."""
    def look():
        with mediator.admin() as admin:
            vm, = [v for v in admin.call(wire.SHOW_CUDA)["vms"] if v["vm_id"] == vm_id]
        return vm if wanted(vm) else None

    return wait_for(look, "the figures")


def test_each_program_is_shown(running, lab):
    programs = [ready(start(lab, sys.executable, "-c", WORK, LIBRARY, IMAGE, str(n)))
                for n in (3, 5)]
    vm = shown(running, 1, lambda vm: len(vm["processes"]) == 2 and vm["launches"] == 8
               and all(p["refused"] == 2 and p["copies"] for p in vm["processes"]))
    first, second = sorted(vm["processes"], key=lambda p: p["launches"])
    assert (first["launches"], second["launches"]) == (3, 5)
    assert {first["pid"], second["pid"]} == {p.pid for p in programs}
    for one in (first, second):
        assert one["contexts"] == 1 and one["copies"] == 1 and one["turns"] > 0
        assert one["memory_bytes"] >= 4 << 20 and one["turns_ns"] > 0
        assert sorted(one["refused_functions"]) == MISSED
    assert (vm["programs"], vm["contexts"], vm["refused"], vm["copies"]) == (2, 2, 4, 2)
    assert {(f["name"], f["count"]) for f in vm["refused_functions"]} == {(n, 2) for n in MISSED}
    assert vm["memory_bytes"] >= 8 << 20
    text = admin(running, "show-cuda")
    assert f"process {programs[0].pid}" in text and MISSED[0] in text, text
    metrics = admin(running, "show-metrics", "--prometheus")
    labels = 'vm="web 1",pool="A",gpu="0"'
    assert f"vgpu_cuda_launches_total{{{labels}}} 8\n" in metrics
    assert f"vgpu_cuda_programs{{{labels}}} 2\n" in metrics
    assert f'vgpu_cuda_refused_functions_total{{{labels},function="{MISSED[0]}"}} 2\n' in metrics
    assert 'vgpu_cuda_launches_total{vm="web 2"' not in metrics, "it had no program"
    for program in programs:
        finish(program)
    # What they did stays counted; what they had is gone.
    vm = shown(running, 1, lambda vm: not vm["processes"] and not vm["contexts"])
    assert (vm["launches"], vm["refused"], vm["programs"], vm["memory_bytes"]) == (8, 4, 0, 0)
