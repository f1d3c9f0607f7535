"""The memory of devices: one for each, which is that of the newest conversation the device has begun."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest

from models.answers import Done, Inbound
from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import DEVICE, THREAD, Channel
from models.errors import Invalid, ProviderFailed
from models.given import Given, Turn
from models.ids import new_id
from models.paging import Page
from services.devices import device_session, of_newest_session
from services.doors import DoorMessage, DoorService
from services.providers.scripted import ScriptedModel
from tests.contract.engine import Engine, echo, wait_until
from tests.contract.stores import Stores, at_once, make_chat


class Devices:
    """An assistant that devices talk to."""

    def __init__(self, stores: Stores, model: ScriptedModel, debounce_seconds: float = 0.0) -> None:
        self.engine = Engine(stores, model, debounce_seconds=debounce_seconds)
        self.door = DoorService(stores.conversations, stores.chats, self.engine.repetitions)

    def inbound(self, session: str, text: str, message_id: str | None = None, given: Given | None = None) -> Inbound:
        """Return a message as the DashScope door makes it."""
        message = DoorMessage(text, session, device_session(session), given or Given(), message_id=message_id)
        return self.door.inbound(self.engine.assistant, message)

    def say(self, session: str, text: str, message_id: str | None = None, given: Given | None = None) -> Done:
        """Send a message in a session and return how it ended."""
        *_, done = self.engine.service.answer(self.inbound(session, text, message_id, given))
        assert isinstance(done, Done)
        return done

    def told(self, question: str) -> list[str | None]:
        """Return the earlier messages that the model was told of when it was last asked this."""
        asked = [request for request in self.engine.model.requests if request.question == question]
        return [turn.message for turn in asked[-1].history]


def talking(stores: Stores, calls: int) -> Devices:
    return Devices(stores, ScriptedModel([echo] * calls))


def test_a_device_is_remembered_within_its_conversation(stores: Stores) -> None:
    devices = talking(stores, 3)
    for text in ("one", "two", "three"):
        done = devices.say("c1_d1", text)
    assert devices.told("three") == ["one", "two"]
    assert done.chat.channel == Channel("d1", DEVICE)
    assert done.chat.given is not None and (done.chat.given.device_id, done.chat.given.session) == ("d1", "c1")


def test_a_new_conversation_of_the_device_forgets_the_one_before_and_managers_still_see_it(stores: Stores) -> None:
    devices = talking(stores, 5)
    for session, text in (("c1_d1", "one"), ("c1_d1", "two"), ("c2_d1", "three"), ("c2_d1", "four"), ("c1_d1", "five")):
        done = devices.say(session, text)
    assert [devices.told(text) for text in ("two", "three", "four", "five")] == [["one"], [], ["three"], []]
    shown = stores.chats.list(ChatFilter(conversation_id=done.chat.conversation_id, oldest_first=True), Page()).items
    assert [chat.message for chat in shown] == ["one", "two", "three", "four", "five"]


def test_devices_threads_and_assistants_have_memories_of_their_own(stores: Stores) -> None:
    devices, others = talking(stores, 5), talking(stores, 1)
    for session, text in (("c1_d1", "a"), ("c1_d2", "b"), ("d1", "c"), ("c1", "d")):
        devices.say(session, text)
    others.say("c1_d1", "e")
    devices.say("c1_d1", "f")
    assert [devices.told(text) for text in ("b", "c", "d", "f")] == [[], [], [], ["a"]]
    assert others.told("e") == []
    assert {chat.channel for chat in devices.engine.chats()} == {
        Channel("d1", DEVICE), Channel("d2", DEVICE), Channel("d1", THREAD), Channel("c1", THREAD),
    }  # fmt: skip


def test_two_first_messages_at_once_do_not_cut_each_other_out(stores: Stores) -> None:
    devices = talking(stores, 40)
    devices.say("old_d1", "old")
    at_once(8, lambda number: devices.say("new_d1", f"first {number}"))
    for number in range(8):
        assert "old" not in devices.told(f"first {number}")
    devices.say("new_d1", "then")
    assert sorted(map(str, devices.told("then"))) == [f"first {number}" for number in range(8)]


def test_a_late_message_of_the_old_conversation_is_not_remembered_by_the_new_one(stores: Stores) -> None:
    """It is stored while the first message of the new conversation waits for its turn, or is being answered."""
    release = threading.Event()
    devices = Devices(stores, ScriptedModel([echo, [release, "re new 1"], echo, echo, echo]))
    devices.say("old_d1", "old 1")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(devices.say, "new_d1", "new 1")
        wait_until(lambda: devices.engine.model.calls == 2)
        late = pool.submit(devices.say, "old_d1", "old 2")
        wait_until(lambda: devices.engine.is_stored("old 2"))
        release.set()
        assert [one.result(30).chat.response for one in (first, late)] == ["re new 1", "re old 2"]
    devices.say("new_d1", "new 2")
    devices.say("new_d1", "new 3")
    assert devices.told("old 2") == []
    assert devices.told("new 2") == []
    assert devices.told("new 3") == ["new 2"]


def test_a_burst_ends_with_its_conversation(stores: Stores) -> None:
    devices = Devices(stores, ScriptedModel([echo] * 3), debounce_seconds=30.0)
    with ThreadPoolExecutor(3) as pool:
        waiting = []
        for session, text in (("c1_d1", "one"), ("c1_d1", "two"), ("c2_d1", "three")):
            waiting.append(pool.submit(devices.say, session, text))
            wait_until(partial(devices.engine.is_stored, text))
            devices.engine.assistant = replace(devices.engine.assistant, debounce_seconds=1.5)
        first, second, third = (one.result(30).chat for one in waiting)
    assert (first.status, first.merged_into, second.response) == (ChatStatus.MERGED, second.id, "re one\ntwo")
    assert (third.response, devices.told("three")) == ("re three", [])


def test_a_redelivery_changes_nothing(stores: Stores) -> None:
    devices = talking(stores, 4)
    devices.say("c1_d1", "one", "m1")
    devices.say("c2_d1", "two", "m2")
    again = devices.say("c1_d1", "one", "m1")
    assert again.replayed and again.chat.response == "re one"
    devices.say("c2_d1", "three")
    assert devices.told("three") == ["two"]
    assert len(devices.engine.chats()) == 3


def test_a_first_message_that_failed_still_begins_the_conversation(stores: Stores) -> None:
    devices = Devices(stores, ScriptedModel([echo, ProviderFailed("Down."), echo, echo]))
    devices.say("c1_d1", "one")
    with pytest.raises(ProviderFailed):
        devices.say("c2_d1", "two", "m2")
    devices.say("c2_d1", "three")
    assert devices.told("three") == []
    assert devices.say("c2_d1", "two", "m2").chat.status is ChatStatus.ANSWERED
    assert devices.told("two") == []


def test_an_agents_words_belong_to_the_conversation_they_came_in(stores: Stores) -> None:
    devices = talking(stores, 6)
    first = devices.say("c1_d1", "one").chat
    agent = replace(first, given=None, message=None, response="An agent.", answered_by="ada")

    def agent_writes() -> None:
        assert stores.chats.add(replace(agent, id=new_id(), dedupe_key=new_id()))

    def said(question: str) -> list[str | None]:
        asked = [request for request in devices.engine.model.requests if request.question == question]
        return [turn.response for turn in asked[-1].history]

    agent_writes()
    devices.say("c1_d1", "two")
    assert said("two") == ["re one", "An agent."]
    devices.say("c2_d1", "three")
    assert said("three") == []
    agent_writes()
    devices.say("c2_d1", "four")
    assert said("four") == ["re three", "An agent."]
    agent_writes()
    devices.say("c3_d1", "five")
    assert said("five") == []


def test_what_a_device_tells_of_earlier_turns_is_not_new(stores: Stores) -> None:
    devices = talking(stores, 2)
    told = Given(turns=(Turn("told", "told"),), instructions="Be short.")
    devices.say("c1_d1", "one", given=told)
    assert (devices.told("one"), devices.engine.model.requests[-1].instructions) == ([], "Be short.")
    with pytest.raises(Invalid):
        devices.say("c1_d1", "")


def chat_of(session: str | None) -> Chat:
    """Return a chat of a session; None for one that no device sent."""
    return replace(make_chat(), given=None if session is None else Given(session=session))


@pytest.mark.parametrize(
    ("earlier", "session", "kept"),
    [
        ([], "c1", []),
        (["c1", "c1"], "c1", [0, 1]),
        (["c1", "c2", "c1"], "c1", [2]),
        (["c1", "c2", "c1"], "c2", []),
        ([None, None], "c1", [0, 1]),
        ([None, "c1"], "c1", [0, 1]),
        (["c1", None, "c2", None], "c2", [2, 3]),
        (["c1", None], "c2", []),
        (["c1", None, "c2", None], None, [2, 3]),
        (["c1", None, None], None, [0, 1, 2]),
        ([None, None], None, [0, 1]),
    ],
)
def test_where_the_memory_begins(earlier: list[str | None], session: str | None, kept: list[int]) -> None:
    chats = [chat_of(one) for one in earlier]
    assert list(of_newest_session(chats, chat_of(session))) == [chats[index] for index in kept]
