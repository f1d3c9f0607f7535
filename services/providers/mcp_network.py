"""Connections to MCP servers from an event loop: guarded as `guarded_network` says, by one pool a session."""

import asyncio
import ssl
from collections.abc import Iterable, Sequence

import anyio
import httpcore2

from services.providers.guarded_network import (
    STEP_SECONDS,
    Address,
    AddressRefused,
    NameUnresolved,
    Network,
    Resolver,
    addresses_of,
    begin_lookup,
    is_reachable,
    literal_address,
)

CONNECTIONS = 256
"""As many calls may run at the same time over one session; the next ones wait for a connection."""

_KEPT = 8
_KEPT_SECONDS = 4.0
"""Node and uvicorn close an idle connection after five; a request in that moment is lost."""


class GuardedAsyncNetwork(httpcore2.AsyncNetworkBackend):
    """Open connections only where they may lead, also after a redirect: each connection comes through here.

    Args:
        opened: networks that are allowed although they are not public; None allows every address.
    """

    def __init__(self, resolver: Resolver, opened: Sequence[Network] | None) -> None:
        self._resolver = resolver
        self._opened = opened
        self._backend = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of a host that takes the connection.

        Raises:
            NameUnresolved: the host has no address.
            AddressRefused: one of its addresses is not allowed.
        """
        addresses = await self._addresses(host)
        if self._opened is not None and not all(is_reachable(address, self._opened) for address in addresses):
            raise AddressRefused(host)
        for address in addresses[:-1]:
            try:
                return await self._backend.connect_tcp(str(address), port, timeout)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(str(addresses[-1]), port, timeout)

    async def _addresses(self, host: str) -> Sequence[Address]:
        literal = literal_address(host)
        if literal is not None:
            return [literal]
        try:
            with anyio.fail_after(STEP_SECONDS):
                found = await asyncio.wrap_future(begin_lookup(self._resolver, host))
        except (OSError, ValueError) as error:
            raise NameUnresolved(host) from error
        return addresses_of(host, found)

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries."""
        await anyio.sleep(seconds)


def connection_pool(network: GuardedAsyncNetwork, trust: ssl.SSLContext) -> httpcore2.AsyncConnectionPool:
    """Return the connections of one session; no proxy stands between, it would connect in our place."""
    return httpcore2.AsyncConnectionPool(
        ssl_context=trust,
        max_connections=CONNECTIONS,
        max_keepalive_connections=_KEPT,
        keepalive_expiry=_KEPT_SECONDS,
        network_backend=network,
    )
