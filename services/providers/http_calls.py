"""What every HTTP provider does alike: retry before the first byte, read on, fail in our words."""

import contextlib
import itertools
import logging
import math
import random
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field

import httpx2

from models.errors import ProviderFailed
from services.providers.http_sockets import Call

logger = logging.getLogger("orquestra.providers")

RETRIES = 2
RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_UNHEARD_STATUSES = frozenset({429, 503})
_BACKOFF_SECONDS = 0.5
_RECONNECT_SECONDS = 0.05
_LOGGED_CHARACTERS = 500
_LINE_BYTES = 1 << 20
_KEYS = re.compile(r"(?i)\b(?:sk|key|orq)[-_][\w*.-]{6,}|bearer\s+\S+")


@dataclass(frozen=True)
class Endpoint:
    """What messages and log lines say about a provider.

    Attributes:
        name: begins a sentence, such as `The model's endpoint`.
        key_hint: what to do when it refuses our credentials.
        model_hint: what to do when it does not know what was asked for.
        url_hint: what to do when it cannot be reached or speaks something else.
        secret: the API key, kept out of the log.
    """

    name: str
    key_hint: str
    model_hint: str
    url_hint: str
    secret: str = field(default="", repr=False)

    def log(self, level: int, what: str, detail: object) -> None:
        """Write what happened, with the provider's own words and without secrets."""
        words = str(detail)
        if self.secret:
            words = words.replace(self.secret, "***")
        logger.log(level, "%s: %s: %s", self.name, what, _KEYS.sub("***", words)[:_LOGGED_CHARACTERS])

    def unreachable(self) -> ProviderFailed:
        """Return the error for a provider that cannot be reached."""
        return ProviderFailed(f"{self.name} cannot be reached. {self.url_hint}", code="provider_unreachable")

    def refused(self, status: int) -> ProviderFailed:
        """Return the error for an HTTP status that is no success."""
        if status in (401, 403):
            return ProviderFailed(f"{self.name} refused the credentials. {self.key_hint}", code="provider_auth")
        if status == 404:
            return ProviderFailed(f"{self.name} does not know that. {self.model_hint}", code="model_not_found")
        if status == 429:
            return ProviderFailed(
                f"{self.name} is limiting our rate or quota. Try again later, or raise the account's limits.",
                code="provider_rate_limited",
            )
        advice = "Try again later." if status >= 500 else "The server's log has its reason."
        return ProviderFailed(f"{self.name} failed with HTTP {status}. {advice}")

    def cut(self) -> ProviderFailed:
        """Return the error for an answer that broke off."""
        return ProviderFailed(f"{self.name} broke off within the answer. Try again.", code="stream_cut")

    def empty(self) -> ProviderFailed:
        """Return the error for an answer without text."""
        return ProviderFailed(
            f"{self.name} answered without any text. Try again, or choose another model.", code="empty_answer"
        )

    def unreadable(self) -> ProviderFailed:
        """Return the error for an answer in a shape that is not the provider's protocol."""
        return ProviderFailed(f"{self.name} sent something unreadable. {self.url_hint}")


@dataclass(frozen=True)
class Retrying:
    """How often a request that failed is sent again, before its deadline.

    Attributes:
        most: how many times after the first.
        longest: the seconds that a wait grows to; a provider may ask for a longer one.
        twice_is_once: False for a request that makes something: then it is sent again only when the provider has
            certainly not followed it.
    """

    most: float = RETRIES
    longest: float = 8.0
    twice_is_once: bool = True


FOR_ANSWERS = Retrying()
"""Somebody waits for it."""
FOR_JOBS = Retrying(most=math.inf, longest=20.0)
"""Nobody waits: only the deadline ends it."""


@contextlib.contextmanager
def opened(
    send: Callable[[], httpx2.Response], call: Call, endpoint: Endpoint, retrying: Retrying = FOR_ANSWERS
) -> Iterator[httpx2.Response]:
    """Send as `open_response` does, and close the response in the end, whatever happens."""
    response = open_response(send, call, endpoint, retrying)
    try:
        yield response
    finally:
        response.close()
        call.done()


def open_response(
    send: Callable[[], httpx2.Response], call: Call, endpoint: Endpoint, retrying: Retrying = FOR_ANSWERS
) -> httpx2.Response:
    """Send a request, again if the provider is busy or away, and return its successful response, body unread.

    A wait that would outlast the deadline is not begun.

    Raises:
        ProviderFailed: code `provider_auth`, `model_not_found`, `provider_rate_limited`, `provider_unreachable` or
            `provider_failed`.
        DeadlineExceeded: the time is up.
        CallCancelled: the deadline was cancelled.
    """
    for attempt in itertools.count():
        call.deadline.check()
        wait = min(_BACKOFF_SECONDS * 2 ** min(attempt, 10), retrying.longest) * random.uniform(0.8, 1.2)
        try:
            response = call.run(send)
            if response.is_success:
                return response
            wait = _retry_after(response) or wait
            failure, again = _report(response, call, endpoint), _may_pass(response, retrying)
        except httpx2.HTTPError as error:
            call.blame_deadline(error)
            endpoint.log(logging.WARNING, "no response", repr(error))
            if attempt == 0:  # mostly an idle connection that the server closed just now: a new one will do
                wait = _RECONNECT_SECONDS
            failure, again = endpoint.unreachable(), _is_transient(error, retrying)
        if not again or attempt >= retrying.most or wait >= call.deadline.remaining():
            raise failure
        call.deadline.sleep(wait)
    raise AssertionError("unreachable")


def expect_stream(response: httpx2.Response, endpoint: Endpoint) -> None:
    """Refuse a response that is a page or a document: the address is not that of a streaming model.

    Raises:
        ProviderFailed: it is one.
    """
    kind = response.headers.get("content-type", "")
    if is_document(response) or kind.startswith("text/html"):
        endpoint.log(logging.ERROR, "no event stream", kind)
        raise endpoint.unreadable()


def is_document(response: httpx2.Response) -> bool:
    """Tell whether a response is JSON, whole."""
    return str(response.headers.get("content-type", "")).startswith("application/json")


def read_on(call: Call, response: httpx2.Response, endpoint: Endpoint) -> Generator[bytes]:
    """Yield a response's body as it comes, to its end.

    Raises:
        ProviderFailed: code `stream_cut`, the connection broke.
        DeadlineExceeded: the time is up.
        CallCancelled: the deadline was cancelled.
    """
    try:
        for chunk in call.chunks(response):
            call.deadline.check()
            yield chunk
        call.deadline.check()  # a socket that was cut may look like one that was closed properly
    except httpx2.HTTPError as error:
        call.blame_deadline(error)
        endpoint.log(logging.WARNING, "the answer broke off", repr(error))
        raise endpoint.cut() from error


def read_whole(call: Call, response: httpx2.Response, endpoint: Endpoint, most_bytes: int) -> bytes:
    """Return a response's body; raises as `read_on`.

    Raises:
        ProviderFailed: code of `Endpoint.unreadable`, it is longer than any answer.
    """
    content = bytearray()
    for chunk in read_on(call, response, endpoint):
        content += chunk
        if len(content) > most_bytes:
            endpoint.log(logging.ERROR, "an answer without end", "")
            raise endpoint.unreadable()
    return bytes(content)


def _report(response: httpx2.Response, call: Call, endpoint: Endpoint) -> ProviderFailed:
    with contextlib.closing(response):
        try:
            call.run(response.read)
            words = response.text
        except httpx2.HTTPError as error:
            call.blame_deadline(error)
            words = repr(error)
    endpoint.log(logging.WARNING, f"HTTP {response.status_code}", words)
    return endpoint.refused(response.status_code)


def _may_pass(response: httpx2.Response, retrying: Retrying) -> bool:
    """Tell whether another try may help: the provider is busy, or failed."""
    return response.status_code in (RETRIED_STATUSES if retrying.twice_is_once else _UNHEARD_STATUSES)


def _is_transient(error: httpx2.HTTPError, retrying: Retrying) -> bool:
    """Tell whether another try may help: no connection, or one that was closed before it answered."""
    if not retrying.twice_is_once:
        return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError | httpx2.ConnectTimeout)


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds of a Retry-After header; its date form is rare with models and counts as absent."""
    text = response.headers.get("retry-after", "")
    return float(text) if re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) else None


def sse_events(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield (name, data) of each server-sent event, read as the HTML standard says; an unfinished one is dropped."""
    name, data = b"", list[bytes]()
    for line in _lines(chunks):
        if not line:
            if data:
                yield name, b"\n".join(data)
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield complete lines, ended by CR, LF or both, without their ends and the stream's byte order mark."""
    rest, after_cr, mark = b"", False, b"\xef\xbb\xbf"
    for chunk in filter(None, chunks):
        new = chunk[1:] if after_cr and chunk.startswith(b"\n") else chunk
        after_cr = chunk.endswith(b"\r")
        lines = (rest + new).splitlines(keepends=True)
        rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            yield line.rstrip(b"\r\n").removeprefix(mark)
            mark = b""
        if len(rest) > _LINE_BYTES:
            raise ProviderFailed("The provider sent a line without end. Check its base URL.")
