"""How MCP servers are connected to: which transport, over which network."""

import contextlib
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpcore2
import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from models.tools import ToolServer, Transport
from services.providers.guarded_network import Network, Resolver
from services.providers.mcp_http import LARGEST_MESSAGE, BoundedTransport
from services.providers.mcp_network import GuardedAsyncNetwork, connection_pool
from services.providers.mcp_session import Lost
from services.providers.mcp_stdio import stdio_transport

_TIMEOUT = httpx2.Timeout(10.0, connect=4.0, pool=5.0, read=660.0)
"""A call takes 600 s at most, and is bounded by itself; what stays silent for longer is dead."""


class McpConnector:
    """Make the transport to a server.

    Args:
        opened: private networks in which a server may be that the operator has not named.
        trust: the certificates to trust; None for the system's.
    """

    def __init__(self, opened: Sequence[Network], resolver: Resolver, trust: ssl.SSLContext | None = None) -> None:
        self._guarded = GuardedAsyncNetwork(resolver, opened)
        self._open = GuardedAsyncNetwork(resolver, None)
        self._trust = trust or httpcore2.default_ssl_context()

    def __call__(self, server: ToolServer, lost: Lost) -> AbstractAsyncContextManager[Any]:
        """Return what MCP's client enters to be connected; `lost` is called when the session cannot go on."""
        if server.transport is Transport.STDIO:
            return stdio_transport(server, lost)
        if server.transport is Transport.SSE:

            def client(*_: object, **__: object) -> httpx2.AsyncClient:
                return self._client(server, lost)

            return sse_client(server.url, httpx_client_factory=client)
        return self._streamable(server)

    @contextlib.asynccontextmanager
    async def _streamable(self, server: ToolServer) -> AsyncGenerator[Any]:
        async with (
            self._client(server, None) as client,
            streamable_http_client(server.url, http_client=client, max_sse_event_size=LARGEST_MESSAGE) as streams,
        ):
            yield streams

    def _client(self, server: ToolServer, lost: Lost | None) -> httpx2.AsyncClient:
        pool = connection_pool(self._open if server.trusted else self._guarded, self._trust)
        headers = {**dict(server.headers), "accept-encoding": "identity"}
        transport = BoundedTransport(pool, lost)
        return httpx2.AsyncClient(transport=transport, headers=headers, timeout=_TIMEOUT, trust_env=False)
