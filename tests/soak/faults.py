# SPDX-License-Identifier: GPL-2.0-or-later
"""The faults of the soak. Each takes the lab, has its way for a second or two, undoes what can be
undone, and returns None, or why it can't be had on this host."""
import contextlib
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import time

import wire
from mediator import wait_for

VICTIM = 900  # vm_ids from here on are not neighbours
FILLER = "filler"
CONNECTIONS = 10000
# What is left to the mediator when its memory is limited, above what it has.
MEMORY_ROOM_KIB = 4096


def mount_tmpfs(folder):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", folder],
                          capture_output=True, check=False).returncode == 0


def unmount(folder):
    subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@contextlib.contextmanager
def victim(lab):
    """A VM that is not counted, with a worker. Its worker's pid, too."""
    vm_id = VICTIM + lab.random.randrange(8)
    with wire.Device(lab.socket, vm_id) as device:
        device.add(1, 1)
        yield device, lab.mediator.vm(vm_id)["worker_pid"]


def worker_of_a_victim(lab, act):
    with victim(lab) as (device, worker):
        device.submit(wire.SPIN, (300000,))
        wait_for(lambda: lab.mediator.vm(device.vm_id)["in_flight"], "the victim's job to run")
        act(worker)
        assert device.read().msg == wire.MSG_RESPONSE
    leave(lab, device.vm_id)


def leave(lab, vm_id):
    """Nothing of it is left that could be taken for a leftover."""
    wait_for(lambda: not (lab.mediator.vm(vm_id) or {}).get("worker_pid"),
             "the victim's worker to end")


def worker_killed(lab):
    worker_of_a_victim(lab, lambda worker: os.kill(worker, signal.SIGKILL))


def worker_crashes(lab):
    with victim(lab) as (device, _):
        assert device.run(wire.CRASH).status == wire.CUDA_ERROR
        assert device.add(2, 3) == 5
    leave(lab, device.vm_id)


def stopped_for(seconds, times=1):
    def act(worker):
        for _ in range(times):
            os.kill(worker, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(worker, signal.SIGCONT)
            time.sleep(seconds / 4)
    return act


def worker_stopped(lab):
    worker_of_a_victim(lab, stopped_for(1.5))


def worker_slow(lab):
    worker_of_a_victim(lab, stopped_for(0.04, 20))


def client_killed(lab):
    """Ten clients, each killed with requests under way."""
    command = [str(pathlib.Path(lab.mediator.command[0]).with_name("vgpu-loadgen"))]
    if not os.path.exists(command[0]):
        return "vgpu-loadgen is not built"
    clients = []
    for number in range(10):
        clients.append(subprocess.Popen(
            [*command, "--socket", lab.socket, "--seconds", "60", "--vms",
             f"n=1,vm_id={VICTIM + 20 + number},op=add,depth=8"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    wait_for(lambda: all((lab.mediator.vm(VICTIM + 20 + n) or {"completed": 0})["completed"] > 20
                         for n in range(10)), "the clients to work")
    for client in clients:
        client.kill()
        client.wait()
    for number in range(10):
        leave(lab, VICTIM + 20 + number)
    return None


def mediator_restarted(lab):
    lab.mediator.process.send_signal(signal.SIGTERM)
    assert lab.mediator.process.wait(120) == 0
    lab.mediator.log_file.close()
    lab.start_mediator()


def mediator_killed(lab):
    lab.mediator.kill()
    lab.mediator.log_file.close()
    lab.start_mediator()


@contextlib.contextmanager
def full(disk):
    with open(disk / FILLER, "wb") as filler:
        with contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
    try:
        yield
    finally:
        (disk / FILLER).unlink()


@contextlib.contextmanager
def said(lab, *texts):
    """What is done inside makes the log say these once more, in any order."""
    before = [lab.mediator.log().count(text) for text in texts]
    yield
    wait_for(lambda: all(lab.mediator.log().count(text) > count
                         for text, count in zip(texts, before)), f"the log to say {texts}")


def disk_full(lab):
    """Both disks: what is to be written down can't be."""
    if not lab.mounted or not lab.state_mounted:
        return "no tmpfs may be mounted here"
    with said(lab, "state is written again"):
        with said(lab, "No space left on device"), victim(lab) as (device, _):
            with full(lab.disk), full(lab.state_disk):
                device.run(wire.CRASH)
                time.sleep(1.5)
    leave(lab, device.vm_id)
    return None


def disk_read_only(lab):
    """The state's: the database is open, and what is open for writing keeps a disk writable."""
    def remount(how):
        return subprocess.run(["mount", "-o", f"remount,{how}", lab.state_disk],
                              capture_output=True, check=False).returncode == 0

    if not lab.state_mounted:
        return "no tmpfs may be mounted here"
    with said(lab, "state is written again"):
        with said(lab, "Read-only file system"), victim(lab) as (device, _):
            # Again while a writing is under way.
            wait_for(lambda: remount("ro"), "the disk to become read-only")
            device.run(wire.CRASH)
            time.sleep(1.5)
        remount("rw")
    leave(lab, device.vm_id)
    return None


def no_descriptors(lab):
    pid, what = lab.mediator.process.pid, resource.RLIMIT_NOFILE
    usual = resource.prlimit(pid, what)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, what, (highest + 2, usual[1]))
    try:
        sockets = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for sock in sockets:
            sock.setblocking(False)
            sock.connect_ex(str(lab.socket))
        time.sleep(1)
        for sock in sockets:
            sock.close()
    finally:
        resource.prlimit(pid, what, usual)


def connections(lab):
    """10,000 connections, as fast as they come; those that say nothing are refused."""
    made = 0
    while made < CONNECTIONS:
        sockets = []
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            with contextlib.suppress(OSError):
                sock.connect(str(lab.socket))
            sockets.append(sock)
        made += len(sockets)
        for sock in sockets:
            sock.close()


def memory_group(pid):
    """(the folder of the process's own group, what its limit is called), or None."""
    root = pathlib.Path("/sys/fs/cgroup")
    paths = dict((line.split(":")[1], line.split(":", 2)[2].strip().lstrip("/"))
                 for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "memory" in paths and (root / "memory" / "memory.limit_in_bytes").exists():
        return root / "memory" / paths["memory"], "memory.limit_in_bytes"
    controllers = root / "cgroup.controllers"
    if controllers.exists() and "memory" in controllers.read_text().split():
        return root / paths[""], "memory.high"
    return None


def memory_limit(lab):
    """A cgroup with little more than the mediator has, for two seconds."""
    pid = lab.mediator.process.pid
    home = memory_group(pid)
    if not home:
        return "there is no cgroup with a memory limit here"
    group = home[0] / f"vgpu-soak-{os.getpid()}"
    limit = group / home[1]
    try:
        group.mkdir()
        if not limit.exists():
            raise OSError("its groups have no memory limit")
        limit.write_text(str((lab.rss_kib() + MEMORY_ROOM_KIB) * 1024))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        remove(group)
        return f"no cgroup with a memory limit may be made here ({error})"
    time.sleep(2)
    (home[0] / "cgroup.procs").write_text(str(pid))
    wait_for(lambda: not remove(group), "the cgroup to go")
    return None


def remove(group):
    """True: it is there still."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return group.exists()


def clock_jumps(lab):
    if not shutil.which("faketime"):
        return ("the host's clock is not ours to set, and faketime is not installed; no deadline "
                "uses it")
    return "a process that runs can't be given another clock"


ALL = {
    "worker_killed": worker_killed, "worker_crashes": worker_crashes,
    "worker_stopped": worker_stopped, "worker_slow": worker_slow, "client_killed": client_killed,
    "mediator_restarted": mediator_restarted, "mediator_killed": mediator_killed,
    "disk_full": disk_full, "disk_read_only": disk_read_only, "no_descriptors": no_descriptors,
    "connections": connections, "memory_limit": memory_limit, "clock_jumps": clock_jumps,
}
