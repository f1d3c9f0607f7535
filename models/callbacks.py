"""Callbacks: how a message's outcome reaches the URL that its sender asked for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DeliveryStatus(StrEnum):
    """The life of a delivery: waiting -> pending -> delivered | gone | exhausted."""

    WAITING = "waiting"
    """There is no outcome yet."""

    PENDING = "pending"
    """There is one, and the receiver has not taken it yet."""

    DELIVERED = "delivered"
    """The receiver took it."""

    GONE = "gone"
    """The receiver said 410: it wants no more."""

    EXHAUSTED = "exhausted"
    """The receiver took none of the tries within a day."""


@dataclass(frozen=True)
class DeliveryTry:
    """One attempt at a delivery, as the delivery log shows it.

    Attributes:
        event_id: the `webhook-id` that was sent.
        status_code: what the receiver answered; None when it gave no answer.
        error: our code of why there is none, or why nothing was sent; None with an answer.
    """

    at: datetime
    event_id: str
    status_code: int | None
    error: str | None
    duration_ms: int


@dataclass(frozen=True)
class Delivery:
    """The delivery of one chat's outcome. It is part of the chat: whatever settles the chat makes it pending as well.

    Attributes:
        event_id: the `webhook-id`, the same for every try of one outcome; "" while there is none.
        tries: how often the outcome was sent.
        next_at: when to look at it again: to send it, to send it once more because the one that took it on died, or,
            while it waits, to ask the model again. None for never.
        since: when the outcome was first to be sent.
        log: the tries, oldest first.
    """

    url: str
    status: DeliveryStatus = DeliveryStatus.WAITING
    event_id: str = ""
    tries: int = 0
    next_at: datetime | None = None
    since: datetime | None = None
    log: tuple[DeliveryTry, ...] = ()


@dataclass(frozen=True)
class Posted:
    """What came of one post.

    Attributes:
        status_code: what the receiver answered; None when it gave no answer.
        error: why there is none: `callback_refused` (not an allowed host, or a private address), `callback_unresolved`,
            `callback_unreachable`, `callback_timeout` or `callback_redirects`.
        retry_after: seconds, when the receiver names them.
        duration_ms: how long it took.
    """

    status_code: int | None
    error: str | None = None
    retry_after: float | None = None
    duration_ms: int = 0
