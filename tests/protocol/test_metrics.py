# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics over HTTP: exact, well-formed, the same everywhere, and no hold for a hostile client.

With the packages prometheus and vgpu-loadgen built, a real Prometheus scrapes a mediator
under load, and must come to the figures that the load itself measured."""
import bisect
import grp
import json
import math
import os
import re
import shutil
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import wire
from mediator import Mediator, program, wait_for
from test_mediator_db import UUIDS, db, execute, register, reload  # noqa: F401

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\[\\"n])*)"')
PARTS = ("queue", "transport", "gpu")
CONNECTION_MAX_S = 15


def address(mediator):
    """(host, port) as the log tells it."""
    match = wait_for(lambda: re.search(r"http://([\d.]+|\[[\da-f:]+\]):(\d+)/metrics",
                                       mediator.log()), "the metrics port")
    return match.group(1).strip("[]"), int(match.group(2))


def get(mediator, path="/metrics", method="GET", data=None):
    host, port = address(mediator)
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method, data=data)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode(), answer.headers


def parse(text):
    """{(name, frozenset of labels): value}; anything malformed or twice fails."""
    samples = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) [a-z_]+ \S", line), line
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        key = match.group(1), frozenset(LABEL.findall(match.group(2) or ""))
        assert key not in samples, line
        samples[key] = float(match.group(3))
    return samples


class Samples:
    def __init__(self, mediator):
        status, self.text, headers = get(mediator)
        assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
        self.samples = parse(self.text)

    def __call__(self, name, **labels):
        """The sum over all series with these labels."""
        wanted = set(labels.items())
        found = [value for (series, have), value in self.samples.items()
                 if series == name and wanted <= have]
        assert found, (name, labels)
        return sum(found)


@pytest.fixture
def measured(lab):
    """A mediator with a metrics port of its own, which keeps VMs that left."""
    with Mediator(lab, "--enable-test-ops", "--fault-threshold", "0", "--linger-ms", "600000",
                  "--metrics-listen", "127.0.0.1:0") as running:
        yield running


def test_counts_are_exact(measured):
    with measured.device(vm_id=1) as one, measured.device(vm_id=2) as two:
        for i in range(20):
            one.add(i, i)
        for _ in range(3):
            assert two.run(wire.FAIL).status == wire.CUDA_ERROR
        assert two.run(0x9999).status == wire.UNSUPPORTED_OP
        samples = Samples(measured)
        assert samples("vgpu_vm_connected") == 2
    assert samples("vgpu_jobs_accepted_total", vm="vm 1") == 20
    assert samples("vgpu_jobs_total", vm="vm 1") == 20
    assert samples("vgpu_job_errors_total", vm="vm 1") == 0
    assert samples("vgpu_jobs_total", vm="vm 2") == 3
    assert samples("vgpu_job_errors_total", vm="vm 2", reason="cuda_error") == 3
    assert samples("vgpu_job_rejections_total", vm="vm 2", reason="unsupported_op") == 1
    assert samples("vgpu_faults_total", vm="vm 2") == 3
    assert samples("vgpu_mediator_jobs_total") == 23
    assert samples("vgpu_job_seconds_bucket", vm="vm 1", le="+Inf") == 20
    assert samples("vgpu_request_bytes_total", vm="vm 1") == 20 * (32 + 8)
    assert samples("vgpu_response_bytes_total", vm="vm 1") == 20 * (32 + 4)
    assert samples("vgpu_mediator_workers") == 2
    assert samples("process_resident_memory_bytes") > 1000000


def test_parts_add_up(measured):
    with measured.device() as device:
        for _ in range(6):  # two are handed out ahead, the others wait
            device.submit(wire.SPIN, (20000,))
        for _ in range(6):
            assert device.read().status == wire.OK
    samples = Samples(measured)
    sums = {part: samples(f"vgpu_job_{part}_seconds_sum", vm="vm 1") for part in PARTS}
    assert sum(sums.values()) == pytest.approx(samples("vgpu_job_seconds_sum", vm="vm 1"))
    for part in PARTS:
        assert samples(f"vgpu_job_{part}_seconds_count", vm="vm 1") == 6
    assert sums["gpu"] >= 6 * 0.0199
    # The n-th job waited for those before it, also where it was handed out ahead of its turn.
    assert sums["queue"] >= (1 + 2 + 3 + 4 + 5) * 0.0199
    assert samples("vgpu_gpu_seconds_total", vm="vm 1") >= 6 * 0.0199
    assert samples("vgpu_share_received_ratio", vm="vm 1") == 1


def test_everybody_says_the_same(measured):
    with measured.device() as device, measured.admin() as admin:
        for i in range(50):
            device.add(i, 1)
        device.run(wire.FAIL)
        over_http = Samples(measured)
        admin.send(wire.SHOW_METRICS, 1)
        status, text = admin.read_raw()
        over_admin = parse(text.decode())
        summary = admin.call(wire.SHOW_METRICS)
    assert status == 0
    assert set(over_admin) == set(over_http.samples)
    for key, value in over_admin.items():
        if key[0].startswith(("vgpu_job", "vgpu_request", "vgpu_gpu_seconds")):
            assert value == over_http.samples[key], key
    vm, = summary["vms"]
    assert vm["submitted"] == vm["completed"] == 51 and vm["errors_by_reason"] == {"cuda_error": 1}
    total = vm["latency"]["total"]
    assert total["samples"] == 51
    assert 0 < total["p50_ns"] <= total["p95_ns"] <= total["p99_ns"] <= total["max_ns"]
    assert summary["all"]["completed"] == 51
    tool = shutil.which("promtool")
    if tool:
        done = subprocess.run([tool, "check", "metrics"], input=over_http.text, text=True,
                              capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_counters_survive_a_reload(lab, db):  # noqa: F811
    register(db, 1, rate=5)
    with Mediator(lab, "--vm", f"{UUIDS[1]}={lab}/1.sock", "--metrics-listen", "127.0.0.1:0",
                  db=db) as mediator:
        with wire.Device(lab / "1.sock", vm_id=1) as one:
            answers = [one.run(wire.ADD, (i, 1)).status for i in range(60)]
            served, limited = answers.count(wire.OK), answers.count(wire.RATE_LIMITED)
            assert served + limited == 60 and limited > 0
            before = Samples(mediator)
            assert before("vgpu_jobs_total", vm="vm1", pool="A") == served
            assert before("vgpu_job_rejections_total", vm="vm1", reason="rate_limited") == limited
            execute(db, "UPDATE vms SET max_jobs_per_sec = 0, weight = 7.5 WHERE vm_id = 1")
            register(db, 2)
            reload(mediator)
            one.add(1, 1)
            after = Samples(mediator)
            assert after("vgpu_jobs_total", vm="vm1", pool="A") == served + 1
            assert after("vgpu_job_rejections_total", vm="vm1", reason="rate_limited") == limited
            assert after("vgpu_jobs_total", vm="vm2") == 0
            assert after("vgpu_vm_weight", vm="vm1") == 7.5
            execute(db, "UPDATE vms SET vm_name = ? WHERE vm_id = 1", 'a "b"\\\n{}')
            execute(db, "DELETE FROM vms WHERE vm_id = 2")
            reload(mediator)
            renamed = Samples(mediator)
            assert renamed("vgpu_jobs_total", vm='a \\"b\\"\\\\\ufffd{}', pool="A") == served + 1
            assert not any(("vm", "vm2") in labels for _, labels in renamed.samples)


def test_paths_and_methods(measured):
    status, text, headers = get(measured, "/healthz")
    assert status == 200 and json.loads(text)["status"] == "ok"
    assert headers["Content-Type"] == "application/json"
    assert get(measured, "/metrics?collect[]=x")[0] == 200
    status, text, _ = get(measured, "/metrics", method="HEAD")
    assert status == 200 and text == ""
    assert get(measured, "/")[0] == 404
    assert get(measured, "/metrics/..")[0] == 404
    for method in ("POST", "PUT", "DELETE", "TRACE", "NONSENSE"):
        status, _, headers = get(measured, "/metrics", method=method)
        assert status == 405 and headers["Allow"] == "GET, HEAD"
    assert get(measured, "/metrics", method="POST", data=b"x" * 100000)[0] == 405


def test_where_it_listens(lab):
    with Mediator(lab, "--metrics-listen", "off") as mediator:
        assert "http://" not in mediator.log()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([program("vgpu-mediator"), "--no-db", "--backend", "cpu",
                               "--socket-path", str(lab / "x"), "--admin-socket", str(lab / "y"),
                               "--no-discovery", "--metrics-listen", f"127.0.0.1:{port}"],
                              capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "--metrics-listen" in done.stderr
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr
    assert not (lab / "x").exists() and not (lab / "y").exists()


def test_default_address_taken_is_no_reason_to_fail(lab):
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 9477))
            taken.listen()
        except OSError:
            pass  # then somebody else has it, which does as well
        with Mediator(lab) as mediator:
            assert "no metrics over HTTP" in mediator.log()
            with mediator.device() as device:
                assert device.add(1, 2) == 3


@pytest.mark.parametrize("wrong", ["", "9477", "localhost:9477", "127.0.0.1", "127.0.0.1:",
                                   "127.0.0.1:65536", "127.0.0.1:-1", "1.2.3.4.5:1", "::1:9477",
                                   "[::1]", "[::1:9477", "OFF", "127.0.0.1:80 "])
def test_wrong_addresses(wrong):
    done = subprocess.run([program("vgpu-mediator"), "--metrics-listen", wrong],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "--metrics-listen" in done.stderr


def test_ipv6(lab):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this host has no IPv6")
    with Mediator(lab, "--metrics-listen", "[::1]:0") as mediator:
        host, port = address(mediator)
        with socket.create_connection((host, port), timeout=60) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert receive_all(client).startswith(b"HTTP/1.")


# ---- hostile clients ----

def connect(mediator):
    return socket.create_connection(address(mediator), timeout=60)


def receive_all(client):
    data = b""
    try:
        while True:
            part = client.recv(65536)
            if not part:
                return data
            data += part
    except ConnectionError:
        return data


def test_a_crowd_of_silent_clients(measured):
    Samples(measured)
    base = measured.fds()
    crowd = [connect(measured) for _ in range(200)]
    with measured.device() as device:
        for i in range(20):
            assert device.add(i, 1) == i + 1
            Samples(measured)  # is served all the same
    assert measured.fds() <= base + 80  # 32 clients, a worker, a device and what is in between
    for client in crowd:
        client.close()
    wait_for(lambda: Samples(measured)("vgpu_mediator_http_clients") == 1, "the crowd to go")
    wait_for(lambda: measured.fds() <= base + 6, "their descriptors to go")


def test_clients_that_do_not_read(measured):
    """Each asks for all there is, with a window as small as it gets, and reads nothing."""
    with measured.device() as device:
        device.add(1, 1)
    crowd = []
    for _ in range(40):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect(address(measured))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        crowd.append(client)
    with measured.device() as device:
        for i in range(20):
            assert device.add(i, 1) == i + 1
            Samples(measured)
    for client in crowd:
        client.close()


GARBAGE = {
    "zeros": b"\0" * 1000,
    "no path": b"GET\r\n\r\n",
    "no version": b"GET /metrics\r\n\r\n",
    "empty lines": b"\r\n" * 10000,
    "no line": b"\xff" * 100000,
    "long path": b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
    "huge body": b"POST /metrics HTTP/1.1\r\nHost: x\r\n"
                 b"Content-Length: 99999999999999999999\r\n\r\n",
    "huge chunk": b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  b"ffffffffffffffff\r\n",
    "version": b"GET /metrics HTTP/9.9\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage(measured, kind):
    with connect(measured) as client:
        try:
            client.sendall(GARBAGE[kind])
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was cut off already
        receive_all(client)  # it ends, with whatever answer
    Samples(measured)


def test_a_client_that_trickles_is_cut_off(measured):
    """One byte of a header each second never is silent, and gets no more than its time."""
    with connect(measured) as client:
        started = time.monotonic()
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        client.settimeout(1)  # short: a byte each second
        while time.monotonic() - started < 10 * CONNECTION_MAX_S:
            try:
                if client.recv(4096) == b"":
                    break
            except TimeoutError:
                pass
            except ConnectionError:
                break
            try:
                client.sendall(b"x")
            except ConnectionError:
                break
        else:
            pytest.fail("it was never cut off")
    assert time.monotonic() - started > CONNECTION_MAX_S - 2
    Samples(measured)


# ---- a real Prometheus ----

class Prometheus:
    def __init__(self, folder, target):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = "http://127.0.0.1:%d" % probe.getsockname()[1]
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                  "scrape_configs": [{"job_name": "vgpu-mediator",
                                      "static_configs": [{"targets": [target]}]}]}
        path = folder / "prometheus.yml"
        path.write_text(json.dumps(config))  # JSON is YAML
        self.log = open(folder / "prometheus.log", "wb")
        self.process = subprocess.Popen(
            [shutil.which("prometheus"), f"--config.file={path}",
             f"--storage.tsdb.path={folder / 'tsdb'}",
             f"--web.listen-address={self.url.removeprefix('http://')}"],
            stdout=self.log, stderr=self.log)

    def __enter__(self):
        wait_for(lambda: self.process.poll() is not None or self.ready(), "Prometheus")
        assert self.process.poll() is None
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(60)
        self.log.close()

    def ready(self):
        try:
            return urllib.request.urlopen(self.url + "/-/ready", timeout=60).status == 200
        except OSError:
            return False

    def query(self, text):
        """{vm label or None: value}"""
        query = urllib.parse.urlencode({"query": text})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=60) as answer:
            result = json.load(answer)["data"]["result"]
        return {sample["metric"].get("vm"): float(sample["value"][1]) for sample in result}


def bucket_of(seconds, bounds):
    return bisect.bisect_left(bounds, seconds)


@pytest.mark.skipif(not shutil.which("prometheus"), reason="the package prometheus is missing")
def test_prometheus_comes_to_the_same_figures(lab, measured):
    """Two VMs have long jobs, whose latency is the queue's and not that of this machine's noise."""
    count = 600
    groups = "n=1,vm_id=1,op=add;n=2,vm_id=2,op=spin:2000,depth=4;n=1,vm_id=4,op=add=90+fail=10"
    host, port = address(measured)
    with Prometheus(lab, f"{host}:{port}") as prometheus:
        done = subprocess.run(
            [program("vgpu-loadgen"), "--socket", str(measured.socket), "--vms", groups,
             "--count", str(count), "--quiet", "--json", "-"],
            capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        results = {vm["vm_id"]: vm for vm in json.loads(done.stdout)["vms"]}
        assert set(results) == {1, 2, 3, 4}
        total = len(results) * count
        wait_for(lambda: sum(prometheus.query("vgpu_jobs_total").values()) == total,
                 "Prometheus to have scraped the end")
        counts = prometheus.query("vgpu_jobs_total")
        errors = prometheus.query("sum by (vm) (vgpu_job_errors_total)")
        failed = prometheus.query('vgpu_job_errors_total{reason="cuda_error"}')
        rejected = prometheus.query("sum by (vm) (vgpu_job_rejections_total)")
        gpu_seconds = prometheus.query("vgpu_gpu_seconds_total")
        p99 = prometheus.query("histogram_quantile(0.99, vgpu_job_seconds_bucket)")
        parts = {part: prometheus.query(f"vgpu_job_{part}_seconds_sum") for part in PARTS}
        whole = prometheus.query("vgpu_job_seconds_sum")
    bounds = sorted(float(labels["le"]) for name, labels in
                    ((name, dict(labels)) for name, labels in Samples(measured).samples)
                    if name == "vgpu_mediator_job_seconds_bucket" and labels["le"] != "+Inf")
    for vm_id, vm in results.items():
        label = f"vm {vm_id}"
        assert counts[label] == count == vm["answered"]
        assert errors[label] == failed[label] == sum(vm["errors"].values())
        assert rejected[label] == vm["busy"] == 0
        assert sum(parts[part][label] for part in PARTS) == pytest.approx(whole[label])
        if "spin" in vm["op"]:  # else it is rounding to 1 us for each job
            assert gpu_seconds[label] == pytest.approx(vm["gpu_us"] / 1e6, rel=0.01)
            assert not math.isnan(p99[label])
            distance = bucket_of(p99[label], bounds) - bucket_of(vm["p99_us"] / 1e6, bounds)
            assert abs(distance) <= 1, (label, p99[label], vm["p99_us"])
            # What the device measured contains what the mediator measured.
            assert whole[label] / count <= vm["mean_us"] / 1e6
    assert failed["vm 4"] > 0 == failed["vm 1"]


def get_by_path(path, page):
    """(status, text) of a page on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(f"GET {page} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_a_unix_socket_is_for_the_administrators(lab):
    path = lab / "metrics.sock"
    with Mediator(lab, "--metrics-listen", path) as mediator:
        try:
            group = grp.getgrnam("vgpu").gr_gid if os.geteuid() == 0 else None
        except KeyError:
            group = None
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == (0o600 if group is None else 0o660)
        assert found.st_gid == (os.getegid() if group is None else group)
        with mediator.device() as device:
            assert device.add(1, 2) == 3
        status, text = get_by_path(path, "/metrics")
        assert status == 200 and any(name == "vgpu_jobs_total" for name, _ in parse(text))
        assert get_by_path(path, "/healthz")[0] == 200
        assert f"metrics for Prometheus on {path}, by HTTP" in mediator.log()
    assert not path.exists()
    refused = subprocess.run([program("vgpu-mediator"), "--metrics-listen", "/" + "x" * 200],
                             capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2 and "has 201 characters" in refused.stderr
