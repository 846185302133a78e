# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-worker's CUDA backend on a machine without a GPU: worker/cuda/test_libcuda.c
stands in for the driver and can be told to be old, empty, small or broken.
tests/gpu runs the same backend on real ones."""

import json
import os
import random
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import worker_link as wl  # noqa: E402
from worker_link import Worker  # noqa: E402

STAND_IN = os.environ.get(
    "VGPU_STAND_IN_DIR", os.path.join(os.path.dirname(wl.worker_path()), "..", "worker")
)
KERNELS = os.path.join(HERE, "..", "..", "worker", "kernels")
UUID = "GPU-abababab-abab-abab-abab-ababababab%02x"


def environment(**settings):
    env = dict(os.environ, LD_LIBRARY_PATH=STAND_IN)
    env.update({"STAND_IN_" + name.upper(): str(value) for name, value in settings.items()})
    return env


def cuda(*args, **settings):
    return Worker("--enable-test-ops", *args, backend="cuda", env=environment(**settings))


def probe(*args, env):
    return subprocess.run(
        [wl.worker_path(), "--probe", *args],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refused(pattern, *args, **settings):
    with pytest.raises(RuntimeError, match="(?s)status 1: .*" + pattern):
        cuda(*args, **settings)


# ---- Finding GPUs -----------------------------------------------------------


def test_probe_lists_gpus():
    report = json.loads(probe(env=environment(gpus=3)).stdout)
    assert report["backend"] == "cuda" and report["driver"] == "CUDA 12.4"
    assert [gpu["uuid"] for gpu in report["gpus"]] == [UUID % i for i in range(3)]
    assert report["gpus"][2] == {
        "index": 2,
        "uuid": UUID % 2,
        "name": 'Stand-in "GPU" ?? 2',
        "memory_bytes": 1 << 30,
        "compute": "8.6",
        "multiprocessors": 108,
    }


@pytest.mark.parametrize(
    "settings,reason",
    [({"gpus": 0}, "CUDA_ERROR_NO_DEVICE"), ({"missing": "cuEventQuery"}, "CUDA 12.0")],
)
def test_probe_says_why_not_cuda(settings, reason):
    result = probe(env=environment(**settings))
    report = json.loads(result.stdout)
    assert result.returncode == 0
    assert report["backend"] == "cuda" and reason in report["reason"]
    assert report["gpus"] == []  # the CPU would hide that the driver fails
    result = probe("--backend", "cuda", env=environment(**settings))
    assert result.returncode == wl.EXIT_BACKEND
    assert result.stdout == "" and reason in result.stderr


def test_probe_without_a_driver(tmp_path):
    # A file that is no library: what the loader finds first, it must report.
    (tmp_path / "libcuda.so.1").write_text("no library")
    report = json.loads(probe(env=dict(os.environ, LD_LIBRARY_PATH=str(tmp_path))).stdout)
    assert report["backend"] == "cpu" and "no NVIDIA driver" in report["reason"]


@pytest.mark.parametrize("gpu,index", [("0", 0), ("1", 1), (UUID % 1, 1)])
def test_gpu_is_chosen(gpu, index):
    with cuda("--gpu", gpu, gpus=2) as w:
        assert w.ready.gpu_uuid == UUID % index


@pytest.mark.parametrize(
    "gpu", ["2", "-1", "x", "GPU-", UUID % 2, "GPU-ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
def test_no_such_gpu(gpu):
    refused("there is no GPU", "--gpu", gpu, gpus=2)


def test_ready_describes_the_gpu():
    with cuda() as w:
        ready = w.ready
        # Its time is elapsed time; it takes LIMITS.
        assert (ready.backend, ready.flags) == (1, 3)
        assert (ready.compute_major, ready.compute_minor, ready.multiprocessors) == (8, 6, 108)
        assert ready.memory_bytes == 1 << 30 and ready.name == 'Stand-in "GPU" ?? 0'
        info = w.run(wl.DEVICE_INFO)
        assert info.results == (1, 8, 6, 108, 1024)
        assert info.data.decode() == ready.name


# ---- Jobs -------------------------------------------------------------------


def test_results_are_the_cpu_backends():
    rng = random.Random(5)
    with cuda() as gpu, Worker() as cpu:
        for count in (1, 2, 31, 123, 124):
            data = rng.randbytes(8 * count)
            for op in (wl.VECTOR_ADD_I32, wl.VECTOR_ADD_F32):
                one, two = gpu.run(op, data=data), cpu.run(op, data=data)
                assert (one.status, one.results, one.data) == (wl.OK, (), two.data)
        assert gpu.run(wl.ADD, (0xFFFFFFFF, 2)).results == (1,)
        assert gpu.run(wl.NOP).status == wl.OK


def test_nop_and_device_info_do_not_use_the_gpu():
    """They are answered at once, but in their turn behind what is on the GPU."""
    with cuda("--depth", "4") as w:
        assert w.run(wl.NOP).gpu_time_ns == 0
        ids = [w.send(wl.SPIN, (50_000,)), w.send(wl.NOP), w.send(wl.DEVICE_INFO)]
        done = [w.receive() for _ in ids]
        assert [(d.job_id, d.status) for d in done] == [(i, wl.OK) for i in ids]
        assert done[0].gpu_time_ns >= 50_000_000
        assert [d.gpu_time_ns for d in done[1:]] == [0, 0]
        w.send(wl.HANG)
        w.send(wl.NOP)
        with pytest.raises(TimeoutError):
            w.receive(timeout=0.2)


def test_spin_is_charged():
    with cuda() as w:
        done = w.run(wl.SPIN, (3000,))
        assert done.status == wl.OK and done.gpu_time_ns >= 3_000_000


@pytest.mark.parametrize("depth", [1, 2, 5, 16])
def test_order_at_any_depth(depth):
    with cuda("--depth", str(depth)) as w:
        expected = wl.send_mix(w, 64)
        done = [w.receive() for _ in expected]
    assert [(d.job_id, d.status, d.results) for d in done] == expected
    assert all(a.finished_ns <= b.started_ns for a, b in zip(done, done[1:]))


def test_a_job_arriving_during_another_is_queued_on_the_gpu():
    """With room for two, the second is in the GPU's queue before the first ends:
    its GPU time does not include a wait for the host."""
    with cuda("--depth", "2") as w:
        first = w.send(wl.SPIN, (200_000,))
        with pytest.raises(TimeoutError):
            w.receive(timeout=0.05)
        second = w.send(wl.ADD, (1, 1))
        with pytest.raises(TimeoutError):
            w.receive(timeout=0.05)
        assert [w.receive().job_id, w.receive().job_id] == [first, second]


def test_quit_waits_for_the_gpu():
    with cuda() as w:
        job = w.send(wl.SPIN, (100_000,))
        w.quit()
        assert w.receive().job_id == job
        with pytest.raises(wl.Closed):
            w.receive()
        assert w.exit_status() == wl.EXIT_OK


# ---- Faults -----------------------------------------------------------------


def test_illegal_address_ends_the_worker():
    """What was done before is answered; the rest is left to the mediator, which knows by
    the process's end that no further job can be sent to it."""
    with cuda("--depth", "8") as w:
        assert w.run(wl.ADD, (1, 2)).results == (3,)
        # All are taken up before the fault happens.
        ids = [w.send(wl.SPIN, (100_000,)), w.send(wl.FAIL), w.send(wl.SPIN, (200_000,)),
               w.send(wl.CRASH), w.send(wl.ADD, (1, 2)), w.send(0x7777)]  # fmt: skip
        done = [w.receive() for _ in ids[:2]]
        assert [d.job_id for d in done] == ids[:2]
        assert [d.status for d in done] == [wl.OK, wl.CUDA_ERROR]
        with pytest.raises(wl.Closed):
            while w.receive().job_id != ids[3]:
                pass
        assert w.exit_status() == wl.EXIT_GPU_FAULT
        assert w.stderr_text().count("context is lost") == 1


def test_unread_jobs_do_not_hide_an_answer():
    """Frames that a lost worker never read must not reset the connection before
    the mediator has read the answers."""
    with cuda("--depth", "1") as w:
        first, _ = w.send(wl.ADD, (1, 2)), w.send(wl.CRASH)
        try:
            for _ in range(50):
                w.send(wl.NOP)
        except BrokenPipeError:
            pass
        assert w.exit_status() == wl.EXIT_GPU_FAULT
        done = w.receive()
        assert (done.job_id, done.results) == (first, (3,))
        with pytest.raises(wl.Closed):
            w.receive()


def test_failed_launch_costs_one_job_only():
    # Launches 1 to 4 are the warm-up at the start.
    with cuda(fail_launch=5) as w:
        assert w.run(wl.ADD, (1, 2)).status == wl.CUDA_ERROR
        assert w.run(wl.ADD, (1, 2)).results == (3,)


def test_hang_ends_with_the_process_or_the_socket():
    with cuda() as w:
        w.send(wl.HANG)
        with pytest.raises(TimeoutError):
            w.receive(timeout=0.2)
        w.sock.close()
        assert w.exit_status() == wl.EXIT_OK
    with cuda("--depth", "1") as w:  # no room, so it does not read
        w.send(wl.HANG)
        w.send(wl.NOP)
        with pytest.raises(TimeoutError):
            w.receive(timeout=0.2)
        w.sock.close()
        assert w.exit_status() == wl.EXIT_OK


# ---- Start ------------------------------------------------------------------


def test_memory_limit():
    with cuda("--memory-limit", str(64 << 20)) as w:
        assert w.ready.memory_bytes == 64 << 20
    with cuda("--memory-limit", str(1 << 40)) as w:
        assert w.ready.memory_bytes == 1 << 30
    with cuda("--memory-limit", "4096", "--depth", "2") as w:
        assert w.run(wl.VECTOR_ADD_I32, data=bytes(8)).data == bytes(4)
    refused("memory limit of 4095 bytes", "--memory-limit", "4095", "--depth", "2")


def test_full_gpu():
    refused("CUDA_ERROR_OUT_OF_MEMORY", pinnable=100)


def test_unusable_drivers():
    refused("CUDA_ERROR_NO_DEVICE", gpus=0)
    refused("no function cuLaunchKernel", missing="cuLaunchKernel")
    refused("a first launch failed", fail_launch=1)


# ---- Kernels ----------------------------------------------------------------


def nvcc_release():
    if not shutil.which("nvcc"):
        return None
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return next(line.split("tools, ")[1] for line in text.splitlines() if "release" in line)


def test_committed_ptx_is_made_from_the_source(tmp_path):
    with open(os.path.join(KERNELS, "kernels.ptx"), encoding="ascii") as file:
        committed = file.read()
    made_by = next(
        line.split("nvcc: ")[1] for line in committed.splitlines() if line.startswith("// nvcc: ")
    )
    if nvcc_release() != made_by:
        pytest.skip("nvcc %s, which made kernels.ptx, is not installed here" % made_by)
    fresh = tmp_path / "kernels.ptx"
    subprocess.run([os.path.join(KERNELS, "build-ptx"), str(fresh)], check=True, timeout=120)
    assert fresh.read_text() == committed


def test_ptx_suits_old_drivers():
    with open(os.path.join(KERNELS, "kernels.ptx"), encoding="ascii") as file:
        lines = file.read().splitlines()
    version = next(line.split()[1] for line in lines if line.startswith(".version"))
    assert tuple(map(int, version.split("."))) <= (8, 0), "drivers of CUDA 12.0 take 8.0"
