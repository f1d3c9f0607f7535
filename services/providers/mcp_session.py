"""One session with an MCP server: a task of its own, because MCP's scopes are left by the task that entered them."""

import contextlib
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp_types import (
    HEADER_MISMATCH,
    PARSE_ERROR,
    CallToolRequest,
    CallToolRequestParams,
    Implementation,
    ServerNotification,
    ToolListChangedNotification,
)
from pydantic import TypeAdapter

from models.tools import ToolOutput, ToolServer, ToolSpec, Transport
from services.providers.mcp_faults import (
    ENDED,
    FOREIGN,
    NOT_STARTED,
    SILENT,
    TOO_LARGE,
    Fault,
    NotDelivered,
    failure,
)
from services.providers.mcp_http import DELIVERY, Delivery
from services.providers.mcp_output import Result, all_tools, failed, output_of, specs_of

logger = logging.getLogger("orquestra.tools")

_CLOSE_SECONDS = 3.0
_POLL_SECONDS = 1.0
_ABANDONED = 20
"""So many calls that were given up may be on a server's hands before the session is replaced."""

_CLIENT = Implementation(name="orquestra", version="1")
_RESULT: TypeAdapter[Result] = TypeAdapter(Result)
_FOREIGN = "The tool's server sent an answer that is not as MCP demands."
_LOST = "The connection to the tool's server failed during the call. Whether the call took effect is not known."

Lost = Callable[[Fault], None]
Connect = Callable[[ToolServer, Lost], AbstractAsyncContextManager[Any]]
"""Returns the transport to a server, which says when the session cannot go on."""


@dataclass(frozen=True)
class SessionTimes:
    """How long a session goes on.

    Attributes:
        opening: seconds that its opening may take.
        idle: seconds without a call after which it ends.
        listed: seconds for which a list of tools is believed.
    """

    opening: float = 10.0
    idle: float = 600.0
    listed: float = 300.0


class McpSession:
    """Open a session, keep it while it is used, and make calls in it.

    Attributes:
        name: the server's.
        over: it takes no more calls.
        busy: how many calls are under way.
        used_at: when the last one began, as `time.monotonic` counts.
    """

    def __init__(self, server: ToolServer, connect: Connect, times: SessionTimes) -> None:
        self.name = server.name
        self.over = False
        self.busy = 0
        self.used_at = time.monotonic()
        self._server = server
        self._connect = connect
        self._times = times
        self._client: Client | None = None
        self._fault: Fault | None = None
        self._opening = Delivery(opening=True)
        self._opened, self._ended = anyio.Event(), anyio.Event()
        self._listing = anyio.Lock()
        self._listed: tuple[float, Sequence[ToolSpec]] | None = None
        self._abandoned = 0

    async def run(self) -> None:
        """Be the session, from its opening to its end."""
        DELIVERY.set(self._opening)
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._times.opening) as scope:
                transport = self._connect(self._server, self._lose)
                async with Client(transport, cache=None, client_info=_CLIENT, message_handler=self._hear) as client:
                    scope.deadline = math.inf
                    self._client = client
                    self._opened.set()
                    await self._last(client)
                    scope.deadline = anyio.current_time() + _CLOSE_SECONDS
            if scope.cancelled_caught:
                self._fault = self._fault or self._opening.fault or SILENT
        except _FAILURES as error:
            self._fault = self._why(error)
        finally:
            self.over = True
            self._opened.set()
            if self._client is not None:
                code = self._fault.code if self._fault else None
                logger.info("a session with a tool server ended", extra={"server": self.name, "code": code})

    def end(self) -> None:
        """Take no more calls, and end when those under way have."""
        self.over = True
        if not self.busy:
            self._ended.set()

    def stop(self) -> None:
        """End now."""
        self.over = True
        self._ended.set()

    @property
    def open(self) -> bool:
        """Tell whether it was opened, with success or without."""
        return self._opened.is_set()

    async def opened(self) -> None:
        """Wait until the server has answered, or until it is clear that it does not.

        Raises:
            ProviderFailed: it cannot be reached, or does not answer as it should.
        """
        await self._opened.wait()
        if self._client is None:
            raise failure(self.name, self._fault or ENDED)

    async def tools(self) -> Sequence[ToolSpec]:
        """Return what the server offers; it is asked again when it says so, or after five minutes.

        Raises:
            ProviderFailed: it cannot be reached, or does not answer as it should.
            NotDelivered: the session has ended meanwhile.
        """
        async with self._working() as (client, delivery), self._listing:
            if self._listed is None or time.monotonic() - self._listed[0] > self._times.listed:
                try:
                    tools = await all_tools(client)
                except (MCPError, ValueError) as error:
                    if delivery.undelivered or delivery.broken or self.over:
                        self.end()
                        raise NotDelivered from error  # asking twice what there is does no harm
                    raise failure(self.name, delivery.fault or FOREIGN) from error
                self._listed = time.monotonic(), specs_of(tools, self.name)
            return self._listed[1]

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolOutput:
        """Call a tool and return what it gave; who does not wait for it any more cancels it, and the server hears that.

        Raises:
            ProviderFailed: the server cannot be reached.
            NotDelivered: the server certainly did not get the call.
        """
        async with self._working() as (client, delivery):
            try:
                return output_of(await self._sent(client, tool, dict(arguments)))
            except anyio.get_cancelled_exc_class():
                self._abandon()
                raise
            except MCPError as error:
                return self._failed(error, delivery)
            except ValueError:
                return failed(_FOREIGN)

    async def _sent(self, client: Client, tool: str, arguments: dict[str, Any]) -> Result:
        """Send a call; `Client.call_tool` would check outputs against a schema of the server's, whose patterns may
        keep the event loop busy for ever."""
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        try:
            return await client.session.send_request(request, _RESULT)
        except MCPError as error:
            if error.code != HEADER_MISMATCH:
                raise
        await all_tools(client)  # the server wants headers that its list of tools tells
        return await client.session.send_request(request, _RESULT)

    def _failed(self, error: MCPError, delivery: Delivery) -> ToolOutput:
        if delivery.undelivered:
            self.end()
            raise NotDelivered from error
        if delivery.broken or self.over:
            reason = self._fault or delivery.fault
            return failed(_LOST if reason is None or reason is ENDED else f"{_LOST} The server {reason.reason}")
        if delivery.fault:
            return failed(f"The tool's server {delivery.fault.reason}")
        return failed(_FOREIGN if error.code == PARSE_ERROR else f"Error: {error.message}")

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncGenerator[tuple[Client, Delivery]]:
        """Wait until the session is open, and count what is under way in it."""
        self.busy += 1
        try:
            await self.opened()
            if self.over or self._client is None:
                raise NotDelivered
            delivery = Delivery()
            DELIVERY.set(delivery)
            yield self._client, delivery
        finally:
            self.busy -= 1
            self.used_at = time.monotonic()
            if self.over and not self.busy:
                self._ended.set()

    def _abandon(self) -> None:
        self._abandoned += 1
        if self._abandoned >= _ABANDONED:
            self.end()

    async def _last(self, client: Client) -> None:
        """Return when the session is to end: it was told so, or nobody has used it for long."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch, client)
            try:
                while not self._ended.is_set():
                    left = self.used_at + self._times.idle - time.monotonic()
                    if left <= 0 and not self.busy:
                        break
                    with anyio.move_on_after(max(left, _POLL_SECONDS)):
                        await self._ended.wait()
            finally:
                self.over = True  # before calls under way learn that the connection is closed
            tasks.cancel_scope.cancel()

    async def _watch(self, client: Client) -> None:
        """Hear of changed tools as MCP of 2026 tells them; before, they came by themselves."""
        with contextlib.suppress(MCPError, ListenNotSupportedError, SubscriptionLost, TimeoutError):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    self._listed = None

    async def _hear(self, message: ServerNotification | Exception) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._listed = None

    def _lose(self, fault: Fault) -> None:
        """End because the connection has; calls under way learn it from MCP's client."""
        if self._fault is None and not self.over:
            self._fault = fault
        self.stop()

    def _why(self, error: Exception) -> Fault:
        """Return why the session could not begin or go on."""
        fault = self._fault or self._opening.fault or _fault_of(error)
        if self._client is not None or fault is not ENDED:
            return fault
        return NOT_STARTED if self._server.transport is Transport.STDIO else FOREIGN


_FAILURES = (
    ExceptionGroup,
    MCPError,
    OSError,
    ValueError,
    RuntimeError,
    httpx2.HTTPError,
    anyio.ClosedResourceError,
    anyio.BrokenResourceError,
)


def _fault_of(error: BaseException) -> Fault:
    """Return why a session could not begin or go on, from what MCP's client has raised."""
    if isinstance(error, BaseExceptionGroup):
        return _fault_of(error.exceptions[0])
    if isinstance(error, httpx2.SSEError) and "exceeded" in str(error):
        return TOO_LARGE
    if isinstance(error, FileNotFoundError | PermissionError):
        return NOT_STARTED
    return FOREIGN
