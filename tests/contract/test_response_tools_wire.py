"""Function calls over responses against exact events and replies. Not an independent witness."""

import dataclasses
from typing import Any

import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam
from pydantic import TypeAdapter

from models.answers import ModelRequest, Sources, ToolCalls, ToolRound, Usage
from models.chats import Citation, Tokens
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.given import Turn
from models.hosting import HostedSearch
from models.threads import Thread
from models.tools import ToolCall, ToolSpec
from repositories.redis.threads import RedisThreads
from tests.contract.hosted import Dialogue, Peer, scripted
from tests.emulators.openai_wire import STREAM, Action, document, piece, stream
from tests.emulators.response_wire import (
    answer,
    begun,
    called,
    cited,
    conversation,
    deleted,
    delta,
    ended,
    item_done,
    refusal,
    response_event,
    said,
    thought,
)

_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_WEATHER = ToolSpec("weather", "Tells the weather.", _SCHEMA)
_TOOLS = (_WEATHER, ToolSpec("time", "Tells the time.", {"type": "object", "properties": {}}, strict=True))
_ASK = ModelRequest("a", "Weather?", tools=_TOOLS)
_RIO = '{"city": "Rio"}'
_CALLED = stream(begun(), called("weather", _RIO), ended())
_TWO = stream(begun(), called("weather", _RIO), called("time", call_id="call_2", index=2), ended())
_SUNNY = answer("Sunny.")


def _valid(body: Any) -> None:
    """Check a request against the SDK's own types."""
    TypeAdapter(ResponseInputParam).validate_python(body["input"])
    TypeAdapter(list[FunctionToolParam]).validate_python(body.get("tools", []))


def _asked(peer: Peer) -> list[Any]:
    """Return what was asked, but for what was deleted."""
    return [one for one in peer.asked() if not (isinstance(one, str) and one.startswith("/v1/conversations/"))]


def _items(body: Any) -> list[Any]:
    _valid(body)
    return list(body["input"])


def test_tools_are_told_and_calls_end_the_turn(registry: RedisThreads) -> None:
    with scripted(registry, _TWO) as peer:
        events = list(peer.model.stream(_ASK, Deadline(5)))
        body = peer.server.requests[0].body
    _valid(body)
    assert events == [
        ToolCalls((ToolCall("call_1", "weather", _RIO), ToolCall("call_2", "time", "{}"))),
        Usage(Tokens(5, 7), "wire-1", "resp_1"),
    ]
    assert body["tools"] == [
        {
            "type": "function", "name": "weather", "description": "Tells the weather.", "parameters": _SCHEMA,
            "strict": False,
        },
        {
            "type": "function", "name": "time", "description": "Tells the time.",
            "parameters": {"type": "object", "properties": {}}, "strict": True,
        },
    ]  # fmt: skip


def test_text_before_calls_is_told_as_it_comes_and_stays_part_of_the_round(registry: RedisThreads) -> None:
    spoken = stream(begun(), delta("Let me "), delta("look."), called("weather", _RIO), ended())
    with scripted(registry, spoken) as peer:
        text, calls = peer.turn(_ASK)
    assert text == "Let me look." and calls is not None and calls.text == text


@pytest.mark.parametrize("named", [True, False], ids=["event-lines", "data-only"])
def test_a_call_is_read_in_every_framing(registry: RedisThreads, named: bool) -> None:
    body = b"".join((begun(), called("weather", _RIO), ended()))
    if not named:
        body = b"\n".join(line for line in body.split(b"\n") if not line.startswith(b"event:"))
    with scripted(registry, stream(*(body[start : start + 7] for start in range(0, len(body), 7)))) as peer:
        _, calls = peer.turn(_ASK)
    assert calls == ToolCalls((ToolCall("call_1", "weather", _RIO),))


def test_as_many_outputs_as_calls_are_wanted(registry: RedisThreads) -> None:
    calls = ToolCalls((ToolCall("call_1", "weather", _RIO), ToolCall("call_2", "time", "{}")))
    with pytest.raises(ValueError):
        _ASK.after(calls, ["sunny"])
    (one,) = _ASK.after(calls, ["sunny", "noon"]).rounds
    assert [(result.call.name, result.output) for result in one.results] == [("weather", "sunny"), ("time", "noon")]


# In a conversation at the provider


def test_in_a_conversation_only_the_outputs_go_along_and_it_is_settled_by_the_answer(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    ours.remember(None, "an agent's words")
    request = ours.ask("two", tools=_TOOLS)
    again = stream(begun(), called("time", call_id="call_3"), ended())
    with scripted(registry, _TWO, again, _SUNNY) as peer:
        for outputs in (["sunny", "noon"], ["one o'clock"]):
            _, calls = peer.turn(request)
            assert calls is not None
            request = request.after(calls, outputs)
        assert peer.turn(request) == ("Sunny.", None)
        assert _asked(peer) == [
            ("conv_1", "an agent's words", "two"),
            ("conv_1", "call_1 -> sunny", "call_2 -> noon"),
            ("conv_1", "call_3 -> one o'clock"),
        ]
        assert [sent.body["store"] for sent in peer.server.requests] == [True] * 3
        assert not any("include" in sent.body for sent in peer.server.requests)
        assert all(len(sent.body["tools"]) == 2 for sent in peer.server.requests), "each round may need more"
        for sent in peer.server.requests:
            _valid(sent.body)
    held = Thread("conv_1", ("one", "an agent's words", "two"), settled=True)
    assert registry.take(*ours.ours, "look") == held


def test_between_calls_and_answer_the_conversation_is_not_settled(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, _CALLED, conversation("conv_2"), _SUNNY, deleted("conv_1")) as peer:
        peer.turn(ours.ask("two", tools=_TOOLS))
        assert peer.text(ours.ask("two", tools=_TOOLS)) == "Sunny.", "another attempt; the first one was given up"
        assert _asked(peer) == [
            ("conv_1", "two"), "/v1/conversations", ("conv_2", "one", "1", "two"),
        ]  # fmt: skip


_ALL_AGAIN = (
    "conv_2", "one", "1", "two", "Let me look.", 'call_1: weather({"city": "Rio"})', "call_1 -> sunny",
)  # fmt: skip
_SPOKEN = stream(begun(), thought(), delta("Let me look."), called("weather", _RIO), ended())


@pytest.mark.parametrize(
    "failure",
    [
        refusal(500, "x"),
        [Action.RESET],
        refusal(404, "Conversation with id 'conv_1' not found."),
        refusal(400, "No tool call found for function call output with call_id call_1."),
        refusal(400, "No tool output found for function call call_0."),
        stream(response_event("error", code="400", message="no corresponding call_id", param=None)),
    ],
    ids=["500", "reset", "gone", "calls gone", "calls left", "within the stream"],
)
def test_a_conversation_that_is_begun_anew_in_a_round_is_told_question_calls_and_outputs(
    registry: RedisThreads, failure: list[Any]
) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    request = ours.ask("two", tools=_TOOLS)
    with scripted(registry, _SPOKEN, failure, conversation("conv_2"), _SUNNY, deleted("conv_1")) as peer:
        _, calls = peer.turn(request)
        assert calls is not None
        assert peer.turn(request.after(calls, ["sunny"])) == ("Sunny.", None)
        assert _asked(peer)[1:] == [
            ("conv_1", "call_1 -> sunny"), "/v1/conversations", _ALL_AGAIN,
        ]  # fmt: skip
        _valid(peer.server.requests[3].body)
    assert registry.take(*ours.ours, "look") == Thread("conv_2", ("one", "two"), settled=True)


def test_after_a_conversation_was_begun_anew_the_next_round_needs_the_outputs_alone(registry: RedisThreads) -> None:
    ours = Dialogue()
    request = ours.ask("one", tools=_TOOLS)
    more = stream(begun(), called("time", call_id="call_2"), ended())
    replies = (conversation("conv_1"), _CALLED, [Action.RESET], conversation("conv_2"), more, _SUNNY)
    with scripted(registry, *replies, deleted("conv_1")) as peer:
        for output in ("sunny", "noon"):
            _, calls = peer.turn(request)
            assert calls is not None
            request = request.after(calls, [output])
        peer.turn(request)
        assert _asked(peer)[-1] == ("conv_2", "call_2 -> noon")


def test_a_rate_limit_in_a_round_keeps_the_conversation(registry: RedisThreads) -> None:
    ours = Dialogue()
    request = ours.ask("one", tools=_TOOLS)
    busy = document(429, {}, Retry_After="0.05")
    with scripted(registry, conversation("conv_1"), _CALLED, busy, _SUNNY) as peer:
        _, calls = peer.turn(request)
        assert calls is not None
        peer.turn(request.after(calls, ["sunny"]))
        assert _asked(peer)[2:] == [("conv_1", "call_1 -> sunny")] * 2


def test_a_round_that_is_asked_a_second_time_begins_anew(registry: RedisThreads) -> None:
    ours = Dialogue()
    request = ours.ask("one", tools=_TOOLS)
    more = stream(begun(), called("time", call_id="call_2"), ended())
    replies = (conversation("conv_1"), _CALLED, more, conversation("conv_2"), _SUNNY)
    with scripted(registry, *replies, deleted("conv_1")) as peer:
        _, calls = peer.turn(request)
        assert calls is not None
        peer.turn(request.after(calls, ["sunny"]))
        peer.turn(request.after(calls, ["rainy"]))
        assert _asked(peer)[4] == ("conv_2", "one", 'call_1: weather({"city": "Rio"})', "call_1 -> rainy")


def test_rounds_of_another_model_are_told_in_the_conversation_that_goes_on(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    theirs = ToolCalls((ToolCall("x", "weather", _RIO),), "Hm.", state="another model's")
    with scripted(registry, _SUNNY) as peer:
        peer.text(ours.ask("two", tools=_TOOLS).after(theirs, ["sunny"]))
        assert _asked(peer) == [("conv_1", "two", "Hm.", 'x: weather({"city": "Rio"})', "x -> sunny")]
    assert registry.take(*ours.ours, "look").turns == ("one", "two")


def test_items_that_the_provider_did_not_keep_are_not_told_in_a_conversation(registry: RedisThreads) -> None:
    ours = Dialogue()
    theirs = ToolCalls((ToolCall("x", "time", "{}"),), state="another model's")
    with scripted(registry, _SPOKEN, conversation("conv_1"), _SUNNY) as peer:
        _, calls = peer.turn(_ASK)
        assert calls is not None
        peer.text(ours.ask("two", tools=_TOOLS).after(calls, ["sunny"]).after(theirs, ["noon"]))
        assert _asked(peer)[-1] == (
            "conv_1", "two", "Let me look.", 'call_1: weather({"city": "Rio"})', "call_1 -> sunny", "x: time({})",
            "x -> noon",
        )  # fmt: skip


# Without a conversation


def test_without_a_conversation_what_the_provider_said_is_told_again_as_it_was(registry: RedisThreads) -> None:
    request = dataclasses.replace(_ASK, history=(Turn("Hi", "Hello"),))
    aside = said("I check.", phase="commentary")
    first = stream(begun(), thought(), aside, called("weather", _RIO), ended())
    second = stream(begun(), thought("more", "rs_2"), called("time", call_id="call_2"), ended())
    with scripted(registry, first, second, _SUNNY) as peer:
        for output in ("sunny", "noon"):
            _, calls = peer.turn(request)
            assert calls is not None
            request = request.after(calls, [output])
        assert peer.turn(request) == ("Sunny.", None)
        bodies = [sent.body for sent in peer.server.requests]
    assert [(body["store"], body["include"]) for body in bodies] == [(False, ["reasoning.encrypted_content"])] * 3
    assert _items(bodies[2]) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "secret"},
        {"type": "message", "role": "assistant", "content": "I check.", "phase": "commentary"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": _RIO},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "more"},
        {"type": "function_call", "call_id": "call_2", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_2", "output": "noon"},
    ]


def test_reasoning_that_is_kept_nowhere_is_not_referred_to(registry: RedisThreads) -> None:
    with scripted(registry, stream(begun(), thought(None), called("weather", _RIO), ended()), _SUNNY) as peer:
        _, calls = peer.turn(_ASK)
        assert calls is not None
        peer.turn(_ASK.after(calls, ["sunny"]))
        assert _asked(peer)[1] == (None, "Weather?", 'call_1: weather({"city": "Rio"})', "call_1 -> sunny")


def test_a_model_that_has_no_encrypted_reasoning_is_not_asked_for_it_again(registry: RedisThreads) -> None:
    refused = refusal(400, "Encrypted content is not supported with this model.", param="include")
    with scripted(registry, refused, _CALLED, _SUNNY) as peer:
        peer.turn(_ASK)
        peer.turn(_ASK)
        sent = [request.body.get("include") for request in peer.server.requests]
    assert sent == [["reasoning.encrypted_content"], None, None]


def test_what_a_search_found_before_the_calls_can_be_cited_after_them(registry: RedisThreads) -> None:
    result = {"file_id": "file_1", "filename": "p.md", "text": "Nine.", "score": 0.9, "attributes": {"document": "d"}}
    found = item_done(type="file_search_call", id="fs_1", status="completed", queries=["q"], results=[result])
    request = dataclasses.replace(_ASK, search=HostedSearch("vs_1", 7))
    last = stream(begun(), delta("Nine."), cited("file_1", "p.md", 4), ended())
    with scripted(registry, stream(begun(), found, called("weather", _RIO), ended()), last) as peer:
        events = list(peer.model.stream(request, Deadline(5)))
        assert not any(isinstance(event, Sources) for event in events)
        (calls,) = (event for event in events if isinstance(event, ToolCalls))
        *_, sources, _usage = peer.model.stream(request.after(calls, ["sunny"]), Deadline(5))
        first, second = (sent.body for sent in peer.server.requests)
    assert sources == Sources((Citation("d", "policy.md", "Nine.", 0, 5),))
    assert [tool["type"] for tool in first["tools"]] == ["file_search", "function", "function"]
    assert first["include"] == ["file_search_call.results", "reasoning.encrypted_content"]
    assert "file_search_call" in [item.get("type") for item in second["input"]]


# Calls that are none


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "empty_answer"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filtered"),
        (ended("failed", error={"code": "server_error", "message": "x"}), "provider_failed"),
        (b"", "stream_cut"),
    ],
    ids=["limit", "filter", "failed", "cut"],
)
def test_calls_of_a_response_that_did_not_end_as_it_should_are_never_told(
    registry: RedisThreads, ending: bytes, code: str
) -> None:
    told = []
    with scripted(registry, stream(begun(), called("weather", _RIO), ending)) as peer:
        with pytest.raises(ProviderFailed) as failure:
            for event in peer.model.stream(_ASK, Deadline(5)):
                told.append(event)
    assert failure.value.code == code and not told


def test_an_unfinished_answer_with_calls_is_an_answer_without_them(registry: RedisThreads) -> None:
    ours = Dialogue()
    ending = ended("incomplete", incomplete_details={"reason": "max_output_tokens"})
    with scripted(
        registry, conversation("conv_1"), stream(begun(), delta("It is"), called("weather", _RIO), ending)
    ) as peer:
        assert peer.turn(ours.ask("one", tools=_TOOLS)) == ("It is", None)
    assert not registry.take(*ours.ours, "look").settled


@pytest.mark.parametrize("text", [b"", delta("Hello.")])
def test_calls_that_nobody_asked_for_are_no_answer_and_settle_nothing(registry: RedisThreads, text: bytes) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_1"), stream(begun() + text, called("weather", _RIO), ended())) as peer:
        if text:
            assert peer.turn(ours.ask("one")) == ("Hello.", None)
        else:
            assert peer.code(ours.ask("one")) == "empty_answer"
    assert not registry.take(*ours.ours, "look").settled


@pytest.mark.parametrize("field", ["call_id", "name", "arguments"])
def test_a_call_in_another_shape_is_a_failure(registry: RedisThreads, field: str) -> None:
    whole = called("weather", _RIO)
    assert f'"{field}"'.encode() in whole
    broken = whole.replace(f'"{field}"'.encode(), b'"other"')
    with scripted(registry, [STREAM, piece(begun() + broken + ended()), Action.CLOSE]) as peer:
        assert peer.code(_ASK) == "provider_failed"


def test_a_round_says_nothing_of_its_state(registry: RedisThreads) -> None:
    """The state holds what the provider said: it must not reach a log by way of a request's text."""
    with scripted(registry, stream(begun(), thought("hidden"), called("weather", _RIO), ended())) as peer:
        _, calls = peer.turn(_ASK)
    assert calls is not None and calls.state is not None
    assert "hidden" not in repr(_ASK.after(calls, ["sunny"]))
    assert ToolRound((), state=1) == ToolRound(())
