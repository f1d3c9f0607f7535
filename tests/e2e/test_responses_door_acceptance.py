"""What Open Responses' acceptance suite asks of a server, for plain text and functions.

The suite is `src/lib/compliance-tests.ts` of github.com/openresponses/openresponses, as OGX and others run it; its
requests and its conditions are made here one by one, and what it checks against types made of the project's
description is checked against that description itself. Its tests of images, files, file search and web search are left
out: this door takes text and functions.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.e2e.openai_clients import Door, door
from tests.emulators.aimock import aimock
from tests.emulators.open_responses import OpenResponses

_CALL = {"toolCalls": [{"id": "call_1", "name": "get_weather", "arguments": '{"location":"San Francisco, CA"}'}]}
_FIXTURES: list[dict[str, Any]] = [
    {"match": {"toolCallId": "call_1"}, "response": {"content": "It is 64 degrees and clear."}},
    {"match": {"userMessage": "weather", "hasToolResult": False}, "response": _CALL},
    {"match": {"userMessage": "hello"}, "response": {"content": "Hello there, friend."}},
    {"match": {"userMessage": "Count from 1 to 5."}, "response": {"content": "1, 2, 3, 4, 5"}},
    {"match": {"userMessage": "code word: papaya"}, "response": {"content": "OK"}},
    {"match": {"userMessage": "What code word"}, "response": {"content": "papaya"}},
    {"match": {"userMessage": "What is my name?"}, "response": {"content": "Alice"}},
]
_TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a location",
    "parameters": {
        "type": "object",
        "properties": {"location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"}},
        "required": ["location"],
    },
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with aimock(_FIXTURES) as model, door(tmp_path_factory.mktemp("acceptance"), model.base_url) as running:
        yield running


@pytest.fixture(scope="module")
def assistant(served: Door) -> dict[str, Any]:
    return served.api.new_assistant()


@pytest.fixture(scope="module")
def described() -> OpenResponses:
    return OpenResponses()


@pytest.fixture
def ask(served: Door, assistant: dict[str, Any], described: OpenResponses) -> Any:
    """Give what sends a request and returns the response, which is checked."""

    def send(**body: Any) -> dict[str, Any]:
        answer = _post(served, assistant, {"model": "any", **body, "stream": False})
        assert answer.headers["Content-Type"] == "application/json"
        response: dict[str, Any] = answer.json()
        assert described.problems(response) == []
        return response

    return send


@pytest.fixture
def stream(served: Door, assistant: dict[str, Any], described: OpenResponses) -> Any:
    """Give what sends a request and returns the events, which are checked, and the final response of which is, too."""

    def send(**body: Any) -> list[dict[str, Any]]:
        answer = _post(served, assistant, {"model": "any", **body, "stream": True})
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        *frames, done, rest = answer.text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        events: list[dict[str, Any]] = []
        for frame in frames:
            name, data = frame.split("\n")
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
            assert described.problems_of_event(events[-1]) == []
        assert described.problems(events[-1]["response"]) == []
        return events

    return send


def _post(served: Door, assistant: dict[str, Any], body: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {assistant['api_key']}"}
    answer = httpx2.post(f"{served.base_url}/responses", json=body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def _message(role: str, content: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


def _types(response: dict[str, Any]) -> list[str]:
    return [item["type"] for item in response["output"]]


def test_basic_response(ask: Any) -> None:
    response = ask(input=[_message("user", "Say hello in exactly 3 words.")])
    assert response["output"] and response["status"] == "completed"


def test_streaming_response(stream: Any) -> None:
    events = stream(input=[_message("user", "Count from 1 to 5.")])
    assert events and events[-1]["response"]["status"] == "completed"


def test_system_prompt(ask: Any) -> None:
    pirate = _message("system", "You are a pirate. Always respond in pirate speak.")
    response = ask(input=[pirate, _message("user", "Say hello.")])
    assert response["output"] and response["status"] == "completed"


def test_tool_calling(ask: Any) -> None:
    response = ask(input=[_message("user", "What's the weather like in San Francisco?")], tools=[_TOOL])
    assert "function_call" in _types(response)


def test_tool_calling_streaming(stream: Any) -> None:
    events = stream(input=[_message("user", "What's the weather like in San Francisco?")], tools=[_TOOL])
    seen = {(event["type"], event.get("item", {}).get("type")) for event in events}
    assert ("response.output_item.added", "function_call") in seen
    assert ("response.function_call_arguments.delta", None) in seen
    assert ("response.function_call_arguments.done", None) in seen
    assert ("response.output_item.done", "function_call") in seen


def test_function_call_round_trip(ask: Any) -> None:
    forced = {"type": "function", "name": "get_weather"}
    question = "Use the weather tool to get the temperature in San Francisco."
    first = ask(input=question, tools=[_TOOL], tool_choice=forced)
    (call,) = [item for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "64 degrees and clear"}
    second = ask(previous_response_id=first["id"], input=[output])
    assert second["output"] and second["status"] == "completed"
    assert second["output"][0]["content"][0]["text"] == "It is 64 degrees and clear."


def test_multi_turn(ask: Any) -> None:
    said = _message("assistant", "Hello Alice! Nice to meet you. How can I help you today?")
    response = ask(input=[_message("user", "My name is Alice."), said, _message("user", "What is my name?")])
    assert response["output"] and response["status"] == "completed"


def test_previous_response_id(ask: Any) -> None:
    first = ask(input="Remember this code word: papaya. Reply with only OK.")
    second = ask(previous_response_id=first["id"], input="What code word did I ask you to remember?")
    assert second["output"] and second["status"] == "completed"
    assert second["previous_response_id"] == first["id"]
