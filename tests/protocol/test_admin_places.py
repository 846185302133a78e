# SPDX-License-Identifier: GPL-2.0-or-later
"""The admin socket's places: where the socket is, and what those hear who find no place."""
import errno
import json
import socket
import struct
import threading

import pytest

import wire
from mediator import Mediator, wait_for

PLACES = 32


class Crowd:
    """Takes all places, and gives them back."""

    def __init__(self, mediator):
        self.clients = [mediator.admin() for _ in range(PLACES)]
        for client in self.clients:
            assert client.call(wire.SHOW_HEALTH)["mediator"]["ok"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.sock.close()


# ---- where the socket is


def test_one_setting_for_both(kit, monkeypatch):
    """$VGPU_ADMIN_SOCKET and $VGPU_DB lead mediator and vgpu-admin to the same places."""
    kit.init("web")
    elsewhere = kit.folder / "elsewhere.sock"
    monkeypatch.setenv("VGPU_ADMIN_SOCKET", str(elsewhere))
    monkeypatch.setenv("VGPU_DB", str(kit.db))
    mediator = Mediator(kit.folder, db=kit.db)
    for option in ("--admin-socket", "--db"):
        at = mediator.command.index(option)
        del mediator.command[at:at + 2]
    mediator.admin_socket = elsewhere
    with mediator:
        status = kit.json("status", VGPU_ADMIN_SOCKET=str(elsewhere))
        assert status["database"] == str(kit.db)
        assert not kit.socket.exists()
    assert not elsewhere.exists()


def test_the_option_goes_before_the_environment(kit, monkeypatch):
    monkeypatch.setenv("VGPU_ADMIN_SOCKET", str(kit.folder / "elsewhere.sock"))
    with Mediator(kit.folder):
        kit.ok("show-health", "--admin-socket", kit.socket,
               VGPU_ADMIN_SOCKET=str(kit.folder / "elsewhere.sock"))
        assert not (kit.folder / "elsewhere.sock").exists()


# ---- the one too many


def test_it_is_told_why(mediator):
    with Crowd(mediator):
        with mediator.admin() as late:  # says nothing, and is answered all the same
            with pytest.raises(wire.AdminError) as failure:
                late.read()
            assert failure.value.status == errno.EUSERS
            assert f"all {PLACES} places" in failure.value.text
            assert f"{PLACES} of them by process" in failure.value.text
            assert "try again" in failure.value.text
            with pytest.raises((wire.Closed, ConnectionResetError)):
                late.read()
    wait_for(mediator.is_ready, "a place")


def test_the_log_is_not_flooded(mediator):
    before = mediator.fds()
    with Crowd(mediator) as crowd:
        for _ in range(300):
            with mediator.admin() as late:
                with pytest.raises(wire.AdminError):
                    late.read()
        assert crowd.clients[0].call(wire.SHOW_HEALTH)["mediator"]["ok"]
        lines = [line for line in mediator.log().splitlines() if "admin socket: process" in line]
        assert 1 <= len(lines) < 100, lines
        assert "event=admin_refused" in lines[0] and f"all {PLACES} places" in lines[0]
    wait_for(lambda: mediator.fds() <= before, "the descriptors to be closed")


def test_no_descriptor_left(lab):
    """With all descriptors used up, the one too many hears of that instead."""
    mediator = Mediator(lab, prefix=("prlimit", "--nofile=48:48"))
    with mediator:
        clients = []
        with pytest.raises(wire.AdminError) as failure:
            while len(clients) < PLACES:
                client = mediator.admin()
                clients.append(client)
                try:
                    client.send(wire.SHOW_HEALTH)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # answered and closed already
                client.read()
        assert failure.value.status == errno.EUSERS
        assert "LimitNOFILE" in failure.value.text
        for client in clients:
            client.sock.close()


ASKING = [["show-health"], ["status"], ["pause"], ["show-metrics", "--prometheus"],
          ["top", "--once"]]


@pytest.mark.parametrize("arguments", ASKING, ids=" ".join)
def test_vgpu_admin_says_so(kit, arguments):
    """Also when there is no database to show."""
    with Mediator(kit.folder) as mediator, Crowd(mediator):
        r = kit.run(*arguments, check=3)
        assert f"the mediator refused: all {PLACES} places" in r.err, r.err
        if "--prometheus" not in arguments:
            document = json.loads(kit.run(*arguments, "--json", check=3).out)
            assert document["exit_status"] == 3 and f"all {PLACES} places" in document["error"]


def test_status_shows_what_the_database_has(kit):
    kit.init("web")
    with Mediator(kit.folder, db=kit.db) as mediator, Crowd(mediator):
        r = kit.run("status", check=3)
        assert "web" in r.out and f"all {PLACES} places" in r.err
        r = kit.run("events", "--follow", check=3)
        assert f"the mediator refused: all {PLACES} places" in r.err


def test_a_change_is_saved_all_the_same(kit):
    kit.init("web")
    with Mediator(kit.folder, db=kit.db) as mediator:
        with Crowd(mediator):
            r = kit.ok("set-weight", "--vm-name=web", "--weight=80")
            assert f"all {PLACES} places" in r.err and "vgpu-admin reload-config" in r.err
            document = kit.json("set-weight", "--vm-name=web", "--weight=81")
            assert document["mediator"] == "unreachable"
        wait_for(mediator.is_ready, "a place")
        kit.ok("reload-config")
        assert kit.json("status")["vms"][0]["weight"] == 81


def test_an_answer_before_the_request_is_read(kit):
    """The mediator may have answered and closed before the request is sent."""
    text = json.dumps({"error": "no place today"}).encode()
    refusal = struct.pack("<III", wire.MAGIC, errno.EUSERS, len(text)) + text
    look = b'{"gpus": [], "vms": []}'
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(kit.socket))
    listener.listen(1)

    def serve():
        connection, _ = listener.accept()
        listener.close()
        for _ in range(3):  # what a look of `top` asks
            wire.receive(connection, wire.ADMIN_REQUEST.size)
            connection.sendall(struct.pack("<III", wire.MAGIC, 0, len(look)) + look)
        connection.sendall(refusal)
        connection.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    r = kit.run("top", "--once", check=3)
    assert "the mediator refused: no place today" in r.err, r.err
    server.join(60)
