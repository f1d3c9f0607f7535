"""Wire names of /conversations."""

from typing import Any

from marshmallow import Schema, fields, validate

from routes.schemas.base import PageQuery, Timestamp, answering_now, is_object_id
from routes.schemas.chats import CITATIONS, CalledToolSchema, ChannelSchema
from services.viewer import Message, Speaker


class ConversationQuery(PageQuery):
    """Filters of the list."""

    assistant_id = fields.String(load_default=None, validate=is_object_id)


class ConversationSchema(Schema):
    """A conversation in a list."""

    _id = fields.String(attribute="id")
    assistant_id = fields.String()
    channel = fields.Nested(ChannelSchema)
    username = fields.String(allow_none=True)
    active = fields.Function(answering_now, metadata={"type": "boolean"})
    paused_until = Timestamp(allow_none=True)
    message_count = fields.Integer()
    last_message = fields.String()
    last_updated = Timestamp(attribute="last_message_at")


class MessageSchema(Schema):
    """One utterance: of the person (human), the model (ai), a human agent (agent), or what a tool gave (tool).

    `given` tells of what the client's request said of earlier turns.
    """

    role = fields.String()
    content = fields.String()
    createdAt = Timestamp(attribute="created_at")
    chat_id = fields.String(attribute="chat.id")
    status = fields.String(attribute="chat.status")
    answered_by = fields.String(attribute="chat.answered_by", allow_none=True)
    given = fields.Boolean()
    tool = fields.Nested(CalledToolSchema, allow_none=True)
    citations = fields.Method("citations_of")

    def citations_of(self, message: Message) -> Any:
        """Return the sources of a model's words; people's have none."""
        return CITATIONS.dump(message.chat.citations if message.role is Speaker.AI and not message.given else ())


class ExportQuery(Schema):
    """The format of an export."""

    format = fields.String(load_default="json", validate=validate.OneOf(["json", "md", "csv"]))
