"""What makes tools' calls."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from models.deadline import Deadline
from models.tools import ToolOutput, ToolServer, ToolSpec


class ToolHost(Protocol):
    """MCP servers. Their sessions are shared by all answers, and opened again when they have died.

    Both methods block; cancelling the deadline ends them at once, and tells the server that nobody waits.
    """

    def tools(self, server: ToolServer, deadline: Deadline) -> Sequence[ToolSpec]:
        """Return what the server offers.

        Raises:
            ProviderFailed: code `tool_server_failed`; it cannot be reached, or is no MCP server.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """

    def call(
        self, server: ToolServer, tool: str, arguments: Mapping[str, Any], seconds: float, deadline: Deadline
    ) -> ToolOutput:
        """Call a tool and return what it gave, cut to a limit; its own failures are `failed` outputs.

        Args:
            seconds: how long the call may take; one that takes longer is a `failed` output.

        Raises:
            ProviderFailed: code `tool_server_failed`; the server is gone, and a new session did not help.
            DeadlineExceeded, CallCancelled: as `LanguageModel.stream`.
        """


class ToolServerCatalog(Protocol):
    """The MCP servers that the operator of this server lets assistants use by name."""

    def names(self) -> Sequence[str]:
        """Return the servers' names."""

    def find(self, name: str) -> ToolServer | None:
        """Return the server of this name."""
