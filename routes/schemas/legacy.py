"""Wire names of system 000's routes."""

import re
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from models.answers import Inbound
from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from models.conversations import QUERY_ASSISTANT, Channel
from routes.schemas.base import Text, not_blank

_MARKS = re.compile(r"【.*?】")
"""What OpenAI's assistants put where they cite a file."""


class QuestionSchema(Schema):
    """What a person asks; `address` names the person. Other fields are ignored, since old clients send some."""

    class Meta:
        """Take the fields below, whatever else comes along."""

        unknown = EXCLUDE

    prompt = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    address = Text(required=True, validate=[validate.Length(1, 256), not_blank])


def question(data: dict[str, str], assistant: Assistant, idempotency_key: str | None) -> Inbound:
    """Build the message from a loaded QuestionSchema."""
    channel = Channel(data["address"], QUERY_ASSISTANT)
    return Inbound(assistant, channel, data["prompt"], message_id=idempotency_key)


def _content(chat: Chat) -> str:
    """Return an answer's text as system 000 gave it, "" where nobody is given one.

    It is never null, because system 000's web client takes marks out of the text.
    """
    if chat.status is not ChatStatus.ANSWERED or chat.response is None:
        return ""
    return _MARKS.sub("", chat.response).replace("Source:", "")


class AssistantReplySchema(Schema):
    """The answer; one that failed has `content`, which says why, and `statusCode` 500 only."""

    content = fields.Function(_content, metadata={"type": "string"})
    run_id = fields.Function(lambda chat: chat.response_id or chat.id, metadata={"type": "string"})
    thread_id = fields.String(attribute="conversation_id")
    statusCode = fields.Constant(200, metadata={"type": "integer"})


class ClearedSchema(Schema):
    """That every conversation begins anew."""

    statusCode = fields.Constant(200, metadata={"type": "integer"})
    status = fields.Constant(True, metadata={"type": "boolean"})


def failed(detail: str) -> dict[str, Any]:
    """Return what is said in place of an answer."""
    return {"content": detail, "statusCode": 500}
