"""Function calls over responses against aimock, an emulator that was not written for it; it keeps no conversations."""

import contextlib
from collections.abc import Iterator

import pytest

from models.answers import ModelEvent, ModelRequest, TextDelta, ToolCalls
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.tools import ToolCall, ToolSpec
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_response_input import Carried
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.hosted import Places
from tests.emulators.aimock import AimockServer, Fixture, aimock

_RIO = '{"city":"Rio de Janeiro","unit":"°C"}'
_WEATHER = ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
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
def model(server: AimockServer) -> Iterator[OpenAIResponsesModel]:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        with contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client:
            threads = OpenAIThreads(client, RedisThreads(nowhere))
            yield OpenAIResponsesModel(client, "gpt-any", threads, Places(known=False))


def _ask(model: OpenAIResponsesModel, request: ModelRequest) -> tuple[str, list[ToolCalls]]:
    events: list[ModelEvent] = list(model.stream(request, Deadline(10)))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, ToolCalls)]


def test_a_call_is_made_and_answered_in_two_steps(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}))
    text, (calls,) = _ask(model, _ASK)
    assert (text, calls.calls) == ("", (ToolCall("call_rio", "weather", _RIO),))
    assert _ask(model, _ASK.after(calls, ["sunny"])) == ("Sunny in Rio.", [])
    _system, question, asked, output = server.journal()[-1]["body"]["messages"]
    assert (question["content"], asked["tool_calls"][0]["function"]["arguments"]) == ("How is the weather?", _RIO)
    assert (output["role"], output["tool_call_id"], output["content"]) == ("tool", "call_rio", "sunny")
    assert server.journal()[0]["body"]["tools"][0]["function"]["name"] == "weather"


def test_text_and_parallel_calls_of_one_turn_are_told_again_in_order(
    server: AimockServer, model: OpenAIResponsesModel
) -> None:
    both = [{**one, "arguments": _RIO} for one in reversed(_CALLS)]
    server.add_fixtures(*_fixtures({"content": "Let me look.", "toolCalls": both}))
    text, (calls,) = _ask(model, _ASK)
    assert text == calls.text == "Let me look."
    assert [call.id for call in calls.calls] == ["call_2", "call_rio"]
    assert _ask(model, _ASK.after(calls, ["rainy", "sunny"])) == ("Sunny in Rio.", [])
    messages = server.journal()[-1]["body"]["messages"]
    assert [one["role"] for one in messages] == [
        "system", "user", "assistant", "assistant", "assistant", "tool", "tool",
    ]  # fmt: skip
    assert [one["content"] for one in messages[-2:]] == ["rainy", "sunny"]


def test_encrypted_reasoning_is_given_back(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1], "reasoning": "They ask about the weather."}))
    _, (calls,) = _ask(model, _ASK)
    assert isinstance(calls.state, Carried)
    thought, asked = calls.state.items
    assert (thought["type"], asked["type"]) == ("reasoning", "function_call") and thought["encrypted_content"]
    assert _ask(model, _ASK.after(calls, ["sunny"]))[0] == "Sunny in Rio."


def test_a_stream_that_is_cut_in_the_arguments_tells_no_call(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures(*_fixtures({"toolCalls": _CALLS[:1]}, truncateAfterChunks=6, latency=20))
    with pytest.raises(ProviderFailed) as failure:
        _ask(model, _ASK)
    assert failure.value.code == "stream_cut"
