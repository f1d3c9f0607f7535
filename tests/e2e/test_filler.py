"""Router, tool model, filler and a real MCP server together, over the channel's stream."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.running import RunningServer
from models.tools import Transport
from tests.e2e.api import ADMIN, SETTINGS, Api, registered_server
from tests.emulators.aimock import AimockServer, Fixture, aimock
from tests.emulators.mcp_servers import McpServer, everything

TOOL = "trigger-long-running-operation"
SECONDS = 4.0
CALL = {"id": "call_long", "name": TOOL, "arguments": f'{{"duration": {SECONDS}, "steps": 4}}'}
FIXTURES: list[Fixture] = [
    {"match": {"model": "router", "userMessage": "Hi"}, "response": {"content": '{"step": "chat"}'}},
    {"match": {"model": "router"}, "response": {"content": '{"step": "tool"}'}},
    {"match": {"model": "chatty"}, "response": {"content": "One moment, I am looking into it. " * 4}, "latency": 50},
    {"match": {"model": "talker"}, "response": {"content": "Hello!"}},
    {"match": {"model": "worker", "toolCallId": "call_long"}, "response": {"content": "The operation is done."}},
    {"match": {"model": "worker"}, "response": {"toolCalls": [CALL]}},
]
ROUTING = {
    "mode": "route",
    "router_model": "router",
    "chat_model": "talker",
    "tool_model": "worker",
    "chatty_model": "chatty",
}


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator of all four models."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def tools() -> Iterator[McpServer]:
    """Give MCP's own test server."""
    with everything(Transport.STREAMABLE_HTTP) as running:
        yield running


@pytest.fixture(scope="module")
def served(model: AimockServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Give a server that asks the emulator, and may reach servers on this machine."""
    reach = {"MCP_NETWORKS": "127.0.0.0/8", "OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "any"}
    with registered_server(tmp_path_factory.mktemp("filler"), {**SETTINGS, **reach}) as server:
        yield server


@pytest.fixture
def api(served: RunningServer) -> Iterator[Api]:
    """Give a logged-in client."""
    with Api(served.url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture
def assistant(api: Api, tools: McpServer) -> dict[str, Any]:
    """Give an assistant that routes."""
    named = {"type": "mcp", "name": "everything", "transport": "streamable_http", "url": tools.server.url}
    made = api.new_assistant(tools=[{**named, "allowed_tools": [TOOL]}], routing=ROUTING)
    for role in ("tool", "chatty"):
        assert api.upload(made, f"{role}.txt", f"This is the {role} prompt.", type="prompt").status_code == 201
    return made


def test_filler_is_shown_before_the_tool_ends_and_gone_when_the_answer_begins(
    api: Api, assistant: dict[str, Any], model: AimockServer
) -> None:
    began = time.monotonic()
    _, events = api.say_streamed(assistant, "Start the operation.")
    assert time.monotonic() - began >= SECONDS
    kinds = [f"tool {data['status']}" if kind == "tool" else kind for kind, data in events]
    assert kinds[0] == "tool running" and kinds[1] == "filler"
    assert kinds.index("filler") < kinds.index("tool done") < kinds.index("message")
    assert "filler" not in kinds[kinds.index("message") :] and kinds[-1] == "done"
    filler = "".join(data["delta"] for kind, data in events if kind == "filler")
    assert filler.startswith("One moment")
    chat = api.get(f"/chats/get/{events[-1][1]['_id']}").json()
    assert (chat["response"], chat["route"], chat["tools"][0]["name"]) == ("The operation is done.", "tool", TOOL)
    assert chat["tools"][0]["duration_ms"] >= SECONDS * 900
    asked = {request["body"]["model"]: request["body"] for request in model.journal()}
    assert asked["worker"]["messages"][0]["content"].startswith("This is the tool prompt.")
    assert asked["chatty"]["messages"][0]["content"].startswith("This is the chatty prompt.")
    assert asked["router"]["messages"][1:] == [{"role": "user", "content": "Start the operation."}]
    assert "tools" not in asked["chatty"] and "tools" not in asked["router"]


def test_small_talk_needs_no_tools_and_shares_the_memory(
    api: Api, assistant: dict[str, Any], model: AimockServer
) -> None:
    api.say(assistant, "Start the operation.")
    _, events = api.say_streamed(assistant, "Hi there")
    assert {kind for kind, _ in events} == {"message", "done"} and events[-1][1]["response"] == "Hello!"
    told = model.journal()[-1]["body"]
    assert told["model"] == "talker" and "tools" not in told
    assert [one["content"] for one in told["messages"][1:]] == [
        "Start the operation.",
        "The operation is done.",
        "Hi there",
    ]


def test_whole_answers_have_no_filler(api: Api, assistant: dict[str, Any], model: AimockServer) -> None:
    before = len(model.journal())
    assert api.say(assistant, "Start the operation.").json()["response"] == "The operation is done."
    assert "chatty" not in [request["body"]["model"] for request in model.journal()[before:]]


def test_twenty_turns_at_once_take_hardly_longer_than_one(
    served: RunningServer, api: Api, assistant: dict[str, Any]
) -> None:
    api.say(assistant, "Start the operation.", id="warm")

    def turn(number: int) -> str:
        with Api(served.url) as channel:
            _, events = channel.say_streamed(assistant, "Start the operation.", id=f"c{number}")
        assert events[0][0] == "tool" and events[1][0] == "filler", events[:3]
        return str(events[-1][1]["response"])

    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(turn, range(20))) == {"The operation is done."}
    assert time.monotonic() - began < SECONDS * 5  # one after the other it would be 40 s
