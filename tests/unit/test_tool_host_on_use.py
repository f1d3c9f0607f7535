"""A tool host that is made with its first use."""

import pytest

from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolServer, Transport
from services.providers.mcp_tools import McpToolHost
from services.providers.tool_host_on_use import ToolHostOnUse

SERVER = ToolServer("desk", Transport.STDIO, command="/no/such/program")


def test_it_is_made_once_and_closed() -> None:
    made: list[McpToolHost] = []

    def make() -> McpToolHost:
        made.append(McpToolHost())
        return made[-1]

    host = ToolHostOnUse(make)
    assert made == []
    for _ in range(2):
        with pytest.raises(ProviderFailed, match="could not be started"):
            host.tools(SERVER, Deadline(20))
    host.close()
    for use in (lambda: host.tools(SERVER, Deadline(20)), lambda: host.call(SERVER, "a", {}, 5, Deadline(20))):
        with pytest.raises(ProviderFailed, match="this server stops"):
            use()
    assert len(made) == 1


def test_what_was_never_used_closes_and_makes_nothing() -> None:
    host = ToolHostOnUse(McpToolHost)
    host.close()
    with pytest.raises(ProviderFailed, match="this server stops"):
        host.tools(SERVER, Deadline(20))
