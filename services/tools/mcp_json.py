"""Files that list MCP servers, as other programs keep them: `config/mcp.json`, `mcp_settings.json` and the like.

Two forms are read, with comments and trailing commas: a flat map of servers (langchain-mcp-adapters), and one under
`mcpServers` (Claude Desktop, Cursor, xiaozhi). Their transports have several names each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyjson5

from models.tools import ToolServer, Transport
from services.tools.source_rules import (
    LONGEST_SECONDS,
    check_header_name,
    check_header_value,
    check_url,
    fitting_name,
)

_DEFAULT_SECONDS = 30.0
_DEPTH = 8
_LONGEST_SHOWN = 200
_TRANSPORTS = {
    "stdio": Transport.STDIO,
    "sse": Transport.SSE,
    "http": Transport.STREAMABLE_HTTP,
    "https": Transport.STREAMABLE_HTTP,
    "streamablehttp": Transport.STREAMABLE_HTTP,
}
_WEBSOCKETS = frozenset({"websocket", "ws", "wss"})
_NOT_SERVERS = frozenset({"tool_keys", "$schema"})


@dataclass(frozen=True)
class McpEntry:
    """A server of such a file.

    Attributes:
        server: its name is one that `check_name` accepts; it is not `trusted`, which only its reader can say.
        timeout_seconds: how long a call may take; None where the file does not say.
    """

    server: ToolServer
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class McpRemark:
    """What there is to say about an entry, by its name in the file; "" for the file itself."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}" if self.name else self.reason


@dataclass(frozen=True)
class McpFile:
    """What such a file lists, in its order.

    Attributes:
        skipped: entries that are switched off, by `disabled` or because `tool_keys` does not name them.
        faults: entries that cannot be used.
    """

    entries: tuple[McpEntry, ...] = ()
    skipped: tuple[McpRemark, ...] = ()
    faults: tuple[McpRemark, ...] = ()


def read_mcp_json(text: str) -> McpFile:
    """Return the servers of a file and all that is wrong with it; a value of a header or of `env` is in no remark."""
    try:
        whole = pyjson5.decode(text, _DEPTH)
    except pyjson5.Json5DecoderException as error:
        return _broken(f"It is no JSON{_place_of(error, text)}. Comments and trailing commas are all it may have more.")
    return mcp_servers_of(whole)


def mcp_servers_of(whole: object) -> McpFile:
    """Return the servers of such a file's value, as `read_mcp_json` does those of its text."""
    if not isinstance(whole, dict):
        return _broken('It must be an object: {"name": {"url": ...}}, or {"mcpServers": {...}}.')
    listed = whole.get("mcpServers", whole)
    if not isinstance(listed, dict):
        return _broken("mcpServers must be an object: name -> server.")
    wanted = whole.get("tool_keys")
    entries: dict[str, McpEntry] = {}
    skipped: list[McpRemark] = []
    faults: list[McpRemark] = []
    for name, fields in listed.items():
        if name in _NOT_SERVERS:
            continue
        if reason := _reason_to_skip(name, fields, wanted):
            skipped.append(McpRemark(_shown(name), reason))
            continue
        try:
            entry = _entry(name, fields)
            if entry.server.name in entries:
                raise ValueError(f"Another one is named {entry.server.name} as well. Rename one of them.")
            entries[entry.server.name] = entry
        except ValueError as error:
            faults.append(McpRemark(_shown(name), str(error)))
    return McpFile(tuple(entries.values()), tuple(skipped), tuple(faults))


def _reason_to_skip(name: str, fields: object, wanted: object) -> str:
    """Return why an entry is not in use, "" if it is.

    Args:
        wanted: the file's `tool_keys`.
    """
    if isinstance(wanted, list) and name not in wanted:
        return "tool_keys does not name it."
    return "It is disabled." if isinstance(fields, dict) and fields.get("disabled") is True else ""


def _entry(name: str, fields: object) -> McpEntry:
    """Return one server.

    Raises:
        ValueError: what is wrong with it.
    """
    if not isinstance(fields, dict):
        raise ValueError("Must be an object with a command or a url.")
    fitting = fitting_name(name)
    if not fitting:
        raise ValueError("Its name has neither a letter from A to Z nor a digit. Rename it.")
    transport = _transport(fields)
    if transport is Transport.STDIO:
        if fields.get("cwd") is not None:
            raise ValueError("cwd is not supported. Name files by whole paths instead.")
        env = tuple(_texts(fields, "env").items())
        server = ToolServer(fitting, transport, command=_text(fields, "command"), args=_arguments(fields), env=env)
    else:
        url = _text(fields, "url")
        try:
            check_url(url)
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        server = ToolServer(fitting, transport, url=url, headers=_headers(fields))
    return McpEntry(server, _seconds(fields))


def _transport(fields: Mapping[str, Any]) -> Transport:
    """Return how the server is spoken to: without a word of it, stdio for a command and SSE for a URL."""
    told = fields.get("transport", fields.get("type"))
    if told is None:
        if "command" not in fields and "url" not in fields:
            raise ValueError("Must have a command or a url.")
        return Transport.STDIO if "command" in fields else Transport.SSE
    name = re.sub("[_-]", "", told.lower()) if isinstance(told, str) else ""
    if name in _WEBSOCKETS:
        raise ValueError("MCP over WebSocket is not supported. Use streamable_http, sse or stdio.")
    if name not in _TRANSPORTS:
        raise ValueError("Its transport must be stdio, sse or streamable_http.")
    return _TRANSPORTS[name]


def _headers(fields: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the headers, xiaozhi's older `API_ACCESS_TOKEN` among them."""
    headers = _texts(fields, "headers")
    if fields.get("API_ACCESS_TOKEN") is not None:
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {_text(fields, 'API_ACCESS_TOKEN')}"
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("headers: one of them is there twice.")
    for name, value in headers.items():
        try:
            check_header_name(name)
            check_header_value(value)
        except ValueError as error:
            raise ValueError(f"headers: {_shown(name)}: {error}") from None
    return tuple(headers.items())


def _seconds(fields: Mapping[str, Any]) -> float | None:
    """Return how long a call may take, None if the file does not say.

    In these files `sse_read_timeout` bounds a call; `timeout` bounds a request, or a call where nothing else does, so a
    short one is no reason to cut calls short.
    """
    read, request = (_number(fields, name) for name in ("sse_read_timeout", "timeout"))
    if read is None and request is None:
        return None
    seconds = max(request or 0.0, _DEFAULT_SECONDS) if read is None else read
    return min(max(seconds, 1.0), LONGEST_SECONDS)


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name} must be a number of seconds.")
    return float(min(value, LONGEST_SECONDS))


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip() or not _is_sound(value):
        raise ValueError(f"{name} must be a text.")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object of texts.")
    for key, text in value.items():
        if not isinstance(text, str) or not _is_sound(key + text):
            raise ValueError(f"{name} must be an object of texts.")
    return dict(value)


def _arguments(fields: Mapping[str, Any]) -> tuple[str, ...]:
    value = fields.get("args")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, str) and _is_sound(one) for one in value):
        raise ValueError("args must be a list of texts.")
    return tuple(value)


def _is_sound(text: str) -> bool:
    """Tell whether a text can be stored, and be given to a program."""
    return "\0" not in text and not any("\ud800" <= sign <= "\udfff" for sign in text)


def _shown(name: str) -> str:
    """Return a name for reports: what cannot be printed becomes question marks."""
    return "".join(sign if sign.isprintable() else "?" for sign in name[:_LONGEST_SHOWN]) or '""'


def _broken(reason: str) -> McpFile:
    return McpFile(faults=(McpRemark("", reason),))


def _place_of(error: pyjson5.Json5DecoderException, text: str) -> str:
    """Return where decoding ended, as the library's message tells it, for people: a line."""
    found = re.search(r"near (\d+)", str(error.args[0]) if error.args else "")
    return f" (line {text.count(chr(10), 0, int(found[1])) + 1})" if found else ""
