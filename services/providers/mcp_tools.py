"""MCP servers behind `ToolHost`: MCP's client works in an event loop, which has one thread for all sessions."""

import concurrent.futures
import logging
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from models.deadline import Deadline
from models.tools import ToolOutput, ToolServer, ToolSpec
from services.providers.guarded_network import Network, Resolver, resolve
from services.providers.mcp_faults import CROWDED, ENDED, SILENT, STOPPING, NotDelivered, failure
from services.providers.mcp_output import failed
from services.providers.mcp_session import McpSession, SessionTimes
from services.providers.mcp_transports import McpConnector

logger = logging.getLogger("orquestra.tools")

_SESSIONS = 256
_LIST_SECONDS = 10.0
_MARGIN_SECONDS = 1.0
_CLOSE_SECONDS = 8.0

Given = TypeVar("Given")


class McpToolHost:
    """Implement `ToolHost`: one session a server, shared by all answers of this process.

    Args:
        opened: private networks in which servers may be that the operator has not named.
        trust: the certificates to trust; None for the system's.
        most: sessions at the same time; the one that was not used for longest makes room.
        times: how long sessions go on.
    """

    def __init__(
        self,
        opened: Sequence[Network] = (),
        resolver: Resolver = resolve,
        trust: ssl.SSLContext | None = None,
        most: int = _SESSIONS,
        times: SessionTimes = SessionTimes(),  # noqa: B008  frozen
    ) -> None:
        self._connect = McpConnector(opened, resolver, trust)
        self._most = most
        self._times = times
        self._lock = threading.Lock()  # never taken in the event loop's thread, which its holders wait for
        self._sessions: dict[ToolServer, McpSession] = {}
        self._running: set[concurrent.futures.Future[None]] = set()
        self._portal: BlockingPortal | None = None
        self._thread = ExitStack()
        self._closed = False

    def tools(self, server: ToolServer, deadline: Deadline) -> Sequence[ToolSpec]:
        """Return what the server offers.

        Raises:
            ProviderFailed: code `tool_server_failed`, or `tool_server_refused` for one in a private network.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        try:
            return self._done(server, McpSession.tools, _LIST_SECONDS, deadline)
        except TimeoutError as error:
            raise failure(server.name, SILENT) from error

    def call(
        self, server: ToolServer, tool: str, arguments: Mapping[str, Any], seconds: float, deadline: Deadline
    ) -> ToolOutput:
        """Call a tool and return what it gave, cut to 20,000 characters; its own failures are `failed` outputs.

        A call is made again, once, only if it is certain that the server did not get it.

        Raises:
            ProviderFailed: as `tools`.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """
        try:
            return self._done(server, lambda session: session.call(tool, arguments), seconds, deadline)
        except TimeoutError:
            return failed(f"The call timed out after {seconds:g} s. Whether it took effect is not known.")

    def close(self) -> None:
        """End all sessions, the programs among them, and the thread."""
        with self._lock:
            self._closed = True
            sessions, running = list(self._sessions.values()), list(self._running)
            portal, self._portal = self._portal, None
        if portal is None:
            return
        for session in sessions:
            portal.call(session.stop)
        concurrent.futures.wait(running, _CLOSE_SECONDS)
        portal.call(portal.stop, True)
        self._thread.close()

    def _done(
        self,
        server: ToolServer,
        work: Callable[[McpSession], Awaitable[Given]],
        seconds: float,
        deadline: Deadline,
    ) -> Given:
        """Do something in the server's session, in a new one if it turns out that the old one is no more.

        Raises:
            TimeoutError: it took longer than these seconds, without the opening of a session.
        """
        try:
            return self._done_once(server, work, seconds, deadline)
        except NotDelivered:
            pass
        try:
            return self._done_once(server, work, seconds, deadline)
        except NotDelivered as error:
            raise failure(server.name, ENDED) from error

    def _done_once(
        self,
        server: ToolServer,
        work: Callable[[McpSession], Awaitable[Given]],
        seconds: float,
        deadline: Deadline,
    ) -> Given:
        deadline.check()
        session = self._session(server)
        if not session.open:
            self._waited(session, McpSession.opened, self._times.opening + _MARGIN_SECONDS, deadline)
        return self._waited(session, work, seconds, deadline)

    def _waited(
        self,
        session: McpSession,
        work: Callable[[McpSession], Awaitable[Given]],
        seconds: float,
        deadline: Deadline,
    ) -> Given:
        """Wait for the event loop, but not longer than these seconds, nor than the deadline allows."""
        future = self._started(work, session)

        def give_up() -> None:
            future.cancel()

        deadline.on_cancel(give_up)
        try:
            return future.result(min(deadline.remaining(), seconds))
        except TimeoutError:
            give_up()
            deadline.check()
            raise
        except concurrent.futures.CancelledError as error:
            deadline.check()
            raise failure(session.name, STOPPING) from error

    def _started(
        self, work: Callable[[McpSession], Awaitable[Given]], session: McpSession
    ) -> "concurrent.futures.Future[Given]":
        if self._portal is None:
            raise failure(session.name, STOPPING)
        try:
            return self._portal.start_task_soon(work, session)
        except RuntimeError as error:  # it was closed meanwhile
            raise failure(session.name, STOPPING) from error

    def _session(self, server: ToolServer) -> McpSession:
        """Return the session with a server, a new one if there is none that lives."""
        with self._lock:
            if self._closed:
                raise failure(server.name, STOPPING)
            session = self._sessions.get(server)
            if session is not None and not session.over:
                return session
            if self._portal is None:
                self._portal = self._thread.enter_context(start_blocking_portal(name="mcp"))
            self._make_room(server, self._portal)
            session = self._sessions[server] = McpSession(server, self._connect, self._times)
            future = self._portal.start_task_soon(session.run)
            self._running.add(future)
            future.add_done_callback(self._forget)
            return session

    def _make_room(self, server: ToolServer, portal: BlockingPortal) -> None:
        self._sessions = {known: one for known, one in self._sessions.items() if not one.over}
        if not server.trusted:  # strangers' servers that hang must not keep the operator's own out
            hanging = sum(one.busy > 0 for known, one in self._sessions.items() if not known.trusted)
            if hanging >= max(1, self._most // 2):
                raise failure(server.name, CROWDED)
        if len(self._sessions) < self._most:
            return
        idle = [(one.used_at, known) for known, one in self._sessions.items() if not one.busy]
        if not idle:
            raise failure(server.name, CROWDED)
        portal.start_task_soon(self._sessions.pop(min(idle, key=lambda pair: pair[0])[1]).end)

    def _forget(self, future: "concurrent.futures.Future[None]") -> None:
        """Take a session that has ended off the list; called in the event loop's thread."""
        self._running.discard(future)
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.error("a session with a tool server failed", extra={"error": type(error).__name__})
