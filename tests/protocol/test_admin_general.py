# SPDX-License-Identifier: GPL-2.0-or-later
"""vgpu-admin: help, options, exit status, output, and what goes with the program."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios

import pytest

import wire
from adminkit import BIN, TREE, UUID

COMMANDS = subprocess.run([str(BIN / "vgpu-admin"), "--complete", "commands"], text=True,
                          capture_output=True, check=True).stdout.split()

# What issue and documentation promise.
EXPECTED = """register-vm attach-vm detach-vm scan-vms list-vms show-vm set-pool set-priority
set-vm-id update-vm remove-vm status set-weight show-weights set-rate-limit show-rate-limits
set-memory-limit set-program-limits quarantine-vm clear-quarantine show-metrics show-health
show-cuda reload-config create-pool remove-pool assign-gpu show-pools set-policy pause
resume prefer-vm show-connections events init-db migrate check-config restore-db test-mode
top trace-job""".split()


def on_terminal(kit, *args, columns=80, answer=None, **env):
    """Runs it on a terminal of that width; its output and exit status."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(str(BIN / "vgpu-admin"), ["vgpu-admin", *args],
                  {**kit.env, "TERM": "xterm", **env})
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    out = b""
    while True:
        ready, _, _ = select.select([fd], [], [], 60)
        assert ready, out
        try:
            part = os.read(fd, 65536)
        except OSError:
            break
        if not part:
            break
        out += part
        if answer is not None and b"[y/N]" in out:
            os.write(fd, answer + b"\n")
            answer = None
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return out.decode().replace("\r\n", "\n"), os.waitstatus_to_exitcode(status)


def test_all_commands_are_there():
    assert sorted(COMMANDS) == sorted(EXPECTED)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(kit, command):
    for args in ([command, "--help"], ["help", command], ["--help", command], [command, "-h"]):
        text = kit.ok(*args).out
        assert text.startswith(f"usage: vgpu-admin {command}")
        example = text.split("\nExample\n")[1]
        assert re.search(rf"^  vgpu-admin .*\b{command}\b", example, re.M)


def test_examples_parse(kit):
    """Nothing that --help shows is refused as wrong usage."""
    kit.init("web 1")
    kit.start_mediator()
    for command in COMMANDS:
        if command in ("events", "test-mode", "top"):  # without end, or on a terminal only
            continue
        for line in kit.ok(command, "--help").out.split("\nExample\n")[1].strip().splitlines():
            import shlex
            if "--watch" in line:  # without end as well
                continue
            r = kit.run(*shlex.split(line)[1:], "--db", str(kit.db))
            assert r.status != 2, (line, r.err)


def test_overview(kit):
    text = kit.ok("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", text, re.M)
    assert "Exit status" in text and "vgpu-admin register-vm" in text
    assert kit.ok("help").out == text
    assert re.fullmatch(r"vgpu-admin \d+\.\d+\.\d+\n", kit.ok("--version").out)


@pytest.mark.parametrize("args, text", [
    ([], "--help"),
    (["set-wieght"], "did you mean set-weight?"),
    (["lst-vms"], "did you mean list-vms?"),
    (["frobnicate"], "--help lists them"),
    (["--nonsense"], "no global option"),
    (["list-vms", "--josn"], "list-vms has no option --josn"),
    (["list-vms", "--jsno=3"], "no option"),
    (["--db"], "--db needs a value"),
    (["--db=", "status"], "--db needs a value"),
    (["--json=yes", "status"], "--json takes no value"),
    (["--timeout=x", "status"], "--timeout"),
    (["--toolstack=virhs", "scan-vms"], "did you mean virsh?"),
    (["list-vms", "extra"], "quotes"),
    (["show-vm", "--vm-name"], "needs a value"),
])
def test_wrong_usage(kit, args, text):
    r = kit.run(*args, check=2)
    assert text in r.err, r.err
    assert r.out == ""


def test_global_options_anywhere(kit, tmp_path):
    other = tmp_path / "other.db"
    kit.ok("--db", other, "init-db")
    assert other.exists() and not kit.db.exists()
    assert kit.json("list-vms", f"--db={other}") == {"vms": []}
    assert kit.run("--json", "--db", str(other), "list-vms", check=0).json == {"vms": []}


def test_numbers_are_the_same_in_every_language(kit, tmp_path):
    """A point is a point where a number is read and where one is written."""
    if not shutil.which("localedef") or not os.path.exists("/usr/share/i18n/locales/de_DE"):
        pytest.skip("localedef cannot make a German locale here")
    # It warns, and says so by its exit status.
    subprocess.run(["localedef", "--no-archive", "-i", "de_DE", "-f", "UTF-8",
                    str(tmp_path / "de_DE.UTF-8")], check=False, capture_output=True)
    german = {"LOCPATH": str(tmp_path), "LC_ALL": "de_DE.UTF-8"}
    kit.init("one")
    assert "from 0.1 to" in kit.run("list-vms", "--watch=0.05", check=2, **german).err
    assert "1.00 " in kit.ok("show-weights", **german).out.replace("2.00", "1.00")
    assert "1.5 GiB" in kit.ok("set-memory-limit", "--vm-name=one", "--limit=1536M", **german).out


@pytest.mark.parametrize("args", [
    ["pause"], ["resume"], ["reload-config"], ["set-policy", "--policy=wfq"],
    ["prefer-vm", "--none"], ["show-connections"], ["show-metrics"],
    ["show-metrics", "--prometheus"], ["show-health"], ["test-mode", "--seconds=1"], ["status"],
    ["events", "--follow"],
])
def test_unreachable_mediator_is_3(kit, args):
    kit.init("one")
    r = kit.run(*args, check=3)
    assert "no mediator listens on" in r.err and "--admin-socket" in r.err
    if args[-1] not in ("--prometheus", "--follow"):
        document = kit.run(*args, "--json", check=3).json
        assert "no mediator listens" in document.get("error", str(document.get("notes")))


@pytest.mark.parametrize("args", [[c] for c in ("list-vms", "show-weights", "show-rate-limits",
                                                "show-pools", "status", "events", "check-config",
                                                "scan-vms")])
def test_no_database(kit, args):
    r = kit.run(*args, check=1)
    assert "init-db" in r.err
    assert "init-db" in kit.json(*args, check=1)["error"]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_terminal(kit, columns):
    kit.init("a very long name of a virtual machine, with commas, that goes on and on and on", "b",
             "\u4e2d\u6587\u540d\u5b57" + " \u865a\u62df\u673a" * 4)
    for command in ("list-vms", "show-weights", "show-rate-limits", "show-pools", "events"):
        out, status = on_terminal(kit, command, columns=columns)
        assert status == 0
        plain = re.sub(r"\033\[\d*m", "", out)
        table = plain.split("\n\n")[0].splitlines()
        for line in table:
            width = sum(2 if ord(c) > 0x2e80 else 1 for c in line)
            # Below 60 columns numbers stay whole even if they do not fit.
            assert width <= max(columns, 60), (command, line)


def test_colour_only_on_a_terminal(kit):
    kit.init("one")
    assert "\033[" in on_terminal(kit, "list-vms")[0]
    assert "\033[" not in on_terminal(kit, "list-vms", NO_COLOR="1")[0]
    assert "\033[" not in on_terminal(kit, "--no-color", "list-vms")[0]
    assert "\033[" not in kit.ok("list-vms").out


def test_remove_asks_on_a_terminal(kit):
    kit.init("one", "two")
    out, status = on_terminal(kit, "remove-vm", "--vm-name=one", answer=b"n")
    assert status == 0 and "Nothing changed" in out
    assert len(kit.json("list-vms")["vms"]) == 2
    out, status = on_terminal(kit, "remove-vm", "--vm-name=one", answer=b"y")
    assert status == 0 and "Removed one" in out
    out, status = on_terminal(kit, "remove-vm", "--vm-name=two", "--yes")
    assert status == 0 and "[y/N]" not in out
    assert kit.json("list-vms")["vms"] == []


def test_hostile_names_do_not_reach_the_terminal(kit):
    kit.init("one")
    import sqlite3
    with sqlite3.connect(kit.db) as db:
        db.execute("UPDATE vms SET vm_name = ?", ("evil\033[2J\nname",))
    for command in ("list-vms", "show-weights", "show-rate-limits", "status"):
        out = kit.run(command).out
        assert "\033" not in out and "evil?[2J?name" in out
    assert kit.json("list-vms")["vms"][0]["name"] == "evil\033[2J\nname"
    assert "\033" not in kit.run("set-weight", "--vm-id=1", "--weight=3").out


# CSI of C0 and of C1, APC, DEL; what is like them and harmless; lead bytes at the end.
NASTY = "e\033[2J\x9b31m\x80\x9f\x7f gr\xfc\xdf \xa0\u20ac \U0001f600 \xc2"


def test_json_writes_numbers_as_people_do(kit):
    kit.init("one")
    kit.ok("set-weight", "--vm-name=one", "--weight=53")
    assert '"share": 2.12,' in kit.ok("--json", "show-weights").out


def test_json_is_safe_on_a_terminal(kit):
    kit.init("one")
    import sqlite3
    with sqlite3.connect(kit.db) as db:
        db.execute("UPDATE vms SET vm_name = ?", (NASTY,))
    detail = {"kind": NASTY, "vm_id": 1, "time": NASTY, "detail": NASTY}
    vm = {"vm_id": 1, "name": NASTY, "uuid": UUID[1]}
    kit.start_mediator({wire.EVENTS: [detail], wire.SHOW_METRICS: {"vms": [vm]},
                        wire.SHOW_STATUS: {"gpus": [], "vms": [vm]}})
    for arguments in (["list-vms"], ["show-vm", "--vm-id=1"], ["status"], ["show-metrics"],
                      ["set-weight", "--vm-id=1", "--weight=3"], ["events"], ["top", "--once"],
                      ["events", "--follow"], ["show-vm", "--vm-name=" + NASTY + "x"]):
        r = kit.run(*arguments, "--json")
        assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", r.out + r.err), (arguments, r.out)
        r = kit.run(*arguments)
        assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f]", r.out + r.err), (arguments, r.out)
    assert kit.json("list-vms")["vms"][0]["name"] == NASTY
    text = kit.ok("list-vms", "--json").out
    printable = "\xfc\xdf \xa0\u20ac \U0001f600 \xc2\""
    assert r"e\u001B[2J\u009B31m\u0080\u009F\u007F gr" + printable in text
    lines = kit.run("events", "--follow", "--json").out.splitlines()
    assert NASTY in [json.loads(line)["detail"] for line in lines if line.startswith('{"')]


def test_sentences_are_safe_on_a_terminal(kit):
    kit.init("one")
    import sqlite3
    with sqlite3.connect(kit.db) as db:
        db.execute("UPDATE vms SET vm_name = ?", ("a\x9b31m\x9fb",))
    shown = "a??31m??b"
    out, status = on_terminal(kit, "remove-vm", "--vm-id=1", answer=b"n")
    assert status == 0 and shown in out and "\x9b" not in out and "\033[2J" not in out
    kit.toolstack("xe", [{"uuid": UUID[1], "name": "one", "state": "running",
                          "args": "-device vgpu-stub,pool_id=A,priority=medium,vm_id=1"}])
    for command in ("attach-vm", "detach-vm"):
        r = kit.run(command, "--vm-id=1")
        assert shown in r.out, r.err
        assert "\x9b" not in r.out + r.err and "\033" not in r.out + r.err


def test_full_output_device(kit):
    kit.init("one")
    with open("/dev/full", "w", encoding="utf-8") as full:
        r = subprocess.run([str(BIN / "vgpu-admin"), "list-vms"], env=kit.env, stdout=full,
                           stderr=subprocess.PIPE, text=True, check=False)
    assert r.returncode == 1 and "cannot write" in r.stderr


def test_bash_completion(kit):
    script = TREE / "packaging" / "bash-completion" / "vgpu-admin"

    def complete(*words):
        program = f"""
source {script}
COMP_WORDS=({' '.join(repr(w) for w in words)})
COMP_CWORD={len(words) - 1}
_vgpu_admin
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
        r = subprocess.run(["bash", "--norc", "-c", program], text=True, capture_output=True,
                           env={**kit.env, "PATH": f"{BIN}:/usr/bin:/bin"}, check=True)
        return [line.strip() for line in r.stdout.splitlines() if line.strip()]

    kit.init("web 1", "batch")
    assert sorted(complete("vgpu-admin", "")) == sorted(COMMANDS)
    assert complete("vgpu-admin", "set-w") == ["set-weight"]
    assert "--weight=" in complete("vgpu-admin", "set-weight", "--")
    assert "--db=" in complete("vgpu-admin", "set-weight", "--")
    assert complete("vgpu-admin", "register-vm", "--priority", "=", "h") == ["high"]
    assert complete("vgpu-admin", "set-weight", "--vm-name", "=", "b") == ["batch"]
    assert complete("vgpu-admin", "--db", "/x", "set-w") == ["set-weight"]
    for command in COMMANDS:
        assert "--json" in complete("vgpu-admin", command, "--js")


def test_man_page_names_everything():
    text = (TREE / "docs" / "man" / "vgpu-admin.8").read_text(encoding="utf-8").replace("\\-", "-")
    for command in COMMANDS:
        assert re.search(rf"^\.B[R]? ?\"?{command}\b", text,
                         re.M) or f".B {command}" in text, command
    for option in subprocess.run([str(BIN / "vgpu-admin"), "--complete", "options"], text=True,
                                 capture_output=True, check=True).stdout.split():
        assert option.rstrip("=") in text, option
    for word in ("VGPU_DB", "NO_COLOR", "EXIT STATUS", "EXAMPLES"):
        assert word in text
