# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian packages: installed, used, upgraded, removed and purged in a clean root; a guest from
the installed files."""
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

from conftest import TREE, run

PROGRAMS = ("vgpu-mediator", "vgpu-worker", "vgpu-keeper", "vgpu-admin", "vgpu-file-bridge",
            "vgpu-loadgen", "vgpu-sim", "vgpu-client", "vgpu-client-static", "mediator_phase3",
            "vm_client", "vm_client_enhanced", "vgpu-run")

# A second copy of a list before it was changed, as all packages with users leave it.
LISTS_FROM_BEFORE = {"etc/group-", "etc/gshadow-", "etc/passwd-", "etc/shadow-"}

# One command: the root's processes end with it.
A_SUM = """
mkdir -p /tmp/lab
vgpu-mediator --no-discovery --backend cpu --no-nvml --metrics-listen off --trust-claims \\
    --socket-path /tmp/lab/vgpu.sock >/tmp/lab/log 2>&1 &
mediator=$!
n=0; until vgpu-admin status >/dev/null 2>&1; do
    n=$((n + 1)); [ $n -lt 600 ] || { cat /tmp/lab/log; exit 1; }; sleep 0.1; done
vgpu-client --socket /tmp/lab/vgpu.sock --vm-id 1 100 200 || { cat /tmp/lab/log; exit 1; }
kill $mediator; wait
rm -r /tmp/lab
"""


# As the units have it: what systemd does beyond that takes a running one.
AS_ITS_USER = """
mkdir -p -m 0711 /run/vgpu-keeper
/usr/lib/vgpu/vgpu-own
vgpu-keeper --socket /run/vgpu-keeper/keeper.sock --mediator-user vgpu-mediator --no-cache \\
    >/tmp/keeper.log 2>&1 &
keeper=$!
n=0; until test -S /run/vgpu-keeper/keeper.sock; do
    n=$((n + 1)); [ $n -lt 600 ] || { cat /tmp/keeper.log; exit 1; }; sleep 0.1; done
setpriv --reuid vgpu-mediator --regid vgpu-mediator --clear-groups --inh-caps=-all \\
    --bounding-set=-all --no-new-privs vgpu-mediator --keeper-socket /run/vgpu-keeper/keeper.sock \\
    --state /run/vgpu/mediator.state --no-discovery --backend cpu --no-nvml --metrics-listen off \\
    >/tmp/log 2>&1 &
mediator=$!
n=0; until vgpu-admin status >/dev/null 2>&1; do
    n=$((n + 1)); [ $n -lt 600 ] || { cat /tmp/log /tmp/keeper.log; exit 1; }; sleep 0.1; done
grep -E "^(Uid|CapEff|CapBnd)" /proc/$mediator/status
vgpu-admin --toolstack=none register-vm --vm-uuid=7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0009 \\
    --vm-name=by-root --vm-id=9 || { cat /tmp/log; exit 1; }
stat -c "%n %U %G %a" /var/vgpu/admin.sock /tmp/vgpu-mediator.sock /run/vgpu/mediator.sock
kill $mediator; wait $mediator || { cat /tmp/log; exit 1; }
kill $keeper; wait $keeper
stat -c "%n %U %G %a" /etc/vgpu /etc/vgpu/vgpu_config.db /var/vgpu /run/vgpu \\
    /run/vgpu/mediator.state /run/vgpu-discovery.lock
rm -r /tmp/log /tmp/keeper.log /run/vgpu-keeper
"""


def in_a_root(packages):
    """All but the driver's sources: a compiler and a kernel's headers come with DKMS."""
    return {name: path for name, path in packages.items() if name != "vgpu-dkms"}


def newer(package, folder):
    """The same package with a higher version."""
    work = folder / package.stem
    assert run("dpkg-deb", "-R", package, work).returncode == 0
    control = work / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^(Version: |Depends:.*libvgpu0 \(= )([0-9.]+)", r"\g<1>\g<2>+1",
                              control.read_text()))
    # A changed default: the administrator's own one stays.
    for path in work.glob("etc/default/*"):
        path.write_text(path.read_text() + "# newer\n")
    out = folder / package.name.replace("_", "_newer_", 1)
    assert run("dpkg-deb", "--root-owner-group", "-b", work, out).returncode == 0
    return out


def test_install_upgrade_remove_purge(packages, root, tmp_path):
    before = root.files()
    packages = in_a_root(packages)
    said = root.install(*packages.values())
    assert "no database was made" not in said and "rror" not in said.replace("errors", ""), said

    for program in PROGRAMS:
        help_text = root.ok(program, "--help")
        assert "usage" in help_text.lower(), program
    assert "libvgpu.so.0" in root.ok("ldconfig", "-p")
    assert root.ok("getent", "group", "vgpu").startswith("vgpu:")
    db = root.folder / "etc/vgpu/vgpu_config.db"
    assert stat.S_IMODE(db.parent.stat().st_mode) == 0o750
    assert not db.stat().st_mode & 0o007
    assert (root.folder / "var/vgpu").is_dir()
    enabled = {p.name for p in (root.folder / "etc/systemd/system").rglob("*vgpu*")}
    assert enabled == {"vgpu-mediator.service", "vgpu-keeper.service"}
    units = root.folder / "lib/systemd/system"
    for unit in units.glob("vgpu-*.service"):
        program = re.search(r"(?m)^ExecStart=(\S+)", unit.read_text()).group(1)
        if "nvidia" not in program:
            assert os.access(root.folder / program.lstrip("/"), os.X_OK), unit
    # Without this line CUDA programs are refused; the worker's message names it.
    lines = (root.folder / "usr/lib/modprobe.d/vgpu-mediator.conf").read_text().splitlines()
    assert "options nvidia_uvm uvm_disable_hmm=1" in lines
    # The schema of Phase 3 where it was.
    assert "CREATE TABLE" in root.ok("cat", "/etc/vgpu/init_db.sql")

    root.ok("vgpu-admin", "--toolstack=none", "register-vm",
            "--vm-uuid=7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001", "--vm-name=web", "--vm-id=1")
    assert "100 + 200 = 300" in root.sh(A_SUM)

    default = root.folder / "etc/default/vgpu-mediator"
    default.write_text("VGPU_MEDIATOR_OPTIONS=--socket-group kvm\n")
    root.install(*(newer(path, tmp_path) for path in packages.values()))
    assert root.ok("dpkg-query", "-W", "-f", "${Version}", "vgpu-mediator").endswith("+1")
    assert default.read_text() == "VGPU_MEDIATOR_OPTIONS=--socket-group kvm\n"
    assert '"web"' in root.ok("vgpu-admin", "list-vms", "--json")
    assert "100 + 200 = 300" in root.sh(A_SUM)

    root.ok("dpkg", "-r", *packages)
    for program in PROGRAMS:
        assert not os.path.lexists(root.folder / "usr/bin" / program)
    assert db.exists() and default.exists()
    root.ok("dpkg", "-P", *packages)
    left = root.files() - before
    assert left <= LISTS_FROM_BEFORE, left
    assert not before - root.files()


def test_upgrade_from_a_real_one_before(packages, root):
    """VGPU_PACKAGES_BEFORE=FOLDER: packages of an earlier version, as scripts/build-packages made
    them then. Where they differ in files, units, users and the database, this is where it shows."""
    folder = os.environ.get("VGPU_PACKAGES_BEFORE")
    if not folder:
        pytest.skip("no packages of an earlier version: VGPU_PACKAGES_BEFORE")
    found = {path.name.split("_")[0]: path for path in pathlib.Path(folder).glob("*.deb")}
    older = in_a_root({name: path for name, path in found.items() if "dbgsym" not in name})
    packages = in_a_root(packages)
    untouched = root.files()
    root.install(*older.values())
    root.ok("vgpu-admin", "--toolstack=none", "register-vm",
            "--vm-uuid=7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001", "--vm-name=web", "--vm-id=1",
            "--weight=80")
    assert "100 + 200 = 300" in root.sh(A_SUM)
    said = root.install(*packages.values())
    assert "rror" not in said.replace("errors", ""), said
    vm, = json.loads(root.ok("vgpu-admin", "list-vms", "--json"))["vms"]
    assert (vm["name"], vm["weight"]) == ("web", 80)
    assert "100 + 200 = 300" in root.sh(A_SUM)
    fresh_units = {"vgpu-mediator.service", "vgpu-keeper.service"}
    assert {p.name for p in (root.folder / "etc/systemd/system").rglob("*vgpu*")} == fresh_units
    root.ok("dpkg", "-P", *sorted(packages.keys() | older.keys()))
    left = root.files() - untouched
    assert left <= LISTS_FROM_BEFORE, left


def test_whose_the_files_are(packages, root):
    """The mediator's user has what it needs, and the group vgpu its socket: at once, and after an
    upgrade from a mediator that was root."""
    root.install(packages["vgpu-mediator"])
    wanted = """/var/vgpu/admin.sock vgpu-mediator vgpu 660
        /tmp/vgpu-mediator.sock vgpu-mediator vgpu-mediator 600
        /run/vgpu/mediator.sock vgpu-mediator vgpu-mediator 600
        /etc/vgpu vgpu-mediator vgpu-mediator 750
        /etc/vgpu/vgpu_config.db vgpu-mediator vgpu-mediator 640
        /var/vgpu vgpu-mediator vgpu 2755
        /run/vgpu vgpu-mediator vgpu-mediator 755
        /run/vgpu/mediator.state vgpu-mediator vgpu-mediator 600
        /run/vgpu-discovery.lock vgpu-mediator vgpu-mediator 600"""
    as_root_has_it = """
        mkdir /run/vgpu && touch /run/vgpu/mediator.state /run/vgpu-discovery.lock
        chmod 600 /run/vgpu/mediator.state /run/vgpu-discovery.lock
        for path in /etc/vgpu /etc/vgpu/vgpu_config.db /var/vgpu /run/vgpu \\
            /run/vgpu/mediator.state /run/vgpu-discovery.lock; do chown root:root $path; done
        chmod 755 /var/vgpu"""
    for before in ("", as_root_has_it):
        said = root.sh(before + AS_ITS_USER)
        for line in wanted.splitlines():
            assert line.strip() in said.splitlines(), said
        rights = dict(line.split(":", 1) for line in said.splitlines() if "\t" in line)
        assert "0" not in rights["Uid"].split(), said
        assert int(rights["CapEff"], 16) == int(rights["CapBnd"], 16) == 0, said
        assert '"by-root"' in root.ok("vgpu-admin", "list-vms", "--json")
        root.ok("vgpu-admin", "--toolstack=none", "remove-vm", "--vm-id=9")
    # SQLite reads it first of all: a mediator that may not would not start.
    assert root.sh("""
        umask 077 && : >/etc/vgpu/vgpu_config.db-journal
        /usr/lib/vgpu/vgpu-own && stat -c %U /etc/vgpu/vgpu_config.db-journal
        rm /etc/vgpu/vgpu_config.db-journal""").strip() == "vgpu-mediator"
    # What has another name, or is a link, is not given away.
    assert root.sh("""
        ln /etc/passwd /etc/vgpu/vgpu_config.db-wal
        ln -s /etc/passwd /etc/vgpu/vgpu_config.db-shm
        /usr/lib/vgpu/vgpu-own && stat -c %U /etc/passwd
        rm /etc/vgpu/vgpu_config.db-wal /etc/vgpu/vgpu_config.db-shm""").strip() == "root"


def test_purge_leaves_what_others_made(packages, root):
    """Guests' files, another's AppArmor rules, a backup that an administrator made."""
    packages = in_a_root(packages)
    root.install(*packages.values())
    kept = {"var/vgpu/vm1/request.txt": "A:2:1:1:2\n", "etc/vgpu/before.backup": "copy"}
    if "vgpu-qemu" in packages:
        rules = root.folder / "etc/apparmor.d/local/abstractions/libvirt-qemu"
        assert rules.read_text() == \
            "include if exists <abstractions/libvirt-qemu.d/vgpu-mediator>\n"
        rules.write_text("/srv/isos/** r,\n" + rules.read_text())
    for name, text in kept.items():
        path = root.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    root.ok("dpkg", "-P", *packages)
    for name, text in kept.items():
        assert (root.folder / name).read_text() == text
    assert not (root.folder / "etc/vgpu/vgpu_config.db").exists()
    if "vgpu-qemu" in packages:
        assert rules.read_text() == "/srv/isos/** r,\n"


def test_a_database_from_before(packages, root):
    """An upgrade finds one of Phase 2, and the mediator brings it on, with a copy kept."""
    root.install(packages["vgpu-mediator"], packages["vgpu-client"])
    db = root.folder / "etc/vgpu/vgpu_config.db"
    for path in db.parent.glob("vgpu_config.db*"):
        path.unlink()
    made = run("sqlite3", db, """
        CREATE TABLE pools (pool_id CHAR(1) PRIMARY KEY, pool_name TEXT, description TEXT,
                            enabled INTEGER DEFAULT 1, created_at TIMESTAMP, updated_at TIMESTAMP);
        CREATE TABLE vms (vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT UNIQUE NOT NULL, vm_name TEXT,
                          pool_id CHAR(1) DEFAULT 'A', priority INTEGER DEFAULT 1,
                          created_at TIMESTAMP, updated_at TIMESTAMP);
        INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'Pool A');
        INSERT INTO vms (vm_id, vm_uuid, vm_name)
        VALUES (1, '7f1d7b04-9d4e-4cc0-8c5b-0f4a6a1d0001', 'old');""")
    assert made.returncode == 0, made.stdout
    root.ok("dpkg-reconfigure", "-fnoninteractive", "vgpu-mediator")
    assert "100 + 200 = 300" in root.sh(A_SUM)
    assert '"old"' in root.ok("vgpu-admin", "list-vms", "--json")
    assert len(list(db.parent.glob("vgpu_config.db.phase2-backup-*"))) == 1


def test_the_driver_is_built_from_its_package(packages, tmp_path):
    system = tmp_path / "system"
    for option, folder in (("-x", system), ("-e", tmp_path / "control")):
        assert run("dpkg-deb", option, packages["vgpu-dkms"], folder).returncode == 0
    source, = (system / "usr/src").glob("vgpu-*")
    version = source.name.removeprefix("vgpu-")
    settings = (source / "dkms.conf").read_text()
    assert f'PACKAGE_VERSION="{version}"' in settings and "#MODULE" not in settings
    # Debian 12's kernel packages stay half-configured when a module excludes their kernel.
    assert "BUILD_EXCLUSIVE" not in settings
    assert f"DKMS_VERSION={version}\n" in (tmp_path / "control/postinst").read_text()
    rule, = system.rglob("70-vgpu.rules")
    assert 'GROUP="vgpu"' in rule.read_text()
    headers = sorted(pathlib.Path("/usr/src").glob("linux-headers-*-amd64"))
    if not headers:
        pytest.skip("no kernel headers here")
    for one in headers:
        # As dkms does: its MAKE of dkms.conf, in a copy.
        place = tmp_path / one.name
        shutil.copytree(source, place)
        made = run("make", "-C", place, f"KDIR={one}", f"VGPU_VERSION={version}", "modules")
        assert made.returncode == 0, made.stdout
        assert f"version={version}".encode() in (place / "vgpu.ko").read_bytes()


def test_apparmor_takes_the_rules(packages, tmp_path):
    parser = shutil.which("apparmor_parser", path="/usr/sbin:/sbin:/usr/bin")
    if not parser:
        pytest.skip("no apparmor_parser here")
    profile = tmp_path / "profile"
    profile.write_text("profile vgpu_test {\n" +
                       (TREE / "packaging/apparmor/vgpu-mediator").read_text() + "}\n")
    done = run(parser, "--skip-kernel-load", "--skip-cache", "--base", "/nowhere", profile)
    assert done.returncode == 0, done.stdout


def test_a_guest_from_the_installed_files(packages, tmp_path):
    """The packages' QEMU device, mediator and client; nothing of this tree."""
    if "vgpu-qemu" not in packages:
        pytest.skip("no QEMU here to build the device for")
    import guest_image  # pylint: disable=import-outside-toplevel
    from vm import Guest  # pylint: disable=import-outside-toplevel
    from qemu_process import wait_for  # pylint: disable=import-outside-toplevel

    system = tmp_path / "system"
    for name in ("vgpu-qemu", "vgpu-mediator", "vgpu-client"):
        assert run("dpkg-deb", "-x", packages[name], system).returncode == 0
    try:
        guest_image.kernel()
    except guest_image.GuestImageError as error:
        pytest.skip(str(error))
    # Sockets' paths have 107 bytes at most.
    folder = pathlib.Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    mediator = subprocess.Popen(
        [system / "usr/bin/vgpu-mediator", "--no-db", "--backend", "cpu", "--no-nvml",
         "--no-discovery", "--metrics-listen", "off", "--socket-path", folder / "m.sock",
         "--admin-socket", folder / "a.sock"], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=open(folder / "log", "wb"))
    try:
        wait_for((folder / "m.sock").exists, "the mediator's socket")
        with Guest([system / "usr/bin/vgpu-qemu"], folder,
                   ["-chardev", f"socket,id=l,path={folder}/m.sock,reconnect=1", "-device",
                    "vgpu-stub,chardev=l,vm_id=7,pool_id=A,priority=high"],
                   files={"/bin/vgpu-client": system / "usr/bin/vgpu-client-static"}) as guest:
            wait_for(lambda: guest.run("vgpu-client --op nop")[0] == 0, "the first job", 60)
            assert guest.run("vgpu-client 100 200") == (0, "100 + 200 = 300")
    finally:
        mediator.terminate()
        mediator.wait(60)
        shutil.rmtree(folder)
