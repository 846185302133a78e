# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the real vgpu-admin for the tests in test_admin_*.py."""
import json
import os
import pathlib
import subprocess

import fakeadmin
from mediator import BIN, TREE

TOOLSTACKS = TREE / "tests" / "protocol" / "fake-toolstacks"

UUID = ["7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d%04d" % n for n in range(20)]


class Result:
    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self):
        return json.loads(self.out)


class Kit:
    """A folder with a database, and perhaps a mediator and a toolstack."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.db = self.folder / "vgpu.db"
        self.socket = self.folder / "admin.sock"
        self.state_path = self.folder / "host.json"
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        self.mediator = None
        self.env = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "VGPU_DB": str(self.db),
            "VGPU_ADMIN_SOCKET": str(self.socket),
            "VGPU_TOOLSTACK": "none",
            "FAKE_TOOLSTACK_STATE": str(self.state_path),
            "LC_ALL": "C.UTF-8",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def run(self, *args, check=None, **env):
        process = subprocess.run([str(BIN / "vgpu-admin"), *map(str, args)], text=True,
                                 stdin=subprocess.DEVNULL, capture_output=True, timeout=120,
                                 env={**self.env, **env}, check=False)
        result = Result(process)
        if check is not None:
            assert result.status == check, (args, result.status, result.out, result.err)
        return result

    def ok(self, *args, **env):
        return self.run(*args, check=0, **env)

    def json(self, *args, check=0, **env):
        return self.run(*args, "--json", check=check, **env).json

    def init(self, *names):
        self.ok("init-db")
        for n, name in enumerate(names, 1):
            self.ok("register-vm", f"--vm-name={name}", f"--vm-uuid={UUID[n]}")
        return self

    def start_mediator(self, answers=None):
        self.mediator = fakeadmin.FakeAdmin(self.socket, answers)
        return self.mediator

    def toolstack(self, name, vms, **settings):
        """name: xe or virsh, which then is in PATH."""
        (self.bin / name).symlink_to(TOOLSTACKS / name)
        self.write_state({"vms": vms, **settings})
        del self.env["VGPU_TOOLSTACK"]

    def write_state(self, state):
        self.state_path.write_text(json.dumps(state), encoding="utf-8")

    def change_state(self, **settings):
        self.write_state({**self.state(), **settings})

    def state(self):
        return json.loads(self.state_path.read_text(encoding="utf-8"))

    def calls(self):
        return [c[1] for c in self.state().get("calls", [])]

    def close(self):
        if self.mediator:
            self.mediator.close()
