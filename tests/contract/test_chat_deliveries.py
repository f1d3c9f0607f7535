"""What every `ChatRepository` does with the deliveries of chats."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from models.callbacks import Delivery, DeliveryStatus, DeliveryTry
from models.chats import Chat, ChatStatus
from tests.contract.stores import NOW, Stores, at_once, later, make_chat

PENDING = Delivery("https://a.example/", DeliveryStatus.PENDING, "evt-1", 1, NOW, later(-5))
TRIED = replace(PENDING, tries=2, next_at=later(30), log=(DeliveryTry(NOW, "evt-1", 503, None, 12),))


def added(stores: Stores, delivery: Delivery | None, **fields: Any) -> Chat:
    chat = make_chat(delivery=delivery, **fields)
    assert stores.chats.add(chat)
    return chat


def due(stores: Stores, next_at: datetime | None, **fields: Any) -> Chat:
    return added(stores, replace(PENDING, next_at=next_at), **fields)


def test_what_is_due_is_found_by_its_time(stores: Stores) -> None:
    chats = [due(stores, next_at) for next_at in (NOW, later(-9), later(-0.001), NOW)]
    for never in (None, later(0.001)):
        due(stores, never)
    added(stores, None)
    in_order = [chats[1], chats[2], chats[0], chats[3]]
    assert list(stores.chats.undelivered(NOW, 9)) == in_order
    assert list(stores.chats.undelivered(NOW, 2)) == in_order[:2]
    assert list(stores.chats.undelivered(later(-1), 9)) == in_order[:1]
    assert list(stores.chats.undelivered(later(-10), 9)) == []


@pytest.mark.parametrize("status", DeliveryStatus)
@pytest.mark.parametrize("of_chat", [ChatStatus.FAILED, ChatStatus.RECEIVED, ChatStatus.MERGED])
def test_only_the_time_makes_a_delivery_due(stores: Stores, status: DeliveryStatus, of_chat: ChatStatus) -> None:
    chat = added(stores, replace(PENDING, status=status), status=of_chat)
    assert list(stores.chats.undelivered(NOW, 9)) == [chat]


@pytest.mark.parametrize("status", DeliveryStatus)
def test_a_delivery_is_replaced_as_it_was_seen(stores: Stores, status: DeliveryStatus) -> None:
    seen = replace(PENDING, status=status)
    chat = added(stores, seen, metadata={"a": 1})
    for other in DeliveryStatus:
        if other is not status:
            assert not stores.chats.change_delivery(chat.id, replace(seen, status=other), TRIED)
    for unlike in (replace(seen, event_id="evt-2"), replace(seen, next_at=None), replace(seen, next_at=later(0.001))):
        assert not stores.chats.change_delivery(chat.id, unlike, TRIED)
    assert stores.chats.get(chat.id) == chat
    assert stores.chats.change_delivery(chat.id, seen, TRIED)
    assert stores.chats.get(chat.id) == replace(chat, delivery=TRIED)
    assert not stores.chats.change_delivery(chat.id, seen, TRIED), "it is no longer as seen"


def test_a_delivery_without_a_time_is_seen_too(stores: Stores) -> None:
    waiting = Delivery("https://a.example/")
    chat = added(stores, waiting)
    assert not stores.chats.change_delivery(chat.id, replace(waiting, next_at=NOW), PENDING)
    assert stores.chats.change_delivery(chat.id, waiting, PENDING)
    assert list(stores.chats.undelivered(NOW, 9)) == [replace(chat, delivery=PENDING)]
    delivered = replace(PENDING, status=DeliveryStatus.DELIVERED, next_at=None)
    finer = NOW + timedelta(microseconds=999)
    assert stores.chats.change_delivery(chat.id, replace(PENDING, next_at=finer), delivered), "in milliseconds"
    assert list(stores.chats.undelivered(later(99), 9)) == []


def test_a_chat_without_a_delivery_gets_none(stores: Stores) -> None:
    chat = added(stores, None)
    assert not stores.chats.change_delivery(chat.id, Delivery(""), PENDING)
    assert stores.chats.get(chat.id) == chat


def test_of_senders_at_once_one_takes_a_delivery_on(stores: Stores) -> None:
    for _ in range(5):
        chat = added(stores, PENDING)

        def take_on(number: int, chat: Chat = chat) -> bool:
            return stores.chats.change_delivery(chat.id, PENDING, replace(TRIED, tries=number))

        won = at_once(8, take_on)
        assert won.count(True) == 1
        assert stores.chats.get(chat.id) == replace(chat, delivery=replace(TRIED, tries=won.index(True)))
