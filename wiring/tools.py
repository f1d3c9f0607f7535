"""What makes tools' calls, and the servers that the operator allows."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.tools import ToolServer, Transport
from services.providers.mcp_catalog import CatalogFaults, FileToolServerCatalog
from services.providers.tool_host_on_use import ClosableToolHost, ToolHostOnUse
from settings import Settings, SettingsError

_SAMPLES = Path(__file__).resolve().parent.parent / "assets" / "samples"
_SUPPORT_DESK = ToolServer(
    "support_desk", Transport.STDIO, command=sys.executable, args=(str(_SAMPLES / "support_desk" / "server.py"),)
)


@dataclass(frozen=True)
class Tools:
    """Everything that reaches tools outside.

    Attributes:
        close: ends sessions with tool servers, and the programs that were started for them.
    """

    host: ToolHostOnUse
    catalog: FileToolServerCatalog
    close: Callable[[], None]


def build_tools(settings: Settings) -> Tools:
    """Wire the tools of MCP servers; nothing is connected to before it is used.

    Raises:
        SettingsError: MCP_SERVERS_FILE is wrong, with all its faults.
    """
    path = Path(settings.mcp_servers_file) if settings.mcp_servers_file else None
    try:
        catalog = FileToolServerCatalog(path, [_SUPPORT_DESK])
    except CatalogFaults as error:
        raise SettingsError([f"MCP_SERVERS_FILE: {fault}" for fault in error.faults]) from error
    host = ToolHostOnUse(lambda: _mcp_host(settings))
    return Tools(host, catalog, host.close)


def _mcp_host(settings: Settings) -> ClosableToolHost:
    made: ClosableToolHost = importlib.import_module("services.providers.mcp_tools").McpToolHost(settings.mcp_networks)
    return made
