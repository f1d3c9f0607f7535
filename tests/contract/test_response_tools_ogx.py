"""Function calls in conversations that OGX keeps, which was not written for us; aimock is the model behind it."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from models.answers import ModelRequest, TextDelta, ToolCalls
from models.deadline import Deadline
from models.threads import Thread
from models.tools import ToolCall, ToolSpec
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_response_input import Carried
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.hosted import Dialogue, Places
from tests.emulators.aimock import AimockServer, Fixture, aimock
from tests.emulators.ogx import OgxServer, ogx

_RIO = '{"city": "Rio"}'
_CALLS = [
    {"id": "call_rio", "name": "weather", "arguments": _RIO},
    {"id": "call_now", "name": "time", "arguments": "{}"},
]
_FIXTURES: list[Fixture] = [
    {"match": {"toolCallId": "call_now"}, "response": {"content": "Sunny at noon."}},
    {"match": {"userMessage": "weather", "hasToolResult": False}, "response": {"toolCalls": _CALLS}},
    {"match": {"userMessage": "hello"}, "response": {"content": "Hello."}},
    {"match": {"userMessage": "thanks"}, "response": {"content": "Welcome."}},
]
_TOOLS = (
    ToolSpec("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}}),
    ToolSpec("time", "Tells the time.", {"type": "object", "properties": {}}),
)


@pytest.fixture(scope="module")
def writer() -> Iterator[AimockServer]:
    """Give the model that writes OGX's answers."""
    with aimock(_FIXTURES) as server:
        yield server


@pytest.fixture(scope="module")
def host(writer: AimockServer) -> Iterator[OgxServer]:
    with ogx(writer.base_url) as server:
        yield server


@pytest.fixture
def model(host: OgxServer, registry: RedisThreads) -> Iterator[OpenAIResponsesModel]:
    with contextlib.closing(build_client("", host.base_url, 4)) as client:
        yield OpenAIResponsesModel(client, host.model, OpenAIThreads(client, registry), Places())


def _ask(model: OpenAIResponsesModel, request: ModelRequest) -> tuple[str, ToolCalls | None]:
    events = list(model.stream(request, Deadline(20)))
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, next((event for event in events if isinstance(event, ToolCalls)), None)


def _calls(model: OpenAIResponsesModel, request: ModelRequest) -> ToolCalls:
    _, calls = _ask(model, request)
    assert calls is not None
    return calls


def _held(host: OgxServer, registry: RedisThreads, ours: Dialogue) -> tuple[Thread, list[str]]:
    """Return the thread, left as it is, and the kinds of what the provider's conversation holds."""
    thread = registry.take(*ours.ours, "look")
    registry.keep(*ours.ours, "look", thread)
    return thread, _kinds(host, thread.id)


def _kinds(host: OgxServer, name: str) -> list[str]:
    answer = httpx2.get(f"{host.base_url}/conversations/{name}/items", params={"order": "asc"}, timeout=10)
    return [item.get("role") or item["type"] for item in answer.raise_for_status().json()["data"]]


def _messages(writer: AimockServer) -> list[Any]:
    """Return what the model behind was told last, but for the system's message."""
    return [one for one in writer.journal()[-1]["body"]["messages"] if one["role"] != "system"]


_ROUND = ["user", "function_call", "function_call", "function_call_output", "function_call_output", "assistant"]


def test_calls_are_made_in_the_conversation_that_was_there(writer: AimockServer, model: OpenAIResponsesModel) -> None:
    ours = Dialogue()
    ours.remember("hello", _ask(model, ours.ask("hello"))[0])
    request = ours.ask("How is the weather?", tools=_TOOLS)
    calls = _calls(model, request)
    assert calls.calls == (ToolCall("call_rio", "weather", _RIO), ToolCall("call_now", "time", "{}"))
    text, none = _ask(model, request.after(calls, ["sunny", "noon"]))
    assert (text, none) == ("Sunny at noon.", None)
    told = [one["content"] for one in _messages(writer) if one["role"] != "assistant"]
    assert told == ["hello", "How is the weather?", "sunny", "noon"]


def test_after_its_calls_the_conversation_holds_each_item_once_and_is_continued(
    host: OgxServer, registry: RedisThreads, model: OpenAIResponsesModel
) -> None:
    ours = Dialogue()
    request = ours.ask("How is the weather?", tools=_TOOLS)
    _ask(model, request.after(_calls(model, request), ["sunny", "noon"]))
    before, kinds = _held(host, registry, ours)
    assert (before.settled, kinds) == (True, _ROUND)
    ours.remember("How is the weather?", "Sunny at noon.")
    assert _ask(model, ours.ask("thanks", tools=_TOOLS))[0] == "Welcome."
    after, kinds = _held(host, registry, ours)
    assert (after.id, kinds) == (before.id, [*_ROUND, "user", "assistant"])


def test_calls_that_were_given_up_are_no_part_of_what_goes_on(
    host: OgxServer, registry: RedisThreads, model: OpenAIResponsesModel
) -> None:
    ours = Dialogue()
    _calls(model, ours.ask("How is the weather?", tools=_TOOLS))
    given_up, _ = _held(host, registry, ours)
    ours.remember("How is the weather?", None)
    assert _ask(model, ours.ask("hello"))[0] == "Hello."
    thread, kinds = _held(host, registry, ours)
    assert thread.id != given_up.id and kinds == ["user", "user", "assistant"]


def test_a_conversation_that_is_gone_in_a_round_is_begun_anew_with_calls_and_outputs(
    host: OgxServer, registry: RedisThreads, model: OpenAIResponsesModel
) -> None:
    ours = Dialogue()
    request = ours.ask("How is the weather?", tools=_TOOLS)
    calls = _calls(model, request)
    assert isinstance(calls.state, Carried)
    gone = calls.state.conversation.id
    httpx2.delete(f"{host.base_url}/conversations/{gone}", timeout=10).raise_for_status()
    assert _ask(model, request.after(calls, ["sunny", "noon"]))[0] == "Sunny at noon."
    thread, kinds = _held(host, registry, ours)
    assert thread.id != gone and kinds == _ROUND


def test_without_a_conversation_calls_and_outputs_are_told(writer: AimockServer, model: OpenAIResponsesModel) -> None:
    request = ModelRequest("a", "How is the weather?", tools=_TOOLS)
    calls = _calls(model, request)
    assert _ask(model, request.after(calls, ["sunny", "noon"]))[0] == "Sunny at noon."
    told = [call["id"] for one in _messages(writer) for call in one.get("tool_calls") or ()]
    assert told == ["call_rio", "call_now"]
    without = dataclasses.replace(calls, state=None)
    assert _ask(model, request.after(without, ["sunny", "noon"]))[0] == "Sunny at noon.", "another process may go on"


def test_outputs_that_come_with_another_request_begin_a_conversation_that_goes_on(
    host: OgxServer, registry: RedisThreads, model: OpenAIResponsesModel
) -> None:
    """So a client's own functions come back: another process knows nothing of the first request's state."""
    ours = Dialogue()
    request = ours.ask("How is the weather?", tools=_TOOLS)
    calls = dataclasses.replace(_calls(model, request), state=None)
    assert _ask(model, request.after(calls, ["sunny", "noon"])) == ("Sunny at noon.", None)
    before, kinds = _held(host, registry, ours)
    assert (before.settled, kinds) == (True, _ROUND)
    ours.remember("How is the weather?", "Sunny at noon.")
    assert _ask(model, ours.ask("thanks", tools=_TOOLS))[0] == "Welcome."
    after, kinds = _held(host, registry, ours)
    assert (after.id, kinds) == (before.id, [*_ROUND, "user", "assistant"])
