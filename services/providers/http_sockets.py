"""Sockets that a deadline cuts: a cancelled call stops waiting at once, wherever it waits.

A thread that waits for a provider waits in a socket's `recv`. Only shutting that socket down wakes it, and the HTTP
library shows the socket once the response has begun, which is late: a model may think for a minute before. So the
client's network backend is wrapped (`make_cuttable`), and each socket knows which `Call` is using it right now. A
connection goes back to the pool and on to the next call, so a late cancel must not hit that one: the user is
compared under the socket's lock.

What is not cut but only bounded by `CONNECT_SECONDS` and the deadline: looking up a name, connecting, the TLS
handshake, waiting for a free connection.
"""

import contextlib
import contextvars
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import httpcore2
import httpx2

from models.deadline import Deadline

CONNECT_SECONDS = 5.0

_Result = TypeVar("_Result")


class Call:
    """One provider call: nothing it blocks in outlives the deadline or its cancelling."""

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._rest_until: float | None = None
        self._stream: Cuttable | None = None
        deadline.on_cancel(self._cut)

    def run(self, blocking: Callable[[], _Result]) -> _Result:
        """Do something that reads or writes a cuttable client's sockets."""
        token = _current.set(self)
        try:
            return blocking()
        finally:
            _current.reset(token)

    def chunks(self, response: httpx2.Response) -> Iterator[bytes]:
        """Yield the body as it comes, to its end, so that the connection can be used again."""
        chunks = response.iter_bytes()
        while (chunk := self.run(lambda: next(chunks, None))) is not None:
            yield chunk

    def timeout(self) -> httpx2.Timeout:
        """Return the timeouts of a request that begins now."""
        left = self.deadline.remaining()
        return httpx2.Timeout(left, connect=min(CONNECT_SECONDS, left))

    def blame_deadline(self, error: httpx2.HTTPError) -> None:
        """Return if this failure of a blocking call is not the deadline's doing.

        Raises:
            CallCancelled: the deadline was cancelled, which cut the socket.
            DeadlineExceeded: the time is up, which ended the wait.
        """
        waited = isinstance(error, httpx2.TimeoutException) and not isinstance(error, httpx2.ConnectTimeout)
        if waited and self._rest_until is None:
            self.deadline.sleep(self.deadline.remaining())
        self.deadline.check()

    def occupy(self, stream: "Cuttable", timeout: float | None) -> float:
        """Note the socket that is about to block, and return how long it may."""
        self._stream = stream
        if self.deadline.cancelled:
            raise httpcore2.ReadError("the deadline was cancelled")
        left = self.deadline.remaining()
        if self._rest_until is not None:
            left = min(left, self._rest_until - time.monotonic())
        if left <= 0:
            raise httpcore2.ReadTimeout("the deadline is over")
        return left if timeout is None else min(left, timeout)

    def wait_for_rest(self, seconds: float) -> None:
        """Wait only so long from now on: the answer is complete, and what follows is welcome but not needed."""
        self._rest_until = time.monotonic() + seconds

    def done(self) -> None:
        """Let go of the socket: it belongs to the pool again, and a later cancel leaves it alone."""
        self._stream = None

    def _cut(self) -> None:
        stream = self._stream
        if stream is not None:
            stream.cut(self)


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("provider_call", default=None)


class Cuttable:
    """A socket that knows the call which uses it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.user: Call | None = None

    def socket(self) -> socket.socket:
        """Return the socket itself."""
        raise NotImplementedError

    def cut(self, call: Call) -> None:
        """Wake whoever blocks in the socket for this call; leave it alone if another call uses it by now."""
        with self.lock:
            if self.user is call:
                # Not SSLSocket's own shutdown: it would change the TLS state under the blocked reader.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(self.socket(), socket.SHUT_RDWR)

    def claim(self, timeout: float | None) -> float | None:
        """Note the call that is about to block here, and return how long it may.

        Raises:
            httpcore2.ReadError: the call's deadline was cancelled.
            httpcore2.ReadTimeout: it is over.
        """
        call = _current.get()
        with self.lock:
            self.user = call
        return timeout if call is None else call.occupy(self, timeout)


class _CuttableStream(Cuttable, httpcore2.NetworkStream):
    """A stream of httpcore2's that can be cut."""

    def __init__(self, inner: httpcore2.NetworkStream) -> None:
        super().__init__()
        self._inner = inner

    def socket(self) -> socket.socket:
        found: socket.socket = self._inner.get_extra_info("socket")
        return found

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self.claim(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self.claim(timeout))

    def close(self) -> None:
        with self.lock:
            self.user = None
            self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _CuttableStream(self._inner.start_tls(ssl_context, server_hostname, self.claim(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _CuttableBackend(httpcore2.NetworkBackend):
    """A network backend whose sockets can be cut."""

    def __init__(self, inner: httpcore2.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        return _CuttableStream(self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        return _CuttableStream(self._inner.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


def make_cuttable(client: httpx2.Client) -> httpx2.Client:
    """Let `Call` cut the sockets that this client opens from now on.

    httpx2 takes no network backend, and a transport of our own would lose its proxy and TLS settings: hence the
    private names, which `tests/contract/test_openai_chat_wire.py` notices when they change.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            backend = transport._pool._network_backend
            if not isinstance(backend, _CuttableBackend):
                transport._pool._network_backend = _CuttableBackend(backend)
    return client
