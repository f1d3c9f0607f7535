"""Answers as DashScope's applications give them, whole or as server-sent events."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from models.answers import AnswerEvent, Done, Filler, Replaying, TextDelta
from models.chats import Chat, ChatStatus
from models.errors import OrquestraError, Unavailable
from routes.answering import REPLAYED
from routes.dashscope_errors import dashscope_error, dashscope_status

_UNFINISHED = "null"
"""What the service says, in letters, before an answer's end."""

_PARTS = 64
"""A frame that repeats the text comes once it has grown by this part: else a long one is sent for every word."""

_LINE_BREAKS = {mark: f"\\u{ord(mark):04x}" for mark in "\u0085\u2028\u2029"}
"""JSON has them as they are, and some readers of lines would end one there."""


@dataclass(frozen=True)
class Request:
    """What an answer repeats of its request.

    Attributes:
        session_id: as the client knows it.
    """

    id: str
    app_id: str
    session_id: str
    created: int = field(default_factory=lambda: int(time.time()))


def whole_answer(request: Request, chat: Chat) -> dict[str, Any]:
    """Return the body of an answer; where nobody is given one its text is empty."""
    body = _body(request, _response(chat), chat)
    return {**body, "app_id": request.app_id, "session_id": request.session_id}


def answer_frames(
    events: Iterator[AnswerEvent], request: Request, headers: dict[str, str], *, incremental: bool
) -> Iterator[bytes]:
    """Turn events into frames; a replay is noted in the headers before the first of them.

    The text only grows, because xiaozhi takes what lies behind the length of the frame before. Only where there is no
    answer in the end, because people have taken over meanwhile, the last text is empty.

    Args:
        incremental: each frame has the new text only, instead of all.

    Raises:
        Unavailable: code `answer_overtaken`, the text that was sent is not the answer that was committed.
    """
    told, sent, number = "", 0, 0
    for new, chat in _pieces(events, headers):
        told += new
        if chat is None and not incremental and (len(told) - sent) * _PARTS < len(told):
            continue
        text = new if incremental else told
        if chat is not None and chat.status is not ChatStatus.ANSWERED:
            text = ""
        sent, number = len(told), number + 1
        yield f"id:{number}\nevent:result\n:HTTP_STATUS/200\ndata:{_line(_body(request, text, chat))}\n\n".encode()


def error_frame(error: OrquestraError, request_id: str) -> bytes:
    """Return the frame that breaks an answer off; the SDK knows it by its name without a space before it."""
    status, data = dashscope_status(error), _line(dashscope_error(error, request_id))
    return f"event:error\n:HTTP_STATUS/{status}\nstatus:{status}\ndata:{data}\n\n".encode()


def _pieces(events: Iterator[AnswerEvent], headers: dict[str, str]) -> Iterator[tuple[str, Chat | None]]:
    """Yield each new text, and last what is missing, with the chat. Filler and answer are a blank line apart."""
    filler, answer = False, ""
    for event in events:
        match event:
            case Replaying():
                headers[REPLAYED] = "true"
            case Filler(text):
                filler = True
                yield text, None
            case TextDelta(text):
                yield f"\n\n{text}" if filler and not answer else text, None
                answer += text
            case Done(chat):
                missing = _missing(chat, answer)
                yield f"\n\n{missing}" if filler and missing else missing, chat


def _missing(chat: Chat, sent: str) -> str:
    """Return what was not sent of an answer: all of it, where another server gave it."""
    response = _response(chat)
    if sent and response not in ("", sent):
        raise Unavailable(
            "Another server has answered this message meanwhile. Send it again to get an answer.",
            code="answer_overtaken",
        )
    return "" if sent else response


def _response(chat: Chat) -> str:
    return (chat.response or "") if chat.status is ChatStatus.ANSWERED else ""


def _body(request: Request, text: str, chat: Chat | None) -> dict[str, Any]:
    """Return what a client is told; `chat` is None until the end."""
    output = {
        "text": text,
        "finish_reason": _UNFINISHED if chat is None else "stop",
        "session_id": request.session_id,
        "created": request.created,
    }
    body = {"request_id": request.id, "code": 200, "message": "OK", "output": output, "is_end": chat is not None}
    if chat is None:
        return body
    if chat.model is None:  # nobody has asked one
        return {**body, "usage": {"models": []}}
    used = {"model_id": chat.model, "input_tokens": chat.tokens.input, "output_tokens": chat.tokens.output}
    return {**body, "output": {**output, "model": chat.model}, "usage": {"models": [used]}}


def _line(body: dict[str, Any]) -> str:
    """Return a body as JSON in one line."""
    data = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    for mark, escaped in _LINE_BREAKS.items():
        data = data.replace(mark, escaped)
    return data
