"""What DashScope's clients are sent: the bytes of frames, whole answers and failures."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask

from models.answers import AnswerEvent, Done, Filler, Replaying, TextDelta, ToolProgress, ToolStatus
from models.chats import ChatStatus, Tokens
from models.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    NotFound,
    OrquestraError,
    ProviderFailed,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnsupportedFormat,
)
from routes.answering import REPLAYED
from routes.dashscope_errors import dashscope_failure
from routes.dashscope_frames import Request, answer_frames, error_frame, whole_answer
from tests.contract.stores import make_chat

REQUEST = Request("r-1", "app", "s-1", created=1_700_000_000)
ANSWERED = replace(make_chat(), response="你好，世界 😀", model="qwen", tokens=Tokens(7, 3))


def frames(*events: AnswerEvent, incremental: bool = False, headers: dict[str, str] | None = None) -> list[bytes]:
    """Return the frames of these events."""
    sent = {} if headers is None else headers
    return list(answer_frames(iter(events), REQUEST, sent, incremental=incremental))


def texts(*events: AnswerEvent, incremental: bool = False) -> list[str]:
    """Return the text of each frame."""
    return [body["output"]["text"] for body in bodies(frames(*events, incremental=incremental))]


def bodies(sent: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Read frames as the SDK does: each line that begins with `data:` is a whole document."""
    for one in sent:
        for line in one.splitlines():
            if line.startswith(b"data:"):
                yield json.loads(line.removeprefix(b"data:"))


def as_xiaozhi_says(shown: Sequence[str]) -> str:
    """Return what a device says: of each text what lies behind the length of the one before."""
    said, last = "", ""
    for text in shown:
        said, last = said + text[len(last) :], text
    return said


def test_the_bytes_of_a_stream() -> None:
    sent = frames(TextDelta("你好，"), TextDelta("世界 😀"), Done(ANSWERED))
    assert b"".join(sent).decode() == (
        "id:1\nevent:result\n:HTTP_STATUS/200\n"
        'data:{"request_id":"r-1","code":200,"message":"OK","output":{"text":"你好，","finish_reason":"null",'
        '"session_id":"s-1","created":1700000000},"is_end":false}\n\n'
        "id:2\nevent:result\n:HTTP_STATUS/200\n"
        'data:{"request_id":"r-1","code":200,"message":"OK","output":{"text":"你好，世界 😀","finish_reason":"null",'
        '"session_id":"s-1","created":1700000000},"is_end":false}\n\n'
        "id:3\nevent:result\n:HTTP_STATUS/200\n"
        'data:{"request_id":"r-1","code":200,"message":"OK","output":{"text":"你好，世界 😀","finish_reason":"stop",'
        '"session_id":"s-1","created":1700000000,"model":"qwen"},"is_end":true,'
        '"usage":{"models":[{"model_id":"qwen","input_tokens":7,"output_tokens":3}]}}\n\n'
    )


def test_the_bytes_of_a_failure_in_mid_stream() -> None:
    failed = error_frame(RateLimited("The model is busy.", retry_after=3), "r-1")
    assert failed.decode() == (
        "event:error\n:HTTP_STATUS/429\nstatus:429\n"
        'data:{"code":"Throttling","message":"The model is busy.","request_id":"r-1"}\n\n'
    )


def test_a_whole_answer() -> None:
    assert whole_answer(REQUEST, ANSWERED) == {
        "request_id": "r-1",
        "code": 200,
        "message": "OK",
        "output": {
            "text": "你好，世界 😀",
            "finish_reason": "stop",
            "session_id": "s-1",
            "created": 1_700_000_000,
            "model": "qwen",
        },
        "is_end": True,
        "usage": {"models": [{"model_id": "qwen", "input_tokens": 7, "output_tokens": 3}]},
        "app_id": "app",
        "session_id": "s-1",
    }


def test_the_text_is_all_so_far_or_what_is_new() -> None:
    events = (TextDelta("你好，"), TextDelta("世界 "), TextDelta("😀"), Done(ANSWERED))
    assert texts(*events) == ["你好，", "你好，世界 ", "你好，世界 😀", "你好，世界 😀"]
    assert texts(*events, incremental=True) == ["你好，", "世界 ", "😀", ""]
    assert as_xiaozhi_says(texts(*events)) == ANSWERED.response


def test_a_long_text_is_not_sent_again_for_every_word() -> None:
    words = [f"word {number} " for number in range(4000)]
    text = "".join(words)
    events: list[AnswerEvent] = [*map(TextDelta, words), Done(replace(ANSWERED, response=text))]
    shown = texts(*events)
    assert as_xiaozhi_says(shown) == text == shown[-1]
    assert sum(map(len, shown)) < 100 * len(text)
    assert all(len(more) - len(less) <= len(text) / 50 for less, more in itertools.pairwise(shown)), (
        "and none comes late"
    )
    assert shown[:4] == [text[: len(one)] for one in shown[:4]] and shown[0] == "word 0 "
    assert texts(*events, incremental=True) == [*words, ""]


def test_filler_comes_before_the_answer_and_the_text_still_only_grows() -> None:
    running = ToolProgress("time", ToolStatus.RUNNING)
    events = (running, Filler("Let me "), Filler("look."), TextDelta("It is "), TextDelta("noon."))
    done = Done(replace(ANSWERED, response="It is noon."))
    shown = texts(*events, done)
    whole = "Let me look.\n\nIt is noon."
    assert shown == ["Let me ", "Let me look.", "Let me look.\n\nIt is ", whole, whole]
    assert as_xiaozhi_says(shown) == whole == "".join(texts(*events, done, incremental=True))
    assert texts(Filler("Let me look."), done)[-1] == whole, "another server gave the answer"


def test_a_replay_is_told_before_its_first_frame() -> None:
    headers: dict[str, str] = {}
    sent = frames(Replaying(), TextDelta("你好，世界 😀"), Done(ANSWERED, replayed=True), headers=headers)
    assert headers == {REPLAYED: "true"} and len(sent) == 2


def test_an_answer_that_another_server_gave_is_sent_whole() -> None:
    for incremental in (False, True):
        assert texts(Done(ANSWERED, replayed=True), incremental=incremental) == ["你好，世界 😀"]


def test_a_text_that_is_not_the_answer_ends_in_an_error() -> None:
    with pytest.raises(Unavailable) as overtaken:
        frames(TextDelta("other"), Done(ANSWERED, replayed=True))
    assert overtaken.value.code == "answer_overtaken"


@pytest.mark.parametrize("status", [ChatStatus.SUPPRESSED, ChatStatus.INACTIVE, ChatStatus.MERGED])
@pytest.mark.parametrize("incremental", [False, True])
def test_where_nobody_is_given_an_answer_the_text_is_empty(status: ChatStatus, incremental: bool) -> None:
    withheld = ANSWERED.response if status is ChatStatus.SUPPRESSED else None
    chat = replace(ANSWERED, status=status, response=withheld)
    assert texts(Done(chat), incremental=incremental) == [""]
    assert texts(TextDelta("你好"), Done(chat), incremental=incremental) == ["你好", ""]
    assert whole_answer(REQUEST, chat)["output"]["text"] == ""


def test_an_answer_of_no_model_used_none() -> None:
    chat = replace(ANSWERED, status=ChatStatus.INACTIVE, model=None, response=None)
    body = whole_answer(REQUEST, chat)
    assert body["usage"] == {"models": []} and "model" not in body["output"]


def test_a_frame_has_one_line_of_data_whatever_is_in_the_text() -> None:
    text = 'a\nb\r\nc\u2028d\u2029e\u0085f\x0bg\x0ch\x1ei"\\'
    for sent in frames(TextDelta(text), Done(replace(ANSWERED, response=text))):
        assert len(sent.decode().splitlines()) == 5, "str.splitlines knows all marks that somebody takes for an end"
    assert texts(TextDelta(text), Done(replace(ANSWERED, response=text))) == [text, text]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BadRequest("x"), 400, "InvalidParameter"),
        (Unauthenticated("x"), 401, "InvalidApiKey"),
        (Forbidden("x"), 403, "AccessDenied"),
        (NotFound("x"), 404, "NotFound"),
        (TooLarge("x"), 413, "BadRequest.TooLarge"),
        (UnsupportedFormat("x"), 400, "InvalidParameter"),
        (Invalid("x", code="message_missing"), 400, "InvalidParameter"),
        (RateLimited("x", retry_after=2.5), 429, "Throttling"),
        (OrquestraError("x"), 500, "InternalError"),
        (ProviderFailed("x"), 502, "InternalError.Algo"),
        (Unavailable("x", retry_after=2.5), 503, "ModelUnavailable"),
        (DeadlineExceeded("x"), 504, "InternalError.Timeout"),
    ],
)
def test_failures_have_dashscopes_names(error: OrquestraError, status: int, code: str) -> None:
    with Flask(__name__).test_request_context():
        response = dashscope_failure(error)
    assert (response.status_code, response.content_type) == (status, "application/json")
    assert response.get_json() == {"code": code, "message": "x", "request_id": ""}
    assert response.headers.get("Retry-After") == ("3" if hasattr(error, "retry_after") else None)
    assert ("WWW-Authenticate" in response.headers) is (status == 401)
    assert f"status:{status}\n".encode() in error_frame(error, "r")


def test_a_schemas_refusal_names_the_fields() -> None:
    error = Invalid("Some values are wrong; `errors` names them.", errors={"input.prompt": ["Not a valid string."]})
    with Flask(__name__).test_request_context():
        body = dashscope_failure(error).get_json()
    assert body is not None and body["message"] == "input.prompt: Not a valid string."
