"""Servers of tools that live in the test's own process, behind the port that real ones are behind."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.tools import SourceKind, ToolOutput, ToolServer, ToolSource, ToolSpec, Transport

Handler = Callable[[Mapping[str, Any], Deadline], str | ToolOutput]

_GLANCE_SECONDS = 0.01


def source(name: str = "desk", **fields: Any) -> ToolSource:
    """Return a source as an assistant keeps it."""
    given = {"kind": SourceKind.MCP, "transport": Transport.SSE, "url": f"https://{name}.example/", **fields}
    return ToolSource(name, **given)


def resolved(source: ToolSource) -> ToolServer:
    """Return the server of a source."""
    return ToolServer(source.name, source.transport or Transport.SSE, source.url)


def spec(name: str, *required: str, **properties: Any) -> ToolSpec:
    """Return a tool with these parameters, texts if nothing else is said; those that are required are texts."""
    shapes = {**{one: {"type": "string"} for one in required}, **properties}
    return ToolSpec(name, f"Do {name}.", {"type": "object", "properties": shapes, "required": list(required)})


@dataclass
class ToolServers:
    """Implement `ToolHost` with functions.

    Attributes:
        offered: server -> its tools; one that is not here cannot be reached.
        handlers: tool -> what it does.
        called: (server, tool, arguments) of each call.
        cancelled: the tools whose calls were cancelled, or ran out of time.
    """

    offered: dict[str, list[ToolSpec]] = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)
    called: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    def offer(self, tool: ToolSpec, handler: Handler, server: str = "desk") -> "ToolServers":
        """Let a server have one more tool."""
        self.offered.setdefault(server, []).append(tool)
        self.handlers[tool.name] = handler
        return self

    def tools(self, server: ToolServer, deadline: Deadline) -> Sequence[ToolSpec]:
        """Return what a server offers."""
        self.listed.append(server.name)
        if server.name not in self.offered:
            raise ProviderFailed("The server of tools cannot be reached.", code="tool_server_failed")
        return self.offered[server.name]

    def call(
        self, server: ToolServer, tool: str, arguments: Mapping[str, Any], seconds: float, deadline: Deadline
    ) -> ToolOutput:
        """Call a function."""
        self.called.append((server.name, tool, dict(arguments)))
        try:
            made = self.handlers[tool](arguments, deadline)
        except (CallCancelled, DeadlineExceeded):
            self.cancelled.append(tool)
            raise
        return made if isinstance(made, ToolOutput) else ToolOutput(made)


def waiting(event: threading.Event, output: str = "done") -> Handler:
    """Return a handler that waits for an event, no longer than its deadline allows."""

    def handle(arguments: Mapping[str, Any], deadline: Deadline) -> str:
        while not event.wait(_GLANCE_SECONDS):
            deadline.check()
        return output

    return handle
