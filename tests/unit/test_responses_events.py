"""The events of a response: their order, their shape as OpenAI's SDK has it, and that they say what was committed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from models.answers import AnswerEvent, Done, Filler, Replaying, Stored, TextDelta
from models.chats import Chat, ChatStatus, Citation, Tokens
from models.clock import now
from models.errors import ProviderFailed, RateLimited, Unavailable
from models.tools import ToolCall
from routes.answering import REPLAYED
from routes.responses_events import ResponseStream
from routes.schemas.responses_answers import settled
from routes.schemas.responses_echo import Asked, asked_of
from tests.contract.stores import make_chat

CHAT = replace(make_chat(), response="two words", tokens=Tokens(5, 7), answered_at=now())
CALLS = (ToolCall("call_1", "weather", '{"city": "Recife"}'), ToolCall("call_2", "time", "{}"))
CITED = Citation("d" * 24, "policy.md", "25 days", 3, 10)
EVENTS: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
BEGUN = ["response.created", "response.in_progress"]
OPENED = ["response.output_item.added", "response.content_part.added"]
CLOSED = ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
DELTA = "response.output_text.delta"
CALLED = [
    "response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done",
    "response.output_item.done",
]  # fmt: skip


def read(raw: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream that ends as it should, each checked strictly against the SDK's type of it."""
    *frames, done, rest = raw.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    events = []
    for frame in frames:
        name, data = (line.split(": ", 1)[1] for line in frame.split("\n"))
        events.append(json.loads(data))
        assert name == events[-1]["type"]
        EVENTS[name].model_validate_json(data, strict=True)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return events


def streamed(events: Sequence[AnswerEvent], asked: Asked | None = None) -> list[dict[str, Any]]:
    """Return the events of an answer."""
    return read(b"".join(ResponseStream(asked or asked_of(CHAT)).frames(iter(events))))


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    """Return what kinds of events these are."""
    return [event["type"] for event in events]


def test_a_text_is_opened_written_and_closed_before_the_response_is() -> None:
    events = streamed([Stored(CHAT), TextDelta("two "), TextDelta("words"), Done(CHAT)])
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, DELTA, *CLOSED, "response.completed"]
    first, last = events[0]["response"], events[-1]["response"]
    assert (first["status"], first["output"], first["usage"], first["completed_at"]) == ("in_progress", [], None, None)
    assert last == settled(CHAT, asked_of(CHAT))
    assert first["id"] == last["id"] == f"resp_{CHAT.id}"
    (item,) = last["output"]
    assert events[-2]["item"] == item and item["content"][0]["text"] == "two words"
    assert {event["item_id"] for event in events if "item_id" in event} == {item["id"]}
    assert last["usage"]["total_tokens"] == 12


def test_calls_come_behind_the_text_each_with_its_arguments() -> None:
    asking = replace(CHAT, asked=CALLS)
    events = streamed([Stored(CHAT), TextDelta("two words"), Done(asking)])
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, *CLOSED, *CALLED, *CALLED, "response.completed"]
    last = events[-1]["response"]
    assert last == settled(asking, asked_of(asking))
    assert [item["type"] for item in last["output"]] == ["message", "function_call", "function_call"]
    assert [item.get("call_id") for item in last["output"]] == [None, "call_1", "call_2"]
    begun, delta, done, item = events[8:12]
    assert (begun["item"]["arguments"], begun["item"]["status"], begun["output_index"]) == ("", "in_progress", 1)
    assert delta["delta"] == done["arguments"] == item["item"]["arguments"] == CALLS[0].arguments
    assert (done["name"], item["item"]["status"]) == ("weather", "completed")


def test_calls_alone_have_no_message() -> None:
    events = streamed([Stored(CHAT), Done(replace(CHAT, response="", asked=CALLS[:1]))])
    assert kinds(events) == [*BEGUN, *CALLED, "response.completed"]
    assert events[2]["output_index"] == 0


def test_what_is_said_while_tools_run_is_a_message_of_its_own_and_no_part_of_the_response() -> None:
    events = streamed([Stored(CHAT), Filler("One "), Filler("moment."), TextDelta("two words"), Done(CHAT)])
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, DELTA, *CLOSED, *OPENED, DELTA, *CLOSED, "response.completed"]
    filler, answer = (event["item"] for event in events if event["type"] == "response.output_item.done")
    assert (filler["phase"], filler["content"][0]["text"]) == ("commentary", "One moment.")
    assert "phase" not in answer and answer["content"][0]["text"] == "two words"
    assert filler["id"] != answer["id"]
    assert [event["output_index"] for event in events if event["type"] == DELTA] == [0, 0, 1]
    assert events[-1]["response"]["output"] == [answer]


def test_an_answer_that_reached_its_limit_is_incomplete() -> None:
    cut = replace(CHAT, truncated=True)
    events = streamed([Stored(CHAT), TextDelta("two words"), Done(cut)])
    last = events[-1]["response"]
    assert (events[-1]["type"], last["status"]) == ("response.incomplete", "incomplete")
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["status"] == events[-2]["item"]["status"] == "incomplete"


def test_citations_are_annotations_with_the_exact_place_beside_them() -> None:
    cited = replace(CHAT, citations=(CITED, replace(CITED, start=20, end=27)))
    events = streamed([Stored(CHAT), TextDelta("two words"), Done(cited)])
    added = "response.output_text.annotation.added"
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, added, added, *CLOSED, "response.completed"]
    notes = [event["annotation"] for event in events if event["type"] == added]
    assert notes == events[-1]["response"]["output"][0]["content"][0]["annotations"]
    assert (notes[0]["type"], notes[0]["file_id"], notes[0]["filename"]) == ("file_citation", "d" * 24, "policy.md")
    assert [note["index"] for note in notes] == [0, 0]
    assert [note["citation"]["start"] for note in notes] == [3, 20]


@pytest.mark.parametrize("status", [ChatStatus.SUPPRESSED, ChatStatus.INACTIVE, ChatStatus.MERGED])
def test_what_is_no_answer_is_an_empty_message_that_says_why(status: ChatStatus) -> None:
    silent: Chat = replace(CHAT, status=status, citations=(CITED,), asked=CALLS)
    events = streamed([Stored(CHAT), Done(silent)])
    assert kinds(events) == [*BEGUN, *OPENED, *CLOSED, "response.completed"]
    last = events[-1]["response"]
    assert (last["chat_status"], last["output"][0]["content"][0]["text"]) == (status.value, "")
    assert last == settled(silent, asked_of(silent))


def test_an_answer_that_a_human_overtook_is_not_in_the_response() -> None:
    events = streamed([Stored(CHAT), TextDelta("two words"), Done(replace(CHAT, status=ChatStatus.SUPPRESSED))])
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, *CLOSED, "response.completed"]
    assert "two words" not in json.dumps(events[-1])


def test_an_answer_that_another_server_gave_is_sent_whole() -> None:
    events = streamed([Stored(CHAT), Done(CHAT, replayed=True)])
    assert [event["delta"] for event in events if event["type"] == DELTA] == ["two words"]


def test_pieces_that_are_not_the_answer_end_in_a_failure() -> None:
    stream = ResponseStream(asked_of(CHAT))
    frames = stream.frames(iter([Stored(CHAT), TextDelta("other"), Done(CHAT, replayed=True)]))
    begun = next(frames)
    with pytest.raises(Unavailable) as overtaken:
        next(frames)
    assert overtaken.value.code == "answer_overtaken"
    assert kinds(read(begun + stream.failed(overtaken.value)))[-1] == "response.failed"


def test_nothing_is_sent_before_the_first_words() -> None:
    frames = ResponseStream(asked_of(CHAT)).frames(iter([Stored(CHAT), TextDelta("two words"), Done(CHAT)]))
    assert next(frames).count(b"event: ") == len([*BEGUN, *OPENED, DELTA])


def test_the_head_names_the_thread_and_a_replay() -> None:
    stream = ResponseStream(asked_of(CHAT))
    next(stream.frames(iter([Replaying(), Stored(CHAT), TextDelta("two words"), Done(CHAT)])))
    assert stream.headers == {REPLAYED: "true", "x-thread-id": CHAT.conversation_id}


def test_a_failure_within_an_answer_keeps_what_was_said() -> None:
    stream = ResponseStream(asked_of(CHAT))
    begun = next(stream.frames(iter([Stored(CHAT), TextDelta("two ")])))
    events = read(begun + stream.failed(ProviderFailed("The model broke off. Try again.", code="stream_cut")))
    assert kinds(events) == [*BEGUN, *OPENED, DELTA, "response.failed"]
    last = events[-1]["response"]
    assert last["error"] == {"code": "server_error", "message": "The model broke off. Try again.", "type": "stream_cut"}
    assert (last["status"], last["usage"]) == ("failed", None)
    assert (last["output"][0]["status"], last["output"][0]["content"][0]["text"]) == ("incomplete", "two ")


def test_a_failure_after_a_long_silence_begins_the_response_first() -> None:
    stream = ResponseStream(asked_of(CHAT))
    list(stream.frames(iter([Stored(CHAT)])))
    events = read(stream.failed(RateLimited("Slow down.", retry_after=1)))
    assert kinds(events) == [*BEGUN, "response.failed"]
    assert events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"


def test_a_failure_of_a_message_that_was_not_stored_is_an_error_which_the_sdk_raises() -> None:
    frames = ResponseStream(asked_of(CHAT)).failed(Unavailable("Try again.")).decode()
    name, data = (line.split(": ", 1)[1] for line in frames.split("\n\n")[0].split("\n"))
    assert name == "error" and json.loads(data)["error"]["message"] == "Try again."


@pytest.mark.parametrize(
    ("chat", "status"),
    [
        (CHAT, "completed"),
        (replace(CHAT, asked=CALLS, response=None, citations=(CITED,)), "completed"),
        (replace(CHAT, status=ChatStatus.RECEIVED, response=None, answered_at=None), "in_progress"),
        (replace(CHAT, status=ChatStatus.FAILED, response=None, answered_at=None), "failed"),
    ],
)
def test_a_stored_chat_is_a_response_as_the_sdk_has_it(chat: Chat, status: str) -> None:
    body = settled(chat, asked_of(chat))
    assert body["status"] == status
    Response.model_validate_json(json.dumps(body), strict=True)
