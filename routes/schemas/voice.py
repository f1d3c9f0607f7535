"""Wire names of /voice."""

import re
from typing import Any
from urllib.parse import quote, unquote

from flask_smorest.fields import Upload as UploadField
from marshmallow import Schema, ValidationError, fields, validate
from werkzeug.datastructures import FileStorage

from models.answers import Audience, Inbound
from models.assistants import Assistant
from models.conversations import Channel
from models.errors import BadRequest
from models.voice import Heard, SpeechFormat, Upload
from routes.parsing import json_value
from routes.schemas.base import Text, is_language, is_object_id, not_blank
from routes.schemas.chats import is_metadata
from routes.schemas.documents import is_file
from services.doors import thread_of

VOICE = "voice"
"""The `message_service` of what is asked by voice without naming a channel."""

_TRANSCRIPT_CHARACTERS = 2_000


class JsonText(fields.Dict):
    """An object that a form has as JSON text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            given = json_value(value) if isinstance(value, str) else value
        except BadRequest:
            raise ValidationError("Must be a JSON object.") from None
        return super()._deserialize(given, attr, data, **kwargs)  # type: ignore[no-untyped-call]


class CallerSchema(Schema):
    """Which assistant a signed-in user means, unless the query says it; an API key says it by itself."""

    assistant_id = Text(
        load_default=None, validate=is_object_id, metadata={"description": "needed with an access token"}
    )


class FormattedSchema(CallerSchema):
    """What the speech comes as: pcm is signed 16 bit, little endian, mono."""

    format = fields.Enum(SpeechFormat, by_value=True, load_default=SpeechFormat.MP3)


class VoiceMessageSchema(FormattedSchema):
    """Whose message it is. Without `id` it begins a conversation of its own."""

    id = Text(load_default=None, validate=[validate.Length(1, 256), not_blank])
    message_service = Text(load_default=VOICE, validate=[validate.Length(1, 64), not_blank])
    username = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    message_id = Text(load_default=None, allow_none=True, validate=validate.Length(1, 256))


class VoiceTextSchema(VoiceMessageSchema):
    """A written message whose answer is spoken."""

    text = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    metadata = fields.Dict(keys=fields.String(), load_default=dict, validate=is_metadata)


class SamplesSchema(Schema):
    """What tells that a file of sound is none, but bare samples."""

    sample_rate = fields.Integer(
        load_default=None,
        validate=validate.Range(8_000, 48_000),
        metadata={"description": "of bare samples: signed 16 bit, little endian, mono"},
    )


class RecordingSchema(CallerSchema, SamplesSchema):
    """Sound, as a file or as bare samples."""

    file = UploadField(required=True, validate=is_file)
    language = Text(
        load_default=None, validate=is_language, metadata={"description": "what is spoken; default: the assistant's"}
    )


class VoiceRecordingSchema(VoiceMessageSchema, RecordingSchema):
    """A spoken message whose answer is spoken."""

    metadata = JsonText(keys=fields.String(), load_default=dict, validate=is_metadata)


class SpeakSchema(FormattedSchema):
    """A text to speak."""

    text = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    voice = Text(load_default=None, allow_none=True, validate=validate.Length(1, 100))
    language = Text(load_default=None, allow_none=True, validate=is_language)


class VoicesQuery(CallerSchema):
    """Which voices are listed: those that speak a language (`pt` for every Portuguese)."""

    language = Text(load_default=None, validate=is_language)


class TranscriptSchema(Schema):
    """What was said in a recording."""

    text = fields.String()
    language = fields.String(allow_none=True)
    seconds = fields.Float()
    transcriber = fields.String()


class VoiceSchema(Schema):
    """A voice: an assistant's `voice` names its `id`."""

    id = fields.String()
    name = fields.String()
    languages = fields.List(fields.String())
    gender = fields.String(allow_none=True)


def inbound(data: dict[str, Any], assistant: Assistant, idempotency_key: str | None) -> Inbound:
    """Build the message from a loaded VoiceTextSchema or VoiceRecordingSchema; what was recorded has no text yet."""
    message_id = data["message_id"] or idempotency_key or None
    return Inbound(
        assistant=assistant,
        channel=Channel(data["id"] or thread_of(message_id), data["message_service"]),
        text=data.get("text", ""),
        username=data["username"],
        message_id=message_id,
        metadata=data["metadata"],
        audience=Audience.EVENTS,
    )


def uploaded(form: dict[str, Any], field: str = "file") -> Upload:
    """Build what is to be heard from a loaded SamplesSchema that has a file in this field."""
    file: FileStorage = form[field]
    return Upload(file.read(), file.filename or "", file.mimetype, form["sample_rate"])


def transcript(text: str, heard: Heard) -> dict[str, Any]:
    """Return what a TranscriptSchema shows."""
    return {"text": text, "language": heard.language, "seconds": heard.seconds, "transcriber": heard.transcriber}


def heard_headers(text: str, heard: Heard | None) -> dict[str, str]:
    """Return the headers that tell how a message was understood; none if it was written.

    A long transcript is cut between two characters; the chat has all of it.
    """
    if heard is None:
        return {}
    told = quote(text, safe="")
    if len(told) > _TRANSCRIPT_CHARACTERS:
        whole_escapes = re.sub(r"%.?\Z", "", told[:_TRANSCRIPT_CHARACTERS])
        told = quote(unquote(whole_escapes, errors="ignore"), safe="")  # without a part of a character
    return {"X-Transcript": told, "X-Transcriber": heard.transcriber}
