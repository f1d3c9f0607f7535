"""Files that list MCP servers, as the programs that have them write them."""

import pytest

from models.tools import ToolServer, Transport
from services.tools.mcp_json import McpEntry, McpFile, mcp_servers_of, read_mcp_json

FLAT = """
// configs/mcp_config.json
{
    "remove": {"transport": "stdio", "command": "python", "args": ["dummy/calculator.py"], "env": {"A": "1"}},
    /* "off": {"transport": "sse", "url": "http://off.example.com/sse"}, */
    "time": {
        "transport": "streamable_http",
        "url": "http://time.example.com:8000/mcp?a=//b", // the slashes before belong to it
        "headers": {"X-Note": "/* kept */ \\"quoted\\" // too"},
    },
}
"""
WRAPPED = """{"mcpServers": {
    "home": {"url": "https://home.example.com/sse", "des": "d", "link": "l", "API_ACCESS_TOKEN": "tok"},
    "web": {"type": "https", "url": "https://web.example.com/mcp"},
    "npx": {"command": "npx", "args": ["-y", "server"]}
}}"""


def entries(text: str) -> dict[str, McpEntry]:
    """Return the entries of a file without faults."""
    file = read_mcp_json(text)
    assert file.faults == ()
    return {entry.server.name: entry for entry in file.entries}


def entry(fields: str, name: str = "a") -> McpEntry:
    """Return the entry of these fields."""
    return entries(f'{{"{name}": {fields}}}')[name]


def fault(fields: str, name: str = "a") -> str:
    """Return what is wrong with an entry."""
    file = read_mcp_json(f'{{"{name}": {fields}}}')
    (remark,) = file.faults
    assert file.entries == ()
    return remark.reason


def test_a_flat_map_with_comments_is_read() -> None:
    found = entries(FLAT)
    assert list(found) == ["remove", "time"]
    assert found["remove"].server == ToolServer(
        "remove", Transport.STDIO, command="python", args=("dummy/calculator.py",), env=(("A", "1"),)
    )
    assert found["time"].server == ToolServer(
        "time",
        Transport.STREAMABLE_HTTP,
        "http://time.example.com:8000/mcp?a=//b",
        headers=(("X-Note", '/* kept */ "quoted" // too'),),
    )


def test_servers_under_their_own_name_are_read_with_the_defaults_of_their_programs() -> None:
    found = entries(WRAPPED)
    assert list(found) == ["home", "web", "npx"]
    home = found["home"].server
    assert (home.transport, home.headers) == (Transport.SSE, (("Authorization", "Bearer tok"),))
    assert found["web"].server.transport is Transport.STREAMABLE_HTTP
    npx = found["npx"].server
    assert (npx.transport, npx.command, npx.args) == (Transport.STDIO, "npx", ("-y", "server"))
    assert not any(one.server.trusted for one in found.values())


@pytest.mark.parametrize("alias", ["streamable_http", "streamable-http", "http", "https", "streamableHttp", "HTTP"])
@pytest.mark.parametrize("word", ["transport", "type"])
def test_a_transport_has_several_names(word: str, alias: str) -> None:
    fields = f'{{"{word}": "{alias}", "url": "http://a.example.com/mcp"}}'
    assert entry(fields).server.transport is Transport.STREAMABLE_HTTP


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ("", None),
        (', "timeout": 5', 30),
        (', "timeout": 60', 60),
        (', "timeout": 30, "sse_read_timeout": 300', 300),
        (', "sse_read_timeout": 10', 10),
        (', "timeout": 60000', 600),
        (', "sse_read_timeout": 0.1', 1),
    ],
)
def test_timeouts_become_the_time_of_a_call(fields: str, seconds: float | None) -> None:
    assert entry(f'{{"url": "http://a.example.com/sse"{fields}}}').timeout_seconds == seconds


def test_the_older_token_takes_the_place_of_a_header() -> None:
    fields = '{"url": "http://a.example.com", "headers": {"authorization": "old", "X": "y"}, "API_ACCESS_TOKEN": "new"}'
    assert entry(fields).server.headers == (("X", "y"), ("Authorization", "Bearer new"))


def test_what_is_switched_off_is_skipped() -> None:
    file = read_mcp_json('{"a": {"command": "a", "disabled": true}, "b": {"command": "b", "disabled": false}}')
    assert ([str(one) for one in file.skipped], len(file.entries)) == (["a: It is disabled."], 1)
    file = mcp_servers_of({"tool_keys": ["a"], "a": {"url": "http://a.example.com"}, "b": {"command": "x"}})
    assert [one.server.name for one in file.entries] == ["a"]
    assert [str(one) for one in file.skipped] == ["b: tool_keys does not name it."]


def test_names_are_made_fit() -> None:
    names = ("my server (2)", "my/server/2", "天气", "", "a\ud800\n")
    file = mcp_servers_of({name: {"command": "x"} for name in names})
    assert [one.server.name for one in file.entries] == ["my_server_2", "a"]
    assert {one.name: one.reason.split(".")[0] for one in file.faults} == {
        "my/server/2": "Another one is named my_server_2 as well",
        "天气": "Its name has neither a letter from A to Z nor a digit",
        '""': "Its name has neither a letter from A to Z nor a digit",
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ("3", "Must be an object"),
        ("{}", "Must have a command or a url."),
        ('{"transport": "websocket", "url": "ws://a.example.com"}', "MCP over WebSocket is not supported."),
        ('{"type": "ws", "url": "ws://a.example.com"}', "MCP over WebSocket is not supported."),
        ('{"transport": "carrier pigeon", "url": "http://a.example.com"}', "Its transport must be"),
        ('{"transport": 1, "url": "http://a.example.com"}', "Its transport must be"),
        ('{"transport": "sse"}', "url must be a text."),
        ('{"transport": "stdio", "url": "http://a.example.com"}', "command must be a text."),
        ('{"command": "a", "cwd": "/x"}', "cwd is not supported."),
        ('{"command": "a", "args": "b"}', "args must be a list of texts."),
        ('{"command": "a", "args": [1]}', "args must be a list of texts."),
        ('{"command": "a\\u0000b"}', "command must be a text."),
        ('{"command": "a", "env": {"A": 1}}', "env must be an object of texts."),
        ('{"url": "ftp://a.example.com"}', "url: Must begin with https:// or http://."),
        ('{"url": "http://me:secret@a.example.com"}', "url: Must not contain a user name or password."),
        ('{"url": "http://a.example.com", "headers": {"A B": "c"}}', "headers: A B: Must be a header's name"),
        ('{"url": "http://a.example.com", "headers": {"Host": "c"}}', "headers: Host: The connection sets"),
        ('{"url": "http://a.example.com", "headers": {"A": "secret\\r\\nB: c"}}', "headers: A: Must be one line"),
        ('{"url": "http://a.example.com", "headers": {"A": "secret", "a": "secret"}}', "headers: one of them is there"),
        ('{"url": "http://a.example.com", "timeout": "5"}', "timeout must be a number of seconds."),
        ('{"url": "http://a.example.com", "sse_read_timeout": NaN}', "sse_read_timeout must be a number of seconds."),
        ('{"url": "http://a.example.com", "timeout": true}', "timeout must be a number of seconds."),
    ],
)
def test_what_is_wrong_is_told_without_values(fields: str, reason: str) -> None:
    told = fault(fields)
    assert told.startswith(reason)
    assert "secret" not in told


def test_one_fault_leaves_the_others() -> None:
    file = read_mcp_json('{"a": {"url": "no"}, "b": {"command": "x"}}')
    assert ([one.server.name for one in file.entries], [one.name for one in file.faults]) == (["b"], ["a"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{\n// note\n"a": {"url": 1},\n"b" 2}', "It is no JSON (line 4)."),
        ("", "It is no JSON"),
        ("{} {}", "It is no JSON"),
        ("[" * 100_000, "It is no JSON"),
        ('{"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}', "It is no JSON"),
        ("[]", "It must be an object"),
        ('{"mcpServers": []}', "mcpServers must be an object"),
    ],
)
def test_a_text_that_is_no_such_file_is_one_fault(text: str, reason: str) -> None:
    file = read_mcp_json(text)
    assert (file.entries, len(file.faults), file.faults[0].name) == ((), 1, "")
    assert file.faults[0].reason.startswith(reason)


def test_an_empty_list_is_no_fault() -> None:
    assert read_mcp_json("{}") == read_mcp_json('{"mcpServers": {}}') == McpFile()
