"""Wire names of voice notes, and of the sound of answers."""

from typing import Any

from flask_smorest.fields import Upload as UploadField
from marshmallow import Schema, ValidationError, fields, post_load, validate

from models.voice import SpeechFormat
from routes.schemas.base import Text
from routes.schemas.chats import ChannelMessageSchema, is_metadata
from routes.schemas.documents import is_file
from routes.schemas.voice import JsonText, SamplesSchema, uploaded
from services.voice.links import LinkSignature

OGG = "ogg"
"""Opus in Ogg, the format of messengers' own voice notes: a whole file, unlike those of `SpeechFormat`."""


class VoiceNoteSchema(ChannelMessageSchema, SamplesSchema):
    """A person's message as a recording; the other fields are those of a written one."""

    audio = UploadField(required=True, validate=is_file)
    message = Text(load_default="", validate=validate.Equal("", error="Send either message or audio."))
    metadata = JsonText(keys=fields.String(), load_default=dict, validate=is_metadata)

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold the file and what is told of it into a recording."""
        recording = uploaded(data, "audio")
        rest = {name: value for name, value in data.items() if name not in ("audio", "sample_rate")}
        return {**rest, "recording": recording}


class AudioQuery(Schema):
    """What the sound comes as, and the signature of a link to it."""

    format = fields.String(load_default=SpeechFormat.MP3.value, validate=validate.OneOf([*SpeechFormat, OGG]))
    expires = fields.Integer(load_default=None, validate=validate.Range(0, 2**53))
    signature = Text(load_default=None, validate=validate.Length(1, 256))

    @post_load
    def build(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold the two parts of a signature into one."""
        expires, signature = data.pop("expires"), data.pop("signature")
        if (expires is None) != (signature is None):
            raise ValidationError("Send both expires and signature, as the link has them, or neither.", "signature")
        return {**data, "link": None if signature is None else LinkSignature(expires, signature)}
