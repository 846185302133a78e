#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What do request files cost beside a socket?  A mediator and a bridge of its own, in a folder that
goes away again; CPU backend, one sum at a time.

    bench_file_bridge.py [--requests N] [--vms N] [--idle-s S] [--folder DIR]

Prints, of one run: the time from a request's line in its file to the answer in the response file
(p50, p99), that of vgpu-client on the socket, what the file system takes for the same writes and
fsyncs, and what part of a processor the bridge takes while N VMs do nothing.
$VGPU_BIN says where the programs are (build/bin).
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TREE = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("VGPU_BIN", TREE / "build" / "bin"))


def wait_for(condition, what):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"bench_file_bridge: waited 60 s for {what}")
        time.sleep(0.01)


def percentile(times, part):
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]


def ask(folder, n):
    """One sum through the files, in seconds."""
    start = time.perf_counter()
    (folder / "request.txt").write_text(f"A:1:1:{n}:1\n")
    want = f"1:{n + 1}\n"
    while (folder / "response.txt").read_text() != want:
        pass
    return time.perf_counter() - start


def put(descriptor, text):
    """As the bridge does it; not on the disk yet."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def file_system(folder, descriptors):
    """What the bridge does to the files until the guest sees the answer, and the guest's write, in
    seconds.  The answer's own fsync comes after that moment."""
    response, request = descriptors
    start = time.perf_counter()
    (folder / "a").write_text("A:1:1:100:200\n")
    for descriptor in (response, request):
        put(descriptor, b"")
        os.fsync(descriptor)
    put(response, b"1:300\n")
    took = time.perf_counter() - start
    os.fsync(response)
    return took


def processor_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def idle_part(pid, seconds):
    used, start = processor_s(pid), time.monotonic()
    time.sleep(seconds)
    return (processor_s(pid) - used) / (time.monotonic() - start)


def on_the_socket(path, count):
    done = subprocess.run([BIN / "vgpu-client", "--socket", path, "--vm-id", "4000", "--json",
                           "--bench", "--count", str(count)], capture_output=True, text=True,
                          check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--vms", type=int, default=200)
    parser.add_argument("--idle-s", type=float, default=20)
    parser.add_argument("--folder", help="on the file system in question (default: the temporary)")
    args = parser.parse_args()
    place = pathlib.Path(tempfile.mkdtemp(prefix="vgpu-bench-", dir=args.folder))
    root = place / "files"
    running = []
    try:
        subprocess.run([BIN / "vgpu-file-bridge", "--root", root, "--set-up",
                        *map(str, range(1, args.vms + 1))], check=True, stdout=subprocess.DEVNULL)
        log = open(place / "log", "wb")
        running.append(subprocess.Popen(
            [BIN / "vgpu-mediator", "--no-db", "--no-discovery", "--no-nvml", "--backend", "cpu",
             "--metrics-listen", "off", "--trust-claims", "--socket-path", place / "vm.sock",
             "--admin-socket", place / "admin.sock", "--bridge-socket", place / "bridge.sock"],
            stdout=log, stderr=log))
        wait_for((place / "bridge.sock").exists, "the mediator")
        running.append(subprocess.Popen([BIN / "vgpu-file-bridge", "--root", root, "--socket",
                                         place / "bridge.sock"], stdout=log, stderr=log))
        wait_for(lambda: b"serving" in (place / "log").read_bytes(), "the bridge")
        folder = root / "vm1"
        for n in range(20):
            ask(folder, n)
        # In turns: a disk that others use is slow for a while, which must not hit one alone.
        times, disk, sockets = [], [], []
        files = [os.open(place / name, os.O_RDWR | os.O_CREAT, 0o600) for name in "ba"]
        for n in range(args.requests):
            times.append(ask(folder, 1000 + n))
            disk.append(file_system(place, files))
            if n % 50 == 0:
                sockets.append(on_the_socket(place / "vm.sock", 50)["p50_us"])
        idle = idle_part(running[1].pid, args.idle_s)
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(60)
        shutil.rmtree(place)
    p50_us = statistics.median(times) * 1e6
    disk_us = statistics.median(disk) * 1e6
    socket_us = statistics.median(sockets)
    print(f"request file to response file   p50 {p50_us:8.1f} us   "
          f"p99 {percentile(times, 0.99) * 1e6:.1f} us")
    print(f"vgpu-client on the socket       p50 {socket_us:8.1f} us")
    print(f"the same writes and fsyncs      p50 {disk_us:8.1f} us")
    print(f"files / (socket + file system)      {p50_us / (socket_us + disk_us):8.2f}")
    print(f"{args.vms} VMs that do nothing: {100 * idle:.2f} % of a processor")


if __name__ == "__main__":
    main()
