# SPDX-License-Identifier: GPL-2.0-or-later
"""A Xen host in emulation: Xen, a paravirtual Dom0 and HVM guests, all inside one QEMU
without KVM.  Only Python's standard library is needed; it is not tied to pytest.

    with XenHost(folder, bin_folder, {"/bin/vgpu-client": client}) as dom0:
        dom0.run("vgpu-admin init-db")
        guest = dom0.create("g1", uuid)
        code, output = guest.run("vgpu-client 100 200")

The emulated processor has AMD's virtualisation, which TCG implements, with nested paging.
Without SMAP and RDTSCP, with which Dom0 and the guest crash under it.
"""
import shlex
import time

import dom0_image
from qemu_process import QemuProcess
from vm import Guest, GuestError

BOOT_LIMIT_S = 300
GUEST_BOOT_LIMIT_S = 180
COMMAND_LIMIT_S = 120
CPU = "max,-smap,-rdtscp"

CONFIG = """type = "hvm"
name = "{name}"
uuid = "{uuid}"
memory = 192
vcpus = 1
serial = "none"
vga = "none"
nographic = 1
vnc = 0
usb = 0
hap = 1
on_crash = "preserve"
on_poweroff = "destroy"
on_reboot = "restart"
boot = "d"
dm_restrict = 1
xen_platform_pci = 0
device_model_override = "/usr/libexec/device-model"
device_model_args_hvm = [ "-drive",
    "if=none,id=cd0,file=/guest.iso,format=raw,readonly=on,media=cdrom",
    "-device", "ahci,id=ahci0,addr=6",
    "-device", "ide-cd,drive=cd0,bus=ahci0.0,bootindex=0", {arguments} ]
"""


class XenHost(Guest):
    """Its Dom0: run() and the like are Guest's.  Xen's and Dom0's messages are in
    {folder}/console.log."""

    def __init__(self, folder, bin_folder, guest_files, memory_mib=3072):
        self.last_id = 0
        self.buffered = b""
        self.guests = []
        started = time.monotonic()
        dom0_image.build(folder, bin_folder, guest_files)
        self.image_s = time.monotonic() - started
        started = time.monotonic()
        QemuProcess.__init__(self, ["qemu-system-x86_64"], folder, [
            "-M", "q35", "-accel", "tcg", "-cpu", CPU, "-smp", "2", "-m", str(memory_mib),
            "-no-reboot", "-kernel", f"{folder}/xen.elf",
            "-append", "com1=115200,8n1 console=com1 loglvl=warning guest_loglvl=warning "
                       "dom0_mem=1024M,max:1024M dom0_max_vcpus=1 dom0_vcpus_pin",
            "-initrd", f"{folder}/vmlinuz console=hvc0 quiet,{folder}/dom0.cpio",
            "-serial", f"file:{folder}/console.log",
            "-chardev", f"socket,id=agent,path={folder}/agent.sock",
            "-device", "virtio-serial-pci,max_ports=2",
            "-device", "virtserialport,chardev=agent,nr=1"], ["agent"])
        try:
            self._expect_ready(BOOT_LIMIT_S)
        except BaseException:
            self.close()
            raise
        self.boot_s = time.monotonic() - started

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

    def background(self, name, command):
        """Starts a command that may run beside others; result() waits for its end."""
        self.check(f"rm -f /tmp/{name}.status; "
                   f"({command} >/tmp/{name}.out 2>&1; echo $? >/tmp/{name}.status) &")

    def ended(self, name):
        return self.run(f"test -s /tmp/{name}.status")[0] == 0

    def result(self, name, limit_s=COMMAND_LIMIT_S):
        """(exit status, output) of what background() started."""
        code = int(self.wait(f"cat /tmp/{name}.status 2>/dev/null", f"{name} ends", limit_s))
        return code, self.check(f"cat /tmp/{name}.out")

    def write(self, path, text):
        quoted = shlex.quote(text.replace("\n", "\\n"))  # a command is one line
        self.check(f"printf %b {quoted} >{path}")

    def create(self, name, uuid, device="vgpu-stub", wait=True):
        guest = XenGuest(self, name, uuid, device)
        guest.start()
        if wait:
            guest.wait_ready()
        return guest


class XenGuest:
    def __init__(self, dom0, name, uuid, device):
        self.dom0 = dom0
        self.name = name
        self.uuid = uuid
        self.device = device
        self.domid = None
        self.pid = None  # of its device model

    def start(self):
        arguments = f'"-device", "{self.device}"' if self.device else ""
        config = f"/tmp/{self.name}.cfg"
        self.dom0.write(config, CONFIG.format(name=self.name, uuid=self.uuid,
                                              arguments=arguments))
        console = f"/var/log/xen/console/guest-{self.name}.log"
        code, output = self.dom0.run(f"rm -f {console}; xl create {config}", COMMAND_LIMIT_S)
        if code:
            log = self.dom0.run(f"cat /var/log/xen/qemu-dm-{self.name}.log")[1]
            raise GuestError(f"xl create failed with {code}:\n{output}\n{log}")
        self.domid = int(self.dom0.check(f"xl domid {self.name}"))
        self.pid = int(self.dom0.check(
            f"xenstore-read /local/domain/{self.domid}/image/device-model-pid"))

    def wait_ready(self):
        console = f"/var/log/xen/console/guest-{self.name}.log"
        try:
            self.dom0.wait(f"grep -q READY {console}", f"{self.name} boots", GUEST_BOOT_LIMIT_S)
        except AssertionError:
            log = self.dom0.run(f"xl list; kill -0 {self.pid}; cat {console} "
                                f"/var/log/xen/qemu-dm-{self.name}.log")[1]
            raise GuestError(f"{self.name} does not boot:\n{log}") from None

    def command(self, command, limit_s=COMMAND_LIMIT_S):
        """What Dom0 runs to have the guest run a command."""
        return f"timeout {limit_s} guest-run {self.name} {shlex.quote(command)}"

    def run(self, command, limit_s=COMMAND_LIMIT_S):
        return self.dom0.run(self.command(command, limit_s), limit_s + 10)

    def check(self, command, limit_s=COMMAND_LIMIT_S):
        code, output = self.run(command, limit_s)
        assert code == 0, f"in {self.name}: {command}: exit status {code}\n{output}"
        return output

    def destroy(self):
        self.dom0.run(f"xl destroy {self.name}", COMMAND_LIMIT_S)
        self.dom0.wait(f"! xl domid {self.name} 2>/dev/null", f"{self.name} is destroyed")

    def log(self):
        """What its device model says."""
        return self.dom0.run(f"cat /var/log/xen/qemu-dm-{self.name}.log")[1]
