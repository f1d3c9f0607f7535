"""The rules of a delivery, without a store, a clock or a receiver."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from models.callbacks import Delivery, DeliveryStatus, DeliveryTry, Posted
from models.chats import Chat, ChatStatus
from models.conversations import Channel
from services.deliveries import (
    MOST_FAILURES,
    answers,
    given_up,
    is_due,
    overdue,
    put_off,
    renewed,
    settled,
    taken_on,
    tried,
)

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
URL = "https://example.com/hook?key=1"
DAY = timedelta(hours=24)
ENTRY = DeliveryTry(AT, "c-1", 500, None, 3)
PENDING = Delivery(URL, DeliveryStatus.PENDING, "c-1", next_at=AT, since=AT)


def chat(**fields: object) -> Chat:
    """Return a chat with a delivery, as its second attempt has claimed it."""
    made = Chat("c", "a", "v", Channel("1", "w"), "k", ChatStatus.RECEIVED, AT, attempts=2, delivery=Delivery(URL))
    return replace(made, **fields)  # type: ignore[arg-type]


def seconds(delivery: Delivery) -> float:
    """Return the pause until the delivery is looked at again."""
    assert delivery.next_at is not None
    return (delivery.next_at - AT).total_seconds()


@pytest.mark.parametrize("status", list(ChatStatus))
def test_a_chat_without_a_callback_gets_no_delivery(status: ChatStatus) -> None:
    assert settled(chat(delivery=None), status, AT) is None


@pytest.mark.parametrize("status", sorted(set(ChatStatus) - {ChatStatus.RECEIVED, ChatStatus.FAILED}))
def test_an_outcome_is_to_be_sent_at_once_under_the_attempts_own_id(status: ChatStatus) -> None:
    waiting = Delivery(URL, next_at=AT, log=(ENTRY,))
    assert settled(chat(delivery=waiting), status, AT) == Delivery(
        URL, DeliveryStatus.PENDING, "c-2", tries=0, next_at=AT, since=AT, log=(ENTRY,)
    )


@pytest.mark.parametrize(("failures", "pause"), [(0, 5), (1, 20), (2, 80), (3, 320)])
def test_after_a_failure_the_model_is_asked_again_later(failures: int, pause: float) -> None:
    delivery = settled(chat(failures=failures, delivery=Delivery(URL, log=(ENTRY,))), ChatStatus.FAILED, AT)
    assert delivery is not None and delivery.status is DeliveryStatus.WAITING
    assert pause <= seconds(delivery) <= pause * 1.2
    assert delivery.event_id == "" and delivery.since is None and delivery.log == (ENTRY,)


@pytest.mark.parametrize("failures", [MOST_FAILURES - 1, MOST_FAILURES, MOST_FAILURES + 7])
def test_the_last_failure_is_the_outcome(failures: int) -> None:
    delivery = settled(chat(failures=failures), ChatStatus.FAILED, AT)
    assert delivery == Delivery(URL, DeliveryStatus.PENDING, "c-2", next_at=AT, since=AT)


def test_another_attempt_at_a_sent_failure_makes_another_event() -> None:
    sent = Delivery(URL, DeliveryStatus.DELIVERED, "c-5", tries=3, since=AT, log=(ENTRY,))
    later = AT + timedelta(hours=1)
    delivery = settled(chat(attempts=6, failures=5, delivery=sent), ChatStatus.ANSWERED, later)
    assert delivery == Delivery(URL, DeliveryStatus.PENDING, "c-6", next_at=later, since=later, log=(ENTRY,))


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_a_2xx_delivers(status: int) -> None:
    delivery = tried(PENDING, Posted(status, duration_ms=7), AT)
    assert delivery.status is DeliveryStatus.DELIVERED and delivery.next_at is None and delivery.tries == 1
    assert delivery.log == (DeliveryTry(AT, "c-1", status, None, 7),)


def test_a_410_ends_it() -> None:
    delivery = tried(PENDING, Posted(410), AT)
    assert delivery.status is DeliveryStatus.GONE and delivery.next_at is None and delivery.log[-1].status_code == 410


@pytest.mark.parametrize(
    "posted",
    [Posted(199), Posted(302), Posted(400), Posted(404), Posted(500), Posted(None, "callback_timeout")],
)
def test_anything_else_is_tried_again_under_the_same_id(posted: Posted) -> None:
    delivery = tried(PENDING, posted, AT)
    assert delivery.status is DeliveryStatus.PENDING and delivery.event_id == "c-1" and delivery.since == AT
    assert delivery.log[-1] == DeliveryTry(AT, "c-1", posted.status_code, posted.error, 0)


@pytest.mark.parametrize(
    ("tries", "pause"), [(0, 5), (1, 30), (2, 120), (3, 600), (4, 1800), (5, 3600), (6, 7200), (11, 7200)]
)
def test_the_pauses_grow(tries: int, pause: float) -> None:
    assert pause <= seconds(tried(replace(PENDING, tries=tries), Posted(503), AT)) <= pause * 1.2


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(0.0, 5), (-9.0, 5), (3.0, 5), (90.0, 90), (3600.0, 3600), (86400.0, 3600), (float("inf"), 3600)],
)
def test_the_receivers_own_pause_counts_up_to_an_hour(asked: float, pause: float) -> None:
    assert pause <= seconds(tried(PENDING, Posted(429, retry_after=asked), AT)) <= pause * 1.2


def test_a_day_is_used_to_its_end_and_no_longer() -> None:
    delivery, at, tries = PENDING, AT, []
    while delivery.next_at is not None:
        at = delivery.next_at
        tries.append(at)
        delivery = tried(delivery, Posted(None, "callback_unreachable"), at)
    assert delivery.status is DeliveryStatus.EXHAUSTED and delivery.tries == len(tries) == len(delivery.log)
    assert tries[-1] == AT + DAY and 15 <= len(tries) <= 20
    assert tries == sorted(set(tries))


def test_what_fails_together_does_not_come_back_together() -> None:
    pauses = {seconds(tried(replace(PENDING, event_id=f"{n}-1"), Posted(500), AT)) for n in range(100)}
    assert len(pauses) > 50
    assert all((pause * 1000).is_integer() for pause in pauses)  # what the stores keep
    first, second = (settled(chat(id=name), ChatStatus.FAILED, AT) for name in ("c", "d"))
    assert first is not None and second is not None and first.next_at != second.next_at


def test_the_log_keeps_the_newest_tries() -> None:
    delivery = PENDING
    for n in range(120):
        delivery = tried(delivery, Posted(500, duration_ms=n), AT)
    assert delivery.tries == 120 and [entry.duration_ms for entry in delivery.log] == list(range(70, 120))


def test_a_lease_and_a_postponement_count_no_try() -> None:
    assert taken_on(PENDING, AT) == replace(PENDING, next_at=AT + timedelta(seconds=60))
    assert put_off(PENDING, AT, 1.2345) == replace(PENDING, next_at=AT + timedelta(milliseconds=1234))


def test_what_is_due() -> None:
    assert is_due(PENDING, AT) and is_due(PENDING, AT + DAY)
    assert is_due(PENDING, AT - timedelta(seconds=0.9)), "another server's clock may be ahead"
    assert not is_due(PENDING, AT - timedelta(seconds=1.1))
    assert not is_due(replace(PENDING, next_at=None), AT)


def test_a_day_ends() -> None:
    assert overdue(PENDING, AT + DAY) and not overdue(PENDING, AT + DAY - timedelta(milliseconds=1))


def test_a_delivery_that_was_given_up_gets_another_day() -> None:
    ended = given_up(replace(PENDING, tries=18, log=(ENTRY,)))
    assert ended.status is DeliveryStatus.EXHAUSTED and ended.next_at is None
    later = AT + 3 * DAY
    again = renewed(ended, later)
    assert again == Delivery(URL, DeliveryStatus.PENDING, "c-1", 0, later, later, (ENTRY,))
    assert tried(again, Posted(500), later).status is DeliveryStatus.PENDING


@pytest.mark.parametrize(
    ("posted", "up"),
    [
        (Posted(200), True),
        (Posted(404), True),
        (Posted(410), True),
        (Posted(408), False),
        (Posted(429), False),
        (Posted(500), False),
        (Posted(None, "callback_unreachable"), False),
        (Posted(None, "callback_refused"), True),
    ],
)
def test_a_receiver_that_answers_is_not_in_trouble(posted: Posted, up: bool) -> None:
    assert answers(posted) is up
