"""Responses that are gone on from: the same conversation, or a thread that branches off; on both stores."""

from dataclasses import replace
from typing import Any

import pytest

from models.answers import ToolCalls
from models.chats import Chat
from models.errors import Invalid, NotFound, ProviderFailed
from models.given import Given, Turn
from models.ids import new_id
from models.tools import ToolCall, ToolResult, ToolSpec
from services.doors import DoorMessage, DoorService
from services.memory import MemoryService
from services.providers.scripted import ScriptedModel
from services.responses import ResponseService
from tests.contract.engine import Engine, echo
from tests.contract.stores import Stores

RECIFE = ToolCall("call_1", "weather", '{"city": "Recife"}')
TOOLS = Given(tools=(ToolSpec("weather", "Tell the weather.", {"type": "object", "properties": {}}),))


def responses_of(engine: Engine) -> ResponseService:
    """Return the service over an engine's store."""
    held = engine.stores
    doors = DoorService(held.conversations, held.chats, engine.repetitions)
    return ResponseService(doors, held.conversations, held.chats, 1000)


def say(engine: Engine, text: str, after: Chat | None = None, **fields: Any) -> Chat:
    """Send a message, behind an earlier one, and return the chat that it ended with."""
    previous = None if after is None else after.id
    inbound = responses_of(engine).inbound(engine.assistant, DoorMessage(text, **fields), previous)
    *_, done = engine.service.answer(inbound)
    chat: Chat = done.chat  # type: ignore[union-attr]
    return chat


def outputs(text: str) -> Given:
    """Return what the client's function gave, the call named by its id alone."""
    return replace(TOOLS, rounds=((ToolResult(ToolCall(RECIFE.id, "", ""), text),),))


def test_behind_the_newest_response_the_conversation_goes_on(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "one", given=Given(turns=(Turn("zero", "nothing"),)))
    second = say(engine, "two", first, given=Given(turns=(Turn("between", None),)))
    assert second.conversation_id == first.conversation_id
    assert engine.model.requests[1].history == (Turn("zero", "nothing"), Turn("one", "re one"), Turn("between", None))


def test_behind_an_older_one_a_thread_begins_that_knows_what_was_said_up_to_there(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 5))
    first = say(engine, "one", given=Given(turns=(Turn("zero", "nothing"),)))
    say(engine, "two", first)
    branch = say(engine, "three", first)
    assert branch.conversation_id != first.conversation_id
    known = (Turn("zero", "nothing"), Turn("one", "re one"))
    assert engine.model.requests[2].history == known
    say(engine, "four", branch)
    assert engine.model.requests[3].history == (*known, Turn("three", "re three"))


def test_a_branch_is_told_no_more_than_the_assistant_would_remember(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 6))
    chats = [say(engine, "a", thread="t")]
    for text in ("b", "c", "d"):
        chats.append(say(engine, text, chats[-1]))
    engine.assistant = replace(engine.assistant, history_turns=2)
    say(engine, "e", chats[2])
    assert list(engine.model.requests[-1].history) == [Turn("b", "re b"), Turn("c", "re c")]
    engine.assistant = replace(engine.assistant, history_turns=0)
    say(engine, "f", chats[2])
    assert list(engine.model.requests[-1].history) == []


def test_what_was_said_before_the_memory_began_anew_is_in_no_branch(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 3))
    first = say(engine, "one", thread="t")
    second = say(engine, "two", first)
    MemoryService(stores.conversations, stores.chats).clear(engine.assistant, "thread", "t")
    say(engine, "three", first)
    assert engine.model.requests[-1].history == ()
    assert second.conversation_id == first.conversation_id


def test_a_failure_and_an_agents_words_do_not_make_a_response_an_older_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, ProviderFailed("away"), echo, echo]))
    first = say(engine, "one")
    with pytest.raises(ProviderFailed):
        say(engine, "two", first)
    second = say(engine, "three", first)
    agent = replace(second, id=new_id(), dedupe_key=new_id(), message=None, response="I am here.", answered_by="u")
    assert stores.chats.add(agent)
    third = say(engine, "four", second)
    assert third.conversation_id == second.conversation_id == first.conversation_id
    assert engine.model.requests[-1].history[-1] == Turn(None, "I am here.")


def test_a_branch_of_a_conversation_that_people_have_taken_over_is_none(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = say(engine, "one")
    say(engine, "two", first)
    stores.conversations.set_active(first.conversation_id, False, None)
    silent = say(engine, "three", first)
    assert (silent.conversation_id, silent.response, silent.active) == (first.conversation_id, None, False)


def test_outputs_go_on_from_the_calls_that_a_response_asked_for(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, [ToolCalls((RECIFE,))], ["sunny"], ["rainy"]]))
    before = say(engine, "one")
    asking = say(engine, "two", before, given=TOOLS)
    for text in ("sun", "rain"):
        say(engine, "", asking, given=outputs(text))
        request = engine.model.requests[-1]
        assert (request.question, request.history) == ("two", (Turn("one", "re one"),))
        assert request.rounds[0].results == (ToolResult(RECIFE, text),)
    with pytest.raises(Invalid) as refused:
        say(engine, "", before, given=outputs("sun"))
    assert refused.value.code == "tool_outputs_unexpected"


def test_responses_of_others_are_not_there(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    first = say(engine, "one")
    stranger = replace(engine.assistant, id=new_id())
    assert responses_of(engine).get(engine.assistant, first.id).id == first.id
    for name in (first.id, new_id(), "", "x"):
        with pytest.raises(Invalid) as unknown:
            responses_of(engine).inbound(stranger, DoorMessage("two"), name)
        assert unknown.value.code == "previous_response_not_found"
        with pytest.raises(NotFound):
            responses_of(engine).get(stranger, name)


def test_a_message_that_is_named_is_one_behind_a_response(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    first = say(engine, "one")
    second, again = (say(engine, "two", first, message_id="k", digest="d") for _ in range(2))
    assert second.id == again.id and engine.model.calls == 2
