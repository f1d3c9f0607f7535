"""MCP servers over HTTP that lie where they must not, or do what they must not."""

import contextlib
import gzip
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from typing import Any

import pytest

from logs import configure_logging
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolServer, Transport
from services.providers.guarded_network import Network
from services.providers.mcp_session import SessionTimes
from services.providers.mcp_tools import McpToolHost
from tests.emulators.mcp_servers import Start, everything, support_desk
from tests.servers import free_port

HTTP = [Transport.SSE, Transport.STREAMABLE_HTTP]
LOOPBACK = [ip_network("127.0.0.0/8")]
CUSTOMER = {"customer_id": "C002"}
MIB = 2**20


class Misbehaving(ThreadingHTTPServer):
    """Answer each request with what a test says.

    Attributes:
        seen: (method, path, headers) of each request.
        sent: bytes of bodies that it got rid of.
    """

    daemon_threads = True

    def __init__(self, answer: Callable[["Handler"], None], address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Handler)
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        """Return the address of its MCP."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/mcp"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away."""


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Misbehaving

    def do_POST(self) -> None:
        """Read the request and answer as told."""
        self.body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        self.close_connection = True
        self.server.answer(self)

    do_GET = do_DELETE = do_POST

    def begin(self, status: int, **headers: str) -> None:
        """Send the status and headers; a body has no length unless they tell one."""
        self.send_response(status)
        self.send_header("connection", "close")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def flood(self, piece: bytes, seconds: float = 0) -> None:
        """Send the same again and again until the client goes away."""
        while not self.server.ended.wait(seconds):
            self.wfile.write(piece)
            self.server.sent += len(piece)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def misbehaving(answer: Callable[[Handler], None], address: str = "127.0.0.1") -> Iterator[Misbehaving]:
    """Run a server of that kind."""
    with Misbehaving(answer, address) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def opened(networks: Sequence[Network] = (), names: dict[str, list[list[str]]] | None = None) -> Iterator[McpToolHost]:
    """Give a host.

    Args:
        names: host name -> what each look-up finds, in turn; the last one stays.
    """

    def resolver(name: str) -> Sequence[str]:
        found = (names or {}).get(name)
        if not found:
            raise OSError(name)
        return found.pop(0) if len(found) > 1 else found[0]

    host = McpToolHost(networks, resolver, times=SessionTimes(opening=3))
    try:
        yield host
    finally:
        host.close()


def foreign(url: str, transport: Transport = Transport.STREAMABLE_HTTP) -> ToolServer:
    """Return a server as an assistant's manager names it."""
    return ToolServer("desk", transport, url=url)


def refused(host: McpToolHost, server: ToolServer, match: str, code: str = "tool_server_failed") -> None:
    """Expect that a server cannot be used, soon, and why."""
    began = time.monotonic()
    with pytest.raises(ProviderFailed, match=match) as failed:
        host.tools(server, Deadline(30))
    assert failed.value.code == code
    assert time.monotonic() - began < 5


class TestWhereServersMayBe:
    @pytest.mark.parametrize("transport", HTTP)
    @pytest.mark.parametrize(
        "place",
        ["127.0.0.1", "[::1]", "10.0.0.5", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]", "local.example"],
    )
    def test_a_private_address_is_refused_without_a_connection(self, transport: Transport, place: str) -> None:
        with (
            misbehaving(lambda handler: handler.begin(500)) as server,
            opened(names={"local.example": [["127.0.0.1"]]}) as host,
        ):
            port = server.server_address[1]
            refused(host, foreign(f"http://{place}:{port}/mcp", transport), "MCP_NETWORKS", "tool_server_refused")
            assert server.seen == []

    def test_a_name_with_one_private_address_among_public_ones_is_refused(self) -> None:
        with opened(names={"mixed.example": [["93.184.216.34", "127.0.0.1"]]}) as host:
            refused(host, foreign("http://mixed.example/mcp"), "is in a private network", "tool_server_refused")

    def test_a_name_that_nobody_knows(self) -> None:
        with opened() as host:
            refused(host, foreign("http://nowhere.example/mcp"), "no address is known")

    @pytest.mark.parametrize("transport", HTTP)
    def test_a_network_of_the_setting_is_open_and_so_is_every_place_that_the_operator_names(
        self, transport: Transport
    ) -> None:
        with support_desk(transport) as running, opened(LOOPBACK, {"localhost": [["127.0.0.1"]]}) as host:
            named = running.server.url.replace("127.0.0.1", "localhost")
            for server in (running.server, foreign(running.server.url, transport), foreign(named, transport)):
                assert "Silver" in host.call(server, "get_customer_info", CUSTOMER, 5, Deadline(20)).text

    def test_a_name_that_moves_into_a_private_network_is_refused_at_the_next_connection(self) -> None:
        names = {"moving.example": [["127.0.0.1"], ["127.0.0.2"]]}
        with misbehaving(plain(404)) as server, opened([ip_network("127.0.0.1/32")], names) as host:
            moving = foreign(server.url.replace("127.0.0.1", "moving.example"))
            refused(host, moving, "is in a private network", "tool_server_refused")
            assert len(server.seen) == 1

    @pytest.mark.parametrize("transport", HTTP)
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_to_another_place_is_not_followed(self, transport: Transport, status: int) -> None:
        with misbehaving(lambda handler: handler.begin(500), "127.0.0.2") as inner:

            def elsewhere(handler: Handler) -> None:
                handler.begin(status, location=inner.url, content_length="0")

            with misbehaving(elsewhere) as outer, opened([ip_network("127.0.0.1/32")]) as host:
                refused(host, foreign(outer.url, transport), f"another address .HTTP {status}")
                assert outer.seen
            assert inner.seen == []

    def test_a_redirect_of_the_same_server_is_followed(self) -> None:
        with support_desk(Transport.STREAMABLE_HTTP) as running, opened(LOOPBACK) as host:
            server = foreign(running.server.url + "/")  # the sample sends it to /mcp
            assert "Silver" in host.call(server, "get_customer_info", CUSTOMER, 5, Deadline(20)).text


def plain(status: int) -> Callable[[Handler], None]:
    """Return what answers with a status and nothing else."""
    return lambda handler: handler.begin(status, content_length="0")


def endless(kind: str, piece: bytes, seconds: float = 0) -> Callable[[Handler], None]:
    """Return what answers without end."""

    def answer(handler: Handler) -> None:
        handler.begin(200, content_type=kind)
        handler.flood(piece, seconds)

    return answer


def silent(handler: Handler) -> None:
    handler.server.ended.wait()


def garbage(handler: Handler) -> None:
    handler.wfile.write(b"\x00\x01 what is this \r\n\r\n")


def speaking(handler: Handler, *, packed: bool = False) -> None:
    """Speak MCP as far as a server without tools has to."""
    asked = json.loads(handler.body or b"{}")
    results = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "serverInfo": {"name": "s", "version": "1"},
        },
        "tools/list": {"tools": []},
    }
    if asked.get("method") not in results:
        return plain(202 if "id" not in asked else 404)(handler)
    text = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]}).encode()
    if packed:
        text = gzip.compress(text + b" " * 64 * MIB)
        handler.begin(200, content_type="application/json", content_encoding="gzip", content_length=str(len(text)))
    else:
        handler.begin(200, content_type="application/json", content_length=str(len(text)))
    handler.wfile.write(text)


def page(handler: Handler) -> None:
    text = b"<html>hello</html>"
    handler.begin(200, content_type="text/html", content_length=str(len(text)))
    handler.wfile.write(text)


@pytest.mark.parametrize("transport", HTTP)
class TestWhatServersMayDo:
    @pytest.mark.parametrize(
        ("answer", "match"),
        [
            (plain(401), r"credentials \(HTTP 401\)"),
            (plain(403), r"credentials \(HTTP 403\)"),
            (plain(404), r"no MCP under its URL \(HTTP 404\)"),
            (plain(503), r"answered HTTP 503"),
            (page, "does not answer as an MCP server"),
            (garbage, "ended its connection|does not answer as an MCP server"),
            (silent, "did not answer in time"),
            (endless("application/json", b" ", 0.2), "did not answer in time|does not answer as an MCP server"),
            (endless("text/event-stream", b": ping\n\n", 0.2), "did not answer in time"),
        ],
        ids=["401", "403", "404", "503", "page", "garbage", "silent", "drip", "pings"],
    )
    def test_it_cannot_be_used_and_that_is_said(
        self, transport: Transport, answer: Callable[[Handler], None], match: str
    ) -> None:
        with misbehaving(answer) as server, opened(LOOPBACK) as host:
            refused(host, foreign(server.url, transport), match)

    @pytest.mark.parametrize(
        ("kind", "piece"),
        [
            ("application/json", b" " * MIB),
            ("text/event-stream", b"x" * MIB),
            ("text/event-stream", b": " + b"x" * 1000 + b"\n"),
            ("text/event-stream", b'data: {"jsonrpc":"2.0","method":"notifications/message"}\n\n' * 1000),
        ],
        ids=["body", "event", "comments", "events"],
    )
    def test_a_flood_is_not_read(self, transport: Transport, kind: str, piece: bytes) -> None:
        with misbehaving(endless(kind, piece)) as server, opened(LOOPBACK) as host:
            refused(host, foreign(server.url, transport), "desk")
            assert 0 < server.sent < 40 * MIB

    def test_nothing_listens(self, transport: Transport) -> None:
        with opened(LOOPBACK) as host:
            refused(host, foreign(f"http://127.0.0.1:{free_port()}/mcp", transport), "cannot be reached")

    def test_nobody_waits_longer_than_allowed(self, transport: Transport) -> None:
        with misbehaving(silent) as server, opened(LOOPBACK) as host:
            deadline = Deadline(30)
            threading.Timer(0.5, deadline.cancel).start()
            began = time.monotonic()
            with pytest.raises(ProviderFailed, match="caller went away"):
                host.tools(foreign(server.url, transport), deadline)
            assert time.monotonic() - began < 10


def test_headers_are_sent_and_nothing_of_a_call_is_in_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    before, level = logging.root.handlers[:], logging.root.level
    secrets = ("header-value", "argument-value", "Bronze")
    try:
        configure_logging("DEBUG", [])
        with misbehaving(plain(401)) as server, opened(LOOPBACK) as host:
            given = ToolServer("desk", Transport.STREAMABLE_HTTP, url=server.url, headers=(("X-Key", "header-value"),))
            refused(host, given, "credentials")
            assert server.seen[0][2]["x-key"] == "header-value"
            for transport in Transport:
                with support_desk(transport) as running:
                    told = ToolServer(**{**vars(running.server), "headers": given.headers})
                    assert (
                        "Bronze" in host.call(told, "get_customer_info", {"customer_id": "C003"}, 5, Deadline(20)).text
                    )
                    host.call(told, "get_customer_info", {"customer_id": "argument-value"}, 5, Deadline(20))
                    host.call(told, "get_customer_info", {"wrong": "argument-value"}, 5, Deadline(20))
    finally:
        logging.root.handlers[:] = before
        logging.root.setLevel(level)
    written = capfd.readouterr().err
    assert "a session with a tool server ended" in written
    assert [secret for secret in secrets if secret in written] == []


@pytest.mark.parametrize(
    "text",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"jsonrpc": "2.0", "id": %d, "result": {"content": 5}}',
        b'{"jsonrpc": "2.0", "id": %d, "result": {"content": [{"type": "dance"}]}}',
        b'{"jsonrpc": "2.0", "id": %d, "error": {"code": -32700, "message": "cannot read"}}',
    ],
)
def test_an_answer_in_another_shape_is_an_output_that_failed_and_says_so(text: bytes) -> None:
    def answer(handler: Handler) -> None:
        asked = json.loads(handler.body or b"{}")
        if asked.get("method") != "tools/call":
            return speaking(handler)
        body = text % asked["id"] if b"%d" in text else text
        handler.begin(200, content_type="application/json", content_length=str(len(body)))
        handler.wfile.write(body)

    with misbehaving(answer) as server, opened(LOOPBACK) as host:
        output = host.call(foreign(server.url), "any", {}, 5, Deadline(20))
        assert (output.failed, output.text) == (True, "The tool's server sent an answer that is not as MCP demands.")
        assert host.tools(foreign(server.url), Deadline(20)) == []


def test_what_is_packed_is_not_unpacked() -> None:
    with misbehaving(speaking) as server, opened(LOOPBACK) as host:
        assert host.tools(foreign(server.url), Deadline(20)) == []
        assert {headers["accept-encoding"] for _, _, headers in server.seen} == {"identity"}
    with misbehaving(partial(speaking, packed=True)) as server, opened(LOOPBACK) as host:
        refused(host, foreign(server.url), "does not answer as an MCP server")


@pytest.mark.parametrize("start", [everything, support_desk], ids=["everything", "support_desk"])
def test_calls_use_the_same_connections_again(start: Start) -> None:
    asked: list[str] = []

    def resolver(name: str) -> Sequence[str]:
        asked.append(name)
        return ["127.0.0.1"]

    host = McpToolHost(LOOPBACK, resolver)
    with start(Transport.STREAMABLE_HTTP) as running, contextlib.closing(host):
        server = foreign(running.server.url.replace("127.0.0.1", "localhost"))
        tool = "echo" if start is everything else "get_customer_info"
        for _ in range(20):
            assert not host.call(server, tool, {"message": "hi", **CUSTOMER}, 5, Deadline(20)).failed
    assert 0 < len(asked) < 8


def test_connections_end_with_the_host() -> None:
    with support_desk(Transport.SSE) as running, opened() as host:
        host.tools(running.server, Deadline(20))
        assert _connections(running.port) > 0
        host.close()
        end = time.monotonic() + 5
        while _connections(running.port):
            assert time.monotonic() < end
            time.sleep(0.05)


def _connections(port: int) -> int:
    """Return how many established connections to a port of ours there are (state 01)."""
    wanted = f"{socket.inet_aton('127.0.0.1')[::-1].hex().upper()}:{port:04X}"
    with open("/proc/net/tcp") as table:
        return sum(1 for line in table if line.split()[2] == wanted and line.split()[3] == "01")
