"""OpenAI's client for Node and its Responses API against a served instance."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.openai_node import node_calls
from tests.e2e.openai_clients import Door, door
from tests.emulators.aimock import aimock

CALL = {"id": "call_rio", "name": "weather", "arguments": '{"city":"Rio"}'}
FIXTURES: list[dict[str, Any]] = [
    {"match": {"toolCallId": "call_rio"}, "response": {"content": "Sunny in Rio."}},
    {"match": {"userMessage": "weather", "hasToolResult": False}, "response": {"toolCalls": [CALL]}},
    {"match": {"userMessage": "Ana"}, "response": {"content": "Hello, Ana."}},
    {"match": {"userMessage": "who am I"}, "response": {"content": "You are who you are."}},
]
TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Give a server that asks an emulator."""
    with aimock(FIXTURES) as model, door(tmp_path_factory.mktemp("node"), model.base_url) as running:
        yield running


def calls(served: Door, assistant: dict[str, Any], *wanted: dict[str, Any]) -> list[Any]:
    """Return what came of each call, of one that failed its error."""
    answers = node_calls(served.base_url, assistant["api_key"], *wanted)
    return [answer.error or answer.value for answer in answers]


def test_text_streams_functions_and_refusals(served: Door) -> None:
    assistant = served.api.new_assistant()
    first, asking = calls(
        served,
        assistant,
        {"do": "respond", "body": {"model": "m", "input": "I am Ana"}},
        {"do": "respond", "body": {"model": "m", "input": "weather?", "tools": TOOLS}},
    )
    assert first["output_text"] == "Hello, Ana."
    (call,) = asking["output"]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}]
    place = {"previous_response_id": first["id"]}
    events, final, answer, refused = calls(
        served,
        assistant,
        {"do": "events", "body": {"model": "m", "input": "who am I?", **place}},
        {"do": "response", "body": {"model": "m", "input": "who am I?", **place}},
        {"do": "respond", "body": {"model": "m", "input": outputs, "previous_response_id": asking["id"]}},
        {"do": "respond", "body": {"model": "m", "input": "x", "previous_response_id": "resp_x"}},
    )
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert text == final["output_text"] == "You are who you are."
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert answer["output_text"] == "Sunny in Rio."
    assert (refused["name"], refused["status"]) == ("BadRequestError", 400)
    assert (refused["code"], refused["param"]) == ("previous_response_not_found", "previous_response_id")
