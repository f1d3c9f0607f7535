"""An assistant's tools over HTTP, and the import of other programs' files."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.running import RunningServer, running_server
from tests.e2e.api import ADMIN, SETTINGS, Api
from tests.e2e.command_line import one_after_another

HIDDEN = "********"
TIME = {
    "type": "mcp",
    "name": "time",
    "transport": "streamable_http",
    "url": "https://time.example.com/mcp",
    "headers": {"Authorization": "Bearer hush-hush", "X-Tenant": "7"},
    "allowed_tools": ["now"],
    "timeout_seconds": 10,
    "timeouts": {"now": 60},
}
DESK = {"type": "shared", "name": "support_desk"}
CLOCK = {"type": "builtin", "name": "current_time"}
DEFAULTS: dict[str, Any] = {"allowed_tools": None, "timeout_seconds": 30, "timeouts": {}}
FILE = """// mcp_config.json
{
    "time": {"transport": "streamable_http", "url": "https://time.example.com/mcp"}, // not http:
    "desk": {"transport": "sse", "url": "http://desk.example.com/sse", "headers": {"X-Key": "hush-hush"}},
    "calculator": {"transport": "stdio", "command": "python", "args": ["dummy/calculator.py"]},
}
"""


def wrong(api: Api, assistant: dict[str, Any], *tools: Any) -> dict[str, list[str]]:
    """Return what is said against tools."""
    answer = api.put(f"/assistants/update/{assistant['_id']}", json={"tools": tools})
    assert answer.status_code == 422, answer.text
    assert "hush-hush" not in answer.text
    return dict(answer.json()["errors"])


def test_tools_are_kept_and_their_secrets_never_shown(user: Api, server: RunningServer) -> None:
    assistant = user.new_assistant(tools=[TIME, DESK, CLOCK])
    assert assistant["tools"] == [
        {**TIME, "headers": {"Authorization": HIDDEN, "X-Tenant": HIDDEN}},
        {**DESK, **DEFAULTS},
        {**CLOCK, **DEFAULTS},
    ]
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant
    assert "hush-hush" not in user.get("/assistants/list").text
    assert "hush-hush" not in "".join(server.log)


def test_a_whole_assistant_sent_back_changes_nothing(user: Api) -> None:
    assistant = user.new_assistant(tools=[TIME, DESK, CLOCK])
    answer = user.put(f"/assistants/update/{assistant['_id']}", json=assistant)
    assert answer.status_code == 200, answer.text
    counted = {"version": assistant["version"] + 1, "updatedAt": answer.json()["updatedAt"]}
    assert answer.json() == {**assistant, **counted}


def test_a_hidden_value_is_kept_for_its_server_only(user: Api) -> None:
    assistant = user.new_assistant(tools=[TIME])
    shown = assistant["tools"][0]
    told = wrong(user, assistant, {**shown, "url": "https://thief.example.com/mcp"})
    assert set(told) == {"tools.0.headers.Authorization", "tools.0.headers.X-Tenant"}
    assert told["tools.0.headers.X-Tenant"][0].startswith("Enter the header's value")
    assert set(wrong(user, assistant, {**shown, "headers": {"X-New": HIDDEN}})) == {"tools.0.headers.X-New"}
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant


@pytest.mark.parametrize(
    ("tool", "field", "message"),
    [
        ({**TIME, "name": "a b"}, "name", "Must be 1 to 64 of the letters"),
        ({**TIME, "name": "x" * 65}, "name", "Must be 1 to 64 of the letters"),
        ({**TIME, "url": "https://me:pass@time.example.com"}, "url", "Must not contain a user name or password."),
        ({**TIME, "url": "file:///etc/passwd"}, "url", "Must begin with https:// or http://."),
        (
            {**TIME, "transport": "stdio"},
            "transport",
            "stdio servers must be allowed by the operator in MCP_SERVERS_FILE; name one with type shared",
        ),
        ({**TIME, "transport": "websocket"}, "transport", "Must be one of: sse, streamable_http."),
        ({**TIME, "headers": {"A\r\nB": "hush-hush"}}, "headers.A\r\nB.key", "Must be a header's name"),
        ({**TIME, "headers": {"A": "hush-hush\r\nB: c"}}, "headers.A.value", "Must be one line"),
        ({**TIME, "headers": {"A": "hush-hush", "a": "hush-hush"}}, "headers", "Name each header once"),
        ({**TIME, "headers": {f"A{n}": "hush-hush" for n in range(21)}}, "headers", "Must have at most 20."),
        ({**TIME, "headers": {"Mcp-Session-Id": "hush-hush"}}, "headers.Mcp-Session-Id.key", "The connection sets"),
        ({**TIME, "allowed_tools": ["x"] * 201}, "allowed_tools", "Longer than maximum length 200."),
        ({**TIME, "timeout_seconds": 0.5}, "timeout_seconds", "Must be greater than or equal to 1"),
        ({**TIME, "timeout_seconds": 601}, "timeout_seconds", "Must be greater than or equal to 1"),
        ({**TIME, "timeouts": {"now": "NaN"}}, "timeouts.now.value", "Special numeric values"),
        ({**TIME, "command": "sh"}, "command", "Unknown field."),
        ({"type": "mcp", "name": "time"}, "url", "A server of type mcp needs it."),
        ({**DESK, "url": "https://time.example.com"}, "url", "Only for a server of type mcp."),
        ({**DESK, "name": "unheard_of"}, "name", "Must be one of: support_desk."),
        ({**CLOCK, "name": "sundial"}, "name", "Must be one of: current_time, search_documents."),
        ({"name": "time"}, "type", "Missing data"),
        ({"type": "program", "name": "time"}, "type", "Must be one of: mcp, shared, builtin."),
    ],
)
def test_a_wrong_source_is_named_with_what_to_do(user: Api, tool: dict[str, Any], field: str, message: str) -> None:
    told = wrong(user, user.new_assistant(), CLOCK, tool)
    assert told[f"tools.1.{field}"][0].startswith(message), told


def test_sources_are_few_and_named_apart(user: Api) -> None:
    assistant = user.new_assistant()
    assert wrong(user, assistant, CLOCK, DESK, CLOCK) == {
        "tools": ["Each needs a name of its own; there twice: current_time."]
    }
    many = [{**TIME, "name": f"time{number}"} for number in range(21)]
    assert wrong(user, assistant, *many) == {"tools": ["Longer than maximum length 20."]}


def test_looking_at_tools_tells_what_is_offered_and_what_fails(user: Api) -> None:
    near = {**TIME, "name": "near", "url": "http://127.0.0.1:9/mcp", "headers": {}}
    one = {**DESK, "allowed_tools": ["cancel_order"]}
    assistant = user.new_assistant(tools=[CLOCK, one, near])
    answer = user.get(f"/assistants/tools/{assistant['_id']}")
    assert answer.status_code == 200, answer.text
    clock, desk, failed = answer.json()
    assert (clock["name"], clock["type"], clock["status"], clock["reason"]) == ("current_time", "builtin", "ok", None)
    assert clock["tools"][0]["parameters"]["properties"].keys() == {"timezone"}
    assert (desk["status"], len(desk["tools"])) == ("ok", 7), desk
    assert [tool["name"] for tool in desk["tools"] if tool["allowed"]] == ["cancel_order"]
    assert (failed["name"], failed["type"], failed["status"], failed["tools"]) == ("near", "mcp", "failed", [])
    assert failed["reason"]


def test_a_file_is_imported_with_its_comments(user: Api, server: RunningServer) -> None:
    assistant = user.new_assistant(tools=[CLOCK])
    url = f"/assistants/importTools/{assistant['_id']}"
    first = user.post(url, content=FILE, headers={"Content-Type": "text/plain"})
    assert first.status_code == 200, first.text
    report = first.json()
    assert (report["added"], report["replaced"], report["unchanged"]) == (["time", "desk"], [], [])
    (skipped,) = report["skipped"]
    assert (skipped["name"], "MCP_SERVERS_FILE" in skipped["reason"]) == ("calculator", True)
    stored = user.get(f"/assistants/get/{assistant['_id']}").json()
    assert [(one["name"], one.get("headers")) for one in stored["tools"]] == [
        ("current_time", None), ("time", {}), ("desk", {"X-Key": HIDDEN}),
    ]  # fmt: skip
    again = user.post(url, content=FILE, headers={"Content-Type": "application/json"}).json()
    assert (again["added"], again["replaced"], again["unchanged"]) == ([], [], ["time", "desk"])
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == stored
    wrapped = user.post(url, json={"mcpServers": {"time": {"type": "http", "url": "https://other.example.com/mcp"}}})
    assert wrapped.json() == {"added": [], "replaced": ["time"], "unchanged": [], "skipped": []}
    assert "hush-hush" not in "".join(server.log)


def test_what_is_no_such_file_is_refused(user: Api) -> None:
    url = f"/assistants/importTools/{user.new_assistant()['_id']}"
    for content, status, code in (
        (b"{", 422, "mcp_file_unreadable"),
        (b"[]", 422, "mcp_file_unreadable"),
        (b"", 400, "invalid_text"),
        (b"\xff\xfe{}", 400, "invalid_text"),
        (b'"' + b"x" * 2**20 + b'"', 413, "too_large"),
    ):
        answer = user.post(url, content=content)
        assert (answer.status_code, answer.json()["code"]) == (status, code), content[:20]


def test_tools_of_others_are_not_there(user: Api, stranger: Api, anonymous: Api) -> None:
    assistant = user.new_assistant(tools=[TIME])
    for client, status in ((stranger, 404), (anonymous, 401)):
        assert client.get(f"/assistants/tools/{assistant['_id']}").status_code == status
        assert client.post(f"/assistants/importTools/{assistant['_id']}", content=FILE).status_code == status
        assert client.put(f"/assistants/update/{assistant['_id']}", json={"tools": []}).status_code == status
    assert user.get("/assistants/tools/nonsense").status_code == 404
    assert user.get(f"/assistants/get/{assistant['_id']}").json() == assistant


def test_an_operator_imports_a_file_with_the_command(stores: dict[str, str], tmp_path: Path) -> None:
    allowed, file, sockets, half = (tmp_path / f"{name}.json" for name in ("allowed", "mcp", "sockets", "half"))
    program = {"command": "python", "args": ["dummy/calculator.py"]}
    allowed.write_text(json.dumps({"mcpServers": {"calculator": program}}))
    file.write_text(FILE)
    places = {"DATA_DIR": str(tmp_path / "var"), "DOCUMENTS_URL": str(tmp_path / "documents")}
    settings = {**SETTINGS, **places, **stores, "MONGODB_DATABASE": "e2e_tools", "MCP_SERVERS_FILE": str(allowed)}
    env = {"PATH": os.environ["PATH"], **settings}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant()
        assistant_id = assistant["_id"]
        (first,) = one_after_another(env, tmp_path, ["import-tools", file, "--assistant", assistant_id])
        assert first.returncode == 0, first.stderr
        assert "3 added, 0 replaced, 0 unchanged, 0 skipped" in first.stdout
        stored = api.get(f"/assistants/get/{assistant_id}").json()
        assert [(one["name"], one["type"]) for one in stored["tools"]] == [
            ("time", "mcp"), ("desk", "mcp"), ("calculator", "shared"),
        ]  # fmt: skip
        sockets.write_text(
            '{"a": {"url": "ws://a.example.com"}, "b": {"type": "websocket", "url": "ws://b.example.com"}}'
        )
        half.write_text("{")
        orders = ((file, assistant_id), (sockets, assistant_id), (half, assistant_id), (file, "0" * 24))
        again, third, broken, unknown = one_after_another(
            env, tmp_path, *(["import-tools", one, "--assistant", to] for one, to in orders)
        )
        assert "0 added, 0 replaced, 3 unchanged, 0 skipped" in again.stdout
        assert api.get(f"/assistants/get/{assistant_id}").json() == stored
        assert "skipped: a: url: Must begin with https:// or http://." in third.stdout
        assert "skipped: b: MCP over WebSocket is not supported." in third.stdout
        assert (broken.returncode, "The file cannot be read." in broken.stderr) == (2, True)
        assert unknown.returncode == 2
        assert "hush-hush" not in first.stdout + first.stderr + again.stdout + again.stderr


def test_another_secret_asks_for_the_headers_again(tmp_path: Path) -> None:
    settings = {**SETTINGS, "JWT_SECRET_KEY": "first-secret-of-the-server-0123456789"}
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.post("/auth/register", json=ADMIN).raise_for_status()
        api.login(ADMIN["email"], ADMIN["password"])
        assistant = api.new_assistant(tools=[TIME, CLOCK])
    settings["JWT_SECRET_KEY"] = "second-secret-of-the-server-0123456789"
    with running_server(tmp_path, settings) as server, Api(server.url) as api:
        api.login(ADMIN["email"], ADMIN["password"])
        time, clock = api.get(f"/assistants/tools/{assistant['_id']}").json()
        assert (time["status"], clock["status"]) == ("failed", "ok")
        assert time["reason"].endswith("Enter their values again.")
