# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stand-ins that listen on a Unix socket have in common: a thread for each connection."""
import contextlib
import os
import socket
import threading

import wire


class FakeServer:
    """Calls serve(connection) for each connection from the moment it is made, so what a
    subclass needs for that must be there before."""

    def __init__(self, path):
        self.path = str(path)
        self.connections = []  # all that there ever were
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def serve(self, connection):
        """Until the client is gone (OSError and wire.Closed say so too) or shall be."""
        raise NotImplementedError

    def close(self):
        """Leaves the socket's file behind, as a process that was killed does."""
        self._wake(self.listener)
        self.listener.close()
        self.acceptor.join(wire.PATIENCE_S)
        for connection in self.connections:
            self._wake(connection)
        for thread in self.threads:
            thread.join(wire.PATIENCE_S)

    @staticmethod
    def _wake(sock):
        # close() alone does not wake up a thread that waits in accept() or recv().
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError, wire.Closed):
            self.serve(connection)
