"""Wire names of /assistants."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate

from routes.schemas.base import Text, Timestamp, is_language, is_object_id, not_blank
from routes.schemas.routing import RoutingSchema
from routes.schemas.tools import ToolSourceSchema, have_unique_names
from services.callback_urls import check_host_rule
from services.tools.source_rules import MOST_SOURCES

_IGNORED = frozenset(
    {
        "id", "api_key", "created_at", "updated_at", "version",
        "webhook_secret", "webhook_grace_until",
    }
)  # fmt: skip
_MOST_HOSTS = 50


def _is_host_rule(rule: str) -> None:
    try:
        check_host_rule(rule)
    except ValueError as error:
        raise ValidationError(str(error)) from None


class NewAssistantSchema(Schema):
    """A new assistant."""

    name = Text(required=True, validate=[validate.Length(1, 200), not_blank])
    owner_id = Text(load_default=None, allow_none=True, validate=is_object_id)


class AssistantChangesSchema(Schema):
    """The fields of an assistant that may be set; a whole assistant may be sent back as it was read."""

    name = Text(validate=[validate.Length(1, 200), not_blank])
    owner_id = Text(validate=is_object_id)
    provider = Text(allow_none=True, validate=validate.Length(1, 50))
    model = Text(allow_none=True, validate=validate.Length(1, 200))
    temperature = fields.Float(allow_none=True, validate=validate.Range(0, 2))
    max_output_tokens = fields.Integer(allow_none=True, strict=True, validate=validate.Range(1, 1_000_000))
    history_turns = fields.Integer(strict=True, validate=validate.Range(0, 200))
    language = Text(allow_none=True, validate=is_language)
    messages_per_minute = fields.Integer(allow_none=True, strict=True, validate=validate.Range(0, 1_000_000))
    debounce_seconds = fields.Float(validate=validate.Range(0, 30))
    callback_hosts = fields.List(Text(validate=_is_host_rule), validate=validate.Length(max=_MOST_HOSTS))
    voice = Text(allow_none=True, validate=validate.Length(1, 100))
    tools = fields.List(
        fields.Nested(ToolSourceSchema), validate=[validate.Length(max=MOST_SOURCES), have_unique_names]
    )
    routing = fields.Nested(RoutingSchema, allow_none=True)
    id = fields.Raw(data_key="_id")
    api_key = fields.Raw(allow_none=True)
    created_at = fields.Raw(data_key="createdAt")
    updated_at = fields.Raw(data_key="updatedAt")
    version = fields.Raw()
    webhook_secret = fields.Raw()
    webhook_grace_until = fields.Raw(allow_none=True)

    @post_load
    def keep_what_changes(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Drop what may be present but cannot be set."""
        changes = {name: value for name, value in data.items() if name not in _IGNORED}
        return changes | {"tools": tuple(changes["tools"])} if "tools" in changes else changes


class RotationSchema(Schema):
    """How long the current key or secret goes on after a rotation."""

    grace_seconds = fields.Integer(load_default=86_400, strict=True, validate=validate.Range(0, 30 * 86_400))


class AssistantSchema(Schema):
    """An assistant."""

    _id = fields.String(attribute="id")
    name = fields.String()
    owner_id = fields.String()
    api_key = fields.String(
        allow_none=True, metadata={"description": "the current key; null when the server's secret has changed"}
    )
    createdAt = Timestamp(attribute="created_at")
    updatedAt = Timestamp(attribute="updated_at")
    version = fields.Integer()
    provider = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    temperature = fields.Float(allow_none=True)
    max_output_tokens = fields.Integer(allow_none=True)
    history_turns = fields.Integer()
    language = fields.String(allow_none=True)
    messages_per_minute = fields.Integer(allow_none=True)
    debounce_seconds = fields.Float()
    callback_hosts = fields.List(
        fields.String(), metadata={"description": "where answers may be posted to: `example.com`, `*.example.com:8443`"}
    )
    webhook_secret = fields.String(metadata={"description": "checks the signatures of callbacks"})
    webhook_grace_until = Timestamp(
        allow_none=True, metadata={"description": "until when callbacks are signed with the secret before as well"}
    )
    voice = fields.String(
        allow_none=True,
        metadata={"description": "what speaks its answers, one of GET /voice/voices; null: by language"},
    )
    tools = fields.List(fields.Nested(ToolSourceSchema))
    routing = fields.Nested(RoutingSchema, allow_none=True)


class FlushedSchema(Schema):
    """What a flush did."""

    flushed = fields.Integer(metadata={"description": "how many conversations had a thread"})
