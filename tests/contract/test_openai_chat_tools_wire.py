"""Function calls over chat completions from servers that are odd, each in its own way. Not an independent witness."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from models.answers import ModelEvent, ModelRequest, TextDelta, ToolCalls, ToolRound, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolCall, ToolResult, ToolSpec
from services.providers.openai_chat import OpenAIChatModel, build_client
from tests.emulators.openai_wire import DONE, STREAM, Action, Reply, WireServer, chunk, document, event, piece, stream
from tests.emulators.openai_wire import wire as wire_server

_RIO, _FARO = '{"city": "Rio"}', '{"city": "Faro"}'
_WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
_STRICT = ToolSpec("time", "Tells the time.", {"type": "object", "properties": {}, "additionalProperties": False}, True)
_ASK = ModelRequest("a", "Weather?", tools=(_WEATHER,))
_RESULT = ToolResult(ToolCall("call_1", "weather", _RIO), "sunny")
_LATER = replace(_ASK, rounds=(ToolRound((_RESULT,)),))
_OVER = replace(_LATER, tools=())
_SUNNY = stream(event(chunk("Sunny.")), event(chunk(finish="stop")), DONE)
_Piece = Mapping[str, Any]


@contextlib.contextmanager
def _peer(*replies: Reply) -> Iterator[tuple[WireServer, OpenAIChatModel]]:
    with wire_server(*replies) as server, contextlib.closing(build_client("k", server.base_url, 4)) as client:
        yield server, OpenAIChatModel(client, "wire-1")


def _event(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
    """Return a chunk in whatever shape, unlike `chunk` unchecked."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event(json.dumps({"object": "chat.completion.chunk", "model": "wire-1", "choices": [choice]}).encode())


def _calling(*deltas: Sequence[_Piece], finish: str | None = "tool_calls", text: str = "") -> Reply:
    """Return the reply with these pieces of calls, a chunk for each sequence."""
    said = [_event({"role": "assistant", "content": text or None})]
    return stream(*said, *(_event({"tool_calls": pieces}) for pieces in deltas), _event({}, finish), DONE)


def _part(arguments: object, name: str | None = None, **fields: object) -> _Piece:
    return {"function": {"arguments": arguments} | ({} if name is None else {"name": name})} | fields


def _answer(model: OpenAIChatModel, request: ModelRequest = _ASK) -> tuple[str, ToolCalls | None]:
    events: list[ModelEvent] = list(model.stream(request, Deadline(5)))
    text = "".join(one.text for one in events if isinstance(one, TextDelta))
    return text, next((one for one in events if isinstance(one, ToolCalls)), None)


def _code(model: OpenAIChatModel, request: ModelRequest = _ASK) -> str:
    with pytest.raises(ProviderFailed) as failure:
        _answer(model, request)
    return failure.value.code


_ONE = [("c1", "weather", _RIO)]
_TWO = [("c1", "weather", _RIO), ("c2", "weather", _FARO)]
_ANY_IDS = [("", "weather", _RIO), ("", "weather", _FARO)]
_HALVES = _RIO[:6], _RIO[6:]


@pytest.mark.parametrize(
    ("deltas", "calls"),
    [
        ([[_part("", "weather", index=0, id="c1")], *([_part(half, index=0)] for half in _HALVES)], _ONE),
        ([[_part("", "weather", index=0, id="c1")], *([_part(half, "", index=0, id="")] for half in _HALVES)], _ONE),
        ([[_part(half, "weather", index=0, id="c1")] for half in _HALVES], _ONE),
        ([[_part("", "wea", index=0, id="c1")], [_part(_RIO, "ther", index=0)]], _ONE),
        ([[_part("", "wea", index=0, id="c1")], [_part(_RIO, "weather", index=0)]], _ONE),
        ([[_part(_RIO, "weather", index=0, id="c1")], [_part(_RIO, "weather", index=0, id="c1")]], _ONE),
        ([[_part(_RIO, "weather", index=0, id="c1")], [_part("", "weather", index=0, id="c1")]], _ONE),
        ([[_part(_RIO, "weather", id="c1")], [_part(_RIO, "weather", id="c1")]], _ONE),
        ([[_part({"city": "Rio"}, "weather", index=0, id="c1")]], _ONE),
        ([[_part("", "weather", id="c1")], *([_part(half)] for half in _HALVES)], _ONE),
        ([[_part(None, "weather", index=0, id="c1")]], [("c1", "weather", "{}")]),
        ([[_part(" ", "weather", index=0, id="c1")]], [("c1", "weather", "{}")]),
        ([[_part("{", "weather", index=0, id="c1")]], [("c1", "weather", "{")]),
        ([[_part(_RIO, "weather", index=0, id="c1"), _part(_FARO, "weather", index=1, id="c2")]], _TWO),
        ([[_part(_RIO, "weather", index=0, id="c1")], [_part(_FARO, "weather", index=0, id="c2")]], _TWO),
        ([[_part(_RIO, "weather", id="c1"), _part(_FARO, "weather", id="c2")]], _TWO),
        (
            [
                [_part("", "weather", index=0, id="c1")],
                [_part("", "weather", index=1, id="c2")],
                [_part(_FARO[:6], index=1), _part(_RIO[:6], index=0)],
                [_part(_RIO[6:], index=0), _part(_FARO[6:], index=1)],
            ],
            _TWO,
        ),
        ([[_part(_RIO, "weather"), _part(_FARO, "weather")]], _ANY_IDS),
        ([[_part(_RIO, "weather", index=0, id="")], [_part(_FARO, "weather", index=1, id="")]], _ANY_IDS),
        ([[_part(_RIO, "weather", index=0)], [_part(_FARO, "weather", index=0)]], _ANY_IDS),
        ([[_part(_RIO, "weather", id="weather")], [_part(_FARO, "weather", id="weather")]], _ANY_IDS),
        ([[_part("", "t", index=0, id=name)] for name in ("c1", "c2")], [("c1", "t", "{}"), ("c2", "t", "{}")]),
        ([[_part("", "time")], [_part(_RIO, "weather")]], [("", "time", "{}"), ("", "weather", _RIO)]),
        ([[_part("", "time", index=0), _part(_RIO, "weather", index=1)]], [("", "time", "{}"), ("", "weather", _RIO)]),
    ],
    ids=[
        "openai", "empty-ids-and-names", "name-repeated", "name-in-pieces", "name-grows", "told-twice",
        "named-at-the-end", "told-twice-no-index", "object", "no-index-pieces", "no-arguments", "blank-arguments",
        "no-json", "parallel", "one-index-for-all", "no-index", "interleaved", "neither", "no-ids", "one-index-no-ids",
        "one-id-for-all", "one-index-no-arguments", "two-names-neither", "two-names-no-ids",
    ],
)  # fmt: skip
@pytest.mark.parametrize("finish", ["tool_calls", "stop", None])
def test_every_way_to_tell_calls_is_understood(
    deltas: list[list[_Piece]], calls: list[tuple[str, str, str]], finish: str | None
) -> None:
    with _peer(_calling(*deltas, finish=finish)) as (_, model):
        text, asked = _answer(model)
    assert text == "" and asked is not None
    assert [(one.name, one.arguments) for one in asked.calls] == [(name, arguments) for _, name, arguments in calls]
    ids = [one.id for one in asked.calls]
    assert all(ids) and len(set(ids)) == len(ids)
    assert all(id_ in ("", told) for (id_, _, _), told in zip(calls, ids, strict=True))


def test_text_beside_calls_is_told_before_them_and_usage_behind() -> None:
    whole = _calling([_part(_RIO, "weather", index=0, id="c1")], text="Let me look.")
    with _peer([*whole[:-2], piece(event(chunk(usage=(5, 7))) + DONE), whole[-1]]) as (_, model):
        said, asked, usage = model.stream(_ASK, Deadline(5))
    assert said == TextDelta("Let me look.")
    assert isinstance(asked, ToolCalls) and asked.text == "Let me look."
    assert usage == Usage(Tokens(5, 7), "wire-1")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (_calling([_part(_RIO, "weather", index=0, id="c1")], finish="length"), "empty_answer"),
        (_calling([_part(_RIO, "weather", index=0, id="c1")], finish="content_filter"), "content_filtered"),
        ([STREAM, piece(_event({"tool_calls": [_part(_RIO, "weather", index=0)]})), Action.CLOSE], "stream_cut"),
        (stream(_event({"tool_calls": [_part(_RIO, "weather", index=0)]})), "stream_cut"),
        (_calling([_part(_RIO, index=0, id="c1")]), "provider_failed"),
        (_calling([_part(_RIO, 5, index=0, id="c1")]), "provider_failed"),  # type: ignore[arg-type]
        (stream(_event({"tool_calls": "weather"}), DONE), "provider_failed"),
    ],
    ids=["limit", "filter", "closed", "no-end", "no-name", "number-for-name", "no-list"],
)
def test_calls_of_half_an_answer_and_nonsense_are_failures(reply: Reply, code: str) -> None:
    with _peer(reply) as (_, model):
        assert _code(model) == code


def test_a_limit_that_left_no_room_for_an_answer_is_named() -> None:
    reply = _calling([_part(_RIO, "weather", index=0, id="c1")], finish="length")
    with _peer(reply) as (_, model), pytest.raises(ProviderFailed, match="Raise max_output_tokens"):
        _answer(model)


def test_text_that_reached_its_limit_is_an_answer_without_its_calls() -> None:
    with _peer(_calling([_part(_RIO[:5], "weather", index=0, id="c1")], finish="length", text="It is")) as (_, model):
        said, usage = model.stream(_ASK, Deadline(5))
    assert said == TextDelta("It is")
    assert isinstance(usage, Usage) and usage.truncated


@pytest.mark.parametrize("text", ["", "Hello."])
def test_calls_that_nobody_asked_for_are_no_answer(text: str) -> None:
    with _peer(_calling([_part(_RIO, "weather", index=0, id="c1")], text=text)) as (_, model):
        if text:
            assert _answer(model, _OVER) == ("Hello.", None)
        else:
            assert _code(model, _OVER) == "empty_answer"


def test_what_a_server_wants_to_hear_again_is_told_it() -> None:
    sign = {"google": {"thought_signature": "c2ln"}}
    reply = stream(
        _event({"reasoning_content": "They ask "}),
        _event({"reasoning_content": "about Rio."}),
        _event({"tool_calls": [_part(_RIO, "weather", index=0, id="c1", extra_content=sign)]}),
        _event({"tool_calls": [_part(_FARO, "weather", index=1, id="c2")]}, "tool_calls"),
        DONE,
    )
    with _peer(reply, _SUNNY, _SUNNY) as (server, model):
        text, asked = _answer(model)
        assert text == "" and asked is not None and "Rio" not in repr(asked.state)
        assert _answer(model, _ASK.after(asked, ["sunny", "rainy"])) == ("Sunny.", None)
        _answer(model, _ASK.after(replace(asked, state=None), ["sunny", "rainy"]))
        told, without = (request.body["messages"][2] for request in server.requests[1:])
    assert told["reasoning_content"] == "They ask about Rio."
    assert [call.get("extra_content") for call in told["tool_calls"]] == [sign, None]
    assert "reasoning_content" not in without and "extra_content" not in without["tool_calls"][0]


def test_arguments_that_are_no_object_are_told_as_one() -> None:
    broken = replace(_ASK, rounds=(ToolRound((ToolResult(ToolCall("c1", "weather", '{"city'), "no JSON"),)),))
    with _peer(_SUNNY) as (server, model):
        _answer(model, broken)
        (told,) = server.requests[0].body["messages"][2]["tool_calls"]
    assert json.loads(told["function"]["arguments"]) == {"unreadable": '{"city'}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (404, "No endpoints found that support tool use. Try disabling weather."),
        (400, "`tool calling` is not supported with this model"),
        (400, "deepseek-reasoner does not support Function Calling"),
        (400, "Unsupported parameter: 'tools' is not supported with this model."),
        (400, "openai does not support parameters: ['tools'], for model=x"),
        (500, "tools param requires --jinja flag"),
    ],
    ids=["ollama", "vllm", "openrouter", "groq", "deepseek", "openai", "litellm", "llama.cpp"],
)
def test_a_model_that_knows_no_tools_is_named(status: int, words: str) -> None:
    with _peer(document(status, {"error": {"message": words}})) as (server, model):
        with pytest.raises(ProviderFailed, match="'wire-1' cannot call tools") as failure:
            _answer(model)
        assert failure.value.code == "tools_unsupported" and words not in failure.value.detail
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "tools[0]: invalid schema for function 'weather': 'oneOf' is not supported"),
        (400, "The tool_choice parameter does not support being set to required in thinking mode"),
        (400, "Invalid 'tools[0].function.name': string does not match pattern"),
        (400, "This model does not support images"),
    ],
)
def test_another_refusal_is_not_taken_for_that(status: int, words: str) -> None:
    with _peer(document(status, {"error": {"message": words}})) as (_, model):
        assert _code(model, replace(_ASK, options={"tool_choice": "required"})) == "provider_failed"


def test_without_tools_there_is_no_such_refusal() -> None:
    with _peer(document(400, {"error": {"message": "this server does not support tools"}})) as (_, model):
        assert _code(model, replace(_ASK, tools=())) == "provider_failed"


@pytest.mark.parametrize(
    "words",
    [
        "litellm.UnsupportedParamsError: Anthropic expects the `tools=` param to be passed in.",
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ],
)
def test_calls_without_tools_are_declared_where_a_server_wants_that(words: str) -> None:
    with _peer(document(400, {"error": {"message": words}}), _SUNNY, _SUNNY, _SUNNY) as (server, model):
        for request in (_OVER, _OVER, _LATER):
            assert _answer(model, request) == ("Sunny.", None)
        refused, declared, again, normal = (one.body for one in server.requests)
    assert "tools" not in refused and "tool_choice" not in refused
    function = {"name": "weather", "description": "", "parameters": {"type": "object", "properties": {}}}
    assert declared["tools"] == again["tools"] == [{"type": "function", "function": function}]
    assert declared["tool_choice"] == again["tool_choice"] == "none"
    assert normal["tools"][0]["function"]["description"] == "Tells the weather." and "tool_choice" not in normal


def test_a_server_that_wants_text_beside_calls_gets_an_empty_one() -> None:
    refusal = document(422, {"detail": [{"loc": ["body", "messages", 2, "content"], "msg": "str expected"}]})
    with _peer(refusal, _SUNNY, _SUNNY) as (server, model):
        for _ in range(2):
            assert _answer(model, _LATER) == ("Sunny.", None)
        assert [one.body["messages"][2]["content"] for one in server.requests] == [None, "", ""]


def test_a_server_that_knows_no_strict_tools_gets_plain_ones() -> None:
    refusal = document(422, {"detail": [{"type": "extra_forbidden", "loc": ["tools", 1, "function", "strict"]}]})
    with _peer(refusal, _SUNNY) as (server, model):
        _answer(model, replace(_ASK, tools=(_WEATHER, _STRICT)))
        marks = [[tool["function"].get("strict") for tool in one.body["tools"]] for one in server.requests]
    assert marks == [[None, True], [None, None]]


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "parallel_tool_calls"])
def test_a_parameter_that_a_model_does_not_know_is_left_out(name: str) -> None:
    refusal = document(
        400, {"error": {"message": f"Unsupported parameter: '{name}' is not supported with this model."}}
    )
    options = {"top_p": 0.5, "seed": 3, "parallel_tool_calls": False}
    request = replace(_ASK, temperature=0.5, options=options)
    with _peer(refusal, _SUNNY, _SUNNY) as (server, model):
        for _ in range(2):
            _answer(model, request)
        assert [sorted({"temperature", *options} - one.body.keys()) for one in server.requests] == [[], [name], [name]]


def test_a_value_that_a_model_refuses_is_a_failure_and_forgets_nothing() -> None:
    refusal = document(400, {"error": {"message": "Invalid 'temperature': expected a value <= 1."}})
    with _peer(refusal, _SUNNY) as (server, model):
        assert _code(model, replace(_ASK, temperature=1.5)) == "provider_failed"
        _answer(model, replace(_ASK, temperature=1.0))
        assert server.requests[-1].body["temperature"] == 1.0


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ("auto", True),
        ("none", True),
        ("required", False),
        ({"type": "function", "function": {"name": "weather"}}, False),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}}, False),
    ],
    ids=["auto", "none", "required", "function", "allowed", "allowed-required"],
)
def test_a_forced_choice_is_for_the_first_calls_and_for_tools_only(choice: object, kept: bool) -> None:
    options = {"tool_choice": choice, "parallel_tool_calls": True, "seed": 7}
    with _peer(_SUNNY, _SUNNY, _SUNNY) as (server, model):
        for request in (_ASK, _LATER, replace(_ASK, tools=())):
            _answer(model, replace(request, options=options))
        first, later, bare = (one.body for one in server.requests)
    assert (first["tool_choice"], first["parallel_tool_calls"], first["seed"]) == (choice, True, 7)
    assert later.get("tool_choice") == (choice if kept else None) and later["parallel_tool_calls"] is True
    assert bare["seed"] == 7 and not {"tool_choice", "parallel_tool_calls"} & bare.keys()
