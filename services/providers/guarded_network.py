"""Connections to places that other people name: only to addresses that are public, or opened by a setting.

The name is looked up once, every address found is judged, and the connection goes to one of those addresses, so that
a name that changes its address between check and use (DNS rebinding) wins nothing. TLS and the Host header keep the
name. Everything is bounded by one deadline, however slowly the other side drips.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore2

from models.deadline import Deadline

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Resolver = Callable[[str], Sequence[str]]
"""Returns the addresses of a name, as text; raises OSError when it has none."""

STEP_SECONDS = 5.0
"""How long looking a name up, or one try at a connection, may take."""

_SPECIAL_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # public in form, but in Azure the host of the virtual machine
        "169.254.0.0/16",  # link-local; the metadata of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
"""https://www.iana.org/assignments/iana-ipv4-special-registry, what is not globally reachable; Python's own list
differs between its patch versions."""

_GLOBAL_IPV6 = IPv6Network("2000::/3")
"""All of IPv6 that is given out; outside it lie loopback, link-local, unique local, multicast, IPv4 mapped or not."""

_SPECIAL_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and other protocols' own
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
"""Where networks without IPv4 find an IPv4 address, in the last 32 bits (RFC 6052)."""


class AddressRefused(Exception):
    """The name leads to an address that is not allowed."""


class NameUnresolved(Exception):
    """The name leads nowhere, or nobody said so in time."""


def resolve(host: str) -> Sequence[str]:
    """Ask the system for the addresses of a name."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def is_reachable(address: Address, opened: Iterable[Network]) -> bool:
    """Tell whether a connection may go to an address: it is public, or in one of the opened networks."""
    return any(address in network for network in opened) or _is_public(address)


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_IPV4)
    if address in _NAT64:
        return _is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _GLOBAL_IPV6 and not any(address in network for network in _SPECIAL_IPV6)


def literal_address(host: str) -> Address | None:
    """Return the address that a host is written as; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def begin_lookup(resolver: Resolver, host: str) -> Future[Sequence[str]]:
    """Begin to look a name up; a resolver takes no timeout, so a thread waits for it in our place."""
    answer: Future[Sequence[str]] = Future()

    def look_up() -> None:
        try:
            found = resolver(host)
        except (OSError, ValueError) as error:
            if answer.set_running_or_notify_cancel():
                answer.set_exception(error)
        else:
            if answer.set_running_or_notify_cancel():
                answer.set_result(found)

    threading.Thread(target=look_up, name="name-lookup", daemon=True).start()
    return answer


def addresses_of(host: str, found: Sequence[str]) -> list[Address]:
    """Return the addresses that a look-up has found.

    Raises:
        NameUnresolved: there are none, or they are no addresses.
    """
    try:
        addresses = [ip_address(text) for text in found]
    except ValueError as error:
        raise NameUnresolved(host) from error
    if not addresses:
        raise NameUnresolved(host)
    return addresses


class GuardedNetwork(httpcore2.NetworkBackend):
    """Open connections within a deadline, and only where they may lead.

    Args:
        opened: networks that are allowed although they are not public.
    """

    def __init__(self, resolver: Resolver, opened: Sequence[Network], deadline: Deadline) -> None:
        self._resolver = resolver
        self._opened = opened
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that takes the connection.

        Raises:
            NameUnresolved: the host has no address.
            AddressRefused: one of its addresses is not allowed.
        """
        addresses = self._addresses(host)
        if not all(is_reachable(address, self._opened) for address in addresses):
            raise AddressRefused(host)
        with _as_httpcore(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            for address in addresses[:-1]:
                with contextlib.suppress(OSError):
                    return self._connected(address, port)
            return self._connected(addresses[-1], port)

    def _addresses(self, host: str) -> list[Address]:
        literal = literal_address(host)
        if literal is not None:
            return [literal]
        try:
            found = begin_lookup(self._resolver, host).result(_seconds_left(self._deadline, STEP_SECONDS))
        except (OSError, ValueError) as error:
            raise NameUnresolved(host) from error
        return addresses_of(host, found)

    def _connected(self, address: Address, port: int) -> "_BoundedStream":
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.settimeout(_seconds_left(self._deadline, STEP_SECONDS))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.connect((str(address), port))
        except OSError:
            opened.close()
            raise
        return _BoundedStream(opened, self._deadline)


class _BoundedStream(httpcore2.NetworkStream):
    """A socket whose every operation ends with the deadline; httpcore2's own begins to wait anew with each byte."""

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _as_httpcore(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._socket.settimeout(_seconds_left(self._deadline))
            return self._socket.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        with _as_httpcore(httpcore2.WriteTimeout, httpcore2.WriteError):
            while rest:
                self._socket.settimeout(_seconds_left(self._deadline))
                rest = rest[self._socket.send(rest) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        with _as_httpcore(httpcore2.ConnectTimeout, httpcore2.ConnectError), contextlib.ExitStack() as failing:
            failing.callback(self._socket.close)
            self._socket.settimeout(_seconds_left(self._deadline))
            encrypted = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
            failing.pop_all()
        return _BoundedStream(encrypted, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket) else None


def _seconds_left(deadline: Deadline, most: float | None = None) -> float:
    left = deadline.remaining()
    if left <= 0:
        raise TimeoutError
    return left if most is None else min(left, most)


@contextlib.contextmanager
def _as_httpcore(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(error) from error
    except OSError as error:
        raise failure(error) from error
