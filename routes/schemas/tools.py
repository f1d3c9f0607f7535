"""Wire names of an assistant's tools."""

from collections.abc import Callable, Sequence
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_dump, post_load, validate, validates_schema

from models.tools import SourceKind, ToolSource, Transport
from routes.schemas.base import Text
from services.tools.source_rules import (
    LONGEST_SECONDS,
    check_header_name,
    check_header_value,
    check_name,
    check_url,
)
from services.tools.sources import UNCHANGED

_MOST_HEADERS = 20
_MOST_TOOLS = 200
_TRANSPORTS = frozenset({Transport.SSE.value, Transport.STREAMABLE_HTTP.value})
_OF_MCP = frozenset({"transport", "url", "headers"})
_STDIO = "stdio servers must be allowed by the operator in MCP_SERVERS_FILE; name one with type shared"


def _rule(check: Callable[[str], None]) -> Callable[[str], None]:
    """Return a rule of the services as a validator."""

    def validator(text: str) -> None:
        try:
            check(text)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    return validator


def _is_transport(name: str) -> None:
    if name == Transport.STDIO:
        raise ValidationError(_STDIO)
    if name not in _TRANSPORTS:
        raise ValidationError(f"Must be one of: {', '.join(sorted(_TRANSPORTS))}.")


def _at_most(size: int) -> Callable[[Sequence[Any]], None]:
    """Return a validator of pairs; apispec would describe marshmallow's own as one of a text."""

    def validator(pairs: Sequence[Any]) -> None:
        if len(pairs) > size:
            raise ValidationError(f"Must have at most {size}.")

    return validator


def have_unique_names(sources: Sequence[ToolSource]) -> None:
    """Refuse two sources of one name."""
    names = [source.name for source in sources]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValidationError(f"Each needs a name of its own; there twice: {', '.join(repeated)}.")


class Pairs(fields.Dict):
    """An object whose names and values the model keeps as pairs."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return super()._serialize(dict(value), attr, obj, **kwargs)  # type: ignore[no-untyped-call]  # marshmallow's

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        pairs = super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]  # marshmallow's
        return tuple(pairs.items())


class Headers(Pairs):
    """Headers whose values are never shown."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return super()._serialize([(name, UNCHANGED) for name, _ in value], attr, obj, **kwargs)


class ToolSourceSchema(Schema):
    """Where tools come from: an MCP server by its address, one of the operator's by name, or a tool of this server."""

    kind = fields.Enum(
        SourceKind,
        by_value=True,
        data_key="type",
        required=True,
        metadata={
            "description": "`mcp`: a server by its URL; `shared`: one that the operator allows by name; "
            "`builtin`: `current_time` or `search_documents`"
        },
    )
    name = Text(
        required=True, validate=_rule(check_name), metadata={"description": "unique within the assistant; of `mcp` any"}
    )
    transport = fields.String(
        validate=_is_transport, metadata={"description": "of `mcp` only", "enum": sorted(_TRANSPORTS)}
    )
    url = Text(validate=_rule(check_url), metadata={"description": "of `mcp` only"})
    headers = Headers(
        keys=Text(validate=_rule(check_header_name)),
        values=Text(validate=_rule(check_header_value)),
        validate=_at_most(_MOST_HEADERS),
        metadata={
            "description": f"of `mcp` only; values are shown as `{UNCHANGED}`, which keeps them when it is sent back",
            "maxProperties": _MOST_HEADERS,
        },
    )
    allowed_tools = fields.List(
        Text(validate=validate.Length(1, 200)),
        allow_none=True,
        validate=validate.Length(max=_MOST_TOOLS),
        metadata={"description": "the tools of it that may be used; null for all"},
    )
    timeout_seconds = fields.Float(validate=validate.Range(1, LONGEST_SECONDS))
    timeouts = Pairs(
        keys=Text(validate=validate.Length(1, 200)),
        values=fields.Float(validate=validate.Range(1, LONGEST_SECONDS)),
        validate=_at_most(_MOST_TOOLS),
        metadata={
            "description": "tool -> seconds, for tools that need a limit of their own",
            "maxProperties": _MOST_TOOLS,
        },
    )

    @validates_schema
    def fit_together(self, data: dict[str, Any], **_: Any) -> None:
        """Ask for what a server's address needs, and refuse it where there is no such server."""
        if data["kind"] is SourceKind.MCP:
            missing = [name for name in ("transport", "url") if name not in data]
            if missing:
                raise ValidationError({name: ["A server of type mcp needs it."] for name in missing})
        elif extra := sorted(_OF_MCP & data.keys()):
            raise ValidationError({name: ["Only for a server of type mcp. Leave it out."] for name in extra})
        names = [name.lower() for name, _ in data.get("headers", ())]
        if len(set(names)) < len(names):
            raise ValidationError("Name each header once: their case means nothing.", "headers")

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> ToolSource:
        """Return the source, the values of its headers in clear."""
        allowed, transport = data.pop("allowed_tools", None), data.pop("transport", None)
        return ToolSource(
            **data,
            transport=None if transport is None else Transport(transport),
            allowed_tools=None if allowed is None else tuple(allowed),
        )

    @post_dump
    def show_what_counts(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Leave out what only servers of type mcp have."""
        if data["type"] == SourceKind.MCP:
            return data
        return {name: value for name, value in data.items() if name not in _OF_MCP}


MCP_FILE = {
    "required": True,
    "description": "the file as it is, in either form, with comments or without",
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "example": {"mcpServers": {"time": {"type": "streamable-http", "url": "https://time.example.com/mcp"}}},
        },
        "text/plain": {"schema": {"type": "string"}},
    },
}
"""How the description of the API shows the body of an import."""


class OfferedToolSchema(Schema):
    """A tool that a source offers."""

    name = fields.String(attribute="spec.name")
    description = fields.String(attribute="spec.description")
    parameters = fields.Dict(attribute="spec.parameters", metadata={"description": "JSON schema of the arguments"})
    allowed = fields.Boolean(metadata={"description": "whether answers may use it"})


class InspectedSourceSchema(Schema):
    """What a source of tools offers now."""

    name = fields.String()
    type = fields.Enum(SourceKind, by_value=True, attribute="kind")
    status = fields.Function(
        lambda found: "ok" if found.reason is None else "failed",
        metadata={"type": "string", "enum": ["ok", "failed"]},
    )
    reason = fields.String(allow_none=True, metadata={"description": "why it failed, and what to do about it"})
    tools = fields.List(fields.Nested(OfferedToolSchema))


class ToolRemarkSchema(Schema):
    """Why a server of an imported file was not taken."""

    name = fields.String()
    reason = fields.String()


class ToolImportSchema(Schema):
    """What became of the servers of an imported file."""

    added = fields.List(fields.String())
    replaced = fields.List(fields.String())
    unchanged = fields.List(fields.String())
    skipped = fields.List(fields.Nested(ToolRemarkSchema))
