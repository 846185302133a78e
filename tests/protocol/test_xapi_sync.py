# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-xapi-sync between a stand-in for xapi and the real vgpu-admin and mediator."""
import ast
import json
import os
import signal
import subprocess
import sys

import pytest

from adminkit import UUID
from fake_xapi import FakeXapi, record
from mediator import BIN, TREE, Mediator, wait_for

PROGRAM = TREE / "packaging" / "xcp-ng" / "vgpu-xapi-sync"
ALL = {"vgpu-pool": "B", "vgpu-priority": "high", "vgpu-weight": "62.5", "vgpu-rate": "100",
       "vgpu-burst": "20", "vgpu-queue-depth": "16", "vgpu-memory-limit": "16G",
       "vgpu-max-processes": "8", "vgpu-max-kernel-ms": "2000"}


class Host:
    """A host's database, and the program that keeps it."""

    def __init__(self, kit, xapi):
        self.kit = kit
        self.xapi = xapi
        self.state = kit.folder / "xapi-sync.json"
        self.running = None
        self.log = kit.folder / "sync.log"
        kit.ok("init-db")

    def arguments(self, *more):
        return [sys.executable, str(PROGRAM), f"--xapi={self.xapi.path}",
                f"--admin={BIN / 'vgpu-admin'}", f"--db={self.kit.db}",
                f"--admin-socket={self.kit.socket}", *more]

    def once(self, *more, status=0):
        done = subprocess.run(self.arguments("--once", *more), env=self.kit.env, text=True,
                              capture_output=True, timeout=300, check=False)
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    def start(self, *more):
        with open(self.log, "a", encoding="utf-8") as log:
            self.running = subprocess.Popen(self.arguments(*more), env=self.kit.env,
                                            stdout=log, stderr=log)

    def vms(self):
        return {vm["uuid"]: vm for vm in self.kit.json("list-vms")["vms"]}

    def said(self, text):
        return text in self.log.read_text(encoding="utf-8")

    def end(self):
        if self.running:
            self.running.send_signal(signal.SIGTERM)
            status = self.running.wait(60)
            self.running = None
            return status
        return None


@pytest.fixture
def xapi(lab):
    server = FakeXapi(lab / "xapi")
    yield server
    server.stop()


@pytest.fixture
def host(kit, xapi):
    one = Host(kit, xapi)
    yield one
    one.end()


def test_all_settings_of_all_vms(host):
    host.xapi.set("web", record(UUID[1], "web 1", {**ALL, "auto_poweron": "true"}))
    host.xapi.set("plain", record(UUID[2], "plain", {"vgpu-pool": "A"}))
    host.xapi.set("none", record(UUID[3], "none", {"auto_poweron": "true"}))
    host.xapi.set("template", record(UUID[4], "t", ALL, is_a_template=True))
    host.xapi.set("snapshot", record(UUID[5], "s", ALL, is_a_snapshot=True))
    changes = [json.loads(line) for line in host.once("--json").stdout.splitlines()]
    assert {(c["kind"], c["uuid"]) for c in changes} == {("changed", UUID[1]), ("changed", UUID[2])}
    vms = host.vms()
    assert set(vms) == {UUID[1], UUID[2]}
    wanted = {"name": "web 1", "pool": "B", "priority": "high", "weight": 62.5, "burst": 20,
              "max_jobs_per_sec": 100, "max_queue_depth": 16, "memory_limit_bytes": 16 << 30,
              "max_processes": 8, "max_kernel_ms": 2000}
    assert {key: vms[UUID[1]][key] for key in wanted} == wanted
    plain = vms[UUID[2]]
    assert (plain["pool"], plain["priority"], plain["weight"]) == ("A", "medium", 50)
    assert host.once().stdout == "", "nothing has changed"
    # Its session is not left behind: xapi has room for a bounded number of them.
    assert not host.xapi.sessions and host.xapi.logins == 2


def test_a_key_that_is_taken_out_means_the_default(host):
    host.xapi.set("web", record(UUID[1], "web", ALL))
    host.once()
    host.xapi.config("web", weight=None, rate=None, burst=None, memory_limit=None)
    host.once()
    vm = host.vms()[UUID[1]]
    assert (vm["weight"], vm["max_jobs_per_sec"], vm["memory_limit_bytes"]) == (50, 0, 0)
    assert vm["pool"] == "B" and vm["max_queue_depth"] == 16


REFUSED = [("weight", "900", "--weight must be a number from 1 to 100"),
           ("pool", "Q", "there is no pool Q"),
           ("priority", "highest", "highest"),
           ("rate", "-1", "--rate"),
           ("memory_limit", "lots", "--limit"),
           ("weight", "", "vgpu-weight='' is no value"),
           ("weight", "5" * 1000, "is no value"),
           ("pool", "A\u0000B", "is no value"),
           ("wieght", "5", "did you mean vgpu-weight?")]


def test_a_refused_value_leaves_what_was_before(host):
    for n, _ in enumerate(REFUSED):
        host.xapi.set(n, record(UUID[n], f"vm {n}", ALL))
    host.once()
    before = host.vms()
    for n, (key, value, _) in enumerate(REFUSED):
        host.xapi.config(n, **{key: value})
    errors = host.once(status=1).stderr.splitlines()
    for n, (_, _, said) in enumerate(REFUSED):
        assert any(said in line and f"VM {UUID[n]} (vm {n})" in line for line in errors), said
    for uuid, after in host.vms().items():
        assert {**after, "updated_at": ""} == {**before[uuid], "updated_at": ""}
    assert len(before) == len(REFUSED)


def test_a_new_vm_with_a_refused_value_is_not_let_in(host):
    for n, key in enumerate(["weight", "rate", "memory_limit", "pool"]):
        host.xapi.set(n, record(UUID[n], "web", ALL))
        host.xapi.config(n, **{key: "no"})
    assert host.once(status=1).stderr.count("it is not registered") == 4
    assert host.vms() == {}
    host.xapi.config(0, weight="5")
    host.once(status=1)
    assert set(host.vms()) == {UUID[0]}


def test_only_what_came_from_xapi_is_removed(host):
    host.kit.ok("register-vm", f"--vm-uuid={UUID[1]}", "--vm-name=by hand")
    host.kit.ok("register-vm", f"--vm-uuid={UUID[2]}", "--vm-name=by hand, then by xapi")
    for n in (2, 3, 4, 5):
        host.xapi.set(n, record(UUID[n], f"vm {n}", {"vgpu-weight": "20"}))
    host.once()
    host.kit.ok("quarantine-vm", f"--vm-uuid={UUID[5]}")
    host.xapi.config(2, weight=None)
    host.xapi.config(3, weight=None)
    host.xapi.destroy(4)
    host.xapi.config(5, weight=None)
    errors = host.once(status=1).stderr
    # A quarantine is not ended by taking a key out and putting it back.
    assert f"VM {UUID[5]}" in errors and "is quarantined, so it stays registered" in errors
    assert set(host.vms()) == {UUID[1], UUID[2], UUID[5]}
    assert host.vms()[UUID[5]]["quarantined"]


def test_a_list_without_a_control_domain_removes_nothing(host):
    host.xapi.set("web", record(UUID[1], "web", ALL))
    host.once()
    host.xapi.destroy("web")
    host.xapi.destroy("dom0")
    host.once()
    assert set(host.vms()) == {UUID[1]}


def test_names_that_are_no_names(host):
    names = ["line\nbreak", "x" * 400, "\u00e9" * 200, "", "--json", "a\u0000b"]
    for n, name in enumerate(names):
        host.xapi.set(n, record(UUID[n], name, {"vgpu-pool": "A"}))
    host.once()
    shown = [host.vms()[UUID[n]]["name"] for n in range(len(names))]
    assert shown == ["line?break", "x" * 255, "\u00e9" * 127, None, "--json", "a?b"]
    assert host.once().stdout == ""
    # Bytes that are no UTF-8 spoil one name, not the list.
    host.xapi.encode = lambda answer: json.dumps(answer).encode().replace(b"line", b"\xff\xfe")
    host.once()
    assert host.vms()[UUID[0]]["name"].endswith("?break")


def test_chosen_keys_only(host):
    host.xapi.set("web", record(UUID[1], "web", ALL))
    host.once("--keys=pool,weight")
    vm = host.vms()[UUID[1]]
    assert (vm["pool"], vm["weight"], vm["priority"], vm["memory_limit_bytes"]) == \
        ("B", 62.5, "medium", 0)
    host.kit.ok("set-memory-limit", f"--vm-uuid={UUID[1]}", "--limit=1G")
    host.xapi.config("web", weight="70")
    host.once("--keys=pool,weight")
    vm = host.vms()[UUID[1]]
    assert (vm["weight"], vm["memory_limit_bytes"]) == (70, 1 << 30)


def test_keys_as_cloudstack_writes_them(host):
    host.xapi.set("web", record(UUID[1], "i-2-3-VM", {
        "vgpu_pool": "B", "vgpu_weight": "62.5", "vgpu_memory_limit": "16G"}))
    # Both are there: the one with its proper name holds.
    host.xapi.set("both", record(UUID[2], "both", {"vgpu-weight": "20", "vgpu_weight": "30"}))
    host.once()
    vm = host.vms()[UUID[1]]
    assert (vm["pool"], vm["weight"], vm["memory_limit_bytes"]) == ("B", 62.5, 16 << 30)
    assert host.vms()[UUID[2]]["weight"] == 20


def test_dry_run(host):
    host.xapi.set("web", record(UUID[1], "web", ALL))
    out = host.once("--dry-run").stdout
    assert f"register-vm --vm-uuid={UUID[1]} --pool=B" in out and "set-rate-limit" in out
    assert host.vms() == {} and not host.state.exists()


def test_a_vm_moves_to_another_host(lab, xapi):
    """Two hosts of a pool, each with a database and a mediator of its own."""
    from adminkit import Kit
    xapi.set("web", record(UUID[1], "web", ALL))
    hosts = []
    try:
        for name in ("first", "second"):
            (lab / name).mkdir()
            hosts.append(Host(Kit(lab / name), xapi))
            hosts[-1].start()
        for one in hosts:
            wait_for(lambda one=one: UUID[1] in one.vms(), "the VM on each host")
        xapi.config("web", weight="80")
        for one in hosts:
            wait_for(lambda one=one: one.vms()[UUID[1]]["weight"] == 80, "the weight on each host")
        # The host that the VM comes to serves it with these settings.
        with Mediator(hosts[1].kit.folder, db=hosts[1].kit.db) as mediator:
            vm = next(v for v in mediator.status()["vms"] if v["uuid"] == UUID[1])
            assert (vm["pool"], vm["weight"], vm["max_jobs_per_sec"]) == ("B", 80, 100)
            # And a change reaches the mediator that runs.
            xapi.config("web", weight="90")
            wait_for(lambda: mediator.vm(vm["vm_id"])["weight"] == 90, "the mediator's weight")
    finally:
        for one in hosts:
            one.end()


def test_changes_are_taken_while_it_runs(host):
    host.xapi.set("web", record(UUID[1], "web", {"vgpu-weight": "20"}))
    told = host.kit.start_mediator()
    host.start()
    wait_for(lambda: UUID[1] in host.vms(), "the VM")
    host.xapi.config("web", weight="30")
    wait_for(lambda: host.vms()[UUID[1]]["weight"] == 30, "the new weight")
    assert told.requests, "the running mediator is told"
    host.xapi.config("web", weight="no")
    wait_for(lambda: host.said("not \"no\"; what it had before holds"), "the refusal")
    host.xapi.config("web", weight="40")
    wait_for(lambda: host.said("all its settings are taken now"), "the end of it")
    host.xapi.destroy("web")
    wait_for(lambda: host.vms() == {}, "the VM's end")
    assert host.end() == 0 and not host.xapi.sessions


def test_xapi_restarts(host):
    host.xapi.set("web", record(UUID[1], "web", {"vgpu-weight": "20"}))
    host.start("--retry-s=1")
    wait_for(lambda: UUID[1] in host.vms(), "the VM")
    host.xapi.stop()
    wait_for(lambda: host.said("xapi does not answer on"), "what is wrong")
    host.xapi.config("web", weight="30")
    host.xapi.start()
    wait_for(lambda: host.said("works again"), "the end of it")
    wait_for(lambda: host.vms()[UUID[1]]["weight"] == 30, "what changed meanwhile")
    # A session that xapi has ended is one more such case.
    host.xapi.sessions.clear()
    host.xapi.config("web", weight="40")
    wait_for(lambda: host.vms()[UUID[1]]["weight"] == 40, "a new session")


def test_an_administrator_hears_whose_settings_these_are(host, kit):
    host.xapi.set("web", record(UUID[1], "web", ALL))
    host.once()
    kit.ok("register-vm", f"--vm-uuid={UUID[2]}", "--vm-name=by hand")

    def notes(*command):
        return kit.json(*command, "--yes").get("notes", [])

    for change in (["set-weight", "--weight=7"], ["set-rate-limit", "--rate=9"], ["remove-vm"]):
        said = " ".join(notes(*change, f"--vm-uuid={UUID[1]}"))
        assert f"xe vm-param-set uuid={UUID[1]}" in said and "vgpu-xapi-sync puts them back" in said
        assert "xapi" not in " ".join(notes(*change, f"--vm-uuid={UUID[2]}"))
    host.once()
    # What is no list is not followed, and not waited for.
    host.state.unlink()
    os.mkfifo(host.state)
    assert "xapi" not in " ".join(notes("set-weight", "--weight=8", f"--vm-uuid={UUID[1]}"))
    host.state.unlink()
    host.state.symlink_to("/dev/zero")
    assert "xapi" not in " ".join(notes("set-weight", "--weight=9", f"--vm-uuid={UUID[1]}"))


def test_a_link_where_its_file_is_made_is_not_followed(host):
    victim = host.kit.folder / "passwd"
    victim.write_text("root", encoding="utf-8")
    new = host.state.with_name(host.state.name + ".new")
    for n, link in enumerate((new.symlink_to, lambda to: os.link(to, new))):
        link(victim)
        host.xapi.set(n, record(UUID[n], f"vm {n}", ALL))
        host.once()
        assert victim.read_text(encoding="utf-8") == "root"
        kept = json.loads(host.state.read_text(encoding="utf-8"))["registered"]
        assert set(kept) == set(UUID[:n + 1])


def test_what_an_administrator_did_meanwhile_is_put_back(host):
    host.xapi.set("web", record(UUID[1], "web", {"vgpu-weight": "20"}))
    host.start("--resync-s=1")
    wait_for(lambda: UUID[1] in host.vms(), "the VM")
    host.kit.ok("set-weight", f"--vm-uuid={UUID[1]}", "--weight=99")
    wait_for(lambda: host.vms()[UUID[1]]["weight"] == 20, "xapi's weight")


def test_what_it_says_when_it_can_do_nothing(host):
    host.state.write_text("nonsense", encoding="utf-8")
    assert "can't be read" in host.once(status=1).stderr
    host.state.unlink()
    host.kit.db.unlink()
    assert "vgpu-admin list-vms" in host.once(status=1).stderr
    host.xapi.stop()
    assert "systemctl status xapi" in host.once(status=3).stderr
    host.xapi.start()
    assert host.once("--keys=pool,size", status=2).stdout == ""


def test_dom0s_python_can_read_it():
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 6))
