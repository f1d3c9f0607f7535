"""What the doors that wait for an answer share: the message's id, the whole answer, and its measure."""

import hashlib
from collections.abc import Iterator

from flask import request

from models.answers import AnswerEvent, Done
from models.errors import Invalid, OrquestraError
from routes.metrics import Metrics

REPLAYED = "Idempotent-Replayed"
THREAD_ID = "x-thread-id"
IDEMPOTENCY_KEY = {"in": "header", "name": "Idempotency-Key", "schema": {"type": "string", "maxLength": 256}}
"""The header as OpenAPI describes it."""


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
    return hashlib.sha256(request.path.rstrip("/").encode() + b"\0" + request.get_data(cache=True)).hexdigest()


def is_repeated() -> bool:
    """Tell whether one of OpenAI's SDKs says that it sends this request once more, after a failure that it saw."""
    count = request.headers.get("x-stainless-retry-count", "")
    return count.isascii() and count.isdigit() and int(count[:9]) > 0


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
