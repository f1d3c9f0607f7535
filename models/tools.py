"""Tools: what a model may call beside answering, where they come from, and what became of a call."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


@dataclass(frozen=True)
class ToolSpec:
    """A function that a model may ask for.

    Attributes:
        parameters: JSON schema of the arguments, an object.
        strict: the provider is to hold the model to the schema. It refuses schemas that are not made for that: all
            properties required, no others allowed.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    strict: bool = False


@dataclass(frozen=True)
class ToolCall:
    """A function that a model asks for.

    Attributes:
        id: the provider's own, by which it knows the output.
        name: may be none of those that the request told.
        arguments: as the model wrote them: JSON that may not fit the schema, or no JSON at all.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ToolResult:
    """A call that was made, and what it gave: for the model to read, also where it failed."""

    call: ToolCall
    output: str


@dataclass(frozen=True)
class ToolOutput:
    """What a tool gave: text for the model to read, also where it failed."""

    text: str
    failed: bool = False


@dataclass(frozen=True)
class ToolUse:
    """A call of a tool of the assistant's, as it is stored with the chat.

    Attributes:
        source: the name of the assistant's `ToolSource`.
        arguments: as the model wrote them.
        output: what the model was told, cut to a limit.
    """

    name: str
    source: str
    arguments: str
    output: str
    failed: bool
    started_at: datetime
    duration_ms: int


class SourceKind(StrEnum):
    """What a source of tools is.

    `mcp` is a server that the assistant's manager names by its address; `shared` one that the operator of this server
    allows by name (`MCP_SERVERS_FILE`, and the samples); `builtin` a tool of ours.
    """

    MCP = "mcp"
    SHARED = "shared"
    BUILTIN = "builtin"


class Transport(StrEnum):
    """How an MCP server is spoken to."""

    STDIO = "stdio"
    SSE = "sse"
    STREAMABLE_HTTP = "streamable_http"


@dataclass(frozen=True)
class ToolSource:
    """Where tools of an assistant come from, as the assistant keeps it.

    Attributes:
        name: unique within the assistant. Of `shared` it is the operator's name of the server, of `builtin` the tool's.
        transport: None but for `mcp`, where it is never `stdio`.
        headers: (name, value), the values sealed under this server's secret (`services/sealing.py`).
        allowed_tools: the tools of it that may be used; None for all.
        timeout_seconds: how long a call may take.
        timeouts: (tool, seconds), for single tools.
    """

    name: str
    kind: SourceKind
    transport: Transport | None = None
    url: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    allowed_tools: tuple[str, ...] | None = None
    timeout_seconds: float = 30.0
    timeouts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class ToolServer:
    """An MCP server as it is connected to.

    Attributes:
        trusted: the operator named it, so it may be anywhere; others must not be in a private network.
        headers: in clear.
        command, args, env: of `stdio`.
    """

    name: str
    transport: Transport
    url: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    command: str = ""
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    trusted: bool = False
