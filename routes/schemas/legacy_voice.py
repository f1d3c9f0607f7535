"""Wire names of system 000's voice routes."""

from typing import Any

from flask_smorest.fields import Upload
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.answers import Audience, Inbound
from models.assistants import Assistant
from models.conversations import Channel
from routes.schemas.base import Text
from routes.schemas.documents import is_file
from routes.schemas.voice import VOICE
from services.doors import thread_of
from services.voice.html_text import without_html

BARE_RATE = 41_000
"""Samples a second of what system 000's devices record, as its transcription had it: not 44,100."""


def _has_words(text: str) -> None:
    """Refuse a text of nothing but white space and markup."""
    if not without_html(text).strip():
        raise ValidationError("Must not be blank.")


class LegacyTextSchema(Schema):
    """What a person writes, with HTML or without; other fields are ignored, since old clients send some."""

    class Meta:
        """Take the fields below, whatever else comes along."""

        unknown = EXCLUDE

    text = Text(required=True, validate=[validate.Length(1, 32_000), _has_words])


class LegacyRecordingSchema(Schema):
    """What a person says; other fields are ignored."""

    class Meta:
        """Take the fields below, whatever else comes along."""

        unknown = EXCLUDE

    file = Upload(required=True, validate=is_file)
    sample_rate = fields.Integer(
        load_default=None,
        validate=validate.Range(8_000, 48_000),
        metadata={"description": f"of bare samples; {BARE_RATE} for what is no file of sound"},
    )


def written(data: dict[str, Any], assistant: Assistant, message_id: str | None) -> Inbound:
    """Build the message from a loaded LegacyTextSchema; each has a conversation of its own."""
    return _alone(assistant, without_html(data["text"]).strip(), message_id)


def recorded(assistant: Assistant, message_id: str | None) -> Inbound:
    """Build a message whose text is to be heard yet; each has a conversation of its own."""
    return _alone(assistant, "", message_id)


def _alone(assistant: Assistant, text: str, message_id: str | None) -> Inbound:
    channel = Channel(thread_of(message_id), VOICE)
    return Inbound(assistant, channel, text, message_id=message_id, audience=Audience.EVENTS)
