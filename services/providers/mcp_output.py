"""What MCP servers offer and answer, as models and the store see it."""

import json
import logging
from collections.abc import Iterable

from mcp import Client
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    ResourceLink,
    TextContent,
    Tool,
)

from models.tools import ToolOutput, ToolSpec

logger = logging.getLogger("orquestra.tools")

LONGEST_OUTPUT = 20_000
_PAGES = 20
_TOOLS = 200
_LONGEST_DESCRIPTION = 4_000
_LARGEST_SCHEMA = 32_768
_LARGEST_SCHEMAS = 262_144
"""Of all tools of a server: they are held as long as its session, and take some twenty times of that in memory."""


Result = CallToolResult | InputRequiredResult
"""What a server answers to a call."""


async def all_tools(client: Client) -> list[Tool]:
    """Return the tools of all pages, as far as anybody can use so many."""
    page = await client.list_tools()
    tools = list(page.tools)
    for _ in range(_PAGES - 1):
        if page.next_cursor is None or len(tools) >= _TOOLS:
            break
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools[:_TOOLS]


def output_of(result: Result) -> ToolOutput:
    """Return what a call gave as text: its texts, else its structured content, and a note for each other part."""
    if isinstance(result, InputRequiredResult):
        return failed("The tool asks for input from a person, which is not possible here.")
    parts = [_text_of(part) for part in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return ToolOutput(cut("\n".join(part for part in parts if part)) or "(no output)", failed=result.is_error)


def failed(text: str) -> ToolOutput:
    """Return the output of a call that failed."""
    return ToolOutput(cut(text), failed=True)


def cut(text: str) -> str:
    """Return a text of at most `LONGEST_OUTPUT` characters and a note of how many are missing."""
    missing = len(text) - LONGEST_OUTPUT
    return text if missing <= 0 else f"{text[:LONGEST_OUTPUT]}\n[{missing} more characters were cut off]"


def specs_of(tools: Iterable[Tool], server: str) -> list[ToolSpec]:
    """Return the tools that a model can be told of; one whose schema is huge is left out, by itself or with others."""
    specs, left = [], _LARGEST_SCHEMAS
    for tool in tools:
        size = len(json.dumps(tool.input_schema))
        if size > min(_LARGEST_SCHEMA, left):
            logger.warning("a tool with a huge schema is left out", extra={"server": server, "tool": tool.name[:64]})
            continue
        left -= size
        description = (tool.description or tool.title or "")[:_LONGEST_DESCRIPTION]
        specs.append(ToolSpec(tool.name, description, tool.input_schema))
    return specs


def _text_of(part: ContentBlock) -> str:
    if isinstance(part, TextContent):
        return part.text
    if isinstance(part, ImageContent | AudioContent):
        return f"[{part.type}, {part.mime_type}, {_size(part.data)} bytes]"
    if isinstance(part, ResourceLink):
        return f"[link to {part.name}: {part.uri}]"
    return _resource(part)


def _resource(part: EmbeddedResource) -> str:
    found = part.resource
    if isinstance(found, BlobResourceContents):
        return f"[resource {found.uri}, {found.mime_type or 'of unknown type'}, {_size(found.blob)} bytes]"
    return found.text


def _size(encoded: str) -> int:
    """Return how many bytes a text in base64 stands for."""
    return len(encoded) * 3 // 4 - encoded.count("=", -2)
