"""/voice: ask by text or sound, and hear the answer while it is written."""

from typing import Any

from flask import Response
from marshmallow import RAISE

from routes.access import calling_assistant, services, with_uncounted_voice_access, with_voice_access
from routes.answering import IDEMPOTENCY_KEY, idempotency_key
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.voice import (
    RecordingSchema,
    SpeakSchema,
    TranscriptSchema,
    VoiceRecordingSchema,
    VoiceSchema,
    VoicesQuery,
    VoiceTextSchema,
    inbound,
    transcript,
    uploaded,
)
from routes.spoken import ANSWER_HEADERS, SPEECH_CONTENT, aloud, answer_aloud

blueprint = Blueprint("voice", __name__, url_prefix="/voice", description="Audio in, speech out")


@blueprint.post("/processText")
@with_voice_access
@blueprint.arguments(VoiceTextSchema)
@blueprint.response(200, description="the answer, spoken sentence by sentence; empty where nobody is given one")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY], responses={200: SPEECH_CONTENT | ANSWER_HEADERS})
@in_room(watched=True)
def process_text(data: dict[str, Any]) -> Response:
    """Speak the answer to a written message while it is written."""
    message = inbound(data, calling_assistant(), idempotency_key())
    return answer_aloud(message, data["format"], new_deadline())


@blueprint.post("/processAudioFile")
@with_voice_access
@blueprint.arguments(VoiceRecordingSchema, location="files", unknown=RAISE)
@blueprint.response(200, description="the answer, spoken sentence by sentence; empty where nobody is given one")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY], responses={200: SPEECH_CONTENT | ANSWER_HEADERS})
@in_room(watched=True)
def process_audio_file(form: dict[str, Any]) -> Response:
    """Speak the answer to a recorded message while it is written; `X-Transcript` is what was understood."""
    message, deadline = inbound(form, calling_assistant(), idempotency_key()), new_deadline()
    heard = services().voice.heard(message, uploaded(form), deadline, language=form["language"])
    return answer_aloud(heard, form["format"], deadline)


@blueprint.post("/transcribe")
@with_voice_access
@blueprint.arguments(RecordingSchema, location="files", unknown=RAISE)
@blueprint.response(200, TranscriptSchema)
@in_room(watched=True)
def transcribe(form: dict[str, Any]) -> dict[str, Any]:
    """Write down what is said in a recording; it becomes no message."""
    return transcript(
        *services().voice.transcribe(calling_assistant(), uploaded(form), form["language"], new_deadline())
    )


@blueprint.post("/speak")
@with_voice_access
@blueprint.arguments(SpeakSchema)
@blueprint.response(200, description="the text, spoken sentence by sentence")
@blueprint.doc(responses={200: SPEECH_CONTENT})
@in_room(watched=True)
def speak(data: dict[str, Any]) -> Response:
    """Speak a text; no model is asked, and nothing is stored."""
    manner = {"language": data["language"], "voice": data["voice"]}
    spoken = services().voice.say(calling_assistant(), data["text"], data["format"], new_deadline(), **manner)
    return aloud(spoken, data["format"])


@blueprint.get("/voices")
@with_uncounted_voice_access
@blueprint.arguments(VoicesQuery, location="query")
@blueprint.response(200, VoiceSchema(many=True))
@in_room(watched=True)
def voices(query: dict[str, Any]) -> Any:
    """List the voices that an assistant's `voice` may name; `X-Speech` names what speaks."""
    provider, found = services().voice.voices(query["language"], new_deadline())
    return found, {"X-Speech": provider}
