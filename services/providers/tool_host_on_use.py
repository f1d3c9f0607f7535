"""MCP's client is loaded when a tool is first used: it takes half a second and 20 MiB, which many never need."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from models.deadline import Deadline
from models.tools import ToolOutput, ToolServer, ToolSpec
from services.ports.tools import ToolHost
from services.providers.mcp_faults import STOPPING, failure


class ClosableToolHost(ToolHost, Protocol):
    """A tool host that holds sessions, and the programs that were started for them."""

    def close(self) -> None:
        """End them; nothing is asked any more."""


class ToolHostOnUse:
    """Implement `ToolHost` by another one that is made with the first use."""

    def __init__(self, make: Callable[[], ClosableToolHost]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: ClosableToolHost | None = None
        self._closed = False

    def tools(self, server: ToolServer, deadline: Deadline) -> Sequence[ToolSpec]:
        """Return what the server offers; raises as `ToolHost.tools`."""
        return self._host(server).tools(server, deadline)

    def call(
        self, server: ToolServer, tool: str, arguments: Mapping[str, Any], seconds: float, deadline: Deadline
    ) -> ToolOutput:
        """Call a tool; raises as `ToolHost.call`."""
        return self._host(server).call(server, tool, arguments, seconds, deadline)

    def close(self) -> None:
        """Close what was made; nothing is made any more."""
        with self._lock:
            self._closed = True
        if self._made is not None:
            self._made.close()

    def _host(self, server: ToolServer) -> ToolHost:
        with self._lock:
            if self._made is None:
                if self._closed:
                    raise failure(server.name, STOPPING)
                self._made = self._make()
            return self._made
