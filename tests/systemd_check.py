# SPDX-License-Identifier: GPL-2.0-or-later
"""The systemd units: systemd-analyze finds nothing to complain of, not even a misspelt key (which
it passes unless --recursive-errors=no), and the GPU stays reachable and resettable.

    systemd_check.py ROOT
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# systemd 245 to 251 closes /dev for these unless the devices are named one by one.
CLOSES_DEVICES = ("ProtectClock=yes", "PrivateDevices=yes", "DevicePolicy=", "DeviceAllow=")


# Programs that need no device at all.
WITHOUT_GPU = ("vgpu-file-bridge.service",)


def verify(units):
    """What systemd-analyze says of these texts by name, with programs that are there."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in units.items():
            for program in ("vgpu-mediator", "vgpu-keeper", "vgpu-file-bridge", "vgpu-xapi-sync",
                            "nvidia-smi"):
                text = text.replace(f"/usr/bin/{program}", shutil.which("true"))
            text = text.replace("/usr/lib/vgpu/vgpu-own", shutil.which("true"))
            pathlib.Path(folder, name).write_text(text)
        # A template is looked at as one of its instances.
        names = [name.replace("@.", "@GPU-0.") for name in units]
        done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", "--man=no",
                               *(str(pathlib.Path(folder, name)) for name in names)],
                              env={**os.environ, "SYSTEMD_UNIT_PATH": folder + ":"},
                              capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# What systemd-analyze security may say of a unit at most, in tenths: it must not get worse.
EXPOSURE_MAX = {"vgpu-mediator.service": 20}


def exposed(name, text):
    """That a unit is less confined than it was."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, name)
        path.write_text(text.replace("/usr/bin/vgpu-mediator", shutil.which("true")))
        done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager",
                               f"--threshold={EXPOSURE_MAX[name]}", str(path)],
                              capture_output=True, text=True)
    if "nrecognized option" in done.stderr or "nknown option" in done.stderr:
        return []  # systemd before 250
    return [f"{name}: systemd-analyze security is above {EXPOSURE_MAX[name] / 10}: "
            f"{done.stdout.strip().splitlines()[-1:]}"] if done.returncode else []


def findings(units):
    found = [f"{name}: {word} hides /dev/nvidia* from some systemds"
             for name, text in units.items() if name not in WITHOUT_GPU for word in CLOSES_DEVICES
             if any(line.startswith(word) for line in text.splitlines())]
    if shutil.which("systemd-analyze"):
        found += [line for name in units if name in EXPOSURE_MAX
                  for line in exposed(name, units[name])]
        status, text = verify(units)
        if status or text.strip():
            found.append(f"systemd-analyze verify: {text.strip() or status}")
    else:
        print("systemd-analyze is not there: the units were not verified")
    return found


def check_itself(units):
    """A check that finds nothing in a bad unit would be worth nothing."""
    name = "vgpu-mediator.service"
    assert findings({name: units[name] + "\nProtectClock=yes\n"})
    if shutil.which("systemd-analyze"):
        assert findings({name: units[name].replace("KillMode=", "KilMode=")})
        assert exposed(name, units[name].replace("RestrictNamespaces=", "# "))
        assert findings({name: units[name].replace("RestartSec=1", "RestartSec=soon")})


def main(root):
    folder = pathlib.Path(root, "packaging", "systemd")
    units = {path.name: path.read_text() for path in sorted(folder.glob("*.service"))}
    assert len(units) >= 2
    check_itself(units)
    found = findings(units)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
