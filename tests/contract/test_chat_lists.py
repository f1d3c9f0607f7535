"""What every `ChatRepository` does with many chats."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import Channel
from models.ids import new_id
from models.paging import Page
from tests.contract.stores import NOW, Stores, later, make_chat, make_working_chat


def added(stores: Stores, *chats: Chat) -> list[Chat]:
    assert all([stores.chats.add(chat) for chat in chats])
    return list(chats)


def found(stores: Stores, chats: ChatFilter) -> list[Chat]:
    page = stores.chats.list(chats, Page())
    assert page.total == len(page.items)
    return list(page.items)


def test_the_memory_is_what_was_before_and_is_over(stores: Stores) -> None:
    conversation_id = new_id()
    chats = added(stores, *(make_chat("", conversation_id, status=status) for status in [*ChatStatus, *ChatStatus]))
    added(stores, make_chat())
    over = [chat for chat in chats if chat.status not in {ChatStatus.RECEIVED, ChatStatus.FAILED}]
    last = chats[-1]
    assert list(stores.chats.history(conversation_id, last.id, 100)) == over[:-1]
    assert list(stores.chats.history(conversation_id, last.id, 2)) == over[-3:-1]
    assert list(stores.chats.history(conversation_id, last.id, 0)) == []
    assert list(stores.chats.history(conversation_id, chats[0].id, 5)) == []
    assert stores.chats.newest(conversation_id) == last
    assert stores.chats.newest(new_id()) is None


@pytest.mark.parametrize("status", ChatStatus)
@pytest.mark.parametrize("lease_until", [None, later(-30), later(30)])
def test_an_earlier_chat_may_be_unfinished(stores: Stores, status: ChatStatus, lease_until: datetime | None) -> None:
    conversation_id = new_id()
    added(stores, make_working_chat())
    given: dict[str, Any] = {"status": status, "lease_owner": "me", "lease_until": lease_until}
    earlier, between = added(
        stores, make_chat("", conversation_id, **given), make_working_chat("", conversation_id, lease_until=None)
    )
    chat, _ = added(stores, *(make_working_chat("", conversation_id) for _ in range(2)))
    unfinished = earlier if status is ChatStatus.RECEIVED else None
    assert stores.chats.unfinished_before(chat) == (unfinished or between), "the oldest, whoever owns it"
    assert stores.chats.unfinished_before(between) == unfinished
    assert stores.chats.unfinished_before(earlier) is None


def test_received_chats_that_nobody_works_on_are_found(stores: Stores) -> None:
    def received(owner: str | None, lease_until: datetime | None) -> Chat:
        return make_chat(status=ChatStatus.RECEIVED, lease_owner=owner, lease_until=lease_until)

    free = added(
        stores, received("a", NOW), received(None, None), received("a", later(-30)), received(None, later(-0.001))
    )
    added(stores, received("a", later(0.001)), received(None, later(0.001)))
    added(stores, *(make_chat(status=status) for status in ChatStatus if status is not ChatStatus.RECEIVED))
    assert list(stores.chats.unfinished(NOW, 9)) == free
    assert list(stores.chats.unfinished(NOW, 3)) == free[:3]
    assert list(stores.chats.unfinished(later(-1), 9)) == free[1:3]


def test_lists_go_on_in_both_directions(stores: Stores) -> None:
    one, two = new_id(), new_id()
    chats = added(stores, *(make_chat(assistant) for assistant in (one, two, one, one, two, one, two)))
    for assistant_ids in (None, (one, two), (new_id(), two, one)):
        for oldest_first in (False, True):
            wanted = chats if oldest_first else chats[::-1]
            seen: list[Chat] = []
            after = None
            for left in (4, 1, 0):
                chats_filter = ChatFilter(assistant_ids, oldest_first=oldest_first)
                page = stores.chats.list(chats_filter, Page(limit=3, after=after))
                assert (page.total, page.more) == (7, left > 0)
                seen += page.items
                after = seen[-1].id
            assert seen == wanted


def test_lists_keep_to_their_assistants(stores: Stores) -> None:
    one, two = new_id(), new_id()
    mine = added(stores, *(make_chat(one) for _ in range(3)))[::-1]
    added(stores, make_chat(two))
    many = tuple(new_id() for _ in range(1200))
    assert found(stores, ChatFilter((one,))) == mine
    assert found(stores, ChatFilter(())) == []
    assert found(stores, ChatFilter((*many[:150], one))) == mine
    assert found(stores, ChatFilter((*many, one))) == mine
    assert found(stores, ChatFilter((two,), conversation_id=mine[0].conversation_id)) == []


def test_filters_narrow_the_list(stores: Stores) -> None:
    chat = make_chat(status=ChatStatus.FAILED)
    sms = replace(make_chat(chat.assistant_id, chat.conversation_id), channel=Channel("77", "SMS"))
    added(stores, chat, sms, make_chat())
    assert found(stores, ChatFilter(conversation_id=chat.conversation_id)) == [sms, chat]
    assert found(stores, ChatFilter((chat.assistant_id,), chat.conversation_id, oldest_first=True)) == [chat, sms]
    assert found(stores, ChatFilter(status=ChatStatus.FAILED)) == [chat]
    assert found(stores, ChatFilter(channel_id="77")) == [sms]
    assert found(stores, ChatFilter(message_service="SMS")) == [sms]
    assert found(stores, ChatFilter(channel_id="77", message_service="WhatsApp")) == []
    assert found(stores, ChatFilter((chat.assistant_id,), status=ChatStatus.ANSWERED)) == [sms]


def test_activity_looks_at_the_end_of_the_pause(stores: Stores) -> None:
    on = make_chat()
    off = make_chat(active=False)
    over = make_chat(active=False, paused_until=NOW)
    paused = make_chat(active=False, paused_until=later(0.001))
    added(stores, on, off, over, paused)
    assert found(stores, ChatFilter(active=True, at=NOW)) == [over, on]
    assert found(stores, ChatFilter(active=False, at=NOW)) == [paused, off]
    assert found(stores, ChatFilter(active=True)) == [on]
    assert found(stores, ChatFilter(active=False)) == [paused, over, off]


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("UÇÃO", True),
        ("devolução", True),
        ("50% de_", True),
        ("好的", True),
        ("no fim", True),
        ("línea\n(2)", True),
        ("5.% de", False),
        ("50%_", False),
        (".*", False),
        ("acao", False),
    ],
)
def test_text_is_found_as_it_is_written_in_any_case(stores: Stores, text: str, hits: bool) -> None:
    said = make_chat(message="Devolução: 50% de_desconto 好的, LÍNEA\n(2)", response=None)
    answered = make_chat(message=None, response="Devolução: 50% DE_desconto 好的, línea\n(2)")
    end = make_chat(message="sim", response="talvez No Fim")
    added(stores, said, answered, end, make_chat(message="não", response="nunca"))
    expected = [end] if text == "no fim" else [answered, said]
    assert found(stores, ChatFilter(text=text)) == (expected if hits else [])


def test_filters_combine(stores: Stores) -> None:
    chat = make_chat(message="Olá", active=False)
    near = [replace(make_chat(chat.assistant_id, message="Olá"), active=True), make_chat(message="Olá", active=False)]
    added(stores, chat, *near, make_chat(chat.assistant_id, message="tchau", active=False))
    wanted = ChatFilter((chat.assistant_id,), active=False, at=NOW, text="olá", status=ChatStatus.ANSWERED)
    assert found(stores, wanted) == [chat]


def test_a_conversation_is_marked_as_a_whole(stores: Stores) -> None:
    conversation_id = new_id()
    chats = added(stores, *(make_chat("", conversation_id) for _ in range(3)))
    (other,) = added(stores, make_chat())
    stores.chats.set_active(conversation_id, False, later(60))
    marked = [replace(chat, active=False, paused_until=later(60)) for chat in chats]
    assert found(stores, ChatFilter(conversation_id=conversation_id, oldest_first=True)) == marked
    assert stores.chats.get(other.id) == other


def test_a_big_list_is_complete(stores: Stores) -> None:
    assistants = [new_id() for _ in range(5)]
    chats = added(stores, *(make_chat(assistants[number % 5]) for number in range(500)))
    page = stores.chats.list(ChatFilter(tuple(assistants)), Page(limit=400))
    assert (list(page.items), page.total, page.more) == (chats[:99:-1], 500, True)
    stores.chats.delete_of_assistant(assistants[0])
    assert stores.chats.list(ChatFilter(), Page(limit=1)).total == 400
