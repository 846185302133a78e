# SPDX-License-Identifier: GPL-2.0-or-later
"""A Xen host in emulation: Xen, a paravirtual Dom0 and HVM guests, all inside one QEMU
without KVM.  Only Python's standard library is needed; it is not tied to pytest.

    with XenHost(folder, bin_folder, {"/bin/vgpu-client": client}) as dom0:
        dom0.run("vgpu-admin init-db")
        code, output = dom0.guests["g1"].run("vgpu-client 100 200")

The emulated processor has AMD's virtualisation, which TCG implements, with nested paging.
Without SMAP and RDTSCP, with which Dom0 and the guest crash under it, and with Xen switching
the FPU's registers eagerly: switched lazily, a guest beside another one loses XMM registers
now and then, which shows as programs that crash or compute nonsense.  Dom0 has one of its two
processors and the guests share the other: an access of a guest to its device costs twice
as much where both are on one.

Xen, Dom0 and two guests are booted once; then the machine's state is saved in the cache, and
later runs begin there.  The project's programs come from a disk that nobody has read until
then, so they may change; the device model is a part of the state.
"""
import pathlib
import shlex
import time
import warnings

import dom0_image
from qemu_process import QemuProcess, wait_for
from vm import Guest, GuestError

BOOT_LIMIT_S = 300
GUEST_BOOT_LIMIT_S = 180
LOAD_LIMIT_S = 60
COMMAND_LIMIT_S = 120
CPU = "max,-smap,-rdtscp"
# The guests of the saved state.
UUIDS = {"g1": "3b8c7a10-1111-4000-8000-00000000000a", "g2": "3b8c7a10-2222-4000-8000-00000000000b"}

CONFIG = """type = "hvm"
name = "{name}"
uuid = "{uuid}"
memory = 192
vcpus = 1
cpus = "1"
serial = "none"
vga = "none"
nographic = 1
vnc = 0
usb = 0
vkb_device = 0
hap = 1
on_crash = "preserve"
on_poweroff = "destroy"
on_reboot = "restart"
boot = "d"
dm_restrict = 1
xen_platform_pci = 0
device_model_override = "/usr/libexec/device-model"
device_model_args_hvm = [ "-drive",
    "if=none,id=cd0,file={cd},format=raw,readonly=on,media=cdrom",
    "-device", "ahci,id=ahci0,addr=2",
    "-device", "ide-cd,drive=cd0,bus=ahci0.0,bootindex=0",
    {disk} "-device", "vgpu-stub" ]
"""
# The guests of the saved state read the programs from Dom0's disk; the kernel has a driver
# for no other.  Later ones find them on their CD.
EARLY = {"cd": "/guest.iso", "disk": """"-drive",
    "if=none,id=programs,file=/dev/vda,format=raw,readonly=on",
    "-device", "nvme,id=nvme0,serial=programs,addr=7",
    "-device", "nvme-ns,drive=programs,bus=nvme0,nsid=1","""}
LATER = {"cd": dom0_image.GUEST_CD, "disk": ""}


def unpack(disk, place):
    start_mib, length_mib = place
    return (f"dd if={disk} bs=1M skip={start_mib} count={length_mib} of=/tmp/programs.tar "
            "2>/dev/null && tar xf /tmp/programs.tar -C / && rm /tmp/programs.tar")


class XenHost(Guest):
    """Its Dom0: run() and the like are Guest's.  Xen's and Dom0's messages are in
    {folder}/console.log.  restored: whether it began from the saved state; start_s: how
    long that took, or the boot and the saving; image_s: what was before that."""

    def __init__(self, folder, bin_folder, guest_files, memory_mib=3072):
        self.guests = {}
        started = time.monotonic()
        image = dom0_image.host_image(__file__)
        disk = pathlib.Path(folder) / "programs.img"
        dom0_archive, guest_archive = dom0_image.programs_disk(disk, bin_folder, guest_files)
        self.image_s = time.monotonic() - started
        started = time.monotonic()
        arguments = [
            "-M", "q35", "-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", str(memory_mib),
            "-no-reboot", "-kernel", f"{image}/xen.elf",
            "-append", "com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning "
                       "dom0_mem=1024M,max:1024M dom0_max_vcpus=1 dom0_vcpus_pin "
                       "spec-ctrl=eager-fpu",
            "-initrd", f"{image}/vmlinuz console=hvc0 quiet,{image}/dom0.cpio",
            "-serial", f"file:{folder}/console.log",
            "-chardev", f"socket,id=agent,path={folder}/agent.sock",
            "-device", "virtio-serial-pci,max_ports=2",
            "-device", "virtserialport,chardev=agent,nr=1",
            "-drive", f"if=virtio,format=raw,readonly=on,file={disk}"]
        state = image / "machine.state"
        self.restored = state.exists() and self._restore(folder, arguments, state)
        if not self.restored:
            self._boot(folder, arguments, state)
        self.start_s = time.monotonic() - started
        self.check(unpack("/dev/vda", dom0_archive))
        for guest in self.guests.values():
            guest.check(unpack("/dev/nvme0n1", guest_archive))

    def _launch(self, folder, arguments):
        self.last_id = 0
        self.buffered = b""
        QemuProcess.__init__(self, ["qemu-system-x86_64"], folder, arguments, ["agent"])

    def _boot(self, folder, arguments, state):
        self._launch(folder, arguments)
        try:
            self._expect_ready(BOOT_LIMIT_S)
            for name, uuid in UUIDS.items():
                self.guests[name] = XenGuest(self, name, uuid)
            for guest in self.guests.values():
                guest.start(EARLY)
            for guest in self.guests.values():
                guest.wait_booted()
            self._save(state)
        except BaseException:
            self.close()
            raise

    def _save(self, state):
        part = state.with_suffix(".part")
        self.qmp("stop")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 10**10})
        self.qmp("migrate", uri=f"exec:cat >{shlex.quote(str(part))}")
        done = wait_for(lambda: (info := self.qmp("query-migrate")).get("status") in
                        ("completed", "failed") and info, "the machine's state is saved",
                        LOAD_LIMIT_S)
        assert done["status"] == "completed", done
        part.rename(state)
        self.qmp("cont")

    def _restore(self, folder, arguments, state):
        """Whether it could be; a state of no use is removed."""
        try:
            self._launch(folder, [*arguments, "-incoming",
                                  f"exec:cat {shlex.quote(str(state))}"])
            wait_for(lambda: self.qmp("query-status")["status"] == "paused",
                     "the machine's state is loaded", LOAD_LIMIT_S)
            self.qmp("cont")
            for name, uuid in UUIDS.items():
                self.guests[name] = XenGuest(self, name, uuid)
                self.guests[name].find()
            return True
        except (AssertionError, GuestError, OSError) as error:
            warnings.warn(f"the saved state {state} is of no use: {error}")
            state.unlink(missing_ok=True)
            self.guests.clear()
            if hasattr(self, "process"):
                self.close()
            return False

    def check(self, command, limit_s=COMMAND_LIMIT_S):
        """The output of a command that must succeed."""
        code, output = self.run(command, limit_s)
        assert code == 0, f"{command}: exit status {code}\n{output}"
        return output

    def wait(self, command, what, limit_s=60):
        """Repeats a command until it succeeds; returns its output."""
        deadline = time.monotonic() + limit_s
        while True:
            code, output = self.run(command)
            if code == 0:
                return output
            assert time.monotonic() < deadline, f"did not happen in {limit_s} s: {what}\n{output}"
            time.sleep(0.2)

    def write(self, path, text):
        quoted = shlex.quote(text.replace("\n", "\\n"))  # a command is one line
        self.check(f"printf %b {quoted} >{path}")

    def guest(self, name):
        """The running guest of that name, created again when it has ended."""
        guest = self.guests[name]
        if guest.retired:
            guest.destroy()
        if not guest.starting and not guest.runs():
            guest.start()
        if guest.starting:
            guest.wait_booted()
        return guest


class XenGuest:
    def __init__(self, dom0, name, uuid):
        self.dom0 = dom0
        self.name = name
        self.uuid = uuid
        self.domid = None
        self.pid = None  # of its device model
        self.starting = False
        self.retired = False  # whoever wants it next gets a new one
        self.console = f"/var/log/xen/console/guest-{name}.log"

    def start(self, disks=LATER):
        """Has xl create it, in the background: wait_booted() waits."""
        self.starting = True
        self.retired = False
        files = f"/tmp/{self.name}"
        self.dom0.write(f"{files}.cfg", CONFIG.format(name=self.name, uuid=self.uuid, **disks))
        self.dom0.check(f"rm -f {self.console} {files}.status; (xl create {files}.cfg; "
                        f"echo $? >{files}.status) >{files}.log 2>&1 &")

    def runs(self):
        return self.dom0.run(f"kill -0 {self.pid} 2>/dev/null")[0] == 0

    def find(self):
        """Learns what Xen calls it."""
        domid, pid, self.tty = self.dom0.check(
            f"domid=$(xl domid {self.name}) && echo $domid && xenstore-read "
            "/local/domain/$domid/image/device-model-pid /local/domain/$domid/console/tty").split()
        self.domid, self.pid = int(domid), int(pid)

    def wait_booted(self):
        self.starting = False
        files = f"/tmp/{self.name}"
        code = self.dom0.wait(f"grep . {files}.status", "xl is done", COMMAND_LIMIT_S)
        if code != "0":
            output = self.dom0.run(f"cat {files}.log")[1]
            raise GuestError(f"xl create failed with {code}:\n{output}\n{self.log()}")
        self.find()
        try:
            self.dom0.wait(f"grep -q READY {self.console}", f"{self.name} boots",
                           GUEST_BOOT_LIMIT_S)
        except AssertionError:
            log = self.dom0.run(f"xl list; kill -0 {self.pid}; cat {self.console}")[1]
            raise GuestError(f"{self.name} does not boot:\n{log}\n{self.log()}") from None

    def command(self, command, limit_s=COMMAND_LIMIT_S):
        """What Dom0 runs to have the guest run a command."""
        return f"timeout {limit_s} guest-run {self.tty} {shlex.quote(command)}"

    def run(self, command, limit_s=COMMAND_LIMIT_S):
        return self.dom0.run(self.command(command, limit_s), limit_s + 10)

    def check(self, command, limit_s=COMMAND_LIMIT_S):
        code, output = self.run(command, limit_s)
        assert code == 0, f"in {self.name}: {command}: exit status {code}\n{output}"
        return output

    def background(self, command):
        """Starts a command in the guest; ended() waits for its end, stop() ends it."""
        self.check(f"mkfifo /tmp/status; ({command} >/tmp/out 2>&1; echo $? >/tmp/status) "
                   "</dev/null >/dev/null 2>&1 &")

    def ended(self, limit_s=COMMAND_LIMIT_S, before=""):
        """(exit status, output) of what background() started, when it has ended."""
        output = self.check(f"{before}cat /tmp/status /tmp/out; rm /tmp/status", limit_s)
        code, _, output = output.partition("\n")
        return int(code), output

    def stop(self, program):
        """Ends what background() started as Ctrl-C would; the same answer."""
        return self.ended(before=f"killall -INT {program} 2>/dev/null; ")

    def destroy(self):
        self.dom0.run(f"xl destroy {self.name}", COMMAND_LIMIT_S)
        self.dom0.wait(f"! xl domid {self.name} 2>/dev/null", f"{self.name} is destroyed")

    def log(self):
        """What its device model says."""
        return self.dom0.run(f"cat /var/log/xen/qemu-dm-{self.name}.log")[1]
