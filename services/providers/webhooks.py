"""Posts to other people's servers, signed as Standard Webhooks says (https://www.standardwebhooks.com)."""

import base64
import contextlib
import hmac
import logging
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

import httpcore2

from models.callbacks import Posted
from models.clock import now
from models.deadline import Deadline
from services.callback_urls import CallbackUrl, is_allowed, read_callback_url
from services.providers.guarded_network import (
    AddressRefused,
    GuardedNetwork,
    NameUnresolved,
    Network,
    Resolver,
    resolve,
)

logger = logging.getLogger("orquestra.webhooks")

_SECONDS = 15.0
_REDIRECTS = 3
_FOLLOWED = frozenset({307, 308})
"""The redirects that keep method and body; after the others a client would ask with GET."""

_BODY_BYTES = 64 * 1024
_SECRET_PREFIX = "whsec_"  # noqa: S105  the form's, not a secret


class _TooManyRedirects(Exception):
    """It went on from one address to the next."""


_CODES: Mapping[type[Exception], str] = {
    AddressRefused: "callback_refused",
    NameUnresolved: "callback_unresolved",
    _TooManyRedirects: "callback_redirects",
    httpcore2.TimeoutException: "callback_timeout",
    httpcore2.NetworkError: "callback_unreachable",
    httpcore2.ProtocolError: "callback_unreachable",
}


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: Mapping[str, str]


class StandardWebhookSender:
    """Implement `WebhookSender`: one connection a post, no proxy, no cookies.

    Args:
        opened: networks that are allowed although they are not public.
        trust: the certificates to trust; None for the system's.
        seconds: how long a post may take with all its redirects.
    """

    def __init__(
        self,
        opened: Sequence[Network],
        resolver: Resolver = resolve,
        trust: ssl.SSLContext | None = None,
        seconds: float = _SECONDS,
    ) -> None:
        self._opened = opened
        self._resolver = resolver
        self._trust = trust or httpcore2.default_ssl_context()
        self._seconds = seconds

    def send(
        self, url: str, allowed_hosts: Sequence[str], event_id: str, secrets: Sequence[str], body: bytes
    ) -> Posted:
        """Post a body signed as Standard Webhooks says, and return what came of it; it never raises.

        A redirect is followed if it is a 307 or 308, to an allowed host, and not from https to http.
        """
        began = time.monotonic()
        headers = _signed_headers(event_id, int(time.time()), secrets, body)
        posted = self._posted(url, allowed_hosts, headers, body)
        took = round((time.monotonic() - began) * 1000)
        return Posted(posted.status_code, posted.error, posted.retry_after, duration_ms=took)

    def _posted(self, url: str, allowed_hosts: Sequence[str], headers: Mapping[str, str], body: bytes) -> Posted:
        try:
            answer = self._followed(url, allowed_hosts, headers, body)
        except tuple(_CODES) as error:
            code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
            logger.info("a callback was not answered", extra={"code": code, "cause": repr(error)})
            return Posted(None, code)
        return Posted(answer.status, retry_after=_retry_after(answer.headers.get("retry-after", "")))

    def _followed(self, url: str, allowed_hosts: Sequence[str], headers: Mapping[str, str], body: bytes) -> _Answer:
        network = GuardedNetwork(self._resolver, self._opened, Deadline(self._seconds))
        place = _admitted(url, allowed_hosts)
        for _ in range(1 + _REDIRECTS):
            answer = self._exchange(place, headers, body, network)
            location = answer.headers.get("location")
            if answer.status not in _FOLLOWED or location is None:
                return answer
            there = _admitted(_joined(place, location), allowed_hosts)
            if place.scheme == "https" and there.scheme != "https":
                raise AddressRefused("from https to http")
            place = there
        raise _TooManyRedirects

    def _exchange(
        self, place: CallbackUrl, headers: Mapping[str, str], body: bytes, network: GuardedNetwork
    ) -> _Answer:
        request = httpcore2.Request(
            "POST",
            httpcore2.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target),
            headers=[("Host", place.authority), *headers.items()],
            content=body,
        )
        with httpcore2.HTTPConnection(request.url.origin, self._trust, network_backend=network) as connection:
            response = connection.handle_request(request)
            if response.status not in _FOLLOWED:
                _drain(response)
            response.close()
        read = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return _Answer(response.status, read)


def _signed_headers(event_id: str, timestamp: int, secrets: Sequence[str], body: bytes) -> dict[str, str]:
    signed = b".".join((event_id.encode(), str(timestamp).encode(), body))
    keys = (base64.b64decode(secret.removeprefix(_SECRET_PREFIX)) for secret in secrets)
    return {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "User-Agent": "Orquestra-Webhooks/1",
        "Connection": "close",
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, signed) for key in keys),
    }


def _signature(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _admitted(url: str, allowed_hosts: Sequence[str]) -> CallbackUrl:
    try:
        place = read_callback_url(url)
    except ValueError as error:
        raise AddressRefused(str(error)) from None
    if not is_allowed(place, allowed_hosts):
        raise AddressRefused(f"{place.host}:{place.port} is not in callback_hosts")
    return place


def _joined(place: CallbackUrl, location: str) -> str:
    try:
        return urljoin(f"{place.origin}{place.target}", location)
    except ValueError:
        raise AddressRefused("the redirect leads to no URL") from None


def _drain(response: httpcore2.Response) -> None:
    """Let the receiver finish writing, within bounds; its status is known already, so failures do not matter."""
    left = _BODY_BYTES
    with contextlib.suppress(httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError):
        for chunk in response.iter_stream():
            left -= len(chunk)
            if left <= 0:
                return


def _retry_after(text: str) -> float | None:
    """Return the seconds of a Retry-After header, a number or an HTTP date (RFC 9110); None if it is neither."""
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now()).total_seconds())
