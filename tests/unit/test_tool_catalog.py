"""The operator's list of MCP servers: its file at the start, and when it changes."""

import json
import logging
import os
from pathlib import Path

import pytest

from models.tools import ToolServer, Transport
from services.providers.mcp_catalog import CatalogFaults, FileToolServerCatalog
from settings import Settings, SettingsError
from wiring.tools import build_tools

SAMPLE = ToolServer("support_desk", Transport.STDIO, command="python", args=("server.py",))
FLAT = """
{
  // what the shop has
  "stock": {"transport": "streamable_http", "url": "http://10.0.0.7:9000/mcp", "headers": {"X-Key": "k // no comment"}},
  "files": {"transport": "stdio", "command": "npx", "args": ["-y", "files"], "env": {"ROOT": "/srv"}},
}
"""
NESTED = {
    "mcpServers": {
        "stock": {"url": "http://10.0.0.7:9000/sse"},
        "web": {"type": "https", "url": "https://a.example/mcp"},
    }
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the path of a list."""
    path = tmp_path / "mcp.json"
    path.write_text(FLAT, encoding="utf-8")
    return path


def rewrite(path: Path, text: str) -> None:
    """Write a file anew, as editors do: another file in its place."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def test_a_list_with_comments_and_the_samples(file: Path) -> None:
    catalog = FileToolServerCatalog(file, [SAMPLE])
    assert catalog.names() == ["files", "stock", "support_desk"]
    assert catalog.find("stock") == ToolServer(
        "stock",
        Transport.STREAMABLE_HTTP,
        url="http://10.0.0.7:9000/mcp",
        headers=(("X-Key", "k // no comment"),),
        trusted=True,
    )
    assert catalog.find("files") == ToolServer(
        "files", Transport.STDIO, command="npx", args=("-y", "files"), env=(("ROOT", "/srv"),), trusted=True
    )
    assert catalog.find("nobody") is None


def test_the_other_form_and_a_sample_of_the_operators_own(file: Path) -> None:
    own = {**NESTED["mcpServers"], "support_desk": {"command": "/srv/desk"}}
    file.write_text("\ufeff" + json.dumps({"mcpServers": own}), encoding="utf-8")
    catalog = FileToolServerCatalog(file, [SAMPLE])
    assert catalog.names() == ["stock", "support_desk", "web"]
    servers = {name: catalog.find(name) for name in catalog.names()}
    assert {name: server.transport for name, server in servers.items() if server} == {
        "stock": Transport.SSE,
        "support_desk": Transport.STDIO,
        "web": Transport.STREAMABLE_HTTP,
    }
    assert servers["support_desk"] and servers["support_desk"].command == "/srv/desk"


def test_without_a_file_there_are_the_samples() -> None:
    catalog = FileToolServerCatalog(None, [SAMPLE])
    assert catalog.names() == ["support_desk"]
    assert (found := catalog.find("support_desk")) is not None and found.trusted


def test_a_changed_file_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    catalog = FileToolServerCatalog(file)
    rewrite(file, json.dumps(NESTED))
    with caplog.at_level(logging.INFO, "orquestra.tools"):
        assert catalog.names() == ["stock", "web"]
        assert catalog.names() == ["stock", "web"]
    assert [record.message for record in caplog.records] == ["MCP_SERVERS_FILE was read again"]


@pytest.mark.parametrize("broken", ["{", '{"a": {"transport": "websocket", "url": "wss://a.example"}}', None])
def test_a_broken_change_is_told_once_and_the_former_list_stays(
    file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = FileToolServerCatalog(file)
    if broken is None:
        file.unlink()
    else:
        rewrite(file, broken)
    for _ in range(3):
        assert catalog.names() == ["files", "stock"]
    assert [record.message for record in caplog.records] == ["MCP_SERVERS_FILE is wrong, the former servers stay"]
    rewrite(file, json.dumps(NESTED))
    assert catalog.names() == ["stock", "web"]


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("{", ["no JSON"]),
        ("[]", ["must be an object"]),
        (
            '{"a": {"transport": "websocket", "url": "wss://a.example"}, "b": {}, "c": {"command": "x", "cwd": "/"}}',
            ["a: MCP over WebSocket is not supported", "b: Must have a command or a url", "c: cwd is not supported"],
        ),
    ],
)
def test_a_wrong_file_stops_the_start_with_all_its_faults(file: Path, text: str, faults: list[str]) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as stopped:
        build_tools(Settings.from_env({"MCP_SERVERS_FILE": str(file)}))
    assert len(stopped.value.faults) == len(faults)
    for told, fault in zip(stopped.value.faults, faults, strict=True):
        assert told.startswith("MCP_SERVERS_FILE: ") and fault in told


def test_a_file_that_is_not_there_or_no_text_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="MCP_SERVERS_FILE: cannot be read: No such file"):
        build_tools(Settings.from_env({"MCP_SERVERS_FILE": str(tmp_path / "nowhere.json")}))
    (tmp_path / "mcp.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(CatalogFaults, match="not in UTF-8"):
        FileToolServerCatalog(tmp_path / "mcp.json")


def test_every_server_has_the_support_desk() -> None:
    tools = build_tools(Settings())
    found = tools.catalog.find("support_desk")
    tools.close()
    assert found is not None and Path(found.args[0]).is_file() and found.trusted


def test_no_secret_is_in_what_is_shown_of_a_server(file: Path) -> None:
    catalog = FileToolServerCatalog(file)
    assert "k // no" not in repr(catalog.find("stock")) and "/srv" not in repr(catalog.find("files"))
