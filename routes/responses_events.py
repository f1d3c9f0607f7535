"""An answer as the stream of a response: OpenAI's semantic events, numbered from 0, in the order that it documents.

Each item is added, filled and done before the next one; `[DONE]` comes last, as Open Responses wants it and OpenAI's
SDKs take it. What is said while tools run is a message of its own with the phase `commentary`: it is part of the stream
alone, neither of the final response nor of the memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.answers import AnswerEvent, Done, Filler, Replaying, Stored, TextDelta
from models.chats import Chat, ChatStatus
from models.errors import OrquestraError, Unavailable
from models.tools import ToolCall
from routes.answering import REPLAYED, THREAD_ID, thread_header
from routes.openai_errors import openai_error
from routes.schemas.responses_answers import (
    annotations,
    calls_of,
    failed,
    final_status,
    function_call,
    message,
    response,
    settled,
    text_part,
    thread_of,
)
from routes.schemas.responses_echo import Asked
from routes.streaming import frame

_COMMENTARY = "commentary"
_DONE = b"data: [DONE]\n\n"


@dataclass
class _Open:
    """The message that is being written."""

    number: int
    phase: str | None
    place: dict[str, Any]
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


class ResponseStream:
    """The events of one response.

    Nothing is sent before the first words, or the end: a failure before it is a real HTTP status.

    Args:
        asked: what the response repeats of its request.

    Attributes:
        headers: what the response's head says of the answer; known before its first event is.
    """

    def __init__(self, asked: Asked) -> None:
        self.headers: dict[str, str] = {}
        self._asked = asked
        self._chat: Chat | None = None
        self._next = 0
        self._items = 0
        self._open: _Open | None = None
        self._said: list[str] = []
        self._output: list[dict[str, Any]] = []

    def frames(self, events: Iterator[AnswerEvent]) -> Iterator[bytes]:
        """Yield the events of an answer.

        Raises:
            Unavailable: code `answer_overtaken`, the pieces that were sent are not the answer that was committed:
                another server took the message over meanwhile.
        """
        for event in events:
            match event:
                case Replaying():
                    self.headers[REPLAYED] = "true"
                case Stored(chat):
                    self._chat = chat
                    self.headers[THREAD_ID] = thread_header(thread_of(chat, self._asked.thread))
                case Filler(text):
                    yield self._write(self._stored(), text, _COMMENTARY)
                case TextDelta(text):
                    self._said.append(text)
                    yield self._write(self._stored(), text, None)
                case Done(chat):
                    yield self._end(chat) + _DONE

    def failed(self, error: OrquestraError) -> bytes:
        """Return what ends the stream of an answer that failed on the way."""
        if self._chat is None:
            return self._event("error", openai_error(error)) + _DONE
        begun, opened = self._begin(self._chat), self._open
        cut = (
            [message(self._chat, opened.number, opened.text, "incomplete")]
            if opened is not None and opened.phase is None
            else []
        )
        body = failed(self._chat, self._asked, [*self._output, *cut], error.code, error.detail)
        return begun + self._event("response.failed", {"response": body}) + _DONE

    def _stored(self) -> Chat:
        if self._chat is None:
            raise RuntimeError("the engine told an answer before its chat")
        return self._chat

    def _begin(self, chat: Chat) -> bytes:
        """Return the events that begin the response, the first time."""
        if self._next:
            return b""
        body = {"response": response(chat, self._asked, (), "in_progress")}
        return self._event("response.created", body) + self._event("response.in_progress", body)

    def _write(self, chat: Chat, text: str, phase: str | None) -> bytes:
        """Return the next piece of the answer, or of what is said while tools run."""
        frames = self._begin(chat)
        if self._open is not None and self._open.phase != phase:
            frames += self._close(chat, "completed")
        if self._open is None:
            frames += self._open_message(chat, phase)
        return frames + self._delta(text)

    def _open_message(self, chat: Chat, phase: str | None) -> bytes:
        number, self._items = self._items, self._items + 1
        item = message(chat, number, None, "in_progress", phase=phase)
        place = {"item_id": item["id"], "output_index": number, "content_index": 0}
        self._open = _Open(number, phase, place)
        frames = self._event("response.output_item.added", {"output_index": number, "item": item})
        return frames + self._event("response.content_part.added", {**place, "part": text_part("")})

    def _delta(self, text: str) -> bytes:
        opened = self._open
        if opened is None or not text:
            return b""
        opened.pieces.append(text)
        return self._event("response.output_text.delta", {**opened.place, "delta": text, "logprobs": []})

    def _close(self, chat: Chat, status: str, notes: tuple[dict[str, Any], ...] = ()) -> bytes:
        """Return the events that end the message that is open."""
        opened, self._open = self._open, None
        if opened is None:
            return b""
        place, text = opened.place, opened.text
        item = message(chat, opened.number, text, status, notes, opened.phase)
        if opened.phase is None:
            self._output.append(item)
        frames = b"".join(
            self._event("response.output_text.annotation.added", {**place, "annotation_index": n, "annotation": note})
            for n, note in enumerate(notes)
        )
        frames += self._event("response.output_text.done", {**place, "text": text, "logprobs": []})
        frames += self._event("response.content_part.done", {**place, "part": text_part(text, notes)})
        return frames + self._event("response.output_item.done", {"output_index": opened.number, "item": item})

    def _end(self, chat: Chat) -> bytes:
        """Return what comes behind the words."""
        self._chat, said, frames = chat, "".join(self._said), b""
        if chat.status is ChatStatus.ANSWERED and not said and chat.response:
            frames += self._write(chat, chat.response, None)
        elif chat.status is ChatStatus.ANSWERED and said != (chat.response or ""):
            raise Unavailable(
                "Another server has answered this message meanwhile. Send the request again to get that answer.",
                code="answer_overtaken",
            )
        elif not said and not calls_of(chat):
            frames += self._write(chat, "", None)
        frames += self._begin(chat)
        frames += self._close(chat, final_status(chat), tuple(annotations(chat)))
        for call in calls_of(chat):
            frames += self._call(chat, call)
        body = settled(chat, self._asked, self._output if chat.status is ChatStatus.ANSWERED else None)
        return frames + self._event(f"response.{body['status']}", {"response": body})

    def _call(self, chat: Chat, call: ToolCall) -> bytes:
        number, self._items = self._items, self._items + 1
        begun, item = function_call(chat, number, call, "in_progress"), function_call(chat, number, call)
        self._output.append(item)
        place = {"item_id": item["id"], "output_index": number}
        frames = self._event("response.output_item.added", {"output_index": number, "item": begun})
        frames += self._event("response.function_call_arguments.delta", {**place, "delta": call.arguments})
        frames += self._event(
            "response.function_call_arguments.done", {**place, "name": call.name, "arguments": call.arguments}
        )
        return frames + self._event("response.output_item.done", {"output_index": number, "item": item})

    def _event(self, kind: str, told: dict[str, Any]) -> bytes:
        number, self._next = self._next, self._next + 1
        return frame(kind, {"type": kind, "sequence_number": number, **told})
