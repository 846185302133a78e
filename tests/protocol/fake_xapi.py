# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for xapi on its local socket: JSON-RPC 2.0 below /jsonrpc, as xapi's api_server.ml
and xapi_event.ml speak it.

event.from with an empty token answers with all VMs as "add"; with a token it waits until
something is newer, and answers "add" or "mod" with a snapshot, "del" without one. A token is two
numbers of 20 digits. Errors are {"code": 1, "message": CODE, "data": [...]}.
"""
import json
import pathlib
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "local"

    def log_message(self, *_args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/jsonrpc":
            self.send_error(404)
            return
        request = json.loads(body)
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            answer["result"] = self.server.xapi.call(request["method"], *request["params"])
        except ApiError as error:
            answer["error"] = {"code": 1, "message": error.args[0], "data": list(error.args[1:])}
        text = self.server.xapi.encode(answer)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class ApiError(Exception):
    pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that was ended while it waited for events is nothing to report."""


def record(uuid, name="", other_config=None, **fields):
    """What a snapshot of a VM has, as far as it matters, and a few fields that do not."""
    return {"uuid": uuid, "name_label": name, "other_config": other_config or {},
            "power_state": "Running", "is_a_template": False, "is_a_snapshot": False,
            "is_control_domain": False, "domid": 7, "VCPUs_max": 2,
            "platform": {"device-model-args": "-device vgpu-stub,vm_id=1"},
            "snapshot_time": "19700101T00:00:00Z", **fields}


class FakeXapi:
    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.changed = threading.Condition()
        self.generation = 100
        self.vms = {}       # ref: (record, created, modified)
        self.deleted = {}   # ref: generation
        self.sessions = set()
        self.logins = 0
        self.waiting = 0
        self.encode = lambda answer: json.dumps(answer).encode()
        self.server = None
        self.set("dom0", record("aaaaaaaa-0000-4000-8000-00000000dd00", "Control domain on host",
                                is_control_domain=True, domid=0))
        self.start()

    def start(self):
        self.server = Server(str(self.path), Handler)
        self.server.xapi = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """xapi goes away, and with it its sessions."""
        with self.changed:
            self.sessions.clear()
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        self.path.unlink()

    # What an administrator does.

    def set(self, name, vm):
        with self.changed:
            self.generation += 1
            created = self.vms.get(name, (None, self.generation))[1]
            self.vms[name] = (vm, created, self.generation)
            self.changed.notify_all()

    def config(self, name, **keys):
        """xe vm-param-set other-config:KEY=VALUE; None takes a key out."""
        vm = json.loads(json.dumps(self.vms[name][0]))
        for key, value in keys.items():
            key = "vgpu-" + key.replace("_", "-")
            vm["other_config"].pop(key, None)
            if value is not None:
                vm["other_config"][key] = value
        self.set(name, vm)

    def destroy(self, name):
        with self.changed:
            self.generation += 1
            del self.vms[name]
            self.deleted[name] = self.generation
            self.changed.notify_all()

    # What the program asks.

    def call(self, method, *params):
        if method == "session.login_with_password":
            self.logins += 1
            session = f"OpaqueRef:session-{self.logins}"
            self.sessions.add(session)
            return session
        if params[0] not in self.sessions:
            raise ApiError("SESSION_INVALID", params[0])
        if method == "session.logout":
            self.sessions.remove(params[0])
            return ""
        if method == "event.from":
            return self.event_from(*params)
        raise ApiError("MESSAGE_METHOD_UNKNOWN", method)

    def event_from(self, session, classes, token, timeout):
        if not isinstance(timeout, float):
            raise ApiError("INTERNAL_ERROR", "not a float")
        try:
            since = int(token.split(",")[0]) if token else 0
        except ValueError:
            raise ApiError("EVENT_FROM_TOKEN_PARSE_FAILURE", token) from None
        if classes != ["vm"]:
            raise ApiError("EVENT_SUBSCRIPTION_PARSE_FAILURE", str(classes))
        end = time.monotonic() + timeout
        with self.changed:
            self.waiting += 1
            while self.generation <= since and time.monotonic() < end and session in self.sessions:
                self.changed.wait(min(1, max(0, end - time.monotonic())))
            if session not in self.sessions:
                raise ApiError("SESSION_INVALID", session)
            return {"events": list(self.since(since)), "valid_ref_counts": {"vm": len(self.vms)},
                    "token": "%020d,%020d" % (self.generation, 0)}

    def since(self, since):
        for name, (vm, created, modified) in self.vms.items():
            if modified > since:
                operation = "add" if created > since else "mod"
                yield {"id": str(modified), "timestamp": "0.0", "class": "vm",
                       "operation": operation, "ref": f"OpaqueRef:{name}", "snapshot": vm}
        for name, at in self.deleted.items():
            if at > since and since:
                yield {"id": str(at), "timestamp": "0.0", "class": "vm", "operation": "del",
                       "ref": f"OpaqueRef:{name}"}
