# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin: registering, showing and changing VMs, in text and in JSON."""
import re
import sqlite3

import pytest

import wire
from adminkit import UUID
from test_admin_general import on_terminal


def test_register_and_show(kit):
    kit.ok("init-db")
    r = kit.ok("register-vm", "--vm-name=web, front", f"--vm-uuid={UUID[1]}", "--pool=B",
               "--priority=high", "--weight=80")
    assert "vm_id 1" in r.out and "pool B" in r.out
    assert "takes effect when it starts" in r.err
    text = kit.ok("show-vm", "--vm-name=web, front").out
    for part in ("web, front", UUID[1], "high", "80"):
        assert part in text
    vm = kit.json("show-vm", "--vm-uuid", UUID[1].upper())["vm"]
    assert (vm["vm_id"], vm["pool"], vm["priority"], vm["weight"]) == (1, "B", "high", 80)

    document = kit.json("register-vm", f"--vm-uuid={UUID[2]}", "--vm-name=x", "--vm-id=40")
    assert document["changed"] and document["vm"]["vm_id"] == 40
    assert document["mediator"] == "unreachable" and document["notes"]
    assert kit.json("register-vm", f"--vm-uuid={UUID[3]}", "--vm-name=y")["vm"]["vm_id"] == 41
    # 0 is what the mediator's log says of a device without a number: one is chosen.
    document = kit.json("register-vm", f"--vm-uuid={UUID[4]}", "--vm-name=z", "--vm-id=0")
    assert document["vm"]["vm_id"] == 42


@pytest.mark.parametrize("args, status, text", [
    (["--vm-name=a"], 1, "no toolstack"),
    (["--vm-uuid=banana"], 2, "is no UUID"),
    ([], 2, "which VM"),
    ([f"--vm-uuid={UUID[1]}"], 1, "update-vm"),
    ([f"--vm-uuid={UUID[9]}", "--vm-id=1"], 1, "belongs to VM"),
    ([f"--vm-uuid={UUID[9]}", "--vm-id=-1"], 2, "from 0 to"),
    ([f"--vm-uuid={UUID[9]}", "--vm-id=4294967296"], 2, "from 0 to"),
    ([f"--vm-uuid={UUID[9]}", "--pool=C"], 1, "create-pool"),
    ([f"--vm-uuid={UUID[9]}", "--pool=AB"], 2, "one letter"),
    ([f"--vm-uuid={UUID[9]}", "--priority=hihg"], 2, "did you mean high?"),
    ([f"--vm-uuid={UUID[9]}", "--weight=101"], 2, "from 1 to 100"),
    ([f"--vm-uuid={UUID[9]}", "--weight=5x"], 2, "from 1 to 100"),
    ([f"--vm-uuid={UUID[9]}", "--weight=-5"], 2, "from 1 to 100"),
    ([f"--vm-uuid={UUID[9]}", "--weight="], 2, "needs a value"),
    ([f"--vm-uuid={UUID[9]}", "--wieght=3"], 2, "did you mean --weight?"),
    ([f"--vm-uuid={UUID[9]}", "--vm-name=" + "x" * 300], 2, "at most 255"),
    ([f"--vm-uuid={UUID[9]}", "--vm-name=a\nb"], 2, "printable"),
    ([f"--vm-uuid={UUID[9]}", "--pool=A", "--pool=B"], 2, "given twice"),
])
def test_register_refusals(kit, args, status, text):
    kit.init("one")
    before = kit.json("list-vms")
    r = kit.run("register-vm", *args)
    assert r.status == status and text in r.err, (r.status, r.err)
    assert r.out == ""
    document = kit.run("register-vm", *args, "--json", check=status).json
    assert text in document["error"] and document["exit_status"] == status
    assert kit.json("list-vms") == before


def test_list(kit):
    kit.ok("init-db")
    assert "register-vm" in kit.ok("list-vms").out
    assert kit.json("list-vms") == {"vms": []}
    for n, name in enumerate(["web 1", "batch, night", "db"], 1):
        kit.ok("register-vm", f"--vm-name={name}", f"--vm-uuid={UUID[n]}",
               "--pool=" + "ABA"[n - 1], "--priority=" + ["high", "low", "low"][n - 1])
    text = kit.ok("list-vms").out
    assert len(text.splitlines()) == 4 and "batch, night" in text
    assert "\033" not in text
    assert [v["name"] for v in kit.json("list-vms", "--pool=a")["vms"]] == ["web 1", "db"]
    assert [v["name"] for v in kit.json("list-vms", "--priority=low")["vms"]] == ["batch, night",
                                                                                  "db"]
    assert "No VM matches" in kit.ok("list-vms", "--pool=B", "--priority=high").out


def test_naming_a_vm(kit):
    kit.init("alpha", "alpine", "twin", "twin")
    r = kit.run("show-vm", "--vm-name=alpah", check=1)
    assert 'did you mean "alpha"?' in r.err
    r = kit.run("set-weight", "--vm-name=twin", "--weight=3", check=1)
    assert UUID[3] in r.err and UUID[4] in r.err
    kit.ok("set-weight", f"--vm-uuid={UUID[3]}", "--weight=3")
    assert kit.json("show-vm", "--vm-id=3")["vm"]["weight"] == 3
    assert kit.json("show-vm", "--vm-id=4")["vm"]["weight"] == 50
    assert "which VM" in kit.run("show-vm", check=2).err
    assert "register-vm" in kit.run("show-vm", f"--vm-uuid={UUID[9]}", check=1).err
    assert "list-vms" in kit.run("show-vm", "--vm-id=99", check=1).err
    assert "different VMs" in kit.run("show-vm", "--vm-id=1", "--vm-name=alpine", check=2).err
    # One wrong digit in a UUID.
    assert "did you mean " + UUID[1] in kit.run("show-vm", "--vm-uuid=" + UUID[1][:-2] + "91",
                                                check=1).err


@pytest.mark.parametrize("command, option, field, value", [
    ("set-pool", "--pool=B", "pool", "B"),
    ("set-priority", "--priority=low", "priority", "low"),
    ("set-priority", "--priority=2", "priority", "high"),
    ("set-vm-id", "--vm-id=77", "vm_id", 77),
    ("set-weight", "--weight=80", "weight", 80),
    ("set-rate-limit", "--rate=25", "max_jobs_per_sec", 25),
    ("set-rate-limit", "--max-jobs=5", "max_jobs_per_sec", 5),
    ("set-rate-limit", "--queue-depth=4", "max_queue_depth", 4),
    ("set-rate-limit", "--max-queue=3", "max_queue_depth", 3),
    ("set-rate-limit", "--burst=9", "burst", 9),
    ("set-memory-limit", "--limit=16G", "memory_limit_bytes", 16 << 30),
    ("set-memory-limit", "--limit=512MiB", "memory_limit_bytes", 512 << 20),
    ("set-memory-limit", "--limit=1000", "memory_limit_bytes", 1000),
    ("set-program-limits", "--max-processes=3", "max_processes", 3),
    ("set-program-limits", "--max-kernel-ms=1500", "max_kernel_ms", 1500),
    ("set-program-limits", "--host-memory=4G", "host_memory_bytes", 4 << 30),
    ("update-vm", "--new-name=other", "name", "other"),
])
def test_changes(kit, command, option, field, value):
    kit.init("one", "two")
    document = kit.json(command, "--vm-name=one", option)
    assert document["changed"] and document["vm"][field] == value
    assert document["before"][field] != value
    assert kit.json("show-vm", f"--vm-uuid={UUID[1]}")["vm"][field] == value
    # The neighbour keeps its values.
    assert kit.json("show-vm", "--vm-name=two")["vm"][field] != value
    # In text, and a second time: nothing to do.
    r = kit.ok(command, f"--vm-uuid={UUID[1]}", option)
    assert "nothing changed" in r.out
    assert not kit.json(command, f"--vm-uuid={UUID[1]}", option)["changed"]
    events = kit.json("events", f"--vm-uuid={UUID[1]}")["events"]
    assert [e["kind"] for e in events] == ["register", "change"]
    assert "->" in events[1]["detail"] and "uid" in events[1]["actor"]


@pytest.mark.parametrize("args, text", [
    (["set-pool", "--pool=Z"], "no pool Z"),
    (["set-pool"], "needs --pool"),
    (["set-priority", "--priority=3"], "one of low, medium, high"),
    (["set-vm-id", "--vm-id=2"], "belongs to VM"),
    (["set-weight", "--weight=0"], "from 1 to 100"),
    (["set-weight"], "needs --weight"),
    (["set-rate-limit"], "--rate"),
    (["set-rate-limit", "--rate=-1"], "whole number"),
    (["set-rate-limit", "--rate=1e3"], "whole number"),
    (["set-rate-limit", "--queue-depth=99999999"], "whole number"),
    (["set-memory-limit", "--limit=lots"], "16G"),
    (["set-program-limits"], "--max-processes=N, --max-kernel-ms=MS or"),
    (["set-program-limits", "--max-processes=65537"], "0 to 65536"),
    (["set-program-limits", "--max-kernel-ms=86400001"], "0 to 86400000"),
    (["set-memory-limit", "--limit=99999999T"], "16G"),
    (["update-vm"], "--new-name"),
])
def test_refused_changes(kit, args, text):
    kit.init("one", "two")
    before = kit.json("list-vms")
    r = kit.run(args[0], "--vm-name=one", *args[1:])
    assert r.status in (1, 2) and text in r.err, r.err
    assert kit.json("list-vms") == before


def test_update_is_all_or_nothing(kit):
    kit.init("one", "two")
    kit.run("update-vm", "--vm-name=one", "--weight=9", "--vm-id=2", check=1)
    assert kit.json("show-vm", "--vm-name=one")["vm"]["weight"] == 50
    r = kit.ok("update-vm", "--vm-name=one", "--weight=9", "--vm-id=5", "--pool=B",
               "--priority=low")
    assert "pool A -> B, priority medium -> low, vm_id 1 -> 5, weight 50 -> 9" in r.out


def test_remove(kit):
    kit.init("one", "two")
    assert "Removed one" in kit.ok("remove-vm", "--vm-name=one").out
    assert kit.json("remove-vm", "--vm-name=two")["vm"]["uuid"] == UUID[2]
    assert kit.json("list-vms") == {"vms": []}
    kit.run("remove-vm", "--vm-name=one", check=1)


def test_quarantine(kit):
    kit.init("one")
    r = kit.ok("quarantine-vm", "--vm-name=one", "--reason=floods the GPU")
    assert "quarantined" in r.out and "clear-quarantine" in r.out
    assert "already" in kit.ok("quarantine-vm", "--vm-name=one").out
    vm = kit.json("show-vm", "--vm-name=one")["vm"]
    assert vm["quarantined"] and vm["quarantine_reason"] == "floods the GPU"
    assert "clear-quarantine" in kit.ok("show-vm", "--vm-name=one").out
    with sqlite3.connect(kit.db) as db:
        db.execute("UPDATE vms SET error_count = 5")
    document = kit.json("clear-quarantine", "--vm-name=one")
    assert document["changed"] and document["vm"]["error_count"] == 0
    assert "not quarantined" in kit.ok("clear-quarantine", "--vm-name=one").out
    assert kit.json("quarantine-vm", "--vm-name=one")["vm"]["quarantined"]
    kinds = [e["kind"] for e in kit.json("events")["events"]]
    assert kinds == ["schema", "register", "quarantine", "clear-quarantine", "quarantine"]


def test_weights_with_decimals(kit):
    kit.init("one", "two")
    assert "weight 50 -> 62.5" in kit.ok("set-weight", "--vm-name=one", "--weight=62.5").out
    assert kit.json("show-vm", "--vm-name=one")["vm"]["weight"] == 62.5
    assert re.search(r" 62\.5 ", kit.ok("list-vms").out)
    kit.ok("update-vm", "--vm-name=two", "--weight=37.50")
    due = {v["name"]: v["due_share"] for v in kit.json("show-weights")["vms"]}
    assert due == {"one": pytest.approx(0.625), "two": pytest.approx(0.375)}
    # As Phase 2 wrote it; and whole numbers stay whole in JSON.
    assert kit.json("set-weight", "--vm-name=two", "--weight=1.0")["vm"]["weight"] == 1
    assert '"weight": 1,' in kit.ok("show-vm", "--vm-name=two", "--json").out
    for wrong in ("0.99", "100.01", "1.005", "1,5", "nan", "1e1"):
        r = kit.run("set-weight", "--vm-name=two", f"--weight={wrong}", check=2)
        assert "--weight must be a number from 1 to 100 with at most two decimals" in r.err


def test_show_weights(kit):
    kit.init("heavy", "light", "other", "bad")
    kit.ok("set-weight", "--vm-name=heavy", "--weight=80")
    kit.ok("set-weight", "--vm-name=light", "--weight=20")
    kit.ok("quarantine-vm", "--vm-name=bad")
    kit.ok("update-vm", "--vm-name=other", "--pool=B", "--priority=high")

    def shares():
        return {v["name"]: v["due_share"] for v in kit.json("show-weights")["vms"]}

    # A and B both use every GPU, so their VMs compete: 2 * 1.6, 2 * 0.4, 4 * 1.
    due = shares()
    assert due["heavy"] == pytest.approx(3.2 / 8)
    assert due["light"] == pytest.approx(0.8 / 8)
    assert due["other"] == pytest.approx(4 / 8)
    assert due["bad"] == 0
    text = kit.ok("show-weights").out
    assert "40.0 %" in text and "50.0 %" in text and "quarantined" in text
    # With GPUs of their own they do not.
    kit.ok("assign-gpu", "--pool=A", "--gpu=0")
    kit.ok("assign-gpu", "--pool=B", "--gpu=1")
    due = shares()
    assert due["heavy"] == pytest.approx(0.8) and due["light"] == pytest.approx(0.2)
    assert due["other"] == pytest.approx(1.0)
    assert "80.0 %" in kit.ok("show-weights").out


def test_show_rate_limits(kit):
    kit.init("one", "two")
    kit.ok("set-rate-limit", "--vm-name=one", "--rate=200", "--queue-depth=7")
    kit.ok("set-memory-limit", "--vm-name=one", "--limit=2G")
    text = kit.ok("show-rate-limits").out
    row = next(line for line in text.splitlines() if "one" in line)
    assert "200/s" in row and " 20 " in row and " 7 " in row and "2 GiB" in row
    assert "no limit" in next(line for line in text.splitlines() if "two" in line)
    # What is enforced where no lower limit is configured, and where a higher one is.
    assert "no limit (256)" in next(line for line in text.splitlines() if "two" in line)
    assert "-> 300 (256)" in kit.ok("set-rate-limit", "--vm-name=two", "--queue-depth=300").out
    text = kit.ok("show-rate-limits").out
    assert "300 (256)" in next(line for line in text.splitlines() if "two" in line)
    assert "the mediator's hard limit" in text
    assert "300 (256): the mediator's hard limit" in kit.ok("show-vm", "--vm-name=two").out
    assert kit.json("show-rate-limits")["vms"][0]["max_jobs_per_sec"] == 200


def test_pools(kit):
    kit.ok("init-db")
    assert "Created pool T" in kit.ok("create-pool", "--pool=t", "--name=Training",
                                      "--description=nights").out
    kit.run("create-pool", "--pool=T", check=1)
    kit.run("create-pool", "--pool=tt", check=2)
    gpu = "GPU-5a2b0c1e-0000-1111-2222-333344445555"
    assert kit.json("assign-gpu", "--pool=T", f"--gpu={gpu}")["pool"]["gpus"] == [gpu]
    kit.ok("assign-gpu", "--pool=T", "--gpu=0")
    assert "already" in kit.run("assign-gpu", "--pool=T", "--gpu=0", check=1).err
    for word in ("the big one", "foo", "GPU-", "GPU-not-hex", "-1", "0x1", "1.5", "12345", "gpu0"):
        assert "nvidia-smi" in kit.run("assign-gpu", "--pool=T", f"--gpu={word}", check=2).err
    assert "show-pools" in kit.run("assign-gpu", "--pool=Q", "--gpu=0", check=1).err
    text = kit.ok("show-pools").out
    assert "Training" in text and gpu in text and "every GPU" in text
    pools = {p["pool"]: p for p in kit.json("show-pools")["pools"]}
    assert set(pools["T"]["gpus"]) == {gpu, "0"} and pools["A"]["every_gpu"]
    kit.ok("register-vm", f"--vm-uuid={UUID[1]}", "--vm-name=one", "--pool=T")
    assert "set-pool" in kit.run("remove-pool", "--pool=T", check=1).err
    kit.ok("set-pool", "--vm-name=one", "--pool=A")
    assert kit.json("assign-gpu", "--pool=T", "--gpu=0", "--remove")["pool"]["gpus"] == [gpu]
    kit.ok("remove-pool", "--pool=T")
    kit.run("remove-pool", "--pool=T", check=1)


def test_changes_reach_a_running_mediator(kit):
    kit.init("one")
    mediator = kit.start_mediator()
    r = kit.ok("set-weight", "--vm-name=one", "--weight=80")
    assert r.err == "" and "50 -> 80" in r.out
    for args in (["set-pool", "--vm-name=one", "--pool=B"],
                 ["set-priority", "--vm-name=one", "--priority=low"],
                 ["set-rate-limit", "--vm-name=one", "--rate=5"],
                 ["quarantine-vm", "--vm-name=one"], ["clear-quarantine", "--vm-name=one"],
                 ["create-pool", "--pool=C"], ["assign-gpu", "--pool=C", "--gpu=0"],
                 ["remove-pool", "--pool=C"],
                 ["register-vm", f"--vm-uuid={UUID[2]}", "--vm-name=two"],
                 ["remove-vm", "--vm-name=two"]):
        before = len(mediator.requests)
        document = kit.json(*args)
        assert document["mediator"] == "applied" and not document["restart_needed"]
        # assign-gpu looks first whether there is such a GPU.
        commands = [c for c in mediator.commands()[before:] if c != wire.SHOW_STATUS]
        assert commands == [wire.RELOAD_CONFIG]


def test_mediator_that_cannot_reload(kit):
    kit.init("one")
    kit.start_mediator({wire.RELOAD_CONFIG: ValueError("the database is locked")})
    r = kit.run("set-weight", "--vm-name=one", "--weight=80", check=1)
    assert "saved" in r.err and "the database is locked" in r.err and "reload-config" in r.err
    assert kit.json("show-vm", "--vm-name=one")["vm"]["weight"] == 80
    assert kit.json("set-weight", "--vm-name=one", "--weight=81", check=1)["mediator"] == "failed"


def test_events_on_a_terminal(kit):
    """The audit's text is whole on a narrow terminal, and names the VM by its UUID."""
    kit.init("one", "two")
    kit.ok("update-vm", "--vm-name=one", "--pool=B", "--priority=high", "--vm-id=70", "--weight=3")
    kit.ok("set-vm-id", "--vm-name=two", "--vm-id=1")
    out, status = on_terminal(kit, "events", NO_COLOR="1")
    assert status == 0 and all(len(line) <= 80 for line in out.splitlines())
    detail = kit.json("events")["events"][-2]["detail"]
    assert "vm_id 1 -> 70" in detail and "weight 50 -> 3" in detail
    assert detail in " ".join(out.split())
    for line in out.splitlines():
        assert not re.search(r"register +vm_id", line), line
