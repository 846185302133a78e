# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin and the database: new, old, newer, damaged, read-only, on a full disk, killed."""
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time

import pytest

from adminkit import BIN, TREE, UUID
from mediator import Mediator

SCHEMA = TREE / "store" / "schema"

PHASE2 = """
CREATE TABLE pools (
    pool_id CHAR(1) PRIMARY KEY CHECK(pool_id IN ('A', 'B')),
    pool_name TEXT NOT NULL, description TEXT,
    enabled INTEGER DEFAULT 1 CHECK(enabled IN (0, 1)),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE vms (
    vm_id INTEGER NOT NULL UNIQUE, vm_uuid TEXT UNIQUE NOT NULL, vm_name TEXT,
    pool_id CHAR(1) NOT NULL DEFAULT 'A' CHECK(pool_id IN ('A', 'B')),
    priority INTEGER NOT NULL DEFAULT 1 CHECK(priority IN (0, 1, 2)),
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (pool_id) REFERENCES pools(pool_id));
CREATE INDEX idx_vm_uuid ON vms(vm_uuid);
CREATE INDEX idx_vm_pool ON vms(pool_id);
CREATE INDEX idx_vm_priority ON vms(priority);
INSERT INTO pools (pool_id, pool_name) VALUES ('A', 'Pool A'), ('B', 'Pool B');
"""


def phase2(path, vms=3):
    with sqlite3.connect(path) as db:
        db.executescript(PHASE2)
        for n in range(1, vms + 1):
            db.execute("INSERT INTO vms (vm_id, vm_uuid, vm_name, pool_id, priority) "
                       "VALUES (?, ?, ?, ?, ?)", (n, UUID[n], f"vm {n}", "AB"[n % 2], n % 3))
    db.close()


def backups(kit):
    return sorted(p for p in kit.folder.iterdir() if "phase2-backup" in p.name)


def test_init(kit):
    assert "Created" in kit.ok("init-db").out
    assert oct(kit.db.stat().st_mode & 0o777) == "0o640"
    assert "there already" in kit.ok("init-db").out
    assert kit.json("init-db")["changed"] is False
    kit.db.unlink()
    document = kit.json("init-db")
    assert document["changed"] and document["schema_version"] == 3
    # A folder that is missing is made, one level.
    assert kit.run("init-db", VGPU_DB=str(kit.folder / "new" / "x.db")).status == 0
    r = kit.run("init-db", VGPU_DB=str(kit.folder / "no" / "where" / "x.db"), check=1)
    assert "cannot create the folder" in r.err


def test_migrate(kit):
    phase2(kit.db)
    old = kit.db.read_bytes()
    r = kit.run("list-vms", check=1)
    assert "migrate" in r.err and kit.db.read_bytes() == old
    assert "migrate" in kit.run("init-db", check=1).err
    document = kit.json("migrate")
    assert document["changed"] and "3 VMs, 2 pools" in document["message"]
    assert len(backups(kit)) == 1 and document["backup"] == str(backups(kit)[0])
    with sqlite3.connect(backups(kit)[0]) as db:
        assert db.execute("SELECT count(*) FROM vms").fetchone() == (3,)
    db.close()
    vms = kit.json("list-vms")["vms"]
    assert [v["weight"] for v in vms] == [50, 50, 50] and vms[0]["pool"] == "B"
    assert "up to date" in kit.ok("migrate").out
    assert kit.json("migrate")["changed"] is False and len(backups(kit)) == 1


def test_a_change_upgrades(kit):
    phase2(kit.db)
    r = kit.ok("set-weight", "--vm-name=vm 1", "--weight=80")
    assert "upgraded from Phase 2" in r.err and str(backups(kit)[0]) in r.err
    assert kit.json("show-vm", "--vm-name=vm 1")["vm"]["weight"] == 80


def test_schema_files_by_hand(kit):
    """The files and the program make the same database."""
    if not shutil.which("sqlite3"):
        pytest.skip("no sqlite3 tool here")

    def by_hand(path, name):
        with open(SCHEMA / name, encoding="utf-8") as f:
            return subprocess.run(["sqlite3", str(path)], stdin=f, capture_output=True, text=True,
                                  check=False)

    def schema(path):
        with sqlite3.connect(path) as db:
            return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()

    def dump(path):
        with sqlite3.connect(path) as db:
            return sorted(line for line in db.iterdump() if line.startswith("INSERT"))

    kit.ok("init-db")
    fresh, migrated = kit.folder / "fresh.db", kit.folder / "migrated.db"
    assert by_hand(fresh, "init_db.sql").returncode == 0
    phase2(migrated)
    assert by_hand(migrated, "migrate_phase3.sql").returncode == 0
    # The embedded text has neither comments nor blank lines.
    def squeeze(rows):
        return [(t, n, " ".join(line.strip() for line in (s or "").splitlines()
                                if not line.strip().startswith("--"))) for t, n, s in rows]
    assert squeeze(schema(fresh)) == squeeze(schema(kit.db)) == squeeze(schema(migrated))
    # Twice changes nothing, whatever the tables hold by now.
    with sqlite3.connect(migrated) as db:
        db.executescript("""
            UPDATE vms SET pool_id = 'A';
            DELETE FROM pools WHERE pool_id = 'B';
            INSERT INTO pool_gpus VALUES ('A', '0');
            UPDATE vms SET weight = 62.5, burst = 3, memory_limit_bytes = 4096, quarantined = 1,
                   quarantined_at = '2026-01-02 03:04:05', quarantine_reason = 'why'
             WHERE vm_id = 2;""")
    for path, name in ((fresh, "init_db.sql"), (fresh, "migrate_phase3.sql"),
                       (migrated, "migrate_phase3.sql"), (migrated, "init_db.sql")):
        before = schema(path), dump(path)
        done = by_hand(path, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (schema(path), dump(path)) == before
    # A new database is not made of an old one.
    old = kit.folder / "old.db"
    phase2(old)
    before = dump(old)
    assert by_hand(old, "init_db.sql").returncode != 0
    assert dump(old) == before
    assert kit.json("list-vms", f"--db={migrated}")["vms"][2]["name"] == "vm 3"
    kit.ok("check-config", "--db", migrated)


def test_newer_schema(kit):
    kit.ok("init-db")
    with sqlite3.connect(kit.db) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    for args in (["list-vms"], ["migrate"], ["init-db"], ["create-pool", "--pool=C"]):
        assert "newer" in kit.run(*args, check=1).err


def test_damaged(kit):
    phase2(kit.db)
    whole = kit.db.read_bytes()
    kit.db.write_bytes(whole[:len(whole) // 2])
    for args in (["migrate"], ["set-weight", "--vm-name=vm 1", "--weight=3"], ["list-vms"],
                 ["check-config"]):
        r = kit.run(*args, check=1)
        assert "damaged" in r.err and ".recover" in r.err, r.err
    assert kit.db.read_bytes() == whole[:len(whole) // 2] and not backups(kit)
    kit.db.write_text("this is no database at all, but long enough to look at " * 50)
    assert "no database" in kit.run("list-vms", check=1).err


def test_check_config(kit):
    kit.init("one", "twin", "twin")
    text = kit.ok("check-config").out
    assert 'the same name "twin"' in text and "0 errors, 1 warnings" in text
    kit.ok("quarantine-vm", "--vm-name=one", "--reason=loud")
    kit.ok("set-rate-limit", "--vm-name=one", "--burst=3")
    document = kit.json("check-config")
    assert document["ok"] and document["warnings"] == 3
    with sqlite3.connect(kit.db) as db:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("UPDATE vms SET pool_id = 'Q', vm_id = 0 WHERE vm_id = 2")
        db.execute("UPDATE vms SET vm_uuid = 'not one' WHERE vm_id = 3")
    db.close()
    document = kit.json("check-config", check=1)
    texts = " ".join(f["text"] for f in document["findings"])
    assert document["errors"] == 2
    assert "not there" in texts and "vm_id 0" in texts and "no UUID" in texts
    assert "error:" in kit.run("check-config", check=1).out


def as_nobody(kit, *args):
    return subprocess.run([str(BIN / "vgpu-admin"), *args], env=kit.env, text=True, check=False,
                          capture_output=True, user=65534, group=65534, extra_groups=[])


def test_read_only(kit):
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    kit.init("one")
    for folder in [kit.folder, *kit.folder.parents]:
        if str(folder) == tempfile.gettempdir():
            break
        os.chmod(folder, 0o755)
    os.chmod(kit.db, 0o644)
    r = as_nobody(kit, "list-vms", "--json")
    if r.returncode == 126 or "cannot open shared" in r.stderr:
        pytest.skip("the build folder is not open to others")
    # Nobody has it open, so it can be read although no file can be made beside it.
    assert r.returncode == 0 and UUID[1] in r.stdout, r.stderr
    r = as_nobody(kit, "set-weight", "--vm-name=one", "--weight=3")
    assert r.returncode == 1 and "as root" in r.stderr
    # The same while somebody has it open, with something in the write-ahead log.
    keeper = sqlite3.connect(kit.db)
    keeper.execute("UPDATE vms SET weight = 77")
    keeper.commit()
    r = as_nobody(kit, "list-vms", "--json")
    assert r.returncode == 0 and '"weight": 77' in r.stdout, r.stderr
    keeper.close()
    os.chmod(kit.db, 0o600)
    r = as_nobody(kit, "list-vms")
    assert r.returncode == 1 and "cannot read" in r.stderr


def fill(path):
    try:
        with open(path, "wb", buffering=0) as f:
            while True:
                f.write(b"x" * 4096)
    except OSError:
        pass


def test_full_disk(kit):
    mount = kit.folder / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mount)],
                          capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("cannot mount a small file system here")
    try:
        kit.env["VGPU_DB"] = str(mount / "v.db")
        kit.init("one")
        fill(mount / "ballast")
        r = kit.run("set-weight", "--vm-name=one", "--weight=3", check=1)
        assert "no space left" in r.err or "disk" in r.err, r.err
        (mount / "ballast").unlink()
        assert kit.json("show-vm", "--vm-name=one")["vm"]["weight"] == 50
        kit.ok("set-weight", "--vm-name=one", "--weight=3")
        # An upgrade that has no room for its backup changes nothing.
        old = mount / "old.db"
        phase2(old)
        fill(mount / "ballast")
        before = old.read_bytes()
        r = kit.run("migrate", "--db", str(old), check=1)
        assert old.read_bytes() == before
        assert not [p for p in mount.iterdir() if "backup" in p.name]
        (mount / "ballast").unlink()
        assert kit.json("migrate", "--db", str(old))["changed"]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_locked_by_another(kit):
    kit.init("one")
    other = sqlite3.connect(kit.db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # Readers do not wait.
    assert kit.json("list-vms")["vms"][0]["weight"] == 50
    r = kit.run("set-weight", "--vm-name=one", "--weight=3", check=1)
    assert "locked" in r.err and "try again" in r.err
    other.execute("ROLLBACK")
    other.close()
    kit.ok("set-weight", "--vm-name=one", "--weight=3")


def test_many_writers(kit):
    kit.init("one")
    processes = [subprocess.Popen([str(BIN / "vgpu-admin"), "register-vm", f"--vm-uuid={UUID[n]}",
                                   f"--vm-name=vm {n}"], env=kit.env, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE) for n in range(2, 14)]
    for p in processes:
        _, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
    vms = kit.json("list-vms")["vms"]
    assert sorted(v["vm_id"] for v in vms) == list(range(1, 14))


def test_killed_at_any_moment(kit):
    """What a command has said is there afterwards, whenever the next one is killed."""
    kit.init("one")
    weight, killed = 50, 0
    for n in range(60):
        wanted = 1 + n
        process = subprocess.Popen([str(BIN / "vgpu-admin"), "set-weight", "--vm-name=one",
                                    f"--weight={wanted}"], env=kit.env, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        time.sleep(n * 0.0004)
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate(timeout=60)
        now = kit.json("show-vm", "--vm-name=one")["vm"]["weight"]
        acknowledged = "->" in out
        killed += process.returncode == -signal.SIGKILL
        assert now == wanted if acknowledged else now in (weight, wanted)
        weight = now
    assert killed > 0
    kit.ok("check-config")


def test_restore(kit, tmp_path):
    """A backup that was made with SQLite's own words, and one that was copied."""
    kit.init("one")
    backup = tmp_path / "backup.db"
    with sqlite3.connect(kit.db) as db:
        db.execute("VACUUM INTO ?", [str(backup)])
    db.close()
    kit.ok("register-vm", "--vm-name=two", f"--vm-uuid={UUID[2]}")
    document = kit.json("restore-db", f"--from={backup}")
    assert document["changed"] and document["vms"] == 1 and document["backup"] == str(backup)
    assert [v["name"] for v in kit.json("list-vms")["vms"]] == ["one"]
    kept = kit.json("list-vms", "--db", document["kept"])["vms"]
    assert [v["name"] for v in kept] == ["one", "two"]
    event = kit.json("events")["events"][-1]
    assert event["kind"] == "restore" and str(backup) in event["detail"]
    assert "The old one is kept as" in kit.ok("restore-db", backup).out
    assert "there is no database at" in kit.run("restore-db", "--from=/nowhere", check=1).err
    assert "--from" in kit.run("restore-db", check=2).err


def test_restore_with_a_mediator(kit, lab, tmp_path):
    """What has the file open would go on with the old one."""
    kit.init("one")
    backup = tmp_path / "backup.db"
    backup.write_bytes(kit.db.read_bytes())
    with Mediator(lab, db=kit.db) as mediator:
        r = kit.run("restore-db", backup, check=1, VGPU_ADMIN_SOCKET=str(mediator.admin_socket))
        assert "stop it first" in r.err and str(kit.db) in r.err
        # Not by its socket alone: it may listen anywhere.
        r = kit.run("restore-db", backup, check=1, VGPU_ADMIN_SOCKET="/nowhere")
        assert f"process {mediator.process.pid} has" in r.err and "nothing was changed" in r.err
    kit.ok("restore-db", backup)
