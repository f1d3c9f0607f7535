"""Whole answers of chat completions, for clients that do not read along. Not an independent witness."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from models.answers import ModelEvent, ModelRequest, TextDelta, ToolCalls, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolCall, ToolSpec
from services.providers.openai_chat import OpenAIChatModel, build_client
from tests.emulators.openai_wire import DONE, Action, Reply, WireServer, chunk, document, event, stream, wire

_TOOL = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
_ASK = ModelRequest("a", "q", whole=True)
_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
_STREAM = stream(event(chunk("Sunny.")), event(chunk(finish="stop")), event(chunk(usage=(5, 7))), DONE)
_SUNNY = [TextDelta("Sunny."), Usage(Tokens(5, 7), "wire-1")]


def _reply(message: Mapping[str, Any], finish: str = "stop", **fields: Any) -> Reply:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return document(
        200, {"object": "chat.completion", "model": "wire-1", "choices": [choice], "usage": _USAGE, **fields}
    )


_WHOLE = _reply({"content": "Sunny."})


@contextlib.contextmanager
def _peer(*replies: Reply) -> Iterator[tuple[WireServer, OpenAIChatModel]]:
    with wire(*replies) as server, contextlib.closing(build_client("k", server.base_url, 4)) as client:
        yield server, OpenAIChatModel(client, "wire-1")


def _events(model: OpenAIChatModel, request: ModelRequest = _ASK) -> list[ModelEvent]:
    return list(model.stream(request, Deadline(5)))


def _streamed(server: WireServer) -> list[bool]:
    return [one.body["stream"] for one in server.requests]


def test_it_is_asked_for_and_read_in_one_piece_on_one_connection() -> None:
    with _peer(_WHOLE, _WHOLE, _STREAM) as (server, model):
        assert _events(model) == _events(model) == _SUNNY
        assert _events(model, replace(_ASK, whole=False)) == _SUNNY
        assert (_streamed(server), server.connections) == ([False, False, True], 1)
        assert ["stream_options" in one.body for one in server.requests] == [False, False, True]


def test_its_calls_end_the_turn() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rio"}'}}
    with _peer(_reply({"content": "Wait.", "tool_calls": [call]}, "tool_calls")) as (_, model):
        said, asked, usage = _events(model, replace(_ASK, tools=(_TOOL,)))
    assert said == TextDelta("Wait.")
    assert isinstance(asked, ToolCalls) and asked.calls == (ToolCall("c1", "weather", '{"city": "Rio"}'),)
    assert usage == Usage(Tokens(5, 7), "wire-1")


def test_one_that_reached_its_limit_says_so() -> None:
    with _peer(_reply({"content": "Sun"}, "length")) as (_, model):
        assert _events(model) == [TextDelta("Sun"), Usage(Tokens(5, 7), "wire-1", truncated=True)]


def test_a_server_that_streams_all_the_same_is_understood() -> None:
    with _peer(_STREAM) as (_, model):
        assert _events(model) == _SUNNY


@pytest.mark.parametrize(
    "refusal",
    [
        document(
            400, {"error": {"message": "This model only support stream mode, please enable the stream parameter."}}
        ),
        document(504, {}),
        document(408, {}),
    ],
    ids=["streams-only", "gateway", "timeout"],
)
def test_where_it_cannot_be_had_it_is_streamed_and_that_is_remembered(refusal: Reply) -> None:
    with _peer(refusal, _STREAM, _STREAM) as (server, model):
        assert _events(model) == _events(model) == _SUNNY
        assert _streamed(server) == [False, True, True]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (_reply({"content": None}), "empty_answer"),
        (_reply({"content": "so"}, "content_filter"), "content_filtered"),
        (document(200, {"error": {"message": "overloaded"}}), "provider_failed"),
        (document(200, {"object": "other"}), "stream_cut"),
        (document(200, [1]), "provider_failed"),
        ([_WHOLE[0][:-9], Action.CLOSE] if isinstance(_WHOLE[0], bytes) else [], "stream_cut"),
    ],
    ids=["empty", "filtered", "error", "other", "list", "cut"],
)
def test_what_is_no_answer_is_a_failure(reply: Reply, code: str) -> None:
    with _peer(reply) as (_, model), pytest.raises(ProviderFailed) as failure:
        _events(model)
    assert failure.value.code == code
