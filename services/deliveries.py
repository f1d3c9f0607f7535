"""The rules of a delivery: when an outcome is sent, sent again, and given up. Nothing here reads or writes anything."""

import zlib
from dataclasses import replace
from datetime import datetime, timedelta

from models.callbacks import Delivery, DeliveryStatus, DeliveryTry, Posted
from models.chats import Chat, ChatStatus

MOST_FAILURES = 5
"""So often a model is asked for a message with a callback before its failure is the outcome."""

LEASE_SECONDS = 60.0
"""How long one try has; it is made again after that, because whoever took it on has died."""

_MODEL_BACKOFF_SECONDS, _MODEL_BACKOFF_FACTOR = 5.0, 4.0
"""5 s, 20 s, 80 s, 320 s: the first pause outlasts a dropped connection, all of them (7 minutes) a model's restart."""
_SCHEDULE_SECONDS = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0)
_LAST_STEP_SECONDS = 7200.0
_JITTER = 0.2
_MOST_RETRY_AFTER_SECONDS = 3600.0
_GIVEN_UP_AFTER = timedelta(hours=24)
_LOG_KEPT = 50
_GONE = 410
_TOO_BUSY = (408, 429)
_NOT_THE_RECEIVERS = frozenset({"callback_refused", "callback_redirects"})
_CLOCKS_DIFFER = timedelta(seconds=1)


def settled(chat: Chat, status: ChatStatus, at: datetime) -> Delivery | None:
    """Return what the delivery of a chat becomes when the attempt that claimed it ends so; None if it has none."""
    if chat.delivery is None:
        return None
    if status is ChatStatus.FAILED and chat.failures + 1 < MOST_FAILURES:
        pause = _MODEL_BACKOFF_SECONDS * _MODEL_BACKOFF_FACTOR**chat.failures
        next_at = at + _spread(pause, f"{chat.id}/{chat.failures}")
        return Delivery(chat.delivery.url, next_at=next_at, log=chat.delivery.log)
    return Delivery(
        chat.delivery.url,
        DeliveryStatus.PENDING,
        event_id=f"{chat.id}-{chat.attempts}",
        next_at=at,
        since=at,
        log=chat.delivery.log,
    )


def taken_on(delivery: Delivery, at: datetime) -> Delivery:
    """Return the delivery leased to one try: nobody else looks at it until then."""
    return put_off(delivery, at, LEASE_SECONDS)


def put_off(delivery: Delivery, at: datetime, seconds: float) -> Delivery:
    """Return the delivery to be looked at again so much later; no try is counted."""
    return replace(delivery, next_at=at + timedelta(milliseconds=round(seconds * 1000)))


def tried(delivery: Delivery, posted: Posted, at: datetime) -> Delivery:
    """Return what a pending delivery becomes by one post."""
    entry = DeliveryTry(at, delivery.event_id, posted.status_code, posted.error, posted.duration_ms)
    noted = replace(delivery, tries=delivery.tries + 1, log=(*delivery.log, entry)[-_LOG_KEPT:])
    if posted.status_code is not None and 200 <= posted.status_code < 300:
        return replace(noted, status=DeliveryStatus.DELIVERED, next_at=None)
    if posted.status_code == _GONE:
        return replace(noted, status=DeliveryStatus.GONE, next_at=None)
    if overdue(noted, at):
        return given_up(noted)
    asked = min(posted.retry_after or 0.0, _MOST_RETRY_AFTER_SECONDS)
    pause = _spread(max(_step(delivery.tries), asked), f"{delivery.event_id}/{delivery.tries}")
    return replace(noted, next_at=min(at + pause, _end(noted, at)))


def answers(posted: Posted) -> bool:
    """Tell whether the receiver is not in trouble, whatever it thinks of the event: others may be sent there."""
    if posted.error in _NOT_THE_RECEIVERS:
        return True
    return posted.status_code is not None and posted.status_code < 500 and posted.status_code not in _TOO_BUSY


def is_due(delivery: Delivery, at: datetime) -> bool:
    """Tell whether it is time to go on with a delivery, even if the clock of another server is a little ahead."""
    return delivery.next_at is not None and delivery.next_at <= at + _CLOCKS_DIFFER


def overdue(delivery: Delivery, at: datetime) -> bool:
    """Tell whether the receiver's day is over."""
    return at >= _end(delivery, at)


def given_up(delivery: Delivery) -> Delivery:
    """Return the delivery as one that is sent no more, until somebody asks for it."""
    return replace(delivery, status=DeliveryStatus.EXHAUSTED, next_at=None)


def renewed(delivery: Delivery, at: datetime) -> Delivery:
    """Return a delivery that was given up with another day before it, and the same event."""
    return replace(delivery, status=DeliveryStatus.PENDING, tries=0, next_at=at, since=at)


def _step(tries: int) -> float:
    return _SCHEDULE_SECONDS[tries] if tries < len(_SCHEDULE_SECONDS) else _LAST_STEP_SECONDS


def _end(delivery: Delivery, at: datetime) -> datetime:
    return (delivery.since or at) + _GIVEN_UP_AFTER


def _spread(seconds: float, name: str) -> timedelta:
    """Return a pause up to a fifth longer, so that what failed together does not come back together.

    The name decides, not chance, so that the rules stay testable; milliseconds are what every store keeps.
    """
    share = zlib.crc32(name.encode()) / 2**32
    return timedelta(milliseconds=round(seconds * (1 + _JITTER * share) * 1000))
