# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for the mediator's admin socket (include/vgpu/vgpu_admin.h)."""
import json
import os

import wire
from fakeserver import FakeServer
from wire import EVENTS, RELOAD_CONFIG


class FakeAdmin(FakeServer):
    """answers: command -> an object, a text, bytes to send as they are, an
    Exception (its text is sent as a refusal), None (no answer at all), or a
    function of (param1, body) that returns one of these."""

    def __init__(self, path, answers=None):
        self.answers = {RELOAD_CONFIG: {"changed": 1, "vms": [], "restart_needed": []}}
        self.answers.update(answers or {})
        self.requests = []
        super().__init__(path)

    @staticmethod
    def response(status, data):
        return wire.ADMIN_RESPONSE.pack(wire.MAGIC, status, len(data)) + data

    def serve(self, connection):
        while True:
            head = wire.receive(connection, wire.ADMIN_REQUEST.size)
            magic, command, param1, param2 = wire.ADMIN_REQUEST.unpack(head)
            assert magic == wire.MAGIC
            body = json.loads(wire.receive(connection, param2)) if param2 else None
            self.requests.append((command, param1, body))
            answer = self.answers.get(command, {})
            if callable(answer):
                answer = answer(param1, body)
            if answer is None:
                continue
            if isinstance(answer, list):
                for item in answer:
                    connection.sendall(self.response(0, json.dumps(item).encode()))
                if command == EVENTS:
                    return
            elif isinstance(answer, Exception):
                text = json.dumps({"error": str(answer)}).encode()
                connection.sendall(self.response(22, text))
            elif isinstance(answer, bytes):
                connection.sendall(answer)
            else:
                text = answer if isinstance(answer, str) else json.dumps(answer)
                connection.sendall(self.response(0, text.encode()))

    def commands(self):
        return [r[0] for r in self.requests]

    def close(self):
        super().close()
        if os.path.exists(self.path):
            os.unlink(self.path)
