"""A streamed chat completion, byte by byte."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from models.answers import AnswerEvent, Done, Filler, Replaying, Stored, TextDelta, ToolProgress, ToolStatus
from models.chats import Chat, ChatStatus, Citation, Tokens
from models.conversations import THREAD, Channel
from models.errors import ProviderFailed, RateLimited, Unavailable
from models.tools import ToolCall
from routes.openai_chunks import ChunkStream, error_frame
from routes.schemas.openai_answers import completion

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
CHAT = Chat(
    id="0123456789abcdef01234567",
    assistant_id="a" * 24,
    conversation_id="c" * 24,
    channel=Channel("f" * 32, THREAD),
    dedupe_key="chat:1",
    status=ChatStatus.RECEIVED,
    created_at=AT,
    message="hello",
)
ANSWERED = replace(CHAT, status=ChatStatus.ANSWERED, response='Hi "Bia"\nçã', tokens=Tokens(7, 3))
CITED = replace(ANSWERED, citations=(Citation("d" * 24, "policy.md", "25 days", 3, 10, None),))
ASKED = replace(
    ANSWERED,
    response="",
    asked=(ToolCall("call_1", "weather", '{"city": "Rio"}'), ToolCall("call_2", "clock", "{}")),
)
HEAD = (
    'data: {"id":"chatcmpl-0123456789abcdef01234567","object":"chat.completion.chunk","created":1795262400,'
    '"model":"any model","thread_id":"' + "f" * 32 + '"'
)


def lines(events: Iterable[AnswerEvent], *, with_usage: bool = False, thread: str | None = None) -> list[str]:
    """Return the events of a stream as text."""
    stream = ChunkStream("any model", thread, with_usage=with_usage)
    return b"".join(stream.frames(iter(events))).decode().removesuffix("\n\n").split("\n\n")


def choice(delta: str, finish: str = "null") -> str:
    """Return a chunk with one choice, but for its end."""
    return f'{HEAD},"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]'


def parsed(shown: Iterable[str]) -> list[ChatCompletionChunk]:
    """Return the chunks as the SDK's types have them."""
    chunks = [line.removeprefix("data: ") for line in shown if line != "data: [DONE]"]
    return [ChatCompletionChunk.model_validate_json(chunk, strict=True) for chunk in chunks]


def test_text() -> None:
    shown = lines([Stored(CHAT), TextDelta('Hi "Bia"'), TextDelta("\nçã"), Done(ANSWERED)])
    assert shown == [
        choice('{"role":"assistant","content":""}') + "}",
        choice('{"content":"Hi \\"Bia\\""}') + "}",
        choice('{"content":"\\n\\u00e7\\u00e3"}') + "}",
        choice("{}", '"stop"') + ',"citations":[]}',
        "data: [DONE]",
    ]
    parsed(shown)


def test_the_tokens_come_last_and_only_where_they_are_asked_for() -> None:
    shown = lines([Stored(CHAT), TextDelta('Hi "Bia"\nçã'), Done(CITED)], with_usage=True)
    head, cited = HEAD + ',"usage":null', (
        '"citations":[{"document_id":"dddddddddddddddddddddddd","filename":"policy.md","passage":"25 days",'
        '"start":3,"end":10,"page":null}]'
    )  # fmt: skip
    assert shown == [
        choice('{"role":"assistant","content":""}').replace(HEAD, head) + "}",
        choice('{"content":"Hi \\"Bia\\"\\n\\u00e7\\u00e3"}').replace(HEAD, head) + "}",
        choice("{}", '"stop"').replace(HEAD, head) + "}",
        HEAD + ',"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10},"choices":[],' + cited + "}",
        "data: [DONE]",
    ]
    assert [chunk.usage is not None for chunk in parsed(shown)] == [False, False, False, True]


def test_calls_of_functions() -> None:
    shown = lines([Stored(CHAT), Done(ASKED)])
    assert shown == [
        choice('{"role":"assistant","content":""}') + "}",
        choice(
            '{"tool_calls":[{"index":0,"id":"call_1","type":"function",'
            '"function":{"name":"weather","arguments":"{\\"city\\": \\"Rio\\"}"}}]}'
        )
        + "}",
        choice(
            '{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"clock","arguments":"{}"}}]}'
        )
        + "}",
        choice("{}", '"tool_calls"') + ',"citations":[]}',
        "data: [DONE]",
    ]
    parsed(shown)


def test_filler_is_text_apart_from_the_answer() -> None:
    shown = lines(
        [
            Stored(CHAT), ToolProgress("weather", ToolStatus.RUNNING), Filler("One "), Filler("moment."),
            ToolProgress("weather", ToolStatus.DONE), TextDelta('Hi "Bia"'), TextDelta("\nçã"), Done(ANSWERED),
        ]
    )  # fmt: skip
    said = [chunk.choices[0].delta.content for chunk in parsed(shown)]
    assert said == ["", "One ", "moment.", '\n\nHi "Bia"', "\nçã", None]


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        (replace(ANSWERED, truncated=True), "length"),
        (replace(ANSWERED, truncated=True, asked=ASKED.asked), "tool_calls"),
        (ANSWERED, "stop"),
    ],
)
def test_why_it_ends(chat: Chat, reason: str) -> None:
    shown = parsed(lines([Stored(CHAT), TextDelta(chat.response or ""), Done(chat)]))
    assert [one.choices[0].finish_reason for one in shown][-1] == reason
    assert completion(chat, "m", "t")["choices"][0]["finish_reason"] == reason


@pytest.mark.parametrize("status", [ChatStatus.INACTIVE, ChatStatus.MERGED])
def test_nobody_answers(status: ChatStatus) -> None:
    shown = lines([Stored(CHAT), Done(replace(CHAT, status=status))])
    assert shown == [
        choice('{"role":"assistant","content":""}') + "}",
        choice("{}", '"stop"') + f',"citations":[],"status":"{status.value}"}}',
        "data: [DONE]",
    ]


def test_a_human_who_comes_first_ends_the_stream() -> None:
    overtaken = replace(ANSWERED, status=ChatStatus.SUPPRESSED)
    shown = lines([Stored(CHAT), TextDelta("Hi"), Done(overtaken)])
    assert shown[-2] == choice("{}", '"stop"') + ',"citations":[],"status":"suppressed"}'
    whole = completion(overtaken, "m", "t")
    assert (whole["choices"][0]["message"]["content"], whole["status"]) == ("", "suppressed")


def test_an_answer_of_another_server_is_told_whole_or_not_at_all() -> None:
    (_, told, *_) = parsed(lines([Stored(CHAT), Done(ANSWERED)]))
    assert told.choices[0].delta.content == ANSWERED.response
    with pytest.raises(Unavailable) as failed:
        lines([Stored(CHAT), TextDelta("another answer"), Done(ANSWERED)])
    assert failed.value.code == "answer_overtaken"


def test_the_head_names_thread_and_replay() -> None:
    stream = ChunkStream("m", None, with_usage=False)
    frames = stream.frames(iter([Replaying(), Stored(CHAT), TextDelta("x"), Done(ANSWERED)]))
    next(frames)
    assert stream.headers == {"Idempotent-Replayed": "true", "x-thread-id": "f" * 32}


def test_a_thread_has_the_name_that_the_client_gave_it() -> None:
    (chunk, *_) = parsed(lines([Stored(CHAT), Done(ANSWERED)], thread="2000"))
    assert chunk.model_extra == {"thread_id": "2000"}


def test_a_failure_breaks_off() -> None:
    assert error_frame(ProviderFailed("The model failed. Try again.")) == (
        b'data: {"error":{"message":"The model failed. Try again.","type":"server_error","param":null,'
        b'"code":"provider_failed"}}\n\n'
    )
    assert b'"code":"rate_limit_exceeded"' in error_frame(RateLimited("Slow down.", retry_after=3))


def test_a_whole_answer() -> None:
    whole = completion(CITED, "any model", "2000")
    expected: dict[str, Any] = {
        "id": "chatcmpl-0123456789abcdef01234567",
        "object": "chat.completion",
        "created": 1795262400,
        "model": "any model",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": 'Hi "Bia"\nçã',
                    "refusal": None,
                    "annotations": [],
                    "citations": [
                        {
                            "document_id": "d" * 24,
                            "filename": "policy.md",
                            "passage": "25 days",
                            "start": 3,
                            "end": 10,
                            "page": None,
                        }
                    ],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "thread_id": "2000",
    }
    assert (whole, list(whole)) == (expected, list(expected))
    ChatCompletion.model_validate(whole, strict=True)


def test_a_whole_answer_that_asks_for_functions() -> None:
    message = completion(ASKED, "m", "t")["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather", "clock"]
    ChatCompletion.model_validate(completion(ASKED, "m", "t"), strict=True)
