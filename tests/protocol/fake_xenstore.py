# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for xenstored: reads from a dictionary, which the test fills as a toolstack does."""
import struct

import wire
from fakeserver import FakeServer

HEADER = struct.Struct("=4I")
READ, ERROR = 2, 16


class FakeXenStore(FakeServer):
    def __init__(self, path):
        self.nodes = {}
        self.asked = []  # paths
        self.silent = False
        super().__init__(path)

    def domain(self, domid, uuid, name, pid=None):
        """As it is while its device model runs; without one, before that."""
        self.nodes[f"/local/domain/{domid}/vm"] = f"/vm/{uuid}"
        self.nodes[f"/local/domain/{domid}/name"] = name
        if pid is not None:
            self.device_model(domid, pid)

    def device_model(self, domid, pid):
        self.nodes[f"/local/domain/{domid}/image/device-model-pid"] = str(pid)

    def destroy(self, domid):
        for path in [path for path in self.nodes if path.startswith(f"/local/domain/{domid}/")]:
            del self.nodes[path]

    def times_asked(self, part):
        return sum(part in path for path in list(self.asked))

    def serve(self, connection):
        while True:
            header = wire.receive(connection, HEADER.size)
            kind, request, transaction, length = HEADER.unpack(header)
            path = wire.receive(connection, length).rstrip(b"\0").decode()
            self.asked.append(path)
            if self.silent:
                continue
            value = self.nodes.get(path) if kind == READ else None
            kind, body = (ERROR, b"ENOENT\0") if value is None else (READ, value.encode())
            connection.sendall(HEADER.pack(kind, request, transaction, len(body)) + body)
