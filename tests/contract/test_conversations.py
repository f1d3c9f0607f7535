"""What every `ConversationRepository` does."""

from dataclasses import replace
from typing import Any

from models.conversations import Channel, Conversation
from models.ids import new_id
from models.paging import Page
from tests.contract.stores import Stores, at_once, later, make_conversation


def stored(stores: Stores, assistant_id: str, count: int) -> list[Conversation]:
    """Store conversations whose newest messages come in the order of their numbers, two by two at the same time."""
    made = [make_conversation(assistant_id, str(number)) for number in range(count)]
    timed = [replace(item, last_message_at=later(number // 2)) for number, item in enumerate(made)]
    return [stores.conversations.find_or_add(conversation) for conversation in timed]


def newest_first(conversations: list[Conversation]) -> list[Conversation]:
    return sorted(conversations, key=lambda item: (item.last_message_at, item.id), reverse=True)


def test_a_channel_has_one_conversation_with_an_assistant(stores: Stores) -> None:
    assistant_id = new_id()
    first = make_conversation(assistant_id)
    assert stores.conversations.find_or_add(first) == first
    assert stores.conversations.find_or_add(make_conversation(assistant_id)) == first
    assert stores.conversations.get(first.id) == first
    for other in (
        make_conversation(assistant_id, service="SMS"),
        make_conversation(assistant_id, "日本"),
        make_conversation(new_id()),
    ):
        assert stores.conversations.find_or_add(other) == other
    assert stores.conversations.list(None, Page()).total == 4


def test_first_messages_at_once_share_a_conversation(stores: Stores) -> None:
    assistant_id = new_id()
    found = at_once(16, lambda _: stores.conversations.find_or_add(make_conversation(assistant_id)).id)
    assert len(set(found)) == 1
    assert stores.conversations.list([assistant_id], Page()).total == 1


def test_lists_show_the_newest_message_first_in_pages(stores: Stores) -> None:
    one, two = new_id(), new_id()
    everything = newest_first(stored(stores, one, 5) + stored(stores, two, 4))
    for assistant_ids in (None, [one, two], [new_id(), two, one]):
        seen: list[Conversation] = []
        after = None
        for left in (6, 3, 0):
            page = stores.conversations.list(assistant_ids, Page(limit=3, after=after))
            assert (page.total, page.more) == (9, left > 0)
            seen += page.items
            after = seen[-1].id
        assert seen == everything


def test_lists_keep_to_their_assistants(stores: Stores) -> None:
    one, two = new_id(), new_id()
    mine = newest_first(stored(stores, one, 3))
    stored(stores, two, 3)
    assert list(stores.conversations.list([one], Page()).items) == mine
    assert list(stores.conversations.list([], Page()).items) == []
    assert stores.conversations.list([], Page()).total == 0
    many = [*(new_id() for _ in range(250)), one]
    assert list(stores.conversations.list(many, Page()).items) == mine


def test_nothing_follows_a_conversation_that_is_gone(stores: Stores) -> None:
    stored(stores, new_id(), 2)
    page = stores.conversations.list(None, Page(after=new_id()))
    assert (list(page.items), page.more) == ([], False)


def test_a_channel_id_finds_its_conversations(stores: Stores) -> None:
    one, two = new_id(), new_id()
    old = stores.conversations.find_or_add(make_conversation(one, "x", "SMS"))
    new = stores.conversations.find_or_add(replace(make_conversation(one, "x"), last_message_at=later(1)))
    other = stores.conversations.find_or_add(replace(make_conversation(two, "x"), last_message_at=later(2)))
    stores.conversations.find_or_add(make_conversation(one, "y"))
    assert list(stores.conversations.find_by_channel_id("x", None)) == [other, new, old]
    assert list(stores.conversations.find_by_channel_id("x", [one])) == [new, old]
    assert list(stores.conversations.find_by_channel_id("x", [])) == []
    assert list(stores.conversations.find_by_channel_id("z", None)) == []


def test_it_can_be_paused_and_resumed(stores: Stores) -> None:
    conversation, other = stored(stores, new_id(), 2)
    assert stores.conversations.set_active(conversation.id, False, later(60))
    assert stores.conversations.get(conversation.id) == replace(conversation, active=False, paused_until=later(60))
    assert stores.conversations.set_active(conversation.id, True, None)
    assert stores.conversations.set_active(conversation.id, True, None), "an equal value is no absence"
    assert stores.conversations.get(conversation.id) == conversation
    assert stores.conversations.get(other.id) == other
    assert not stores.conversations.set_active(new_id(), True, None)


def test_messages_are_noted_and_counted(stores: Stores) -> None:
    conversation = stores.conversations.find_or_add(make_conversation(new_id()))
    stores.conversations.record_message(conversation.id, "Olá", later(1), username="Zé")
    stores.conversations.record_message(conversation.id, "你好 \\ \"'", later(2), count=2)
    noted = stores.conversations.get(conversation.id)
    expected: dict[str, Any] = {
        "last_message": "你好 \\ \"'",
        "last_message_at": later(2),
        "message_count": 3,
        "username": "Zé",
    }
    assert noted == replace(conversation, **expected)
    at_once(16, lambda number: stores.conversations.record_message(conversation.id, "m", later(number)))
    counted = stores.conversations.get(conversation.id)
    assert counted is not None and counted.message_count == 19


def test_conversations_are_deleted(stores: Stores) -> None:
    one, two = new_id(), new_id()
    first, *_ = stored(stores, one, 3)
    (kept,) = stored(stores, two, 1)
    assert stores.conversations.delete(first.id)
    assert not stores.conversations.delete(first.id)
    stores.conversations.delete_of_assistant(one)
    assert list(stores.conversations.list(None, Page()).items) == [kept]
    assert stores.conversations.find_or_add(first) == first


def test_a_channel_id_is_only_text(stores: Stores) -> None:
    odd = Channel("'; DROP TABLE chats; -- %_$.[0]", '{"$ne": null}')
    conversation = replace(make_conversation(new_id()), channel=odd)
    assert stores.conversations.find_or_add(conversation) == conversation
    assert list(stores.conversations.find_by_channel_id(odd.id, None)) == [conversation]
