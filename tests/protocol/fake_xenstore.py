# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for xenstored: reads from a dictionary, which the test fills as a toolstack does."""
import os
import socket
import struct
import threading

READ, ERROR = 2, 16


class FakeXenStore:
    def __init__(self, path):
        self.path = str(path)
        self.nodes = {}
        self.asked = []  # paths
        self.silent = False
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.closed = False
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

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

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.closed:
                connection.close()
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            while len(header := connection.recv(16, socket.MSG_WAITALL)) == 16:
                kind, request, transaction, length = struct.unpack("=4I", header)
                path = connection.recv(length, socket.MSG_WAITALL).rstrip(b"\0").decode()
                self.asked.append(path)
                if self.silent:
                    continue
                value = self.nodes.get(path)
                body = b"ENOENT\0" if kind != READ or value is None else value.encode()
                kind = ERROR if kind != READ or value is None else READ
                try:
                    connection.sendall(struct.pack("=4I", kind, request, transaction, len(body)) +
                                       body)
                except OSError:
                    return  # it has hung up

    def close(self):
        self.closed = True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waker:
                waker.connect(self.path)
        except OSError:
            pass
        self.thread.join(60)
        self.listener.close()
        os.unlink(self.path)
