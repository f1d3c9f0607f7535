"""HTTP as MCP's client needs it: bounded, and a failed request harms nothing but itself.

The client's transports end a whole session, with the calls of everybody in it, when one request fails below HTTP. Such
a failure becomes an answer with status 502 here, and is noted where the call that made the request finds it.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass

import anyio
import httpcore2
import httpx2

from services.providers.guarded_network import AddressRefused, NameUnresolved
from services.providers.mcp_faults import (
    ABSENT,
    ENDED,
    FOREIGN,
    PRIVATE,
    SILENT,
    TOO_LARGE,
    UNKNOWN,
    Fault,
    fault_of_status,
)

LARGEST_MESSAGE = 4 * 2**20
"""Bytes of a whole answer, an event of a stream, or a line of a program."""

_STREAMED_AT_ONCE = 8 * 2**20
_STREAMED_PER_SECOND = 2**17
"""Above it is a flood: reading small messages takes the processor that everybody's tools share."""

_POST_SECONDS = 30.0
_LINGER_SECONDS = 0.1
_LINGER_BYTES = 65_536
_GATEWAY = 502
_SESSION_HEADER = "mcp-session-id"
_UNKNOWN_SESSION = frozenset({400, 404})
_UNSENT = (httpcore2.ConnectError, httpcore2.ConnectTimeout, httpcore2.PoolTimeout, AddressRefused, NameUnresolved)
_BROKEN = (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError)


@dataclass
class Delivery:
    """What became of the request that carried a call.

    Attributes:
        opening: it stands for all requests with which a session begins.
        undelivered: the server certainly did nothing about it.
        broken: the connection failed after it was sent; what the server did is not known.
        fault: what HTTP said about it, if it was no success.
    """

    opening: bool = False
    begun: bool = False
    undelivered: bool = False
    broken: bool = False
    fault: Fault | None = None


DELIVERY: ContextVar[Delivery | None] = ContextVar("DELIVERY", default=None)
"""Of the call for which a task works; MCP's transports hand the context of a message's sender on."""


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Send requests through a pool of connections.

    Args:
        lost: called when the session cannot go on: of the transport `sse` when its one stream ends or a message does
            not arrive; None for streamable HTTP, whose requests are on their own.
    """

    def __init__(self, pool: httpcore2.AsyncConnectionPool, lost: Callable[[Fault], None] | None) -> None:
        self._pool = pool
        self._lost = lost

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the answer; where there is none, one with status 502."""
        delivery = _delivery_of(request)
        try:
            answer = await self._answered(request, delivery)
        except _UNSENT as error:
            delivery.undelivered, delivery.fault = True, _fault_of(error)
        except (*_BROKEN, TimeoutError) as error:
            delivery.broken, delivery.fault = True, _fault_of(error)
        else:
            self._note(request, answer, delivery)
            return answer
        self._end(request, delivery.fault)
        return httpx2.Response(_GATEWAY, request=request)

    def _note(self, request: httpx2.Request, answer: httpx2.Response, delivery: Delivery) -> None:
        if answer.is_success:
            delivery.fault = None
            return
        delivery.begun = False  # a redirect may be followed
        delivery.fault = delivery.fault or fault_of_status(answer.status_code)
        delivery.undelivered = answer.status_code in _UNKNOWN_SESSION and self._names_session(request)
        if not answer.is_redirect:
            self._end(request, delivery.fault)

    def _names_session(self, request: httpx2.Request) -> bool:
        return self._lost is not None or _SESSION_HEADER in request.headers

    def _end(self, request: httpx2.Request, fault: Fault) -> None:
        if self._lost is not None and request.method == "POST":
            self._lost(fault)

    async def _answered(self, request: httpx2.Request, delivery: Delivery) -> httpx2.Response:
        with anyio.CancelScope() as scope:
            if self._lost is not None and request.method == "POST":
                scope.deadline = anyio.current_time() + _POST_SECONDS  # the next message waits for the end of this one
            response = await self._pool.handle_async_request(_wire_request(request))
            headers = httpx2.Headers(response.headers)
            if headers.get("content-encoding", "identity") != "identity":  # not asked for, and it may grow without end
                await response.aclose()
                delivery.fault = FOREIGN
                return httpx2.Response(_GATEWAY, request=request)
            if headers.get("content-type", "").lower().startswith("text/event-stream"):
                stream = _Events(response, delivery, self._lost)
                return httpx2.Response(response.status, headers=headers, stream=stream, request=request)
            async with contextlib.aclosing(response):
                content = await _whole(response, delivery)
            if content is None:
                return httpx2.Response(_GATEWAY, request=request)
            return httpx2.Response(response.status, headers=headers, content=content, request=request)
        raise TimeoutError

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _Events(httpx2.AsyncByteStream):
    """A stream of events, which ends where it fails or grows faster than anybody needs."""

    def __init__(self, response: httpcore2.Response, delivery: Delivery, lost: Callable[[Fault], None] | None) -> None:
        self._response = response
        self._chunks = response.aiter_stream()
        self._delivery = delivery
        self._lost = lost

    async def __aiter__(self) -> AsyncIterator[bytes]:
        began, size, fault = time.monotonic(), 0, ENDED
        try:
            async for chunk in self._chunks:
                size += len(chunk)
                if size > _STREAMED_AT_ONCE + _STREAMED_PER_SECOND * (time.monotonic() - began):
                    fault = TOO_LARGE
                    break
                yield chunk
        except _BROKEN as error:
            fault = _fault_of(error)
        self._delivery.broken, self._delivery.fault = True, fault
        if self._lost is not None:
            self._lost(fault)

    async def aclose(self) -> None:
        """Close the stream; MCP's client does it behind the event that it waited for.

        Most servers end it then too: read to its end, the connection can be used again.
        """
        try:
            with anyio.move_on_after(_LINGER_SECONDS), contextlib.suppress(*_BROKEN):
                size = 0
                async for chunk in self._chunks:
                    size += len(chunk)
                    if size > _LINGER_BYTES:
                        break
        finally:
            await self._response.aclose()


def _delivery_of(request: httpx2.Request) -> Delivery:
    """Return where to note what becomes of a request: it counts for a call only if it carries it."""
    delivery = DELIVERY.get()
    if delivery is not None and delivery.opening:
        return delivery
    if delivery is None or request.method != "POST" or delivery.begun:
        return Delivery()
    delivery.begun = True
    return delivery


def _wire_request(request: httpx2.Request) -> httpcore2.Request:
    url = request.url
    return httpcore2.Request(
        method=request.method,
        url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


async def _whole(response: httpcore2.Response, delivery: Delivery) -> bytes | None:
    """Return an answer's body; None if it is too large, which is noted."""
    content = bytearray()
    async for chunk in response.aiter_stream():
        content += chunk
        if len(content) > LARGEST_MESSAGE:
            delivery.broken, delivery.fault = True, TOO_LARGE
            return None
    return bytes(content)


def _fault_of(error: BaseException) -> Fault:
    if isinstance(error, AddressRefused):
        return PRIVATE
    if isinstance(error, NameUnresolved):
        return UNKNOWN
    if isinstance(error, httpcore2.TimeoutException | TimeoutError):
        return SILENT
    return ABSENT if isinstance(error, httpcore2.ConnectError) else ENDED
