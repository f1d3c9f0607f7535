"""A transport for requests to models: HTTP/1.1 read by llhttp, on connections that a deadline cuts.

httpx2's own transport is written in Python throughout (httpcore2 on h11) and takes a fifth of the CPU time of a
streamed answer. This one takes what has come of a response at once, through the parser that Node and uvicorn use. It is
for what `Sender` sends: bodies that are there whole, hosts that are reached without a proxy. All else goes to httpx2's.
"""

import contextlib
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator

import httpcore2
import httptools
import httpx2

from services.providers.http_incoming import Incoming
from services.providers.http_sockets import CONNECT_SECONDS, Cuttable

DIRECT = "direct"
"""The extension of a request that may go this way."""

_READ_BYTES = 1 << 16
_IDLE_SECONDS = 5.0
"""As long as httpx2 keeps idle connections: many servers close theirs a little later."""
_PAUSE_OF_A_STREAM, _LONGEST_PAUSE = 0.0005, 0.025
"""Seconds between two reads of a stream, for each that there is: a busy server wakes less often, for more at once."""
_SHORTEST_PAUSE = 0.001

_Origin = tuple[str, str, int]


class _Connection(Cuttable):
    """A connection, which one request uses at a time."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock
        self._idle_since = 0.0

    def socket(self) -> socket.socket:
        return self._sock

    def send(self, data: bytes) -> None:
        self._sock.settimeout(self.claim(None))
        self._sock.sendall(data)

    def receive(self) -> bytes:
        """Wait for bytes; none is the end."""
        self._sock.settimeout(self.claim(None))
        return self._sock.recv(_READ_BYTES)

    def rest(self) -> None:
        """Note that nobody uses it from now on."""
        self._idle_since = time.monotonic()

    def is_usable(self) -> bool:
        """Tell whether it is still open: an idle one that has something to read was closed."""
        if time.monotonic() - self._idle_since > _IDLE_SECONDS:
            return False
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        with self.lock:
            self.user = None
            self._sock.close()


class DirectTransport(httpx2.BaseTransport):
    """Send requests that are marked `DIRECT` by itself, and leave all others to another transport.

    Args:
        other: closed with this one.
        connections: so many are kept while they are idle.
        context: of TLS; None for what httpx2 would use.
    """

    def __init__(self, other: httpx2.BaseTransport, connections: int, context: ssl.SSLContext | None = None) -> None:
        self._other = other
        self._most = connections
        self._context = context
        self._idle: dict[_Origin, deque[_Connection]] = {}
        self._streams: set[_Body] = set()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return its response once its head is there.

        Raises:
            httpx2.TransportError: as httpx2's transports.
        """
        if DIRECT not in request.extensions:
            return self._other.handle_request(request)
        origin = _origin(request.url)
        connection, incoming, begun = self._connection(origin, request), Incoming(), b""
        try:
            with _translated():
                connection.send(_head(request) + request.read())
                while not incoming.head_is_complete:
                    begun += incoming.feed(connection.receive())
        except BaseException:
            connection.close()
            raise
        body = _Body(self, origin, connection, incoming, begun)
        self._streams.add(body)
        return httpx2.Response(incoming.status, headers=incoming.headers, stream=body)

    @property
    def streams(self) -> int:
        """Return how many responses are being read."""
        return len(self._streams)

    def pause(self, since: float) -> None:
        """Wait before the next read of a stream.

        Args:
            since: when the one before was, a reading of `time.monotonic`.
        """
        left = min(_LONGEST_PAUSE, _PAUSE_OF_A_STREAM * self.streams) - (time.monotonic() - since)
        if left > _SHORTEST_PAUSE:
            time.sleep(left)

    def end(self, body: "_Body") -> None:
        """Forget a stream."""
        self._streams.discard(body)

    def keep(self, origin: _Origin, connection: _Connection) -> None:
        """Keep a connection for another request."""
        connection.rest()
        with self._lock:
            idle = self._idle.setdefault(origin, deque())
            if len(idle) < self._most:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections, and the other transport."""
        with self._lock:
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()
        self._other.close()

    def _connection(self, origin: _Origin, request: httpx2.Request) -> _Connection:
        while (connection := self._kept(origin)) is not None:
            if connection.is_usable():
                return connection
            connection.close()
        seconds = request.extensions.get("timeout", {}).get("connect", CONNECT_SECONDS)
        with _translated(connecting=True):
            return _Connection(self._connect(origin, seconds))

    def _kept(self, origin: _Origin) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(origin)
            return idle.pop() if idle else None

    def _connect(self, origin: _Origin, seconds: float | None) -> socket.socket:
        scheme, host, port = origin
        sock = socket.create_connection((host, port), seconds)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme != "https":
            return sock
        if self._context is None:
            self._context = httpx2.create_ssl_context()
        try:
            return self._context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise


class _Body(httpx2.SyncByteStream):
    """A response's body; read to its end, its connection serves another request."""

    def __init__(
        self, transport: DirectTransport, origin: _Origin, connection: _Connection, incoming: Incoming, begun: bytes
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._connection: _Connection | None = connection
        self._incoming = incoming
        self._begun = begun

    def __iter__(self) -> Iterator[bytes]:
        connection, incoming = self._connection, self._incoming
        if self._begun:
            yield self._begun
        with _translated():
            while connection is not None and not incoming.is_complete:
                piece, at = incoming.feed(connection.receive()), time.monotonic()
                if piece:
                    yield piece
                    if not incoming.is_complete:
                        self._transport.pause(at)
        if connection is not None and not incoming.is_last:
            self._connection = None
            self._transport.keep(self._origin, connection)

    def close(self) -> None:
        """Give the connection up, unless it was kept."""
        self._transport.end(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def direct(client: httpx2.Client, connections: int) -> httpx2.Client:
    """Let a client send requests that are marked `DIRECT` directly, unless it has proxies.

    A client takes a transport only when it is made, and then knows nothing of the environment's proxies: hence the
    private names, which `tests/contract/test_http_direct.py` notices when they change.
    """
    if not client._mounts:
        client._transport = DirectTransport(client._transport, connections)
    return client


def _origin(url: httpx2.URL) -> _Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _head(request: httpx2.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@contextlib.contextmanager
def _translated(*, connecting: bool = False) -> Iterator[None]:
    """Raise httpx2's errors in place of Python's, httptools' and those that a cut deadline makes."""
    try:
        yield
    except (TimeoutError, httpcore2.TimeoutException) as error:
        raise (httpx2.ConnectTimeout if connecting else httpx2.ReadTimeout)(str(error)) from error
    except (OSError, httpcore2.NetworkError) as error:
        raise (httpx2.ConnectError if connecting else httpx2.ReadError)(str(error)) from error
    except httptools.HttpParserError as error:
        raise httpx2.RemoteProtocolError(str(error)) from error
