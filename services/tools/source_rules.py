"""What a server of tools may be called, and what connecting to it may say: one rule for forms, files and imports."""

import re

from services.callback_urls import read_callback_url

MOST_SOURCES = 20
"""So many sources of tools an assistant may have."""

LONGEST_NAME = 64
LONGEST_SECONDS = 600.0
"""The longest that a call of a tool may take."""

LONGEST_HEADER = 8192
_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_OURS = frozenset(
    {
        "connection", "content-length", "content-type", "accept", "host", "mcp-protocol-version", "mcp-session-id",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that a connection sets by itself (RFC 9110, section 7.6, and MCP's transports)."""


def check_name(name: str) -> None:
    """Accept a name that models can be told: tools with a clash are named after their source.

    Raises:
        ValueError: what is wrong with it, for its sender.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"Must be 1 to {LONGEST_NAME} of the letters A to Z and a to z, digits, _ and -.")


def fitting_name(name: str) -> str:
    """Return the name that `check_name` accepts and that is nearest to a foreign one; "" if nothing is left of it."""
    return _NO_NAME.sub("_", name).strip("_")[:LONGEST_NAME]


def check_url(url: str) -> None:
    """Accept an http(s) URL of an MCP server. Where it may lie is judged when it is connected to.

    Raises:
        ValueError: what is wrong with it, for its sender.
    """
    read_callback_url(url)


def check_header_name(name: str) -> None:
    """Accept a header that may be sent along.

    Raises:
        ValueError: what is wrong with it, for its sender.
    """
    if not _TOKEN.fullmatch(name):
        raise ValueError("Must be a header's name, such as Authorization.")
    if name.lower() in _OURS:
        raise ValueError("The connection sets this header itself. Leave it out.")


def check_header_value(value: str) -> None:
    """Accept a header's value: one line of what can be sent as it is (RFC 9110, section 5.5).

    Raises:
        ValueError: what is wrong with it, for its sender; the value is not in it.
    """
    if not value or len(value) > LONGEST_HEADER:
        raise ValueError(f"Must have 1 to {LONGEST_HEADER} characters.")
    if value != value.strip() or not value.isascii() or not value.isprintable():
        raise ValueError("Must be one line of visible ASCII characters, without spaces around it.")
