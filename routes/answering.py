"""What the doors that wait for an answer share: the message's id, the whole answer, and its measure."""

import hashlib
from collections.abc import Iterator

from flask import Response, request

from models.answers import AnswerEvent, Done
from models.chats import Chat
from models.errors import Invalid, OrquestraError, RateLimited, Unavailable
from routes.access import services
from routes.metrics import Metrics
from routes.openai_errors import openai_failure

REPLAYED = "Idempotent-Replayed"
THREAD_ID = "x-thread-id"
IDEMPOTENCY_KEY = {"in": "header", "name": "Idempotency-Key", "schema": {"type": "string", "maxLength": 256}}
"""The header as OpenAPI describes it."""

_NAMING = ("Idempotency-Key", "Authorization", "X-API-Key")
_REFUSALS = frozenset({"rate_limited", "server_full", "server_draining"})
"""One that is cut off while the server ends has the last of these too, but its chat is stored as failed."""


def idempotency_key() -> str | None:
    """Return what the header `Idempotency-Key` names the message, None without it.

    Raises:
        Invalid: it is empty or longer than 256 characters.
    """
    key = request.headers.get("Idempotency-Key")
    if key is not None:  # WSGI hands headers over as Latin-1
        key = key.encode("latin-1").decode("utf-8", "replace")
    if key is not None and not 1 <= len(key) <= 256:
        raise Invalid(
            "Idempotency-Key must have 1 to 256 characters.", errors={"Idempotency-Key": ["1 to 256 characters."]}
        )
    return key


def thread_header(thread: str) -> str:
    """Return a thread's name as a header has it: in UTF-8, which WSGI wants as Latin-1, and on one line."""
    return "".join(character for character in thread if character.isprintable()).encode().decode("latin-1")


def request_digest() -> str:
    """Return what is the same when a client sends this request once more, and nearly never otherwise."""
    named = [request.headers.get(name, "").encode("latin-1") for name in _NAMING]
    parts = (request.path.rstrip("/").encode(), *named, request.get_data(cache=True))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def is_repeated() -> bool:
    """Tell whether one of OpenAI's SDKs says that it sends this request once more, after a failure that it saw."""
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isascii() and count.isdigit() and int(count[:9]) > 0


class Told:
    """Note that a request's client was given its answer, so that the same words of it are new from then on.

    A client that has left is not noted: it may come back for the answer.
    """

    def __init__(self) -> None:
        self._repetitions = services().repetitions
        self._digest = request_digest()
        self._gone = request.environ.get("waitress.client_disconnected")
        self._chat: Chat | None = None

    def heard(self, events: Iterator[AnswerEvent]) -> Iterator[AnswerEvent]:
        """Pass events on, and keep what they end with."""
        for event in events:
            if isinstance(event, Done):
                self._chat = event.chat
            yield event

    def end(self) -> None:
        """Note the answer: it goes out now, or all of a stream has gone out."""
        if self._chat is not None and not (self._gone is not None and self._gone()):
            self._repetitions.delivered(self._digest, self._chat)


def turned_away(error: RateLimited | Unavailable) -> Response:
    """Return the response to an OpenAI client's request that is refused, and note those of which nothing was stored."""
    if error.code in _REFUSALS:
        services().repetitions.refused(request_digest())
    return openai_failure(error)


def whole(events: Iterator[AnswerEvent], measured: Metrics) -> Done:
    """Return how an answer ended, and count it."""
    return next(event for event in counted(events, measured) if isinstance(event, Done))


def counted(events: Iterator[AnswerEvent], measured: Metrics) -> Iterator[AnswerEvent]:
    """Pass events on, and count how the answer ended, unless it was another delivery's."""
    try:
        for event in events:
            if isinstance(event, Done) and not event.replayed:
                measured.count(event.chat)
            yield event
    except OrquestraError as error:
        measured.count_failure(error.code)
        raise


def replayed_header(done: Done) -> dict[str, str]:
    """Return the header that marks an answer which an earlier delivery was given too."""
    return {REPLAYED: "true"} if done.replayed else {}
