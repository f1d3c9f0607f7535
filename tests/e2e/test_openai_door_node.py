"""The official client for Node against a served instance: what it does, and what it makes of failures."""

from typing import Any

import pytest

from tests.clients.openai_node import node_calls
from tests.e2e.openai_clients import SOON, Door, says
from tests.e2e.test_openai_door_wire import asks
from tests.emulators.openai_wire import STREAM, Action, WireServer, chunk, event, piece

HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def body(**fields: Any) -> dict[str, Any]:
    """Return a request."""
    return {"model": "m", "messages": HELLO, "thread_id": "t", **fields}


def test_whole_streamed_and_accumulated(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies += [says("One."), says("Two ", "words."), says("Three.")]
    usage = {"stream_options": {"include_usage": True}}
    whole, streamed, helped, models, model = node_calls(
        served.base_url,
        assistant["api_key"],
        {"do": "create", "body": body()},
        {"do": "stream", "body": body(**usage)},
        {"do": "helper", "body": body()},
        {"do": "models"},
        {"do": "model", "body": assistant["_id"]},
    )
    assert whole.value["choices"][0]["message"]["content"] == "One."
    assert whole.value["usage"] == {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    assert (whole.value["thread_id"], whole.value["x_thread_id"]) == ("t", "t")
    chunks = streamed.value
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks if one["choices"]) == "Two words."
    assert chunks[-1]["usage"]["total_tokens"] == 17
    assert helped.value["choices"][0]["message"]["content"] == "Three."
    assert [one["id"] for one in models.value] == [assistant["_id"]] == [model.value["id"]]
    (conversation,) = served.said(assistant)
    assert [text for role, text in conversation if role == "ai"] == ["One.", "Two words.", "Three."]


def test_a_function_in_two_steps(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies += [asks(), says("Sunny.")]
    (asked,) = node_calls(served.base_url, assistant["api_key"], {"do": "helper", "body": body(tools=[WEATHER])})
    (call,) = asked.value["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("call_1", "weather")
    outputs = [asked.value["choices"][0]["message"], {"role": "tool", "tool_call_id": "call_1", "content": "30 °C"}]
    (answer,) = node_calls(
        served.base_url, assistant["api_key"], {"do": "create", "body": body(messages=outputs, tools=[WEATHER])}
    )
    assert answer.value["choices"][0]["message"]["content"] == "Sunny."
    assert upstream.requests[-1].body["messages"][-1]["content"] == "30 °C"


def test_an_impatient_client_is_no_second_turn(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies += [[Action.HANG], says("One answer.")]
    call = {"do": "create", "body": body(), "options": {"timeout": 3000}}
    (answer,) = node_calls(served.base_url, assistant["api_key"], call)
    assert answer.value["choices"][0]["message"]["content"] == "One answer."
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One answer.")]]


def test_errors_are_the_clients_own(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append([STREAM, piece(event(chunk("Half "))), piece(event(chunk("an"))), 0.2, Action.RESET])
    (unknown,) = node_calls(served.base_url, "orq_no_key", {"do": "create", "body": body()})
    assert (unknown.error["name"], unknown.error["code"]) == ("AuthenticationError", "invalid_api_key")
    several, missing, broken = node_calls(
        served.base_url,
        assistant["api_key"],
        {"do": "create", "body": body(n=2)},
        {"do": "model", "body": "gpt-6-luna"},
        {"do": "stream", "body": body()},
    )
    assert (several.error["name"], several.error["param"]) == ("BadRequestError", "n")
    assert (missing.error["name"], missing.error["code"]) == ("NotFoundError", "model_not_found")
    assert (broken.error["name"], broken.error["code"]) == ("APIError", "stream_cut")


@pytest.mark.parametrize("do", ["create", "stream"])
def test_a_client_that_leaves_stops_the_model(
    served: Door, assistant: dict[str, Any], upstream: WireServer, do: str
) -> None:
    upstream.replies.append([STREAM, piece(event(chunk("Half an answer"))), Action.HANG])
    node_calls(served.base_url, assistant["api_key"], {"do": do, "body": body(), "abort_after": 3000})
    assert upstream.gone.wait(SOON)
