# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest: boots in seconds, runs commands, returns their output and exit status.

    with Guest([".../qemu/vgpu-qemu"], folder, ["-device", "vgpu-stub,..."],
               files={"/bin/vgpu-client": "build/bin/vgpu-client"}) as guest:
        code, output = guest.run("vgpu-client 100 200")

Only Python's standard library is needed; it is not tied to pytest.
"""
import os
import re
import socket
import tempfile

import guest_image
from qemu_process import QemuProcess

BOOT_LIMIT_S = 180
PROBE_LIMIT_S = 10


class GuestError(Exception):
    pass


class Guest(QemuProcess):
    """folder: a short path of the caller's, one for each guest; the kernel's messages
    are in {folder}/console.log and QEMU's in {folder}/qemu.log."""

    def __init__(self, command, folder, arguments=(), files=None, accel=None, memory_mib=256,
                 machine="q35", boot_limit_s=BOOT_LIMIT_S, kernel=None):
        accel = accel or usable_accel(command)
        self.last_id = 0
        self.buffered = b""
        initrd = os.path.join(str(folder), "initrd")
        with open(initrd, "wb") as file:
            file.write(guest_image.initramfs(files or {}))
        super().__init__(command, folder, [
            "-M", machine, "-m", str(memory_mib), "-accel", accel,
            "-cpu", "host" if accel == "kvm" else "max", "-no-reboot",
            "-kernel", str(kernel or guest_image.kernel()), "-initrd", initrd,
            "-append", "console=ttyS0 quiet panic=-1 no_timer_check",
            "-chardev", f"socket,id=agent,path={folder}/agent.sock",
            "-serial", f"file:{folder}/console.log", "-serial", "chardev:agent",
            *arguments], ["agent"])
        try:
            self._expect_ready(boot_limit_s)
        except BaseException:
            self.close()
            raise

    def _expect_ready(self, limit_s):
        self.sockets["agent"].settimeout(limit_s)
        try:
            while self._line() != "READY":
                pass
        except socket.timeout:
            raise GuestError(f"the guest did not boot within {limit_s} s; its console:\n"
                             + self.console()) from None

    def console(self):
        try:
            with open(os.path.join(self.folder, "console.log"), errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def _line(self):
        while b"\n" not in self.buffered:
            data = self.sockets["agent"].recv(65536)
            if not data:
                raise GuestError(f"the guest is gone; QEMU says:\n{self.output()}\n"
                                 f"and the console:\n{self.console()}")
            self.buffered += data
        line, self.buffered = self.buffered.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")

    def start(self, command):
        """Starts a command (one line for sh) without waiting for its end: finish() does."""
        assert "\n" not in command and len(command) < 3500, "one line that a tty takes"
        self.last_id += 1
        self.sockets["agent"].settimeout(BOOT_LIMIT_S)
        self.sockets["agent"].sendall(f"R {self.last_id} {command}\n".encode())

    def finish(self, limit_s=60, on_line=None):
        """(exit status, output) of the command begun last.  limit_s is for each line of
        its output; on_line is called with each as it comes."""
        self.sockets["agent"].settimeout(limit_s)
        lines = []
        while True:
            try:
                line = self._line()
            except socket.timeout:
                raise GuestError(f"the guest was silent for {limit_s} s; so far:\n"
                                 + "\n".join(lines) + f"\nits console:\n{self.console()}") from None
            found = re.fullmatch(r"([OX]) (\d+) ?(.*)", line)
            if not found or int(found.group(2)) != self.last_id:
                continue  # the rest of an earlier command that the caller gave up
            if found.group(1) == "X":
                return int(found.group(3)), "\n".join(lines)
            lines.append(found.group(3))
            if on_line:
                on_line(found.group(3))

    def first_line(self, limit_s=60):
        """Waits until the command that was started has said something; finish() leaves
        that line out."""
        self.sockets["agent"].settimeout(limit_s)
        while True:
            line = self._line()
            if line.startswith(f"O {self.last_id} "):
                return line.split(" ", 2)[2]

    def run(self, command, limit_s=60, on_line=None):
        self.start(command)
        return self.finish(limit_s, on_line)


def usable_accel(command):
    """"kvm" where a guest really boots with it, else "tcg": /dev/kvm may exist and not work.
    The answer is remembered until the host boots again.  VGPU_ACCEL overrides it."""
    if os.environ.get("VGPU_ACCEL"):
        return os.environ["VGPU_ACCEL"]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with open("/proc/sys/kernel/random/boot_id") as file:
        memory = guest_image.cache_folder() / ("accel-" + file.read().strip())
    try:
        return memory.read_text()
    except FileNotFoundError:
        pass
    accel = "tcg"
    with tempfile.TemporaryDirectory(prefix="vgpu-kvm-") as folder:
        try:
            with Guest(command, folder, accel="kvm", boot_limit_s=PROBE_LIMIT_S) as guest:
                if guest.run("true", PROBE_LIMIT_S)[0] == 0:
                    accel = "kvm"
        except (GuestError, AssertionError, OSError):
            pass
    for old in memory.parent.glob("accel-*"):
        old.unlink(missing_ok=True)
    memory.write_text(accel)
    return accel
