"""An answer as the stream of a chat completion: chunks in the order in which OpenAI sends them.

First a delta with the role, then the text, then the calls, then an empty delta with the reason of the end, then the
tokens if they were asked for, then `[DONE]`. All chunks have the same id, time and model. What is the same in all is
made JSON once.
"""

import json
from collections.abc import Iterator
from typing import Any

from models.answers import AnswerEvent, Done, Filler, Replaying, Stored, TextDelta
from models.chats import Chat, ChatStatus
from models.errors import OrquestraError, Unavailable
from routes.answering import REPLAYED, THREAD_ID, thread_header
from routes.openai_errors import openai_error
from routes.schemas.openai_answers import (
    completion_id,
    created,
    finish_reason,
    shown_citations,
    tool_calls,
    unanswered,
    usage,
)

_ENCODER = json.JSONEncoder(separators=(",", ":"))
_DONE = b"data: [DONE]\n\n"
_BREAK = "\n\n"
"""Between what was said while tools ran and the answer."""


class ChunkStream:
    """The chunks of one answer.

    Args:
        model: as the client named it.
        thread: the name that the client gave the thread; None for one that the answer begins.
        with_usage: whether the tokens were asked for.

    Attributes:
        headers: what the response's head says of the answer; known before its first chunk is.
    """

    def __init__(self, model: str, thread: str | None, *, with_usage: bool) -> None:
        self.headers: dict[str, str] = {}
        self._model = model
        self._thread = thread
        self._with_usage = with_usage
        self._head = ""
        self._begun = False
        self._sent: list[str] = []
        self._filling = False

    def frames(self, events: Iterator[AnswerEvent]) -> Iterator[bytes]:
        """Yield an answer's chunks.

        Raises:
            Unavailable: code `answer_overtaken`, the pieces that were sent are not the answer that was committed:
                another server took the message over meanwhile.
        """
        for event in events:
            match event:
                case Replaying():
                    self.headers[REPLAYED] = "true"
                case Stored(chat):
                    self._begin(chat)
                case Filler(text):
                    self._filling = True
                    yield self._content(text)
                case TextDelta(text):
                    yield self._answer(text)
                case Done(chat):
                    yield self._end(chat)

    def _begin(self, chat: Chat) -> None:
        thread = self._thread or chat.channel.id
        self.headers[THREAD_ID] = thread_header(thread)
        head = {
            "id": completion_id(chat),
            "object": "chat.completion.chunk",
            "created": created(chat),
            "model": self._model,
            "thread_id": thread,
        }
        if self._with_usage:
            head["usage"] = None
        self._head = _compact(head)[:-1]

    def _answer(self, text: str) -> bytes:
        """Return the next piece of the answer, apart from what was said before it."""
        apart, self._filling = (_BREAK if self._filling else ""), False
        self._sent.append(text)
        return self._content(apart + text)

    def _content(self, text: str) -> bytes:
        return self._opening() + self._chunk(f'{{"content":{_compact(text)}}}')

    def _opening(self) -> bytes:
        """Return the chunk that says who speaks, the first time."""
        opening = b"" if self._begun else self._chunk('{"role":"assistant","content":""}')
        self._begun = True
        return opening

    def _end(self, chat: Chat) -> bytes:
        """Return what comes behind the text."""
        said = "".join(self._sent)
        frames = b""
        if chat.status is ChatStatus.ANSWERED and not said and chat.response:
            frames += self._answer(chat.response)
        elif chat.status is ChatStatus.ANSWERED and said != (chat.response or ""):
            raise Unavailable(
                "Another server has answered this message meanwhile. Send the request again to get that answer.",
                code="answer_overtaken",
            )
        frames += self._opening()
        if chat.status is ChatStatus.ANSWERED:
            for number, call in tool_calls(chat):
                frames += self._chunk(_compact({"tool_calls": [{"index": number, **call}]}))
        extras = {"citations": shown_citations(chat), **unanswered(chat)}
        if not self._with_usage:
            return frames + self._chunk("{}", finish_reason(chat), extras) + _DONE
        last = {**json.loads(f"{self._head}}}"), "choices": [], "usage": usage(chat), **extras}
        return frames + self._chunk("{}", finish_reason(chat)) + data_frame(last) + _DONE

    def _chunk(self, delta: str, finish: str | None = None, extras: dict[str, Any] | None = None) -> bytes:
        more = f",{_compact(extras)[1:-1]}" if extras else ""
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{_compact(finish)}}}'
        return f'data: {self._head},"choices":[{choice}]{more}}}\n\n'.encode()


def data_frame(data: dict[str, Any]) -> bytes:
    """Return a server-sent event without a name."""
    return f"data: {_compact(data)}\n\n".encode()


def error_frame(error: OrquestraError) -> bytes:
    """Return what breaks a stream off; OpenAI's SDKs raise it, and no `[DONE]` follows."""
    return data_frame(openai_error(error))


def _compact(value: object) -> str:
    return _ENCODER.encode(value)
