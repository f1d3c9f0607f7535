"""Tools over HTTP: a server of ours between an emulated model and real MCP servers, and what is left of it all."""

import contextlib
import csv
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.running import RunningServer, running_server
from models.tools import Transport
from tests.contract.engine import wait_until
from tests.e2e.api import ADMIN, SETTINGS, Api, events_of, registered_server
from tests.emulators.aimock import AimockServer, Fixture, aimock
from tests.emulators.mcp_servers import McpServer, recorder

ORDER = '{"customer_id":"C001","order_id":"O7"}'
SLEEP = {"id": "call_sleep", "name": "sleep", "arguments": '{"name": "night"}'}


def steps(question: str, call: dict[str, str], answer: str) -> tuple[Fixture, Fixture]:
    """Return a call for a question, and the answer once it has an output."""
    return (
        {"match": {"userMessage": question, "toolCallId": call["id"]}, "response": {"content": answer}},
        {"match": {"userMessage": question, "hasToolResult": False}, "response": {"toolCalls": [call]}},
    )


FIXTURES = [
    *steps(
        "order",
        {"id": "call_order", "name": "check_order_status", "arguments": ORDER},
        "O7 is on its way to you.",
    ),
    *steps("time", {"id": "call_time", "name": "current_time", "arguments": "{}"}, "It is late."),
    *steps("sleep", SLEEP, "Good morning."),
]


@pytest.fixture(scope="module")
def model() -> Iterator[AimockServer]:
    """Give the emulator."""
    with aimock(FIXTURES) as running:
        yield running


@pytest.fixture(scope="module")
def served(
    model: AimockServer, stores: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Give a server that asks the emulator, and may reach servers on this machine."""
    with registered_server(tmp_path_factory.mktemp("tools"), settings_for(model, stores)) as server:
        yield server


def settings_for(model: AimockServer, stores: dict[str, str], database: str = "e2e_tools") -> dict[str, str]:
    """Return the settings of servers that ask the emulator."""
    reach = {"MCP_NETWORKS": "127.0.0.0/8", "OPENAI_BASE_URL": model.base_url, "OPENAI_MODEL": "gpt-any"}
    return {**SETTINGS, **stores, "MONGODB_DATABASE": database, **reach}


@pytest.fixture
def api(served: RunningServer) -> Iterator[Api]:
    """Give a logged-in client."""
    with Api(served.url) as client:
        client.login(ADMIN["email"], ADMIN["password"])
        yield client


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[tuple[McpServer, Path]]:
    """Give a server of tools that writes down what happens to its calls."""
    record = tmp_path / "record"
    with recorder(Transport.STREAMABLE_HTTP, record) as running:
        yield running, record


def reached_at(server: McpServer) -> list[dict[str, Any]]:
    """Return the tools of an assistant that names a server by its address."""
    return [{"type": "mcp", "name": "night", "transport": "streamable_http", "url": server.server.url}]


def noted(record: Path, line: str, seconds: float = 10.0) -> bool:
    """Wait until a server of tools has written a line down."""
    until = time.monotonic() + seconds
    while line not in (record.read_text().splitlines() if record.exists() else ()):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


DESK = [{"type": "shared", "name": "support_desk"}, {"type": "builtin", "name": "current_time"}]


def at_the_desk(api: Api) -> dict[str, Any]:
    """Return an assistant whose desk has opened: its program gets 5 s of an answer, and more of whoever looks at it."""
    assistant = api.new_assistant(tools=DESK)
    wait_until(lambda: api.get(f"/assistants/tools/{assistant['_id']}").json()[0]["status"] == "ok")
    return assistant


def test_the_support_desk_answers_over_the_channels_stream(api: Api, model: AimockServer) -> None:
    assistant = at_the_desk(api)
    answer, events = api.say_streamed(assistant, "Where is my order?")
    assert answer.status_code == 200
    kinds = [(kind, data.get("status") or "") for kind, data in events if kind != "message"]
    assert kinds == [("tool", "running"), ("tool", "done"), ("done", "answered")]
    assert events[0][1] == {"name": "check_order_status", "status": "running"}
    assert "".join(data["delta"] for kind, data in events if kind == "message") == "O7 is on its way to you."
    shown = events[-1][1]
    ((name, failed),) = [(tool["name"], tool["failed"]) for tool in shown["tools"]]
    assert (name, failed) == ("check_order_status", False) and set(shown["tools"][0]) == {
        "name",
        "failed",
        "duration_ms",
    }
    told = model.journal()[-1]["body"]["messages"][-1]
    assert told["role"] == "tool" and "In Transit" in told["content"]
    offered = {tool["function"]["name"] for tool in model.journal()[-1]["body"]["tools"]}
    assert len(offered) == 8 and {"process_return", "current_time"} <= offered


def test_managers_see_calls_and_results_as_messages(api: Api, served: RunningServer) -> None:
    assistant = at_the_desk(api)
    whole = api.say(assistant, "Where is my order?").json()
    chat = api.get(f"/chats/get/{whole['_id']}").json()
    (use,) = chat["tools"]
    assert (use["name"], use["source"], use["arguments"]) == ("check_order_status", "support_desk", ORDER)
    assert "In Transit" in use["output"] and (chat["asked"], chat["route"], chat["truncated"]) == ([], None, False)
    said = api.get(f"/conversations/messages/{chat['conversation_id']}").json()
    assert [one["role"] for one in said] == ["human", "tool", "ai"]
    assert said[1]["content"] == use["output"] and said[1]["chat_id"] == chat["_id"]
    assert said[1]["tool"] == {name: value for name, value in use.items() if name not in ("output", "started_at")}
    assert [one["tool"] for one in (said[0], said[2])] == [None, None]
    (listed,) = api.get(f"/conversations/list?assistant_id={assistant['_id']}").json()
    assert listed["message_count"] == 2
    exported = f"/conversations/export/{chat['conversation_id']}"
    assert api.get(exported).json()["messages"] == said
    assert "**tool** check_order_status " in api.get(f"{exported}?format=md").text
    rows = list(csv.DictReader(io.StringIO(api.get(f"{exported}?format=csv").text)))
    assert [row["tool"] for row in rows] == ["", "check_order_status", ""]
    metrics = httpx2.get(f"{served.url}/metrics", headers={"Authorization": f"Bearer {SETTINGS['METRICS_TOKEN']}"}).text
    assert 'orquestra_tool_call_seconds_count{outcome="done"}' in metrics


def test_a_server_of_tools_that_is_down_is_left_out(api: Api, model: AimockServer) -> None:
    gone = {"type": "mcp", "name": "gone", "transport": "sse", "url": "http://127.0.0.1:9/sse"}
    chat = api.say(api.new_assistant(tools=[gone, DESK[1]]), "What time is it?").json()
    assert (chat["status"], chat["response"]) == ("answered", "It is late.")
    assert [tool["function"]["name"] for tool in model.journal()[-1]["body"]["tools"]] == ["current_time"]


def test_a_client_that_leaves_stops_the_tool(api: Api, recording: tuple[McpServer, Path]) -> None:
    server, record = recording
    assistant = api.new_assistant(tools=reached_at(server))
    message = {"id": "x", "message_service": "web", "message": "Please sleep.", "stream": True}
    with api.stream(
        "POST", "/chats/enviarMensagemLLM", json=message, headers={"X-API-Key": assistant["api_key"]}
    ) as answer:
        assert next(events_of(answer.iter_lines())) == ("tool", {"name": "sleep", "status": "running"})
        assert noted(record, "begun night", 30)
    assert noted(record, "cancelled night"), "half of the time that the answer might have taken"
    chat = _settled(api, assistant)
    assert (chat["status"], chat["error"]["code"]) == ("failed", "caller_gone")
    assert [(use["name"], use["failed"]) for use in chat["tools"]] == [("sleep", True)]


def test_the_deadline_of_an_answer_stops_its_tool(
    model: AimockServer, recording: tuple[McpServer, Path], tmp_path: Path
) -> None:
    server, record = recording
    settings = {**settings_for(model, {}), "ANSWER_DEADLINE_SECONDS": "8"}
    with running_server(tmp_path, settings) as short, Api(short.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        late = api.say(api.new_assistant(tools=reached_at(server)), "Please sleep.")
        assert (late.status_code, late.json()["code"]) == (504, "deadline_exceeded")
        assert noted(record, "cancelled night")


def test_a_death_while_a_tool_runs_is_taken_over(
    model: AimockServer, stores: dict[str, str], recording: tuple[McpServer, Path], tmp_path: Path
) -> None:
    """The tool runs twice: nobody knows what became of the first call. There is one answer."""
    server, record = recording
    settings = {**settings_for(model, stores, "e2e_tool_death"), "ANSWER_DEADLINE_SECONDS": "60"}
    with running_server(tmp_path, settings) as one, running_server(tmp_path, settings) as two, Api(two.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant(tools=reached_at(server))
        victim = threading.Thread(target=_say_into_the_void, args=(one, assistant))
        victim.start()
        assert noted(record, "begun night", 30)
        one.kill()
        victim.join()
        shorter = {"tools": [{**reached_at(server)[0], "timeouts": {"sleep": 5}}]}
        assert api.put(f"/assistants/update/{assistant['_id']}", json=shorter).status_code == 200
        chat = api.say(assistant, "Please sleep.", message_id="m").json()
        assert (chat["status"], chat["response"]) == ("answered", "Good morning.")
        assert [(use["name"], use["failed"]) for use in chat["tools"]] == [("sleep", True)]
        assert record.read_text().splitlines().count("begun night") == 2
        assert len(api.get(f"/chats/list?assistant_id={assistant['_id']}").json()) == 1


def _say_into_the_void(server: RunningServer, assistant: dict[str, Any]) -> None:
    with Api(server.url) as channel, contextlib.suppress(httpx2.HTTPError):
        channel.say(assistant, "Please sleep.", message_id="m")


def _settled(api: Api, assistant: dict[str, Any]) -> dict[str, Any]:
    for _ in range(600):
        (chat,) = api.get(f"/chats/list?assistant_id={assistant['_id']}").json()
        if chat["status"] != "received":
            break
        time.sleep(0.05)
    return dict(chat)
