"""Function calls over chat completions against aimock, an emulator that was not written for it."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.answers import ModelEvent, ModelRequest, TextDelta, ToolCalls, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolCall, ToolSpec
from services.providers.openai_chat import OpenAIChatModel, build_client
from tests.emulators.aimock import AimockServer, Fixture, aimock

_RIO = '{"city":"Rio de Janeiro","unit":"°C"}'
_SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
_WEATHER = ToolSpec("weather", "Tells the weather.", _SCHEMA)
_ASK = ModelRequest("a", "How is the weather?", tools=(_WEATHER,))
_CALLS = [{"id": "call_rio", "name": "weather", "arguments": _RIO}, {"id": "call_2", "name": "weather"}]


def _fixtures(response: object, **conditions: object) -> tuple[Fixture, Fixture]:
    """Return calls for the question and, once the last of them has an output, an answer."""
    return (
        {"match": {"toolCallId": "call_rio"}, "response": {"content": "Sunny in Rio."}},
        {"match": {"userMessage": "weather", "hasToolResult": False}, "response": response, **conditions},
    )


@pytest.fixture(scope="module")
def emulator() -> Iterator[AimockServer]:
    with aimock(chunk_size=3) as server:
        yield server


@pytest.fixture
def server(emulator: AimockServer) -> AimockServer:
    emulator.reset()
    return emulator


@pytest.fixture
def model(server: AimockServer) -> Iterator[OpenAIChatModel]:
    with contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client:
        yield OpenAIChatModel(client, "gpt-any")


def _ask(model: OpenAIChatModel, request: ModelRequest) -> tuple[str, list[ToolCalls]]:
    events: list[ModelEvent] = list(model.stream(request, Deadline(10)))
    assert isinstance(events[-1], Usage)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, ToolCalls)]


def test_a_call_is_made_and_answered_in_two_steps(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}))
    text, (calls,) = _ask(model, _ASK)
    assert (text, calls.calls) == ("", (ToolCall("call_rio", "weather", _RIO),))
    assert _ask(model, _ASK.after(calls, ["sunny"])) == ("Sunny in Rio.", [])
    first, second = (one["body"] for one in server.journal())
    function = {"name": "weather", "description": "Tells the weather.", "parameters": _SCHEMA}
    assert first["tools"] == second["tools"] == [{"type": "function", "function": function}]
    _system, question, asked, output = second["messages"]
    assert question == {"role": "user", "content": "How is the weather?"}
    told = {"id": "call_rio", "type": "function", "function": {"name": "weather", "arguments": _RIO}}
    assert asked == {"role": "assistant", "content": None, "tool_calls": [told]}
    assert output == {"role": "tool", "tool_call_id": "call_rio", "content": "sunny"}


def test_text_and_parallel_calls_of_one_turn_are_told_again_in_order(
    server: AimockServer, model: OpenAIChatModel
) -> None:
    both = [{**one, "arguments": _RIO} for one in reversed(_CALLS)]
    server.add_fixtures(*_fixtures({"content": "Let me look.", "toolCalls": both}))
    text, (calls,) = _ask(model, _ASK)
    assert text == calls.text == "Let me look."
    assert [call.id for call in calls.calls] == ["call_2", "call_rio"]
    assert _ask(model, _ASK.after(calls, ["rainy", "sunny"])) == ("Sunny in Rio.", [])
    messages = server.journal()[-1]["body"]["messages"]
    assert [one["role"] for one in messages] == ["system", "user", "assistant", "tool", "tool"]
    assert [one["content"] for one in messages[2:]] == ["Let me look.", "rainy", "sunny"]


def test_the_rounds_of_another_process_are_enough(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}))
    _, (calls,) = _ask(model, _ASK)
    assert _ask(model, _ASK.after(replace(calls, state=None), ["sunny"])) == ("Sunny in Rio.", [])


def test_the_usage_of_calls_is_told(server: AimockServer, model: OpenAIChatModel) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 22}
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1], "usage": usage}))
    assert list(model.stream(_ASK, Deadline(10)))[-1] == Usage(Tokens(11, 22), "gpt-any")


def test_options_go_along_but_a_forced_choice_only_once(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}))
    options = {"tool_choice": "required", "parallel_tool_calls": False, "top_p": 0.5, "stop": ["END"], "other": 1}
    request = replace(_ASK, options=options)
    _, (calls,) = _ask(model, request)
    _ask(model, request.after(calls, ["sunny"]))
    first, second = (one["body"] for one in server.journal())
    names = ("tool_choice", "parallel_tool_calls", "top_p", "stop", "other")
    assert [first.get(name) for name in names] == ["required", False, 0.5, ["END"], None]
    assert [second.get(name) for name in names] == [None, False, 0.5, ["END"], None]


def test_a_stream_that_is_cut_in_the_arguments_tells_no_call(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}, truncateAfterChunks=4, latency=20))
    with pytest.raises(ProviderFailed) as failure:
        _ask(model, _ASK)
    assert failure.value.code == "stream_cut"


def test_an_answer_that_reached_its_limit_says_so(server: AimockServer, model: OpenAIChatModel) -> None:
    response = {"content": "It is sunny and", "finishReason": "length"}
    server.add_fixtures({"match": {"userMessage": "weather"}, "response": response})
    events = list(model.stream(replace(_ASK, tools=()), Deadline(10)))
    assert isinstance(events[-1], Usage) and events[-1].truncated
