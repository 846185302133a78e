# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-worker with the CPU backend, spoken to directly: operations, order,
refusals, malformed frames, and when and how it leaves."""

import ctypes
import json
import math
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import wire  # noqa: E402
import worker_link as wl  # noqa: E402
from worker_link import Worker  # noqa: E402

VECTOR_MAX = 992 // 8
PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def worker():
    with Worker("--enable-test-ops") as w:
        yield w


def run_by_hand(*args, **kwargs):
    return subprocess.run(
        [wl.worker_path(), *args], capture_output=True, text=True, timeout=60, check=False, **kwargs
    )


# ---- Operations -------------------------------------------------------------


def test_ready_describes_the_cpu(worker):
    ready = worker.ready
    assert ready.backend == 0 and ready.flags == 2
    assert ready.gpu_uuid == "CPU-0"
    assert ready.name.startswith("CPU backend") and ready.name.isprintable()
    assert ready.multiprocessors == len(os.sched_getaffinity(0))
    assert ready.memory_bytes > 1 << 20


@pytest.mark.parametrize("name", [name for name, op in wire.OPERATIONS.items() if not op.test])
def test_every_operation_takes_and_gives_what_its_row_says(worker, name):
    op = wire.OPERATIONS[name]
    most = (992 - 4 * op.params) // op.unit if op.unit else 0
    params = [1] * op.params
    for elements in {1, most} if op.unit else {0}:
        done = worker.run(op.code, params, bytes(elements * op.unit))
        assert (done.status, len(done.results)) == (wl.OK, op.results)
        assert op.gives is None or len(done.data) == elements * op.gives
    assert worker.run(op.code, params + [1]).status == wl.INVALID_REQUEST
    assert worker.run(op.code, params, bytes(op.unit + 2)).status == wl.INVALID_REQUEST
    if op.unit:
        assert worker.run(op.code, params).status == wl.INVALID_REQUEST


def test_nop(worker):
    done = worker.run(wl.NOP)
    assert (done.status, done.results, done.data) == (wl.OK, (), b"")
    assert done.started_ns <= done.finished_ns


@pytest.mark.parametrize(
    "a,b", [(100, 200), (0, 0), (0xFFFFFFFF, 1), (0x80000000, 0x80000000), (0x7FFFFFFF, 1)]
)
def test_add(worker, a, b):
    done = worker.run(wl.ADD, (a, b))
    assert (done.status, done.results, done.data) == (wl.OK, ((a + b) & 0xFFFFFFFF,), b"")


def test_device_info(worker):
    done = worker.run(wl.DEVICE_INFO)
    ready = worker.ready
    assert done.status == wl.OK
    assert done.results == (0, 0, 0, ready.multiprocessors, ready.memory_bytes >> 20)
    assert done.data.decode() == ready.name


def test_memory_limit_and_gpu_index_are_told():
    with Worker("--memory-limit", str(5 << 20), "--gpu", "3") as w:
        assert w.ready.memory_bytes == 5 << 20
        assert w.ready.gpu_uuid == "CPU-3"
        assert w.run(wl.DEVICE_INFO).results[4] == 5
    with Worker("--gpu", "CPU-7") as w:
        assert w.ready.gpu_uuid == "CPU-7"


@pytest.mark.parametrize("count", [1, 2, 63, VECTOR_MAX])
def test_vector_add_i32(worker, count):
    rng = random.Random(count)
    edge = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    a = [rng.choice(edge + [rng.getrandbits(32)]) for _ in range(count)]
    b = [rng.choice(edge + [rng.getrandbits(32)]) for _ in range(count)]
    done = worker.run(wl.VECTOR_ADD_I32, data=struct.pack("<%dI" % (2 * count), *a, *b))
    assert done.status == wl.OK and done.results == ()
    assert struct.unpack("<%dI" % count, done.data) == tuple(
        (x + y) & 0xFFFFFFFF for x, y in zip(a, b)
    )


def as_float(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def exact_f32_sum(a, b):
    """Bits of the correctly rounded sum.  Doubles hold enough digits for that:
    rounding twice is harmless for one addition of singles."""
    total = as_float(a) + as_float(b)
    if math.isnan(total):
        return 0x7FFFFFFF
    try:
        return struct.unpack("<I", struct.pack("<f", total))[0]
    except OverflowError:
        return 0x7F800000 if total > 0 else 0xFF800000


F32_EDGES = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000,
    0x3F800000, 0xBF800000, 0x33800000, 0x33800001, 0x7F7FFFFF, 0xFF7FFFFF, 0x73000000,
    0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFC12345,
]  # fmt: skip


def test_vector_add_f32_is_exact_at_the_extremes(worker):
    rng = random.Random(1)
    pairs = [(a, b) for a in F32_EDGES for b in F32_EDGES]
    pairs += [(rng.getrandbits(32), rng.getrandbits(32)) for _ in range(2000)]
    for start in range(0, len(pairs), VECTOR_MAX):
        part = pairs[start : start + VECTOR_MAX]
        operands = [a for a, _ in part] + [b for _, b in part]
        done = worker.run(wl.VECTOR_ADD_F32, data=struct.pack("<%dI" % len(operands), *operands))
        assert done.status == wl.OK
        assert list(struct.unpack("<%dI" % len(part), done.data)) == [
            exact_f32_sum(a, b) for a, b in part
        ]


def test_spin_uses_and_reports_the_time(worker):
    done = worker.run(wl.SPIN, (2000,))
    assert done.status == wl.OK
    assert done.gpu_time_ns >= 2_000_000
    assert done.finished_ns - done.started_ns >= 2_000_000


def test_spin_has_a_limit(worker):
    assert worker.run(wl.SPIN, (60_000_001,)).status == wl.INVALID_REQUEST
    assert worker.run(wl.NOP).status == wl.OK


def test_fail_leaves_the_worker_alive(worker):
    assert worker.run(wl.FAIL).status == wl.CUDA_ERROR
    assert worker.run(wl.ADD, (1, 2)).results == (3,)


def test_crash_kills_the_worker(worker):
    worker.send(wl.CRASH)
    with pytest.raises(wl.Closed):
        worker.receive()
    status = worker.exit_status()
    # A sanitizer reports the bad access and exits instead.
    assert status == -signal.SIGSEGV or (status > 0 and "Sanitizer" in worker.stderr_text())


def test_hang_hangs_until_killed(worker):
    worker.send(wl.HANG)
    worker.send(wl.NOP)
    with pytest.raises(TimeoutError):
        worker.receive(timeout=0.3)
    assert worker.process.poll() is None
    worker.kill()
    assert worker.exit_status() == -signal.SIGKILL


# ---- Refusals: the job is wrong, the worker goes on -------------------------


@pytest.mark.parametrize("opcode", [wl.SPIN, wl.HANG, wl.CRASH, wl.FAIL])
def test_test_operations_are_off_by_default(opcode):
    params = (1,) if opcode == wl.SPIN else ()
    with Worker() as w:
        assert w.run(opcode, params).status == wl.UNSUPPORTED_OP
        assert w.run(wl.ADD, (1, 2)).results == (3,)


@pytest.mark.parametrize(
    "opcode,params,data,status",
    [
        (0x7777, (), b"", wl.UNSUPPORTED_OP),
        (0xFFFFFFFF, (), b"", wl.UNSUPPORTED_OP),
        (wl.NOP, (1,), b"", wl.INVALID_REQUEST),
        (wl.NOP, (), b"x", wl.INVALID_REQUEST),
        (wl.ADD, (1,), b"", wl.INVALID_REQUEST),
        (wl.ADD, (1, 2, 3), b"", wl.INVALID_REQUEST),
        (wl.VECTOR_ADD_I32, (), b"", wl.INVALID_REQUEST),
        (wl.VECTOR_ADD_I32, (), b"x" * 12, wl.INVALID_REQUEST),
        (wl.VECTOR_ADD_F32, (1,), b"x" * 8, wl.INVALID_REQUEST),
    ],
)
def test_wrong_job_is_refused(worker, opcode, params, data, status):
    done = worker.run(opcode, params, data)
    assert (done.status, done.results, done.data) == (status, (), b"")
    assert worker.run(wl.ADD, (1, 2)).results == (3,)


def test_done_frames_keep_the_order_of_runs(worker):
    expected = wl.send_mix(worker, 60)
    done = [worker.receive() for _ in expected]
    assert [(d.job_id, d.status, d.results) for d in done] == expected
    # Each had the processor for itself.
    assert all(a.finished_ns <= b.started_ns for a, b in zip(done, done[1:]))


@pytest.mark.parametrize("depth", [1, 16])
def test_any_depth_serves(depth):
    with Worker("--depth", str(depth)) as w:
        ids = [w.send(wl.ADD, (i, i)) for i in range(40)]
        done = [w.receive() for _ in ids]
    assert [(d.job_id, d.results) for d in done] == [(n, (2 * i,)) for i, n in enumerate(ids)]


# ---- Malformed frames: status 2 ---------------------------------------------


def header(length, magic=wl.MAGIC, version=wl.VERSION, kind=wl.RUN, pad=0):
    return wl.HEADER.pack(magic, version, kind, length, pad, 7)


GOOD = wl.run_frame(7, wl.ADD, (1, 2))


def run_counts(param_count, data_length, body=b"", pad=0):
    fixed = wl.RUN_BODY.pack(wl.ADD, param_count, data_length, pad)
    return header(24 + 16 + len(body)) + fixed + body


MALFORMED = {
    "one byte": b"V",
    "half a header": GOOD[:12],
    "header without RUN": header(24),
    "half a RUN": header(32) + GOOD[24:32],
    "params cut off": header(len(GOOD) - 1) + GOOD[24:-1],
    "one byte too many": header(len(GOOD) + 1) + GOOD[24:] + b"x",
    "header says more": header(len(GOOD) + 4) + GOOD[24:],
    "header says less": header(len(GOOD) - 4) + GOOD[24:],
    "wrong magic": header(len(GOOD), magic=0x56475055) + GOOD[24:],
    "wrong version": header(len(GOOD), version=2) + GOOD[24:],
    "type READY": header(len(GOOD), kind=wl.READY) + GOOD[24:],
    "type 0": header(len(GOOD), kind=0) + GOOD[24:],
    "type 65535": header(len(GOOD), kind=65535) + GOOD[24:],
    "padding": header(len(GOOD), pad=1) + GOOD[24:],
    "RUN's padding": run_counts(2, 0, b"x" * 8, pad=1),
    "param_count overflows": run_counts(0x40000002, 0, b"x" * 8),
    "param_count 2^32-1": run_counts(0xFFFFFFFF, 12, b"x" * 8),
    "data_length 2^32-1": run_counts(2, 0xFFFFFFFF, b"x" * 7),
    "data_length wraps": run_counts(2, 0xFFFFFFF8, b""),
    "more params than fit": run_counts(300, 0, b"x" * 1152),
    "more data than fits": run_counts(0, 1000, b"x" * 1000),
    "longest frame and one": b"x" * (wl.FRAME_MAX + 1),
    "64 KiB": b"x" * 65536,
    "QUIT with a body": header(28, kind=wl.QUIT) + b"xxxx",
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_frame_ends_the_worker(worker, frame):
    assert worker.run(wl.NOP).status == wl.OK
    worker.sock.send(frame)
    with pytest.raises(wl.Closed):
        worker.receive()
    assert worker.exit_status() == wl.EXIT_PROTOCOL
    assert "malformed frame of %d bytes" % min(len(frame), wl.FRAME_MAX + 1) in worker.stderr_text()


def test_random_frames_never_crash_it():
    rng = random.Random(20)
    for _ in range(60):
        frame = bytearray(wl.run_frame(1, rng.choice([0, 1, 0x10, 0x11]), (1, 2), b"x" * 16))
        for _ in range(rng.randint(1, 4)):
            frame[rng.randrange(len(frame))] = rng.getrandbits(8)
        with Worker() as w:
            w.sock.send(bytes(frame))
            w.sock.shutdown(socket.SHUT_WR)
            assert w.exit_status() in (wl.EXIT_OK, wl.EXIT_PROTOCOL), bytes(frame).hex()


# ---- Leaving ----------------------------------------------------------------


def test_quit_finishes_what_was_sent(worker):
    ids = [worker.send(wl.SPIN, (1000,)) for _ in range(3)]
    worker.quit()
    assert [worker.receive().job_id for _ in ids] == ids
    with pytest.raises(wl.Closed):
        worker.receive()
    assert worker.exit_status() == wl.EXIT_OK


def test_socket_end_ends_it(worker):
    worker.sock.close()
    assert worker.exit_status() == wl.EXIT_OK
    assert worker.stderr_text() == ""


def test_socket_end_before_ready():
    w = Worker(wait_ready=False)
    w.sock.close()
    assert w.exit_status() == wl.EXIT_OK
    w.stop()


def test_terminal_signals_are_the_mediators(worker):
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        worker.process.send_signal(number)
    assert worker.run(wl.ADD, (2, 2)).results == (4,)


def test_dies_with_its_mediator():
    """The mediator is killed while its worker hangs: nobody else would end it."""
    script = (
        "import sys, os; sys.path.insert(0, %r)\n"
        "import worker_link as wl\n"
        "w = wl.Worker('--enable-test-ops')\n"
        "w.send(wl.HANG)\n"
        "print(w.process.pid, flush=True)\n"
        "sys.stdin.read()\n"
    ) % os.path.dirname(wl.__file__)
    libc = ctypes.CDLL(None, use_errno=True)
    # Its grandparent collects it, so that nothing is left of it.
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as parent:
            pid = int(parent.stdout.readline())
            parent.kill()
            parent.wait()
        deadline = time.monotonic() + 30
        collected, status = 0, 0
        while collected == 0 and time.monotonic() < deadline:
            collected, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0.01)
        if collected == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert collected == pid and os.WTERMSIG(status) == signal.SIGKILL
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_keeps_only_its_own_descriptors(worker):
    folder = "/proc/%d/fd" % worker.process.pid
    kept = {int(fd): os.readlink(os.path.join(folder, fd)) for fd in os.listdir(folder)}
    # The log opens the pipe behind stderr once more.
    assert sorted(fd for fd in kept if fd < 3 or kept[fd] != kept[2]) == [0, 1, 2, 3]
    assert len(kept) <= 5


def test_gains_no_rights_and_leaves_no_core(worker):
    with open("/proc/%d/status" % worker.process.pid, encoding="ascii") as status:
        assert "NoNewPrivs:\t1" in status.read()
    with open("/proc/%d/limits" % worker.process.pid, encoding="ascii") as limits:
        core = [line for line in limits if line.startswith("Max core file size")]
    assert core[0].split()[4:6] == ["0", "0"]


# ---- Command line -----------------------------------------------------------


def test_started_by_hand_explains_itself():
    result = run_by_hand("--backend", "cpu")
    assert result.returncode == wl.EXIT_PROTOCOL
    assert "started by vgpu-mediator" in result.stderr


def test_a_stream_socket_is_not_the_mediators():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    result = run_by_hand(
        "--backend", "cpu", preexec_fn=lambda: os.dup2(theirs.fileno(), 3), close_fds=False
    )
    ours.close()
    theirs.close()
    assert result.returncode == wl.EXIT_PROTOCOL
    assert "started by vgpu-mediator" in result.stderr


@pytest.mark.parametrize(
    "args,said",
    [
        ((), "--backend"),
        (("--backend", "rocm"), "cpu or cuda"),
        (("--backend", "auto"), "mediator decides"),
        (("--backend", "cpu", "--depth", "0"), "from 1 to 16"),
        (("--backend", "cpu", "--depth", "17"), "from 1 to 16"),
        (("--backend", "cpu", "--memory-limit", "0"), "bytes"),
        (("--backend", "cpu", "--memory-limit", "12k"), "bytes"),
        (("--backend", "cpu", "--memory-limit", "99999999999999999999999"), "bytes"),
        (("--backend", "cpu", "--vm-id", "-1"), "from 0"),
        (("--backend", "cpu", "--vm-id", "4294967296"), "from 0"),
        (("--backend", "cpu", "--log-level", "loud"), "debug"),
        (("--backend", "cpu", "extra"), "extra"),
        (("--no-such-option",), "--help"),
    ],
)
def test_wrong_arguments(args, said):
    result = run_by_hand(*args)
    assert result.returncode == wl.EXIT_PROTOCOL
    assert said in result.stderr


@pytest.mark.parametrize("gpu", ["64", "-1", "GPU-0", "CPU-", "1x", ""])
def test_no_such_gpu(gpu):
    with pytest.raises(RuntimeError, match="status 1: .*there is no GPU"):
        Worker("--gpu", gpu)


def test_help_and_version():
    result = run_by_hand("--help")
    assert result.returncode == 0 and "Example:" in result.stdout
    result = run_by_hand("--version")
    assert result.returncode == 0 and result.stdout.startswith("vgpu-worker ")


def test_probe_of_the_cpu():
    result = run_by_hand("--probe", "--backend", "cpu")
    assert result.returncode == 0
    report = json.loads(result.stdout)
    assert report["backend"] == "cpu"
    (gpu,) = report["gpus"]
    assert gpu["index"] == 0 and gpu["uuid"] == "CPU-0" and gpu["compute"] == "0.0"
    assert gpu["memory_bytes"] > 0 and gpu["multiprocessors"] > 0
