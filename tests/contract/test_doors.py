"""Threads of API clients, what their requests bring along, and requests that are sent twice; on both stores."""

import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.answers import Done, Inbound, ToolCalls
from models.chats import Chat, ChatStatus
from models.clock import now
from models.conversations import Channel, Conversation
from models.errors import Invalid, ProviderFailed
from models.given import Given, Turn
from models.ids import new_id
from models.tools import ToolCall, ToolResult, ToolSpec
from services.doors import DoorMessage, DoorService
from services.providers.scripted import ScriptedModel, Step
from tests.contract.engine import Engine, echo
from tests.contract.stores import Stores, make_conversation

WEATHER = ToolSpec("weather", "Tell the weather.", {"type": "object", "properties": {"$ref.city": {"type": "string"}}})
RECIFE, BELÉM = ToolCall("call_1", "weather", '{"city": "Recife"}'), ToolCall("call_2", "weather", '{"city": "Belém"}')
TOOLS = Given(tools=(WEATHER,))


def doors_of(engine: Engine) -> DoorService:
    """Return the doors over an engine's store."""
    return DoorService(engine.stores.conversations, engine.stores.chats, engine.repetitions)


def inbound(engine: Engine, text: str, **fields: Any) -> Inbound:
    """Return a door's message to the engine's assistant."""
    return doors_of(engine).inbound(engine.assistant, DoorMessage(text, **fields))


def say(engine: Engine, text: str, **fields: Any) -> Chat:
    """Send a door's message and return the chat that it ended with."""
    *_, done = engine.service.answer(inbound(engine, text, **fields))
    assert isinstance(done, Done)
    return done.chat


def results(*pairs: tuple[ToolCall, str]) -> tuple[ToolResult, ...]:
    """Return the outputs of one round of calls."""
    return tuple(ToolResult(call, output) for call, output in pairs)


def test_a_request_without_a_thread_begins_one_that_remembers_what_it_told(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    told = (Turn("one", "two"), Turn("three", None))
    first = say(engine, "four", given=Given(turns=told))
    assert first.channel.message_service == "thread" and len(first.channel.id) == 32
    again = say(engine, "five", thread=first.channel.id)
    assert again.conversation_id == first.conversation_id
    assert engine.model.requests[0].history == told
    assert engine.model.requests[1].history == (*told, Turn("four", "re four"))


def test_what_a_request_tells_of_earlier_turns_is_not_new_in_a_thread(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    say(engine, "one", thread="2000")
    say(engine, "two", thread="2000", given=Given(turns=(Turn("one", "something else"),)))
    assert engine.model.requests[1].history == (Turn("one", "re one"),)


def test_two_requests_without_a_thread_share_nothing(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    assert say(engine, "one").channel.id != say(engine, "two").channel.id
    assert engine.model.requests[1].history == ()


def test_a_thread_may_be_any_conversation_of_the_assistant_but_of_no_other(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    known = engine.say("olá", channel=Channel("+55", "whatsapp")).chat
    foreign: Conversation = make_conversation(new_id())
    stores.conversations.find_or_add(foreign)
    assert say(engine, "one", thread=known.conversation_id).channel == Channel("+55", "whatsapp")
    assert engine.model.requests[1].history == (Turn("olá", "re olá"),)
    assert doors_of(engine).channel_of(engine.assistant, foreign.id) == Channel(foreign.id, "thread")


def test_a_request_brings_its_instructions_limits_and_options(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    say(engine, "one", given=Given(instructions="Be brief.", temperature=0.0, max_output_tokens=7, options={"seed": 1}))
    request = engine.model.requests[0]
    assert request.instructions == "Be brief."
    assert (request.temperature, request.max_output_tokens, request.options) == (0.0, 7, {"seed": 1})


def test_an_attempt_that_takes_over_knows_what_the_request_brought(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([ProviderFailed("Down."), echo]))
    given = Given(turns=(Turn("a", "b"),), instructions="Be brief.", tools=(WEATHER,))
    with pytest.raises(ProviderFailed):
        say(engine, "one", thread=None, given=given)
    (failed,) = engine.chats()
    engine.retry(failed)
    first, second = engine.model.requests
    assert replace(first, keys=()) == replace(second, keys=())
    assert second.tools == (WEATHER,)


def test_a_repeated_request_is_the_same_turn(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "one", digest="d1")
    assert say(engine, "one", digest="d1", repeated=True).id == first.id
    assert say(engine, "one", digest="d2", repeated=True).id != first.id
    assert len(engine.chats()) == engine.model.calls == 2


def test_a_request_that_was_not_stored_is_new_when_it_is_repeated(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    assert say(engine, "one", digest="d1", repeated=True).response == "re one"


def test_the_same_words_once_more_are_a_new_turn(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    first, second = (say(engine, "yes", thread="1", digest="d1").id for _ in range(2))
    assert first != second
    assert say(engine, "yes", thread="1", digest="d1", repeated=True).id == second


def test_a_repetition_of_another_assistants_request_is_new(stores: Stores) -> None:
    engine, other = Engine(stores, ScriptedModel([echo])), Engine(stores, ScriptedModel([echo]))
    first = say(engine, "one", digest="d1")
    assert say(other, "one", digest="d1", repeated=True).id != first.id


def test_a_repetition_after_a_failure_makes_the_answer_of_that_turn(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([ProviderFailed("Down."), echo]))
    with pytest.raises(ProviderFailed):
        say(engine, "one", digest="d1")
    assert say(engine, "one", digest="d1", repeated=True).response == "re one"
    assert [chat.status for chat in engine.chats()] == [ChatStatus.ANSWERED]


def test_a_function_of_the_client_goes_on_in_its_thread(stores: Stores) -> None:
    steps: list[Step] = [[ToolCalls((RECIFE,))], [ToolCalls((BELÉM,))], ["25 and 31."], echo]
    engine = Engine(stores, ScriptedModel(steps))
    asked = say(engine, "Where is it warmer?", thread="1", given=TOOLS)
    assert (asked.asked, asked.status) == ((RECIFE,), ChatStatus.ANSWERED)
    first, second = results((RECIFE, "25")), results((BELÉM, "31"))
    bare = results((ToolCall("call_1", "", ""), "25"))
    assert say(engine, "", thread="1", given=replace(TOOLS, rounds=(bare,))).asked == (BELÉM,)
    whole = say(engine, "Where is it warmer?", thread="1", given=replace(TOOLS, rounds=(first, second)))
    assert whole.response == "25 and 31."
    say(engine, "Thanks", thread="1", given=TOOLS)
    requests = engine.model.requests
    assert [request.question for request in requests] == [*["Where is it warmer?"] * 3, "Thanks"]
    assert [tuple(round_.results for round_ in request.rounds) for request in requests] == [
        (),
        (first,),
        (first, second),
        (),
    ]
    assert [request.history for request in requests[:3]] == [()] * 3
    said = [text for turn in requests[3].history for text in (turn.message, turn.response) if text]
    assert said == ["Where is it warmer?", "25 and 31."]


def test_only_the_last_outputs_need_to_come_in_a_thread(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([[ToolCalls((RECIFE,))], [ToolCalls((BELÉM,))], ["31."]]))
    say(engine, "Where is it warmer?", thread="1", given=TOOLS)
    for call, output in ((RECIFE, "25"), (BELÉM, "31")):
        last = say(engine, "", thread="1", given=replace(TOOLS, rounds=(results((call, output)),)))
    assert last.response == "31."
    assert [round_.results[0].output for round_ in engine.model.requests[2].rounds] == ["25", "31"]


def test_a_function_of_the_client_goes_on_without_a_thread(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["25 degrees."]]))
    rounds = (results((RECIFE, "25")),)
    chat = say(engine, "How warm is it?", given=replace(TOOLS, turns=(Turn("hi", "hello"),), rounds=rounds))
    request = engine.model.requests[0]
    assert (chat.message, request.question, request.history) == (
        "How warm is it?",
        "How warm is it?",
        (Turn("hi", "hello"),),
    )
    assert [round_.results for round_ in request.rounds] == list(rounds)


@pytest.mark.parametrize("case", ["other call", "nothing asked", "answered", "no thread", "cleared"])
def test_outputs_that_nobody_asked_for_are_refused(stores: Stores, case: str) -> None:
    engine = Engine(stores, ScriptedModel([[ToolCalls((RECIFE,))], ["25."]]))
    say(engine, "How warm is it?", thread="1", given=TOOLS)
    call = BELÉM if case == "other call" else RECIFE
    if case == "answered":
        say(engine, "", thread="1", given=replace(TOOLS, rounds=(results((RECIFE, "25")),)))
    if case == "cleared":
        stores.conversations.clear_memory(engine.assistant.id, "thread", new_id(after=engine.chats()[-1].id))
    thread = {"nothing asked": "2", "no thread": None}.get(case, "1")
    before = engine.model.calls
    with pytest.raises(Invalid):
        say(engine, "", thread=thread, given=replace(TOOLS, rounds=(results((call, "25")),)))
    assert engine.model.calls == before


def test_a_failed_attempt_at_the_outputs_can_be_repeated(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([[ToolCalls((RECIFE,))], ProviderFailed("Down."), ["25."]]))
    say(engine, "How warm is it?", thread="1", given=TOOLS)
    outputs = replace(TOOLS, rounds=(results((RECIFE, "25")),))
    with pytest.raises(ProviderFailed):
        say(engine, "", thread="1", given=outputs)
    assert say(engine, "", thread="1", given=outputs).response == "25."


def test_a_message_of_nothing_is_refused_and_stores_nothing(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    with pytest.raises(Invalid):
        say(engine, "", thread="1")
    assert engine.chats() == []
    assert stores.conversations.find_by_channel(engine.assistant.id, Channel("1", "thread")) is None


def test_a_chat_from_before_there_were_doors_can_be_read(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat = engine.say("olá").chat
    assert (chat.given, chat.request_digest, chat.tools, chat.asked) == (None, None, (), ())
    assert stores.chats.newest_of_request(engine.assistant.id, "d") is None
    assert chat.created_at <= now()


def test_a_message_that_is_named_is_one_although_the_thread_has_gone_on(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([[ToolCalls((RECIFE,))], ["25."]]))
    say(engine, "How warm is it?", thread="1", given=TOOLS)
    outputs = replace(TOOLS, rounds=(results((RECIFE, "25")),))
    first, again = (say(engine, "", thread="1", given=outputs, message_id="k", digest="d") for _ in range(2))
    assert first.id == again.id and engine.model.calls == 2


def test_an_old_request_with_the_same_words_is_not_repeated(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    long_ago = replace(say(engine, "hello", digest="d"), id=f"{int(time.time()) - 7200:08x}{'0' * 16}", dedupe_key="x")
    long_ago = replace(long_ago, created_at=now() - timedelta(hours=2))
    stores.chats.delete_of_conversation(long_ago.conversation_id)
    assert stores.chats.add(long_ago)
    again = say(engine, "hello", digest="d", repeated=True)
    assert again.channel != long_ago.channel
    assert engine.model.requests[1].history == ()


def test_what_functions_gave_is_answered_alone(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([[ToolCalls((RECIFE,))], ["25."], echo]))
    say(engine, "How warm is it?", thread="1", given=TOOLS)
    engine.assistant = replace(engine.assistant, debounce_seconds=1)
    outputs = replace(TOOLS, rounds=(results((RECIFE, "25")),))
    ends: dict[str, Chat] = {}

    def send(text: str, given: Given | None) -> None:
        ends[text] = say(engine, text, thread="1", **({"given": given} if given else {}))

    threads = [threading.Thread(target=send, args=("", outputs)), threading.Thread(target=send, args=("hurry", None))]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert (ends[""].status, ends[""].response) == (ChatStatus.ANSWERED, "25.")


@pytest.mark.parametrize("thread", [None, "1"])
def test_what_was_refused_before_it_was_stored_is_new_when_it_is_repeated(stores: Stores, thread: str | None) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "one more, please", thread=thread, digest="d")
    engine.repetitions.refused("d")
    again = say(engine, "one more, please", thread=thread, digest="d", repeated=True)
    assert again.id != first.id
    assert (again.conversation_id == first.conversation_id) is (thread is not None)


def test_nobody_is_shown_the_thread_of_another_one_with_the_same_words(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "hello", digest="d")
    engine.repetitions.delivered("d", first)
    assert say(engine, "hello", digest="d", repeated=True).conversation_id != first.conversation_id


@pytest.mark.parametrize(("age", "new"), [(1, False), (60, True)])
def test_an_answer_in_a_thread_may_be_lost_on_its_way_for_a_while(stores: Stores, age: int, new: bool) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "hello", thread="1", digest="d")
    at = now() - timedelta(seconds=age)
    late = replace(first, id=new_id(), dedupe_key="late", created_at=at, answered_at=at, request_digest="late")
    assert stores.chats.add(late)
    engine.repetitions.delivered("late", late)
    assert (say(engine, "hello", thread="1", digest="late", repeated=True).id != late.id) is new


def test_an_answer_whose_client_had_left_is_there_for_the_repetition(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    other = say(engine, "hello", digest="d")
    engine.repetitions.delivered("d", other)
    first = say(engine, "hello", digest="d")
    assert first.id != other.id
    assert say(engine, "hello", digest="d", repeated=True).id == first.id


def test_without_notes_a_repetition_is_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    engine.notes.away = True
    first = say(engine, "hello", digest="d")
    engine.repetitions.delivered("d", first)
    assert say(engine, "hello", digest="d", repeated=True).id == first.id


def test_a_failed_request_is_repeated_although_the_one_before_was_refused(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([ProviderFailed("Down."), echo]))
    engine.repetitions.refused("d")
    with pytest.raises(ProviderFailed):
        say(engine, "hello", digest="d")
    assert say(engine, "hello", digest="d", repeated=True).attempts == 2
