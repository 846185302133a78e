# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for the mediator's admin socket (include/vgpu/vgpu_admin.h)."""
import json
import os
import socket
import struct
import threading

MAGIC = 0x56475055
SHOW_METRICS, SHOW_HEALTH, RELOAD_CONFIG = 0x10, 0x11, 0x12
SHOW_CONNECTIONS, SET_POLICY, PAUSE, RESUME = 0x15, 0x16, 0x17, 0x18
PREFER_VM, EVENTS, SHOW_STATUS, SHOW_SCHEDULE = 0x19, 0x1A, 0x1B, 0x1C
TRACE_JOB = 0x1D


class FakeAdmin:
    """answers: command -> an object, a text, bytes to send as they are, an
    Exception (its text is sent as a refusal), None (no answer at all), or a
    function of (param1, body) that returns one of these."""

    def __init__(self, path, answers=None):
        self.path = str(path)
        self.answers = {RELOAD_CONFIG: {"changed": 1, "vms": [], "restart_needed": []}}
        self.answers.update(answers or {})
        self.requests = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.connections = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    @staticmethod
    def receive(connection, count):
        data = b""
        while len(data) < count:
            part = connection.recv(count - len(data))
            if not part:
                return None
            data += part
        return data

    @staticmethod
    def response(status, data):
        return struct.pack("<III", MAGIC, status, len(data)) + data

    def serve(self, connection):
        try:
            while True:
                head = self.receive(connection, 16)
                if head is None:
                    return
                magic, command, param1, param2 = struct.unpack("<IIII", head)
                assert magic == MAGIC
                body = json.loads(self.receive(connection, param2)) if param2 else None
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
                        connection.close()
                        return
                elif isinstance(answer, Exception):
                    text = json.dumps({"error": str(answer)}).encode()
                    connection.sendall(self.response(22, text))
                elif isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    text = answer if isinstance(answer, str) else json.dumps(answer)
                    connection.sendall(self.response(0, text.encode()))
        except OSError:
            pass

    def commands(self):
        return [r[0] for r in self.requests]

    def close(self):
        # close() alone does not wake up a thread that waits in accept().
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        self.thread.join(10)
        if os.path.exists(self.path):
            os.unlink(self.path)
