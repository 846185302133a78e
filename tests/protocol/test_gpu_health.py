# SPDX-License-Identifier: GPL-2.0-or-later
"""GPU health in the real mediator: libnvidia-ml.so.1 is tests/gpu/nvml_stand_in.c, libcuda.so.1
is worker/cuda/test_libcuda.c, so that it believes to have NVIDIA GPUs."""

import os
import re
import shutil
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "gpu")]
import test_cuda_guest as cuda  # noqa: E402
import wire  # noqa: E402
from lab import Lab  # noqa: E402
from mediator import BIN, wait_for  # noqa: E402

CUDA = os.environ.get("VGPU_STAND_IN_DIR", os.path.join(BIN, "..", "worker"))
NVML = os.environ.get(
    "VGPU_NVML_STAND_IN", os.path.join(BIN, "..", "tests", "gpu", "libnvidia-ml.so.1")
)


UUID = "99999999-2222-3333-4444-555555555555"


class Host:
    """A mediator on a host whose GPUs do as settings() says."""

    def __init__(self, tmp_path, monkeypatch, *args, gpus=1, db=None):
        self.path = tmp_path / "nvml"
        self.gpus = gpus
        self.settings()
        monkeypatch.setenv("LD_LIBRARY_PATH", CUDA)
        monkeypatch.setenv("STAND_IN_GPUS", str(gpus))
        monkeypatch.setenv("NVML_STAND_IN", str(self.path))
        self.lab = Lab(BIN, "--nvml-library", NVML, *args, db=db)

    def settings(self, **settings):
        words = ["gpus=%d" % self.gpus] + ["%s=%s" % pair for pair in settings.items()]
        new = self.path.with_suffix(".new")
        new.write_text(" ".join(words))
        new.replace(self.path)

    def gpu(self, index=0):
        return self.lab.health()["gpus"][index]

    def wait_health(self, index=0, **wanted):
        def there():
            health = self.gpu(index)["health"]
            return health if all(health[k] == v for k, v in wanted.items()) else None

        return wait_for(there, wanted)

    def __enter__(self):
        self.lab.__enter__()
        return self

    def __exit__(self, *_):
        self.lab.__exit__()


@pytest.fixture
def host(tmp_path, monkeypatch):
    made = []

    def make(*args, **kwargs):
        made.append(Host(tmp_path, monkeypatch, *args, **kwargs))
        return made[-1].__enter__()

    yield make
    for one in made:
        one.__exit__()


def added(client, a, b):
    """Whether a job gave the right sum."""
    answer = client.run(wire.ADD, (a, b))
    return answer.status == wire.OK and answer.results == (a + b,)


def test_values_are_shown(host):
    h = host()
    h.settings(temperature=61, gpu=77, memory=33, used=2048, power=345678, ecc=2)
    health = h.wait_health(temperature_c=61, ecc_uncorrected=2)
    assert health["available"] and not health["needs_reset"] and not health["stale"]
    assert (health["gpu_percent"], health["memory_percent"]) == (77, 33)
    assert health["memory_used_bytes"] == 2 << 30 and health["power_mw"] == 345678
    assert health["warning"] == "2 uncorrected memory errors"
    assert h.lab.health()["mediator"]["nvml_error"] == ""


def test_a_worker_beyond_its_vms_memory_limit_is_ended(host):
    """NVML says how much it has, whatever its programs were charged for."""
    h = host(db=[("--vm-name=nine", "--vm-id=9", "--vm-uuid=" + UUID)])
    h.lab.admin_must("set-memory-limit", "--vm-id=9", "--limit=256M")
    with wire.Device(h.lab.socket, 9) as client:
        assert added(client, 1, 2)
        (worker,) = h.lab.health()["workers"]
        h.settings(pid=worker["pid"], pid_mib=900)  # within what a context may take beside it
        wait_for(lambda: h.lab.health()["workers"][0]["gpu_memory_bytes"] == 900 << 20, "900 MiB")
        h.settings(pid=worker["pid"], pid_mib=3000)
        wait_for(lambda: "its worker has 3000 MiB of GPU 0, its limit is 256 MiB"
                 in h.lab.log_text(), "the warning")
        assert "900 MiB of GPU" not in h.lab.log_text()
        wait_for(lambda: h.lab.health()["workers"][0].get("pid", 0) != worker["pid"], "its end")
        h.settings()
        wait_for(lambda: added(client, 3, 4), "the next worker")


@pytest.mark.skipif(cuda.HAS_SANITIZER, reason="programs that use our libcuda have no sanitizer")
def test_channels_allow_nothing_without_contexts(host, monkeypatch):
    """A program's first context is beside the limit; a channel without one takes nothing."""
    build = os.path.join(BIN, "..")
    monkeypatch.setenv("VGPU_CUDA_DRIVER",
                       os.path.abspath(os.path.join(build, "tests/cuda/libvgpu-stand-in-cuda.so")))
    monkeypatch.setenv("VGPU_CUDA_PINNED_MIB", "8")  # so that four of them have room
    h = host(db=[("--vm-name=nine", "--vm-id=9", "--vm-uuid=" + UUID)])
    h.lab.admin_must("set-memory-limit", "--vm-id=9", "--limit=256M")
    code = "import ctypes, sys; c = ctypes.CDLL('libcuda.so.1'); print(c.cuInit(0), flush=True); "
    retain = "x = ctypes.c_void_p(); print(c.cuDevicePrimaryCtxRetain(ctypes.byref(x), 0), " \
             "flush=True); "
    command = [os.path.join(build, "guest/cuda/vgpu-run"), "--socket", h.lab.socket, "--vm-id", "9",
               "--", sys.executable, "-c"]
    programs = [subprocess.Popen([*command, code + what + "sys.stdin.read()"], text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                for what in ("", "", "", retain)]
    try:
        said = [program.stdout.readline().strip() for program in programs]
        assert said == ["0"] * 4 and programs[3].stdout.readline().strip() == "0"
        wait_for(lambda: (h.lab.health()["workers"][0]["cuda"] or {}).get("programs") == 1,
                 "one with a context")
        (worker,) = h.lab.health()["workers"]
        h.settings(pid=worker["pid"], pid_mib=1700)  # 256, and two contexts
        wait_for(lambda: h.lab.health()["workers"][0]["gpu_memory_bytes"] == 1700 << 20, "1,700")
        h.settings(pid=worker["pid"], pid_mib=1900)
        wait_for(lambda: "its worker has 1900 MiB of GPU 0, its limit is 256 MiB, and 1536 MiB"
                 in h.lab.log_text(), "the warning")
        assert "1700 MiB of GPU" not in h.lab.log_text()
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_memory_of_a_worker(host):
    h = host()
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
        (worker,) = h.lab.health()["workers"]
        h.settings(pid=worker["pid"])
        wait_for(
            lambda: h.lab.health()["workers"][0]["gpu_memory_bytes"] == 500 << 20, "its memory"
        )


@pytest.mark.parametrize("trouble", [{"recovery": 1}, {"error": 15}, {"error": 16}])
def test_a_broken_gpu_gets_no_work_until_it_is_well(host, trouble):
    h = host()
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
        h.settings(**trouble)
        h.wait_health(available=False)
        wait_for(lambda: client.run(wire.ADD, (1, 2)).status == wire.GPU_UNAVAILABLE, "refused")
        assert h.gpu()["state"] != "ok"
        assert not h.lab.health()["mediator"]["ok"]
        h.settings()
        h.wait_health(available=True)
        wait_for(lambda: added(client, 1, 2), "served again")
    text = h.lab.log_text()
    assert len(re.findall("is taken out of use", text)) == 1
    assert len(re.findall("is well again", text)) == 1


def test_vms_move_to_the_pools_other_gpu(host):
    h = host(gpus=2)
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
        (worker,) = h.lab.health()["workers"]
        h.settings(error=15, only=worker["gpu"])
        h.wait_health(worker["gpu"], available=False)
        wait_for(lambda: added(client, 2, 2), "served by the other")
        assert [w["gpu"] for w in h.lab.health()["workers"]] == [1 - worker["gpu"]]


def test_heat_and_guests_faults_only_warn(host):
    h = host()
    h.settings(temperature=95, clocks=0x40)
    health = h.wait_health(temperature_c=95)
    assert health["available"] and "too hot: 95 C" in health["warning"]
    h.settings(xid=31, serial=1, recovery=99)
    health = h.wait_health(last_xid=31, xid_count=1)
    assert health["available"] and health["reason"] == ""
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)


def test_a_hung_nvml_holds_nobody(host):
    h = host()
    h.wait_health(temperature_c=40)
    h.settings(hang=1)
    health = h.wait_health(stale=True)
    assert health["available"] and "no news from NVML" in health["warning"]
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
    assert h.lab.terminate() == 0
    assert "NVML hangs" in h.lab.log_text()


@pytest.mark.parametrize("args", [("--no-nvml",), ("--nvml-library", "/nonexistent/nvml.so")])
def test_without_nvml(host, args):
    h = host(*args)
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
    if args[0] == "--no-nvml":
        assert h.gpu()["health"] is None
    else:
        wait_for(lambda: "no NVML" in h.lab.health()["mediator"]["nvml_error"], "why not")
    assert h.gpu()["state"] == "ok"


def test_reset_by_the_configured_command(host, tmp_path):
    command = tmp_path / "reset"
    h = host("--gpu-reset-command", str(command))
    # What a reset does to the GPU, and the proof of what it was called with.
    command.write_text(
        "#!/bin/sh\necho \"$#\" \"$1\" >>%s\necho gpus=1 >%s\n" % (tmp_path / "called", h.path)
    )
    command.chmod(0o755)
    with wire.Device(h.lab.socket, 3) as client:
        assert added(client, 1, 2)
        uuid = h.gpu()["uuid"]
        h.settings(recovery=1)
        wait_for((tmp_path / "called").exists, "the command")
        h.wait_health(available=True, resetting=False)
        wait_for(lambda: added(client, 1, 2), "served again")
    assert (tmp_path / "called").read_text() == "1 %s\n" % uuid
    assert "reset in" in h.lab.log_text()


def test_a_reset_that_fails_is_told_and_not_repeated_at_once(host, tmp_path):
    command = tmp_path / "reset"
    h = host("--gpu-reset-command", str(command))
    command.write_text("#!/bin/sh\necho call >>%s\necho cannot\nexit 3\n" % (tmp_path / "called"))
    command.chmod(0o755)
    h.settings(recovery=1)
    wait_for(lambda: "failed with status 3: cannot" in h.lab.log_text(), "the failure")
    health = h.wait_health(resetting=False, available=False, needs_reset=True)
    assert "asks for a reset" in health["reason"]
    assert (tmp_path / "called").read_text() == "call\n"


def test_a_gpu_in_use_is_not_reset(host, tmp_path):
    command = tmp_path / "reset"
    h = host("--gpu-reset-command", str(command))
    h.settings(recovery=1, pid=os.getpid())
    h.wait_health(resetting=True, available=False, processes=1)
    assert not (tmp_path / "called").exists()


def test_no_reset_without_a_command(host):
    h = host()
    h.settings(recovery=1)
    health = h.wait_health(available=False, needs_reset=True)
    assert not health["resetting"]
    assert "reset in" not in h.lab.log_text()




def problems(h):
    return {problem["kind"]: problem["text"] for problem in h.lab.health()["problems"]}


@pytest.mark.parametrize("how", ["nvml stops", "the library is replaced"])
def test_a_driver_that_fails_on_an_idle_host(host, tmp_path, monkeypatch, how):
    """Nobody submits a job, so no worker fails; what NVML shows is reason enough to look."""
    library = tmp_path / "libnvidia-ml.so.1"
    shutil.copy(NVML, library)
    init = tmp_path / "cuinit"
    init.write_text("0")
    monkeypatch.setenv("STAND_IN_INIT", str(init))
    h = host("--nvml-library", str(library))
    h.wait_health(stale=False, available=True)
    assert problems(h) == {}
    init.write_text("803")
    if how == "nvml stops":
        h.settings(error=18)
    else:
        shutil.copy(NVML, tmp_path / "new")
        (tmp_path / "new").replace(library)
    wait_for(lambda: "driver" in problems(h), "a look at the driver")
    assert "its library and its kernel module differ" in problems(h)["driver"]
    assert ("libraries were replaced" in h.lab.log_text()) == (how != "nvml stops")
    init.write_text("0")
    h.settings()
    wait_for(lambda: "driver" not in problems(h), "the next look")
