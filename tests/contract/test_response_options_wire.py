"""What clients of our doors bring along, told over responses: options, and rounds of their own functions."""

from dataclasses import replace
from typing import Any

import pytest

from models.answers import ModelRequest, ToolRound, Usage
from models.deadline import Deadline
from models.threads import Thread
from models.tools import ToolCall, ToolResult, ToolSpec
from repositories.redis.threads import RedisThreads
from tests.contract.hosted import Dialogue, scripted
from tests.emulators.openai_wire import stream
from tests.emulators.response_wire import answer, begun, called, conversation, delta, ended, refusal

_WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
_ASK = ModelRequest("a", "Weather?", tools=(_WEATHER,))
_RIO = '{"city": "Rio"}'
_ROUND = ToolRound((ToolResult(ToolCall("call_1", "weather", _RIO), "sunny"),))
_SUNNY = answer("Sunny.")
_SCHEMA = {"name": "city", "schema": {"type": "object"}, "strict": True}
_FUNCTION = {"type": "function", "function": {"name": "weather"}}
_FLAT = {"type": "function", "name": "weather"}


def _body(registry: RedisThreads, request: ModelRequest) -> Any:
    with scripted(registry, _SUNNY) as peer:
        peer.text(request)
        return peer.server.requests[0].body


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"top_p": 0.5, "parallel_tool_calls": False}, {"top_p": 0.5, "parallel_tool_calls": False}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": _SCHEMA}, "verbosity": "high"},
            {"text": {"format": {"type": "json_schema", **_SCHEMA}, "verbosity": "high"}},
        ),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        ({"tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tool_choice": _FUNCTION}, {"tool_choice": _FLAT}),
        ({"tool_choice": _FLAT}, {"tool_choice": _FLAT}),
        (
            {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_FUNCTION]}}},
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [_FLAT]}},
        ),
        ({"stop": ["END"], "seed": 3, "logit_bias": {"1": 2}, "frequency_penalty": 1, "top_p": None}, {}),
        ({}, {}),
    ],
)
def test_options_are_told_as_this_api_names_them(
    registry: RedisThreads, options: dict[str, Any], told: dict[str, Any]
) -> None:
    body, plain = _body(registry, replace(_ASK, options=options)), _body(registry, _ASK)
    assert {name: value for name, value in body.items() if name not in plain} == told


def test_a_choice_of_tools_needs_tools_and_is_not_forced_for_ever(registry: RedisThreads) -> None:
    options = {"tool_choice": "required", "parallel_tool_calls": True}
    later = _body(registry, replace(_ASK, options=options, rounds=(_ROUND,)))
    assert "tool_choice" not in later and later["parallel_tool_calls"] is True
    bare = _body(registry, replace(_ASK, options=options, tools=()))
    assert not {"tool_choice", "parallel_tool_calls"} & bare.keys()


def test_a_top_p_that_a_model_refuses_is_left_out(registry: RedisThreads) -> None:
    refused = refusal(400, "Unsupported parameter: 'top_p' is not supported with this model.")
    with scripted(registry, refused, _SUNNY, _SUNNY) as peer:
        for _ in range(2):
            peer.text(replace(_ASK, options={"top_p": 0.5}))
        assert [one.body.get("top_p") for one in peer.server.requests] == [0.5, None, None]


@pytest.mark.parametrize(
    ("ending", "truncated"),
    [(ended(), False), (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), True)],
    ids=["complete", "limit"],
)
def test_an_answer_that_reached_its_limit_says_so(registry: RedisThreads, ending: bytes, truncated: bool) -> None:
    with scripted(registry, stream(begun(), delta("It is"), ending)) as peer:
        *_, usage = peer.model.stream(replace(_ASK, tools=()), Deadline(5))
    assert isinstance(usage, Usage) and usage.truncated is truncated


# A client's own functions: the calls ended one request, their outputs come with another, mostly in another process


def test_rounds_of_another_request_are_told_whole(registry: RedisThreads) -> None:
    with scripted(registry, _SUNNY) as peer:
        assert peer.turn(replace(_ASK, rounds=(_ROUND,))) == ("Sunny.", None)
        assert peer.asked() == [(None, "Weather?", f"call_1: weather({_RIO})", "call_1 -> sunny")]
        assert peer.server.requests[0].body["store"] is False


def test_with_a_conversation_they_begin_a_new_one_which_is_continued_later(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    asked = stream(begun(), called("weather", _RIO), ended())
    with scripted(registry, asked, conversation("conv_2"), _SUNNY, answer("Welcome.")) as peer:
        _, calls = peer.turn(ours.ask("Weather?", tools=(_WEATHER,)))
        assert calls is not None
        request = ours.ask("Weather?", tools=(_WEATHER,), rounds=(_ROUND,))
        assert peer.turn(request) == ("Sunny.", None)
        ours.remember("Weather?", "Sunny.")
        assert peer.turn(ours.ask("Thanks", tools=(_WEATHER,))) == ("Welcome.", None)
        assert peer.asked() == [
            ("conv_1", "Weather?"),
            "/v1/conversations",
            ("conv_2", "one", "1", "Weather?", f"call_1: weather({_RIO})", "call_1 -> sunny"),
            ("conv_2", "Thanks"),
        ]
    held = Thread("conv_2", ("one", "Weather?", "Thanks"), settled=True)
    assert registry.take(*ours.ours, "look") == held
