"""A fake of OpenAI that keeps state and fails on demand, on a free port of the loopback address.

It is OUR OWN, written from OpenAI's reference and SDK, and therefore no independent witness of what OpenAI does.
test_provider_fake.py checks it with the official SDK, and its replies and events against the SDK's models.

A test gives a rule, which is asked twice for each request, before it is executed and after, and may name a fault:

    def lose_uploads(moment: Moment, asked: Asked) -> Fault | None:
        return DROP if moment is Moment.AFTER and asked.operation == "files.create" else None

    with provider(rule=lose_uploads) as openai: ...

A rule may do anything else as well, such as killing a process. Rules are called by several threads, each request's in
the order of the request.
"""

import contextlib
import io
import itertools
import json
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from tests.emulators.provider_account import Refused
from tests.emulators.provider_faults import (
    CUT,
    DROP,
    HANG,
    Action,
    Asked,
    FakeProvider,
    Fault,
    FaultRule,
    Moment,
    Status,
    no_faults,
)
from tests.emulators.provider_operations import (
    OPERATIONS,
    Reply,
    execute,
    fault_reply,
    operation_of,
    refusal,
    unheard,
)

__all__ = [
    "CUT", "DROP", "HANG", "OPERATIONS", "Action", "Asked", "FakeProvider", "Fault", "FaultRule", "Moment", "Status",
    "provider",
]  # fmt: skip


@contextlib.contextmanager
def provider(rule: FaultRule = no_faults, port: int = 0) -> Iterator[FakeProvider]:
    """Run a fake until the end of the block.

    Args:
        port: to come back on the address of an earlier one.
    """
    with _Server(("127.0.0.1", port), _Handler) as server:
        fake = server.fake = FakeProvider(f"http://127.0.0.1:{server.server_address[1]}", rule)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield fake
        finally:
            fake.over.set()
            server.shutdown()
            thread.join()
            server.part()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 256
    fake: FakeProvider

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.numbers = itertools.count()
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that clients have closed; show all else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def part(self) -> None:
        """Close every connection."""
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def note(self, asked_of: Callable[[int], Asked]) -> Asked:
        """Write a request into the journal."""
        with self.lock:
            asked = asked_of(next(self.numbers))
            self.fake.journal.append(asked)
        return asked


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60
    server: _Server

    def setup(self) -> None:
        """Let the server close the connection."""
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        """End the connection."""
        with self.server.lock:
            self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: the journal tells it."""

    def handle_one_request(self) -> None:
        """Serve a request; a client that leaves is no error."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        """Serve any method."""
        place = urlsplit(self.path)
        try:
            operation, names = operation_of(self.command, place.path)
        except Refused as refused:
            self._send(refusal(refused))
            return
        query = dict(parse_qsl(place.query))
        body = self._body()
        asked = self.server.note(lambda number: Asked(number, operation, names, query, body))
        if not self.headers.get("Authorization", "").startswith("Bearer "):
            self._send(refusal(Refused(401, "You didn't provide an API key.")), asked)
            return
        if self._suffer(asked, self.server.fake.rule(Moment.BEFORE, asked)):
            return
        reply = execute(self.server.fake, asked)
        if not self._suffer(asked, self.server.fake.rule(Moment.AFTER, asked), reply):
            self._send(reply, asked)

    do_POST = do_DELETE = do_GET

    def _suffer(self, asked: Asked, fault: Fault | None, reply: Reply | None = None) -> bool:
        """Let a fault happen, if there is one; then the request has got all the reply that it gets."""
        if fault is None:
            return False
        asked.fault = fault
        if isinstance(fault, Status):
            self._send(fault_reply(fault), asked)
            return True
        if fault is HANG:
            self._wait_until_gone()
        if fault is CUT:
            self._send_part(reply or unheard(self.server.fake, asked))
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        return True

    def _send(self, reply: Reply, asked: Asked | None = None) -> None:
        if asked is not None:
            asked.status = reply.status
        self._head(reply)
        for piece in reply.pieces:
            self._piece(reply, piece)
        if reply.streamed:
            self.wfile.write(b"0\r\n\r\n")
        if reply.status >= 400 and asked is None:
            self.close_connection = True

    def _send_part(self, reply: Reply) -> None:
        """Send the first half of a reply."""
        self._head(reply)
        if not reply.streamed:
            content = b"".join(reply.pieces)
            self.wfile.write(content[: len(content) // 2])
            return
        for piece in reply.pieces[: max(1, len(reply.pieces) // 2)]:
            self._piece(reply, piece)

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.kind)
        self.send_header("x-request-id", "req_fake")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.streamed:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(sum(map(len, reply.pieces))))
        self.end_headers()

    def _piece(self, reply: Reply, piece: bytes) -> None:
        if not reply.streamed:
            self.wfile.write(piece)
            return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if self.server.fake.word_seconds:
            self.server.fake.over.wait(self.server.fake.word_seconds)

    def _wait_until_gone(self) -> None:
        until = time.monotonic() + self.server.fake.hang_seconds
        while not self.server.fake.over.is_set() and time.monotonic() < until:
            readable, _, _ = select.select([self.connection], [], [], 0.05)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def _body(self) -> Any:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, options = parse_options_header(self.headers.get("Content-Type", ""))
        if kind == "multipart/form-data":
            parser = FormDataParser(lambda *about, **more: io.BytesIO())
            _, form, files = parser.parse(io.BytesIO(content), kind, len(content), options)
            sent = {name: (one.filename or "", one.read()) for name, one in files.items()}
            return {**form.to_dict(), **sent}
        return json.loads(content) if content else None
