# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-client against a fake mediator: results, mistakes, refusals, garbage, exit statuses."""
import json
import os
import pathlib
import random
import signal
import struct
import subprocess

import pytest

import wire
from fakemed import CLOSE, SILENCE, FakeMediator, answer, body, frame, honest, refuse
from mediator import program

OK, FAILED, USAGE, UNREACHABLE, REFUSED, QUARANTINED = range(6)


CLIENT = program("vgpu-client")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mediator.sock"


def client(path, *arguments, **options):
    return subprocess.run([CLIENT, "--socket", str(path), *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, check=False, **options)


def lines(result):
    """Every line of stdout as JSON: in --json mode nothing else may be there."""
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- Results


def test_sum(path):
    with FakeMediator(path) as mediator:
        result = client(path, 100, 200)
    assert (result.returncode, result.stdout, result.stderr) == (OK, "100 + 200 = 300\n", "")
    (request,) = mediator.requests
    assert request.opcode == wire.ADD and request.params == (100, 200)
    assert (request.vm_id, request.pool, request.priority) == (1, "A", 1)
    assert len(request.payload) == 40


def test_sum_wraps(path):
    with FakeMediator(path):
        result = client(path, 4294967295, "0x2")
    assert result.returncode == OK
    assert result.stdout == "4294967295 + 2 = 1 (modulo 2^32)\n"


def test_json_sum(path):
    with FakeMediator(path):
        result = client(path, "--json", 100, 200)
    (line,) = lines(result)
    assert result.returncode == OK
    assert line["event"] == "result" and line["sum"] == 300 and line["correct"] is True
    assert line["exec_us"] == 7


def test_identity_in_frames(path):
    with FakeMediator(path) as mediator:
        client(path, "--vm-id", 42, "--pool", "C", "--priority", "high", 1, 2)
    (request,) = mediator.requests
    assert (request.vm_id, request.pool, request.priority) == (42, "C", 2)


@pytest.mark.parametrize("op", ["vadd-i32", "vadd-f32"])
@pytest.mark.parametrize("elements", [1, 2, 3, 123, 124])
def test_vectors(path, op, elements):
    with FakeMediator(path) as mediator:
        result = client(path, "--op", op, "--elements", elements)
    assert result.returncode == OK, result.stderr
    assert len(mediator.requests[0].data) == 8 * elements


def test_info(path):
    with FakeMediator(path):
        text = client(path, "--op", "info")
        (line,) = lines(client(path, "--op", "info", "--json"))
    assert text.returncode == OK and 'a fake "CPU"' in text.stdout and "512 MiB" in text.stdout
    assert line["name"] == 'a fake "CPU"' and line["backend"] == "cpu"
    assert line["multiprocessors"] == 2


def test_info_name_is_made_printable(path):
    name = bytes(range(1, 256)) * 2
    with FakeMediator(path, lambda r: answer(r, [1, 9, 0, 132, 1], name)):
        (line,) = lines(client(path, "--op", "info", "--json"))
    assert len(line["name"]) == 127 and line["name"].isprintable()


def test_spin_passes_its_parameter(path):
    with FakeMediator(path) as mediator:
        assert client(path, "--op", "spin", "--us", 1234).returncode == OK
    assert mediator.requests[0].params == (1234,)


@pytest.mark.parametrize("op,opcode", [("nop", 0), ("hang", 0x21), ("crash", 0x22),
                                       ("fail", 0x23)])
def test_operations_without_parameters(path, op, opcode):
    with FakeMediator(path, answer) as mediator:
        assert client(path, "--op", op).returncode == OK
    assert mediator.requests[0].opcode == opcode and mediator.requests[0].params == ()


# ---- Many jobs


def test_count_uses_different_operands(path):
    with FakeMediator(path) as mediator:
        result = client(path, "--count", 50, "--json", 7, 8)
    (line,) = lines(result)
    assert result.returncode == OK
    assert (line["event"], line["jobs"], line["wrong"], line["errors"]) == ("summary", 50, 0, 0)
    assert mediator.requests[0].params == (7, 8)
    assert len({r.params for r in mediator.requests}) == 50
    assert len({r.request_id for r in mediator.requests}) == 50
    assert line["min_us"] <= line["p50_us"] <= line["p95_us"] <= line["p99_us"] <= line["max_us"]
    assert line["min_us"] > 0 and "mmio_reads_per_job" not in line


def test_bench_warms_up_and_counts_what_it_measures(path):
    with FakeMediator(path) as mediator:
        result = client(path, "--bench", "--count", 30)
    assert result.returncode == OK and result.stdout.startswith("30 jobs (add)")
    assert "p95" in result.stdout and len(mediator.requests) == 50


def test_progress(path):
    with FakeMediator(path):
        result = client(path, "--seconds", 2.5, "--progress", "--json")
    *progress, summary = lines(result)
    assert result.returncode == OK and summary["event"] == "summary"
    assert summary["seconds"] >= 2.5 and len(progress) >= 1
    assert all(p["event"] == "progress" and p["p50_us"] > 0 for p in progress)
    assert progress[-1]["jobs"] <= summary["jobs"]


def test_interrupt_ends_with_the_summary(path):
    with FakeMediator(path):
        with subprocess.Popen([CLIENT, "--socket", str(path), "--seconds", "600", "--json",
                               "--progress"], stdout=subprocess.PIPE, text=True) as process:
            first = json.loads(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read().splitlines()
            assert process.wait(60) == OK
    assert first["event"] == "progress" and json.loads(rest[-1])["event"] == "summary"


# ---- A mediator that lies


def liar(request):
    if request.number == 3:
        return answer(request, [(sum(request.params) + 1) & 0xFFFFFFFF])
    return honest(request)


def test_wrong_sum(path):
    with FakeMediator(path, lambda r: answer(r, [301])):
        result = client(path, 100, 200)
        (line,) = lines(client(path, "--json", 100, 200))
    assert result.returncode == FAILED and result.stdout == ""
    assert "100 + 200 gave 301 and should give 300" in result.stderr
    assert line["correct"] is False and line["sum"] == 301


def test_one_wrong_sum_among_many(path):
    with FakeMediator(path, liar):
        result = client(path, "--count", 10, "--json")
    (line,) = lines(result)
    assert result.returncode == FAILED
    assert (line["jobs"], line["wrong"], line["exit"]) == (10, 1, FAILED)


@pytest.mark.parametrize("op", ["vadd-i32", "vadd-f32"])
@pytest.mark.parametrize("element", [0, 57, 123])
def test_one_wrong_bit_in_a_vector(path, op, element):
    def flip(request):
        reply = bytearray(honest(request))
        reply[24 + 32 + 4 * element] ^= 1
        return bytes(reply)

    with FakeMediator(path, flip):
        result = client(path, "--op", op)
    assert result.returncode == FAILED and f"element {element}:" in result.stderr


# ---- Errors and refusals


@pytest.mark.parametrize("status,exit_status,word", [
    (1, FAILED, "INVALID_REQUEST"),
    (3, UNREACHABLE, "MEDIATOR_UNAVAILABLE"),
    (4, FAILED, "TIMEOUT"),
    (5, FAILED, "CUDA_ERROR"),
    (6, FAILED, "INVALID_POOL"),
    (7, REFUSED, "QUEUE_FULL"),
    (8, FAILED, "--enable-test-ops"),
    (0x0A, REFUSED, "RATE_LIMITED"),
    (0x0B, QUARANTINED, "VM_QUARANTINED"),
    (0x0C, FAILED, "registers it with vgpu-admin"),
    (0x0D, FAILED, "GPU_UNAVAILABLE"),
    (0x0E, FAILED, "MEMORY_LIMIT"),
    (0x77, FAILED, "does not know"),
    (0x100, FAILED, "no error code"),
    (0xFFFFFFFF, FAILED, "no error code"),
])
def test_errors(path, status, exit_status, word):
    with FakeMediator(path, lambda r: answer(r, status=status)):
        text = client(path, "--retries", 0, 1, 2)
        result = client(path, "--retries", 0, "--json", 1, 2)
    assert (text.returncode, text.stdout) == (exit_status, "")
    assert word in text.stderr and text.stderr.count("\n") == 1
    (line,) = lines(result)
    assert result.returncode == exit_status and line["exit"] == exit_status
    assert line["event"] == "error" and line["error"] and result.stderr == ""


def test_quarantine_is_not_retried(path):
    with FakeMediator(path, lambda r: refuse(r, wire.VM_QUARANTINED)) as mediator:
        result = client(path, "--count", 5, "--keep-going", "--json")
    assert result.returncode == QUARANTINED and len(mediator.requests) == 1
    assert lines(result)[-1]["exit"] == QUARANTINED


@pytest.mark.parametrize("status", [wire.QUEUE_FULL, wire.RATE_LIMITED])
def test_busy_then_success(path, status):
    with FakeMediator(path, lambda r: refuse(r, status) if r.number < 2 else honest(r)) as mediator:
        result = client(path, "--count", 2, "--json")
    (line,) = lines(result)
    assert result.returncode == OK and len(mediator.requests) == 4
    assert (line["jobs"], line["retries"], line["errors"]) == (2, 2, 0)
    assert mediator.requests[0].payload == mediator.requests[2].payload


def test_busy_for_ever(path):
    with FakeMediator(path, lambda r: refuse(r, wire.QUEUE_FULL)) as mediator:
        result = client(path, "--retries", 2, 1, 2)
    assert result.returncode == REFUSED and len(mediator.requests) == 3


@pytest.mark.parametrize("kind,exit_status", [(wire.MSG_BUSY, REFUSED),
                                              (wire.MSG_QUARANTINED, QUARANTINED)])
def test_refusal_without_a_payload(path, kind, exit_status):
    with FakeMediator(path, lambda r: frame(kind, r)):
        assert client(path, "--retries", 0, 1, 2).returncode == exit_status


# ---- Garbage

GARBAGE = {
    "noise": lambda r: random.Random(5).randbytes(4096),
    "zeros": lambda r: bytes(100),
    "wrong magic": lambda r: frame(wire.MSG_RESPONSE, r, body(), magic=0x55504756),
    "too long": lambda r: frame(wire.MSG_RESPONSE, r, b"", length=1025),
    "much too long": lambda r: frame(wire.MSG_RESPONSE, r, b"", length=0xFFFFFFFF),
    "no payload": lambda r: frame(wire.MSG_RESPONSE, r),
    "short payload": lambda r: frame(wire.MSG_RESPONSE, r, body(results=[3])[:31]),
    "no result": lambda r: frame(wire.MSG_RESPONSE, r, body()),
    "two results": lambda r: frame(wire.MSG_RESPONSE, r, body(results=[3, 3])),
    "cut results": lambda r: frame(wire.MSG_RESPONSE, r, body(results=[3, 3])[:-1]),
    "wrong version": lambda r: frame(wire.MSG_RESPONSE, r, body(results=[3], version=0x20000)),
    "other request's": lambda r: frame(wire.MSG_RESPONSE, r, body(results=[3]),
                                       request_id=r.request_id + 1),
    "unknown type": lambda r: frame(99, r, body(results=[3])),
    "a request": lambda r: frame(wire.MSG_REQUEST, r, r.payload),
    "hello": lambda r: frame(wire.MSG_HELLO, r, bytes(16)),
    "config": lambda r: frame(wire.MSG_CONFIG, r, bytes(16)),
    "long ping": lambda r: frame(wire.MSG_PING, r, bytes(65)),
    "data outside": lambda r: frame(wire.MSG_RESPONSE, r, struct.pack(
        "<9I", wire.VERSION, 0, 1, 0xFFFFFFF0, 0x20, 0, 0, 0, 3)),
    "many results": lambda r: frame(wire.MSG_RESPONSE, r, struct.pack(
        "<9I", wire.VERSION, 0, 0x40000001, 0, 0, 0, 0, 0, 3)),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage(path, what):
    with FakeMediator(path, GARBAGE[what]):
        result = client(path, "--json", 1, 2)
    (line,) = lines(result)
    assert result.returncode == FAILED and line["name"] == "BAD_RESPONSE", line


def test_random_garbage_never_passes(path):
    """Whatever bits are flipped in an answer, the client ends in order and shows no wrong sum."""
    rng = random.Random(20)

    def flip(request):
        reply = bytearray(honest(request))
        for _ in range(rng.randrange(1, 6)):
            reply[rng.randrange(len(reply))] ^= 1 << rng.randrange(8)
        return bytes(reply), CLOSE

    with FakeMediator(path, flip):
        for _ in range(60):
            result = client(path, "--retries", 0, "--timeout", 30000, 100, 200)
            assert result.returncode in (OK, FAILED, UNREACHABLE, REFUSED, QUARANTINED)
            assert result.stdout in ("", "100 + 200 = 300\n")
            assert (result.returncode == OK) == (result.stderr == "")


def test_answer_byte_by_byte(path):
    def slowly(request):
        return tuple(bytes([byte]) for byte in honest(request))

    with FakeMediator(path, slowly):
        assert client(path, 100, 200).stdout == "100 + 200 = 300\n"


def test_ping_is_answered(path):
    def ping(request):
        return frame(wire.MSG_PING, request, b"are you there", request_id=77) + honest(request)

    with FakeMediator(path, ping) as mediator:
        assert client(path, "--count", 3).returncode == OK
    assert mediator.others.count((wire.MSG_PONG, b"are you there")) == 3


# ---- Connections


def test_nobody_listens(path):
    result = client(path, 1, 2)
    assert result.returncode == UNREACHABLE and str(path) in result.stderr
    assert "start vgpu-mediator" in result.stderr


def test_connection_refused(path):
    with FakeMediator(path):
        pass  # the socket file stays behind
    result = client(path, "--json", 1, 2)
    (line,) = lines(result)
    assert result.returncode == UNREACHABLE and line["name"] == "MEDIATOR_UNAVAILABLE"


@pytest.mark.parametrize("action", [CLOSE, (b"PUGV", CLOSE)])
def test_connection_lost(path, action):
    with FakeMediator(path, lambda r: action):
        result = client(path, "--json", 1, 2)
    (line,) = lines(result)
    assert result.returncode == UNREACHABLE and line["name"] == "MEDIATOR_UNAVAILABLE"


def test_reconnects_and_goes_on(path):
    with FakeMediator(path, lambda r: CLOSE if r.number % 4 == 3 else honest(r)) as mediator:
        result = client(path, "--count", 12, "--keep-going", "--json")
    *_, line = lines(result)
    assert result.returncode == OK
    assert (line["jobs"], line["errors"], line["wrong"]) == (9, 3, 0)
    assert len(mediator.connections) == 1 + line["reconnects"] and line["reconnects"] >= 2


def test_connection_closed_between_requests_costs_no_job(path):
    with FakeMediator(path, lambda r: (honest(r), CLOSE)) as mediator:
        result = client(path, "--count", 3, "--keep-going", "--json")
    *_, line = lines(result)
    # A close that comes after the next request has left costs that request; one before does not.
    assert line["jobs"] + line["errors"] == 3 and line["wrong"] == 0
    assert len(mediator.requests) >= line["jobs"] and result.returncode in (OK, UNREACHABLE)


def test_documented_example(path):
    """The program of docs/libvgpu.md, which the build extracts and links to the shared library."""
    example = pathlib.Path(CLIENT).parents[1] / "guest" / "lib" / "vgpu-example"
    if not example.exists():
        pytest.skip("this build has the client only")
    with FakeMediator(path):
        result = subprocess.run([example, f"sock:{path}"], capture_output=True, text=True,
                                timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "300\n"), result.stderr
    result = subprocess.run([example, f"sock:{path}"], capture_output=True, text=True, timeout=60,
                            check=False)
    assert result.returncode == 1 and "start vgpu-mediator" in result.stderr


def test_silence_times_out(path):
    with FakeMediator(path, lambda r: SILENCE):
        result = client(path, "--timeout", 200, "--json", 1, 2)
    (line,) = lines(result)
    assert result.returncode == FAILED and line["name"] == "TIMEOUT" and "200 ms" in line["error"]


def test_path_too_long(tmp_path):
    assert client(tmp_path / ("x" * 120), 1, 2).returncode == USAGE


def test_hello_and_config(path):
    with FakeMediator(path, config=(9, "B", 2)) as mediator:
        result = client(path, "--hello", "--vm-id", 5, 100, 200)
    assert result.stdout == "100 + 200 = 300\n"
    (request,) = mediator.requests
    assert (request.vm_id, request.pool, request.priority) == (9, "B", 2)
    assert wire.MSG_CONFIG in [kind for kind, _ in mediator.others]


def test_hello_without_config(path):
    with FakeMediator(path) as mediator:
        assert client(path, "--hello", "--vm-id", 5, 100, 200).returncode == OK
    assert mediator.requests[0].vm_id == 5


# ---- The command line and sysfs


@pytest.mark.parametrize("arguments", [
    [], ["1"], ["1", "2", "3"], ["-1", "2"], ["1", "4294967296"], ["1", "2x"], ["1", ""],
    ["--op", "subtract"], ["--op", "nop", "1", "2"], ["--count", "0", "1", "2"],
    ["--count"], ["--elements", "0"], ["--elements", "125"], ["--pool", "a", "1", "2"],
    ["--priority", "urgent", "1", "2"], ["--vm-id", "-1", "1", "2"], ["--seconds", "nan"],
    ["--seconds", "0"], ["--timeout", "0", "1", "2"], ["--unknown"], ["--json=1", "1", "2"],
    ["--registers", "1"], ["--device", "0000:00:5.0", "1", "2"],
    ["--device", "../../etc", "1", "2"],
])
def test_usage(arguments):
    result = subprocess.run([CLIENT, *arguments], capture_output=True, text=True, timeout=60,
                            check=False)
    assert result.returncode == USAGE and result.stdout == ""
    assert result.stderr.startswith("vgpu-client: ")


def test_help_and_version():
    for option in ("--help", "--version"):
        result = subprocess.run([CLIENT, option], capture_output=True, text=True, timeout=60,
                                check=False)
        assert result.returncode == OK and "vgpu-client" in result.stdout
    assert "Exit status" in subprocess.run([CLIENT, "--help"], capture_output=True, text=True,
                                           timeout=60, check=False).stdout


def with_sysfs(root, *arguments):
    return subprocess.run([CLIENT, *arguments], capture_output=True, text=True, timeout=120,
                          check=False, env={**os.environ, "VGPU_SYSFS_ROOT": str(root)})


def make_device(root, address, vendor="0x1af4", device="0x1111", bar=None):
    folder = root / "bus" / "pci" / "devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "device").write_text(device + "\n")
    (folder / "enable").write_text("0\n")
    if bar is None:
        bar = bytearray(4096)
        struct.pack_into("<III", bar, 0x08, ord("B"), 2, 7)
        struct.pack_into("<II", bar, 0x20, 0x10000, 3)
    (folder / "resource0").write_bytes(bytes(bar))
    return folder


def test_no_device(tmp_path):
    make_device(tmp_path, "0000:00:01.0", device="0x1000")
    result = with_sysfs(tmp_path, "1", "2")
    assert result.returncode == UNREACHABLE
    assert "1af4:1111" in result.stderr and "vgpu-stub" in result.stderr
    assert with_sysfs(tmp_path, "--list").returncode == UNREACHABLE
    assert with_sysfs(tmp_path, "--device", "00:01.0", "1", "2").returncode == UNREACHABLE
    assert with_sysfs(tmp_path / "absent", "--list", "--json").stdout.count("[]") == 1


@pytest.mark.parametrize("path,word", [
    ("/dev/null", "no device of the driver"),
    ("/absent/vgpu0", "driver vgpu is not loaded"),
    ("/", "can't open /: Is a directory"),
    ("/" + "long/" * 55, "less than 256 bytes"),
])
def test_what_is_no_device_of_the_driver(path, word):
    result = subprocess.run([CLIENT, "--device", path, "1", "2"], capture_output=True, text=True,
                            timeout=120, check=False)
    assert result.returncode != OK and word in result.stderr


def test_list_and_registers(tmp_path):
    make_device(tmp_path, "0000:00:1f.0")
    folder = make_device(tmp_path, "0000:00:05.0")
    make_device(tmp_path, "0000:00:04.0", vendor="0x8086")
    assert with_sysfs(tmp_path, "--list").stdout == "0000:00:05.0\n0000:00:1f.0\n"
    text = with_sysfs(tmp_path, "--registers")
    assert text.returncode == OK and text.stdout.startswith("pci 0000:00:05.0\n")
    assert "basic, interrupt" in text.stdout and "high" in text.stdout
    (line,) = lines(with_sysfs(tmp_path, "--registers", "--json", "--device", "00:1F.0"))
    assert line["device"] == "pci 0000:00:1f.0"
    assert (line["POOL_ID"], line["VM_ID"], line["PROTOCOL_VER"]) == (66, 7, 0x10000)
    assert (folder / "enable").read_text().startswith("1")


@pytest.mark.parametrize("bar,word", [
    (bytes(4096), "protocol 0.0"),
    (b"\xff" * 4096, "device is gone"),
    (bytes(1024), "1024 bytes"),
])
def test_strange_devices(tmp_path, bar, word):
    make_device(tmp_path, "0000:00:05.0", bar=bar)
    result = with_sysfs(tmp_path, "1", "2")
    assert result.returncode == UNREACHABLE and word in result.stderr


def test_busy_device_times_out(tmp_path):
    bar = bytearray(4096)
    struct.pack_into("<I", bar, 0x04, 1)
    struct.pack_into("<I", bar, 0x20, 0x10000)
    make_device(tmp_path, "0000:00:05.0", bar=bar)
    result = with_sysfs(tmp_path, "--timeout", "50", "1", "2")
    assert result.returncode == FAILED and "busy for 50 ms" in result.stderr
