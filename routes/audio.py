"""/chats/audio: the answers of chats, as sound. Messengers fetch them by links, which carry a signature."""

from typing import Any

from flask import Response, request

from models.chats import Chat
from models.voice import SpeechFormat
from routes.access import key_or_token, services
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.voice_notes import OGG, AudioQuery
from routes.spoken import aloud, content_type

_OGG = "audio/ogg; codecs=opus"
_SOUND = {"schema": {"type": "string", "format": "binary"}}
blueprint = Blueprint("audio", __name__, url_prefix="/chats/audio", description="Answers as sound")


@blueprint.get("/<chat_id>")
@blueprint.arguments(AudioQuery, location="query")
@blueprint.response(200, description="the answer, spoken sentence by sentence; as ogg a whole file")
@blueprint.doc(
    responses={200: {"content": {kind: _SOUND for kind in ("audio/mpeg", "audio/wav", "audio/pcm", "audio/ogg")}}},
    security=[{}, {"apiKey": []}, {"apiKeyBearer": []}, {"accessToken": []}],
)
@in_room(when=lambda *_, **__: request.method != "HEAD", watched=True)
def hear(query: dict[str, Any], chat_id: str) -> Response:
    """Speak a chat's answer to whoever has the link (`audio_url`), the assistant's API key or its owner's token."""
    chat = services().replies.find(query["link"] or key_or_token(), chat_id)
    return _described(query["format"]) if request.method == "HEAD" else _spoken(chat, query["format"])


def _described(kind: str) -> Response:
    """Return what a spoken answer would come as; nothing is spoken, so its length is not known."""
    return Response(iter(()), content_type=_OGG if kind == OGG else content_type(SpeechFormat(kind)))


def _spoken(chat: Chat, kind: str) -> Response:
    if kind == OGG:
        return Response(services().replies.speak_into_ogg(chat, new_deadline()), content_type=_OGG)
    return aloud(services().replies.speak(chat, SpeechFormat(kind), new_deadline()), SpeechFormat(kind))
