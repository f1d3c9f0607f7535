"""What every `ChatRepository` knows of bursts: which chats belong together, and where the merged ones went."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.callbacks import Delivery, DeliveryStatus
from models.chats import Burst, Chat, ChatOutcome, ChatStatus
from models.clock import now
from models.ids import new_id
from tests.contract.stores import NOW, Stores, later, make_chat, make_working_chat

BURST = Burst(NOW, later(5))


def added(stores: Stores, *chats: Chat) -> list[Chat]:
    assert all([stores.chats.add(chat) for chat in chats])
    return list(chats)


def burst_of(stores: Stores, count: int, **fields: Any) -> list[Chat]:
    """Store so many chats of one conversation that came within one burst, each prolonging it."""
    conversation_id = new_id()
    bursts = [Burst(NOW, later(5 + number)) for number in range(count)]
    return added(stores, *(make_working_chat("", conversation_id, burst=burst, **fields) for burst in bursts))


def test_a_burst_knows_its_chats(stores: Stores) -> None:
    one, two, three = burst_of(stores, 3)
    same = one.conversation_id
    (alone,) = added(stores, make_working_chat("", same))
    added(stores, make_working_chat("", same, burst=Burst(later(0.001), later(9))), make_working_chat(burst=BURST))
    settled = [status for status in ChatStatus if status is not ChatStatus.RECEIVED]
    added(stores, *(make_chat("", same, status=status, burst=BURST) for status in settled))
    assert [stores.chats.later_in_burst(chat) for chat in (one, two, three)] == [three, three, None]
    assert [list(stores.chats.earlier_in_burst(chat)) for chat in (one, two, three)] == [[], [one], [one, two]]
    assert stores.chats.later_in_burst(alone) is None
    assert list(stores.chats.earlier_in_burst(alone)) == []


def test_a_chat_waits_for_every_earlier_one_but_those_of_its_burst(stores: Stores) -> None:
    (before,) = added(stores, make_working_chat(burst=Burst(later(-9), later(-5))))
    same = before.conversation_id
    one, two, alone, last = added(
        stores, *(make_working_chat("", same, burst=burst) for burst in (BURST, BURST, None, BURST))
    )
    assert stores.chats.unfinished_before(two) == before
    assert stores.chats.finish(before.id, "me", ChatOutcome(ChatStatus.ANSWERED))
    assert stores.chats.unfinished_before(two) is None
    assert stores.chats.unfinished_before(alone) == one
    assert stores.chats.unfinished_before(last) == alone, "a chat without a burst belongs to none"
    assert stores.chats.leave_burst(one.id, "me")
    assert stores.chats.unfinished_before(two) == replace(one, burst=None), "it goes on by itself"


def test_a_chat_is_merged_while_it_is_in_the_burst_as_seen(stores: Stores) -> None:
    one, two = burst_of(stores, 2)
    for unlike in (None, Burst(later(0.001), later(5))):
        assert not stores.chats.merge(replace(one, burst=unlike), two.id, None)
    assert stores.chats.leave_burst(one.id, "me")
    assert not stores.chats.merge(one, two.id, None), "it has left the burst since"
    assert not stores.chats.merge(replace(one, burst=None), two.id, None), "it is in no burst"
    assert stores.chats.get(one.id) == replace(one, burst=None)


def test_a_merge_takes_the_chat_from_whoever_holds_it(stores: Stores) -> None:
    one, two = burst_of(stores, 2, lease_until=NOW)
    assert stores.chats.claim(one, "next", later(30), NOW)
    assert stores.chats.merge(one, two.id, None)
    merged = stores.chats.get(one.id)
    assert merged is not None
    assert (merged.status, merged.merged_into, merged.lease_owner) == (ChatStatus.MERGED, two.id, None)
    assert merged.delivery is None
    assert not stores.chats.finish(one.id, "next", ChatOutcome(ChatStatus.ANSWERED))


@pytest.mark.parametrize("settled", [None, Delivery("u", DeliveryStatus.PENDING, "evt", 0, NOW, NOW)])
def test_a_merge_settles_the_delivery_at_once(stores: Stores, settled: Delivery | None) -> None:
    waiting = Delivery("u", next_at=later(9))
    one, two = burst_of(stores, 2, delivery=waiting)
    assert stores.chats.merge(one, two.id, settled)
    merged = stores.chats.get(one.id)
    assert merged is not None
    assert merged.delivery == (settled or waiting)


def test_merged_chats_are_found_by_where_they_went(stores: Stores) -> None:
    one, two, three, four = burst_of(stores, 4)
    other, into = burst_of(stores, 2)
    for merged, last in ((three, four), (one, four), (other, into)):
        assert stores.chats.merge(merged, last.id, None)
    assert [chat.id for chat in stores.chats.merged_into(one.conversation_id, four.id)] == [one.id, three.id]
    assert [chat.id for chat in stores.chats.merged_into(other.conversation_id, into.id)] == [other.id]
    assert list(stores.chats.merged_into(one.conversation_id, two.id)) == []
    assert list(stores.chats.merged_into(other.conversation_id, four.id)) == [], "of this conversation"
    assert list(stores.chats.earlier_in_burst(four)) == [two]


def test_merged_chats_are_part_of_the_memory(stores: Stores) -> None:
    one, two, three = burst_of(stores, 3)
    assert stores.chats.merge(one, two.id, None)
    assert [chat.id for chat in stores.chats.history(one.conversation_id, three.id, 9)] == [one.id]


def test_bursts_are_compared_as_the_stores_keep_time(stores: Stores) -> None:
    """What a caller holds may be finer than milliseconds, and of another zone."""
    conversation_id = new_id()
    began = now()
    assert began.microsecond % 1000 == 0
    finer = (began + timedelta(microseconds=999)).astimezone()
    one, two = (make_working_chat("", conversation_id, burst=Burst(at, at)) for at in (began, finer))
    assert stores.chats.add(one) and stores.chats.add(two)
    stored = stores.chats.get(two.id)
    assert stored is not None and stored.burst == Burst(began, began)
    assert stores.chats.unfinished_before(two) is None
    assert list(stores.chats.earlier_in_burst(two)) == [one]
    assert stores.chats.later_in_burst(one) == stored
    assert stores.chats.merge(replace(one, burst=two.burst), two.id, None)
