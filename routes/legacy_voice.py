"""System 000's voice routes: one whole MP3 a sentence, each in an HTTP chunk. docs/drop_in.md says what differs."""

from typing import Any

from flask import Response

from models.voice import SpeechFormat
from routes.access import calling_assistant, services, with_api_key
from routes.answering import IDEMPOTENCY_KEY, idempotency_key
from routes.legacy import with_status_code
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.legacy_voice import BARE_RATE, LegacyRecordingSchema, LegacyTextSchema, recorded, written
from routes.schemas.voice import uploaded
from routes.spoken import ANSWER_HEADERS, answer_aloud

_BYTES = "application/octet-stream"
_CONTENT = {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}

blueprint = Blueprint("legacy_voice", __name__, description="The voice routes of system 000, for its clients")
blueprint.after_request(with_status_code)


@blueprint.post("/processText")
@with_api_key
@blueprint.arguments(LegacyTextSchema)
@blueprint.response(200, description="the answer as MP3, spoken sentence by sentence")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY], responses={200: _CONTENT | ANSWER_HEADERS})
@in_room(watched=True)
def process_text(data: dict[str, Any]) -> Response:
    """Speak the answer to a text, which may have HTML in it, as system 000 did: in a conversation of its own."""
    message = written(data, calling_assistant(), idempotency_key())
    return _as_bytes(answer_aloud(message, SpeechFormat.MP3, new_deadline()))


@blueprint.post("/processAudioFile")
@blueprint.post("/processAudioStream", endpoint="process_audio_stream")
@with_api_key
@blueprint.arguments(LegacyRecordingSchema, location="files")
@blueprint.response(200, description="the answer as MP3, spoken sentence by sentence")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY], responses={200: _CONTENT | ANSWER_HEADERS})
@in_room(watched=True)
def process_audio_file(form: dict[str, Any]) -> Response:
    """Speak the answer to a recording, a file of sound or the bare samples of system 000's devices."""
    message, deadline = recorded(calling_assistant(), idempotency_key()), new_deadline()
    heard = services().voice.heard(message, uploaded(form), deadline, bare_rate=BARE_RATE)
    return _as_bytes(answer_aloud(heard, SpeechFormat.MP3, deadline))


def _as_bytes(response: Response) -> Response:
    """Name the content as system 000 did."""
    response.content_type = _BYTES
    return response
