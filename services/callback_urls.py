"""Callback URLs: their form, and which hosts an assistant lets them name.

A URL is taken apart here and nowhere else, so that the host that is checked is the host that is connected to.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import quote, urlsplit

from models.errors import Invalid

_PORTS = {"http": 80, "https": 443}
_LONGEST_URL = 2048
_LONGEST_NAME = 253
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#%*]+)(?::([0-9]{1,5}))?")
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes resolvers read the whole name as an IPv4 address, in decimal, octal or hex."""

_AMBIGUOUS = frozenset("ßς\u200c\u200d")
"""IDNA 2003, which Python has, makes another name of these than IDNA 2008, which browsers have."""

_SENT_AS_IT_IS = "%/:?#[]@!$&'()*+,;=~"
_RULE_FORM = (
    "Must be a host such as example.com, *.example.com, example.com:8443 or [2001:db8::1], without scheme and path."
)


@dataclass(frozen=True)
class CallbackUrl:
    """A URL taken apart.

    Attributes:
        host: a name in lower-case ASCII, or an IP address without brackets.
        target: path and query.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Return `scheme://host:port`."""
        return f"{self.scheme}://{self._bracketed}:{self.port}"

    @property
    def authority(self) -> str:
        """Return what the Host header says: the port only if it is not the scheme's own."""
        return self._bracketed if self.port == _PORTS[self.scheme] else f"{self._bracketed}:{self.port}"

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def check_callback_url(url: str, allowed_hosts: Iterable[str]) -> None:
    """Accept a URL that has the right form and names a host that the assistant allows.

    Raises:
        Invalid: code `callback_not_allowed`; what is wrong stands under `callback_url`.
    """
    try:
        place = read_callback_url(url)
    except ValueError as error:
        raise _not_allowed(str(error)) from None
    if not is_allowed(place, allowed_hosts):
        raise _not_allowed(
            f"The assistant's callback_hosts do not allow {place.host}:{place.port}. Add the host there."
        )


def callback_origin(url: str) -> str:
    """Return `scheme://host:port` of a URL that `check_callback_url` accepted."""
    return read_callback_url(url).origin


def read_callback_url(url: str) -> CallbackUrl:
    """Take a URL apart; a fragment is dropped, since it is never sent.

    Raises:
        ValueError: what is wrong with it, for its sender.
    """
    if len(url) > _LONGEST_URL:
        raise ValueError(f"Must have at most {_LONGEST_URL} characters.")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("Must not contain spaces, backslashes or control characters; percent-encode them.")
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match, or characters that hide others
        raise ValueError("Must be a URL such as https://example.com/answers.") from None
    if parts.scheme not in _PORTS:
        raise ValueError("Must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise ValueError("Must not contain a user name or password.")
    host, port = _read_authority(parts.netloc)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return CallbackUrl(parts.scheme, host, port or _PORTS[parts.scheme], quote(target, safe=_SENT_AS_IT_IS))


def check_host_rule(rule: str) -> None:
    """Accept an entry of `Assistant.callback_hosts`: a host, or `*.` and a name for all below it, and maybe a port.

    Raises:
        ValueError: what is wrong with it, for its sender.
    """
    _read_rule(rule)


def is_allowed(place: CallbackUrl, allowed_hosts: Iterable[str]) -> bool:
    """Tell whether one of an assistant's `callback_hosts` allows a URL."""
    return any(_allows(rule, place) for rule in allowed_hosts)


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address and not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _allows(rule: str, place: CallbackUrl) -> bool:
    try:
        host, port, below = _read_rule(rule)
    except ValueError:  # stored when other forms were accepted
        return False
    if port is not None and port != place.port:
        return False
    return place.host.endswith(f".{host}") if below else place.host == host


def _read_rule(rule: str) -> tuple[str, int | None, bool]:
    """Return the host, the port, and whether the hosts below it are meant."""
    below = rule.startswith("*.")
    try:
        host, port = _read_authority(rule.removeprefix("*."))
    except ValueError as error:
        raise ValueError(f"{_RULE_FORM} {error}") from None
    if below and is_address(host):
        raise ValueError("Must be one address: *. goes with names only.")
    return host, port, below


def _read_authority(text: str) -> tuple[str, int | None]:
    """Return host and port of `host[:port]`."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("Must name a host, and nothing else before the path but a port.")
    host, digits = found.groups()
    port = None if digits is None else int(digits)
    if port is not None and not 1 <= port <= 65535:
        raise ValueError("The port must be 1 to 65535.")
    return _read_ipv6(host[1:-1]) if host.startswith("[") else _read_name(host), port


def _read_ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError("Must have an IPv6 address that can be read.") from None


def _read_name(text: str) -> str:
    """Return a host's name in the form in which names are compared, or an IPv4 address."""
    if _AMBIGUOUS & set(text):
        raise ValueError("Must have the host in its xn-- form: systems differ about one of its letters.")
    try:
        name = text.encode("idna").decode().lower().removesuffix(".") if len(text) <= _LONGEST_NAME else ""
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ValueError("Must have a host name of letters, digits, hyphens and dots.")
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and not is_address(name):
        raise ValueError("Must have an IPv4 address as four decimal numbers.")
    return name


def _not_allowed(reason: str) -> Invalid:
    return Invalid(
        "No callback can be sent to this address; `errors` says why.",
        code="callback_not_allowed",
        errors={"callback_url": [reason]},
    )
