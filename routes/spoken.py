"""Sound as a response: it begins with the first piece, and is cut off where the rest cannot come."""

import logging
from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from flask import Response, after_this_request

from models.answers import Done, Inbound, Replaying, Stored
from models.chats import ChatStatus
from models.deadline import Deadline
from models.errors import CallCancelled, OrquestraError
from models.voice import SpeechFormat
from routes.access import metrics, services
from routes.answering import REPLAYED, counted, replayed_header
from routes.requests import request_id
from routes.schemas.voice import heard_headers
from routes.spoken_timings import timed
from services.voice.speaking import Audio, SpokenEvent

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
logger = logging.getLogger("orquestra.voice")

CHAT_ID = "X-Chat-ID"
CONVERSATION_ID = "X-Conversation-ID"
CHAT_STATUS = "X-Chat-Status"
_BYTES = {"schema": {"type": "string", "format": "binary"}}
SPEECH_CONTENT: dict[str, Any] = {"content": {kind: _BYTES for kind in ("audio/mpeg", "audio/wav", "audio/pcm")}}
"""A response of sound as OpenAPI describes it."""

ANSWER_HEADERS: dict[str, Any] = {
    "headers": {
        name: {"schema": {"type": "string"}, "description": meaning}
        for name, meaning in (
            (CHAT_ID, "the stored chat"),
            (CONVERSATION_ID, "its conversation"),
            ("X-Transcript", "what was understood of a recording, percent-encoded UTF-8, its first 2,000 bytes"),
            ("X-Transcriber", "by what"),
            (REPLAYED, "`true` where an earlier delivery of the message was given the answer"),
            (CHAT_STATUS, "what became of the chat, where nothing is spoken"),
        )
    }
}
"""What it tells of the answer besides."""

_TYPES = {SpeechFormat.MP3: "audio/mpeg", SpeechFormat.WAV: "audio/wav", SpeechFormat.PCM: "audio/pcm"}


def answer_aloud(message: Inbound, fmt: SpeechFormat, deadline: Deadline) -> Response:
    """Return the response that speaks the answer of a message.

    Raises:
        OrquestraError: it failed before its first sound; the failure's response names the chat too, if there is one.
    """
    answer = counted(services().conversations.answer(message, deadline), metrics())
    spoken = services().voice.spoken(message, answer, fmt, deadline)
    events = timed(spoken, services().replies.note, metrics())
    return aloud(events, fmt, heard_headers(message.text, message.heard))


def aloud(
    events: Generator[SpokenEvent, None, None], fmt: SpeechFormat, headers: Mapping[str, str] = _NO_HEADERS
) -> Response:
    """Return a response that sends sound as it comes; without any it is empty, and says what became of the chat.

    When the client leaves, the events are closed, which stops their source.

    Raises:
        OrquestraError: the source failed before its first sound.
    """
    told = {**headers, "X-Accel-Buffering": "no"}

    @after_this_request
    def tell(response: Response) -> Response:
        if response.status_code != 200:
            told.pop(CHAT_STATUS, None)
        response.headers.update(told)
        return response

    first = _first_sound(events, told)
    if first is None:
        return Response(content_type=_TYPES[fmt])
    return Response(_Sound(first, events), content_type=content_type(fmt))


def content_type(fmt: SpeechFormat) -> str:
    """Return the `Content-Type` of speech in a format."""
    rate = f";rate={services().voice.rate_of(fmt)};channels=1" if fmt is SpeechFormat.PCM else ""
    return _TYPES[fmt] + rate


def _first_sound(events: Generator[SpokenEvent, None, None], told: dict[str, str]) -> bytes | None:
    """Return the first sound, None if there is none to come; note in the headers what is told before it."""
    for event in events:
        match event:
            case Audio(data):
                told.pop(CHAT_STATUS, None)
                return data
            case Replaying():
                told[REPLAYED] = "true"
            case Stored(chat):
                told |= {CHAT_ID: chat.id, CONVERSATION_ID: chat.conversation_id}
                told |= heard_headers(chat.message or "", chat.heard)  # as it was stored: others may have heard it, too
            case Done():
                told |= {CHAT_STATUS: event.chat.status.value, **replayed_header(event)}
                if _is_withheld(event):
                    events.close()
    return None


def _is_withheld(done: Done) -> bool:
    """Tell whether nobody is to hear the answer: a human overtook it, for one."""
    return done.chat.status is not ChatStatus.ANSWERED


class _Sound:
    """A response's body: the first sound, and what comes behind it. Closing it says that nobody listens any more."""

    def __init__(self, first: bytes, events: Generator[SpokenEvent, None, None]) -> None:
        self._first = first
        self._events = events
        self._request_id = request_id()

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        try:
            for event in self._events:
                if isinstance(event, Audio):
                    yield event.data
                elif isinstance(event, Done) and _is_withheld(event):
                    return
        except OrquestraError as error:
            if not isinstance(error, CallCancelled):
                logger.warning("speech broke off", extra={"code": error.code, "request_id": self._request_id})
            raise

    def close(self) -> None:
        self._events.close()
