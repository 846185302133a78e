# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process with QMP, and nothing of it left behind."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

WAIT_S = 180
# Whatever ends this process, kill -9 included, ends what it has started.
TIED = ["setpriv", "--pdeathsig", "TERM", "--"]


def need_device(qemu, name):
    """Skips where this QEMU (a command) has no such device."""
    known = subprocess.run([*qemu, "-device", "help"], capture_output=True, text=True, check=True)
    if f'name "{name}"' not in known.stdout:
        pytest.skip(f"this QEMU is built without {name}")


def wait_for(condition, what, limit_s=WAIT_S):
    """Polls until condition() is true and returns its value; fails after limit_s."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen within {limit_s} s: {what}"
        time.sleep(0.005)


class QemuProcess:
    """Starts QEMU and connects QMP and further sockets, each named in `sockets`: QEMU
    finds its end at {folder}/{name}.sock.  The connected sockets are in self.sockets."""

    def __init__(self, command, folder, arguments, sockets=()):
        self.folder = str(folder)
        self.sockets = {}
        self.events = []
        self.killed = False
        self.log_path = os.path.join(self.folder, "qemu.log")
        self.log = open(self.log_path, "ab")
        listeners = {}
        try:
            for name in ("qmp", *sockets):
                path = f"{self.folder}/{name}.sock"
                if os.path.exists(path):
                    os.unlink(path)
                listeners[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listeners[name].bind(path)
                listeners[name].listen(1)
                listeners[name].settimeout(0.2)
            self.process = subprocess.Popen(
                [*TIED, *command, "-display", "none", "-nodefaults", "-no-user-config",
                 "-qmp", f"unix:{self.folder}/qmp.sock", *arguments],
                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
            try:
                for name, listener in listeners.items():
                    self.sockets[name] = self._accept(listener)
                self.qmp_file = self.sockets["qmp"].makefile("rwb", buffering=0)
                self._read_qmp()  # the greeting
                self.qmp("qmp_capabilities")
            except BaseException:
                self.close()
                raise
        finally:
            for listener in listeners.values():
                listener.close()

    def _accept(self, listener):
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                sock = listener.accept()[0]
                sock.settimeout(WAIT_S)
                return sock
            except socket.timeout:
                code = self.process.poll()
                assert code is None, f"QEMU ended with {code}:\n{self.output()}"
                assert time.monotonic() < deadline, f"QEMU does not start:\n{self.output()}"

    def output(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def close(self):
        """Ends QEMU, at the latest by force."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for sock in self.sockets.values():
            sock.close()
        self.log.close()

    def kill(self):
        """The end that a crashing host gives: no good-bye to anybody."""
        self.killed = True
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self.killed:
            return
        died = self.process.poll()
        self.close()
        if kind is None:
            assert died is None, f"QEMU ended early with {died}:\n{self.output()}"
            # A terminated QEMU leaves in good order: its exit handlers ran.
            assert self.process.returncode in (0, -signal.SIGTERM), self.output()

    # ---- QMP

    def _read_qmp(self):
        try:
            line = self.qmp_file.readline()
        except ConnectionResetError:
            line = b""
        assert line, f"QEMU died:\n{self.output()}"
        return json.loads(line)

    def qmp_raw(self, execute, **arguments):
        """The whole reply, which may be an error."""
        if execute == "device_add":
            # QEMU 10 takes no number as text, and {"addr": 4} for slot 0.4; 7.2 takes anything.
            assert isinstance(arguments.get("vm_id", 0), int), arguments
            assert isinstance(arguments.get("addr", ""), str), arguments
        request = {"execute": execute, "arguments": arguments}
        self.qmp_file.write(json.dumps(request).encode() + b"\n")
        return self.qmp_reply()

    def qmp_reply(self):
        """That to what was written last."""
        while True:
            reply = self._read_qmp()
            if "event" in reply:
                self.events.append(reply)
            else:
                return reply

    def qmp(self, execute, **arguments):
        reply = self.qmp_raw(execute, **arguments)
        assert "return" in reply, f"{execute}: {reply}"
        return reply["return"]

    def wait_event(self, name):
        def seen():
            self.qmp("query-status")  # events come in front of an answer
            return [e for e in self.events if e["event"] == name]
        return wait_for(seen, f"QMP event {name}")[-1]
