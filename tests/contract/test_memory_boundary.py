"""Where the memory of conversations begins: on every store, and in what the engine tells the model."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import Channel
from models.errors import ProviderFailed
from models.ids import new_id
from models.paging import Page
from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from services.memory import MemoryService
from services.providers.scripted import ScriptedModel
from tests.contract.engine import Engine, Meddled, echo, wait_until
from tests.contract.stores import Stores, at_once, make_chat, make_conversation

SERVICE = "queryAssistant"
ANA, BIA = Channel("ana", SERVICE), Channel("bia", SERVICE)
ELSEWHERE = Channel("ana", "whatsapp")


def ahead(seconds: int) -> str:
    """Return an id as a server makes it whose clock is so many seconds ahead."""
    return f"{int(new_id()[:14], 16) + (seconds << 24):014x}{'0' * 10}"


def memory_of(stores: Stores) -> MemoryService:
    return MemoryService(stores.conversations, stores.chats)


def told(engine: Engine, question: str) -> list[str | None]:
    """Return the earlier messages that the model was told of when it was asked this."""
    (request,) = [request for request in engine.model.requests if request.question == question]
    return [turn.message for turn in request.history]


def echoing(stores: Stores, calls: int) -> Engine:
    return Engine(stores, ScriptedModel([echo] * calls))


def test_the_memory_of_a_message_service_begins_anew(stores: Stores) -> None:
    assistant, other = new_id(), new_id()
    made = [
        stores.conversations.find_or_add(one)
        for one in (
            make_conversation(assistant, "a", SERVICE),
            make_conversation(assistant, "b", SERVICE),
            make_conversation(assistant, "a", "WhatsApp"),
            make_conversation(other, "a", SERVICE),
        )
    ]
    begins = new_id()
    assert stores.conversations.clear_memory(assistant, SERVICE, begins) == 2
    stored = [stores.conversations.get(one.id) for one in made]
    assert stored == [replace(one, memory_from=begins) for one in made[:2]] + made[2:]


def test_the_memory_of_one_channel_begins_anew(stores: Stores) -> None:
    assistant = new_id()
    one, other = (stores.conversations.find_or_add(make_conversation(assistant, name, SERVICE)) for name in "ab")
    begins = new_id()
    assert stores.conversations.clear_memory(assistant, SERVICE, begins, "a") == 1
    assert stores.conversations.clear_memory(assistant, SERVICE, begins, "nobody") == 0
    assert [stores.conversations.get(id) for id in (one.id, other.id)] == [replace(one, memory_from=begins), other]


def test_of_several_beginnings_the_last_one_stays(stores: Stores) -> None:
    conversation = stores.conversations.find_or_add(make_conversation(new_id(), "a", SERVICE))
    ids = [new_id() for _ in range(12)]
    order = ids[6:] + ids[:6]
    at_once(12, lambda number: stores.conversations.clear_memory(conversation.assistant_id, SERVICE, order[number]))
    assert stores.conversations.clear_memory(conversation.assistant_id, SERVICE, ids[0]) == 0
    assert stores.conversations.get(conversation.id) == replace(conversation, memory_from=ids[-1])


def test_a_conversation_of_an_earlier_version_remembers_everything_until_it_begins_anew(stores: Stores) -> None:
    engine = echoing(stores, 4)
    engine.say("one", channel=ANA)
    if isinstance(stores.probe, SqliteDatabase):
        with stores.probe.write() as connection:
            connection.execute("UPDATE conversations SET body = json_remove(body, '$.memory_from')")
    elif isinstance(stores.probe, MongoDatabase):
        stores.probe.collection("conversations").update_many({}, {"$unset": {"memory_from": ""}})
    engine.say("two", channel=ANA)
    assert memory_of(stores).clear(engine.assistant, SERVICE) == 1
    engine.say("three", channel=ANA)
    assert [told(engine, text) for text in ("two", "three")] == [["one"], []]


def test_history_begins_behind_an_id(stores: Stores) -> None:
    conversation = new_id()
    chats = [make_chat("", conversation) for _ in range(5)]
    assert all([stores.chats.add(chat) for chat in chats])
    last = chats[-1].id
    assert list(stores.chats.history(conversation, last, 9, chats[1].id)) == chats[2:4]
    assert list(stores.chats.history(conversation, last, 1, chats[1].id)) == chats[3:4]
    assert list(stores.chats.history(conversation, last, 9, "")) == chats[:4]
    assert list(stores.chats.history(conversation, last, 9, last)) == []


def test_an_assistants_newest_chat_is_found(stores: Stores) -> None:
    assistant = new_id()
    assert stores.chats.newest_of_assistant(assistant) is None
    chats = [make_chat(assistant) for _ in range(3)]
    assert all([stores.chats.add(chat) for chat in (*reversed(chats), make_chat())])
    assert stores.chats.newest_of_assistant(assistant) == chats[-1]


def test_a_message_after_it_knows_nothing_of_before_and_managers_still_see_it(stores: Stores) -> None:
    engine = echoing(stores, 4)
    engine.say("one", channel=ANA)
    engine.say("two", channel=ANA)
    assert memory_of(stores).clear(engine.assistant, SERVICE) == 1
    last = engine.say("three", channel=ANA).chat
    engine.say("four", channel=ANA)
    assert [told(engine, text) for text in ("two", "three", "four")] == [["one"], [], ["three"]]
    shown = stores.chats.list(ChatFilter(conversation_id=last.conversation_id, oldest_first=True), Page()).items
    assert [chat.message for chat in shown] == ["one", "two", "three", "four"]


def test_other_channels_and_assistants_remember(stores: Stores) -> None:
    engine, other = echoing(stores, 6), echoing(stores, 2)
    for text, channel in {"a": ANA, "b": BIA, "c": ELSEWHERE}.items():
        engine.say(text, channel=channel)
    other.say("d", channel=ANA)
    memory_of(stores).clear(engine.assistant, SERVICE, channel_id=ANA.id)
    for text, channel in {"aa": ANA, "bb": BIA, "cc": ELSEWHERE}.items():
        engine.say(text, channel=channel)
    other.say("dd", channel=ANA)
    assert [told(engine, text) for text in ("aa", "bb", "cc")] == [[], ["b"], ["c"]]
    assert told(other, "dd") == ["d"]


def test_messages_that_wait_for_their_turn_belong_to_before(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([echo, [release, "re one"], echo, echo, echo]))
    engine.say("zero", channel=ANA)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(engine.say, "one", channel=ANA)]
        wait_until(lambda: engine.model.calls == 2)
        waiting.append(pool.submit(engine.say, "two", channel=ANA))
        wait_until(lambda: engine.is_stored("two"))
        memory_of(stores).clear(engine.assistant, SERVICE)
        waiting.append(pool.submit(engine.say, "three", channel=ANA))
        wait_until(lambda: engine.is_stored("three"))
        release.set()
        assert [one.result(30).chat.response for one in waiting] == ["re one", "re two", "re three"]
    engine.say("four", channel=ANA)
    assert [told(engine, text) for text in ("one", "two", "three", "four")] == [["zero"], [], [], ["three"]]


def test_a_message_that_failed_before_it_belongs_to_before(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, ProviderFailed("Down."), echo, echo]))
    engine.say("one", channel=ANA)
    with pytest.raises(ProviderFailed):
        engine.say("two", channel=ANA, message_id="m")
    memory_of(stores).clear(engine.assistant, SERVICE)
    engine.model.requests[-1:] = [replace(engine.model.requests[-1], question="two, which failed")]
    assert engine.say("two", channel=ANA, message_id="m").chat.status is ChatStatus.ANSWERED
    engine.say("three", channel=ANA)
    assert [told(engine, text) for text in ("two, which failed", "two", "three")] == [["one"], [], []]


@pytest.mark.parametrize("moment", ["newest_of_assistant", "clear_memory"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_that_comes_at_that_moment_is_before_or_after_it(stores: Stores, moment: str, when: str) -> None:
    engine = echoing(stores, 3)
    engine.say("one", channel=ANA)

    def arrive() -> Chat:
        return engine.say("two", channel=ANA).chat

    meddling: dict[str, dict[str, Callable[[], object]]] = {when: {moment: arrive}}
    chats, conversations = (Meddled(port, **meddling) for port in (stores.chats, stores.conversations))
    MemoryService(conversations, chats).clear(engine.assistant, SERVICE)
    engine.say("three", channel=ANA)
    assert told(engine, "three") in ([], ["two"]), "in no case what was answered before it"


def test_what_a_server_stored_whose_clock_is_ahead_is_forgotten_too(stores: Stores) -> None:
    engine = echoing(stores, 2)
    first = engine.say("one", channel=ANA).chat
    assert stores.chats.add(replace(first, id=ahead(3), dedupe_key="other server", message="two"))
    memory_of(stores).clear(engine.assistant, SERVICE)
    engine.say("three", channel=ANA)
    assert told(engine, "three") == []


def test_messages_are_remembered_whose_server_has_a_clock_behind_that_of_the_beginning(stores: Stores) -> None:
    engine = echoing(stores, 3)
    engine.say("one", channel=ANA)
    stores.conversations.clear_memory(engine.assistant.id, SERVICE, ahead(5))
    engine.say("two", channel=ANA)
    engine.say("three", channel=ANA)
    assert [told(engine, text) for text in ("two", "three")] == [[], ["two"]]


def test_twenty_addresses_at_once_have_twenty_memories(stores: Stores) -> None:
    engine = echoing(stores, 60)

    def talk(number: int) -> None:
        for text in ("a", "b", "c"):
            engine.say(f"{number} {text}", channel=Channel(f"10.0.0.{number}", SERVICE))

    at_once(20, talk)
    for number in range(20):
        assert told(engine, f"{number} c") == [f"{number} a", f"{number} b"]
    assert len({chat.conversation_id for chat in engine.chats()}) == 20
