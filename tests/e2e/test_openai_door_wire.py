"""The OpenAI door over exact bytes: golden streams, repetitions by the client, clients that leave."""

import json
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.e2e.openai_clients import SOON, Door, Losing, client_of, door, says
from tests.emulators.openai_wire import (
    DONE,
    STREAM,
    Action,
    Reply,
    WireServer,
    chunk,
    document,
    event,
    piece,
    stream,
    wire,
)

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
HANGING: Reply = [STREAM, piece(event(chunk("Half an answer"))), Action.HANG]
SILENT: Reply = [Action.HANG]

TIMES = re.compile(r'"id":"chatcmpl-[0-9a-f]{24}"|"created":[0-9]{10}')


def posted(
    served: Door, assistant: dict[str, Any], more: Mapping[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    """Send a request without the SDK, with more headers."""
    headers = {"Authorization": f"Bearer {assistant['api_key']}", **(more or {})}
    body = {"model": "m", "messages": HELLO, "thread_id": "t", **fields}
    return httpx2.post(f"{served.base_url}/chat/completions", json=body, headers=headers, timeout=20)


def normalised(content: str) -> str:
    """Return a body without what differs from answer to answer."""
    return TIMES.sub("", content)


def golden(delta: str, finish: str = "null", more: str = "", usage: str = "") -> str:
    """Return a chunk as it must be."""
    return (
        f'data: {{,"object":"chat.completion.chunk",,"model":"m","thread_id":"t"{usage},"choices":'
        f'[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{finish}}}]{more}}}\n\n'
    )


def asks() -> Reply:
    """Return an upstream's answer that asks for a function."""
    calls = [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
    delta = {"index": 0, "delta": {"role": "assistant", "tool_calls": calls}, "finish_reason": None}
    asking = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "wire-1", "choices": [delta]}
    return stream(event(json.dumps(asking).encode()), event(chunk(finish="tool_calls")), DONE)


def test_the_bytes_of_a_stream(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(says("Hello ", "you."))
    answer = posted(served, assistant, stream=True)
    assert normalised(answer.text) == (
        golden('{"role":"assistant","content":""}')
        + golden('{"content":"Hello"}')
        + golden('{"content":" you."}')
        + golden("{}", '"stop"', ',"citations":[]')
        + "data: [DONE]\n\n"
    )


def test_the_bytes_of_a_stream_with_usage(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(says("Hello"))
    answer = posted(served, assistant, stream=True, stream_options={"include_usage": True})
    assert normalised(answer.text) == (
        golden('{"role":"assistant","content":""}', usage=',"usage":null')
        + golden('{"content":"Hello"}', usage=',"usage":null')
        + golden("{}", '"stop"', usage=',"usage":null')
        + 'data: {,"object":"chat.completion.chunk",,"model":"m","thread_id":"t","usage":{"prompt_tokens":12,'
        '"completion_tokens":5,"total_tokens":17},"choices":[],"citations":[]}\n\n'
        "data: [DONE]\n\n"
    )


def test_the_bytes_of_a_stream_that_asks_for_a_function(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies.append(asks())
    tools = [{"type": "function", "function": {"name": "weather"}}]
    answer = posted(served, assistant, stream=True, tools=tools)
    call = '{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":"{}"}}'
    assert normalised(answer.text) == (
        golden('{"role":"assistant","content":""}')
        + golden(f'{{"tool_calls":[{call}]}}')
        + golden("{}", '"tool_calls"', ',"citations":[]')
        + "data: [DONE]\n\n"
    )


def test_the_bytes_of_a_stream_that_breaks(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append([STREAM, piece(event(chunk("Half "))), piece(event(chunk("an"))), 0.2, Action.RESET])
    answer = posted(served, assistant, stream=True)
    said, error = answer.text.removesuffix("\n\n").rsplit("\n\n", 1)
    assert normalised(said).startswith(golden('{"role":"assistant","content":""}') + golden('{"content":"Half"}'))
    assert error == (
        'data: {"error":{"message":"The model\'s endpoint broke off within the answer. Try again.",'
        '"type":"server_error","param":null,"code":"stream_cut"}}'
    )


def test_the_bytes_of_a_whole_answer(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(says("Olá ", "você."))
    answer = posted(served, assistant)
    assert normalised(answer.text.strip()) == (
        '{,"object":"chat.completion",,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
        '"content":"Olá você.","refusal":null,"annotations":[],"citations":[]},"logprobs":null,'
        '"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17},"thread_id":"t"}'
    )
    assert answer.headers["x-thread-id"] == "t"


def test_an_answer_at_its_limit(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(stream(event(chunk("Half")), event(chunk(finish="length")), DONE))
    answer = posted(served, assistant, max_tokens=1).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["prompt_tokens"] > 0 and answer["usage"]["completion_tokens"] > 0  # estimated
    assert upstream.requests[-1].body["max_tokens"] == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_was_lost_is_no_second_turn(
    served: Door, assistant: dict[str, Any], upstream: WireServer, streamed: bool
) -> None:
    upstream.replies.append(says("One answer."))
    way = Losing(2)
    with client_of(served, assistant, http_client=httpx2.Client(transport=way)) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="m", messages=HELLO, stream=streamed, extra_body={"thread_id": "t"}
        )
        text = raw.http_response.read().decode()
    assert "One answer." in text
    assert way.retry_counts == ["0", "1", "2"]
    assert raw.headers["Idempotent-Replayed"] == "true"
    (chat,) = served.chats(assistant)
    assert raw.headers["x-thread-id"] == chat["channel"]["id"] == "t"
    assert f"chatcmpl-{chat['_id']}" in text
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One answer.")]]
    assert len(upstream.requests) == 1


def test_a_lost_response_without_a_thread_leads_into_nobody_elses(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies += [says("One."), says("Two.")]
    with client_of(served, assistant, http_client=httpx2.Client(transport=Losing())) as client:
        answer = client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "Two."
    assert served.said(assistant) == [[("human", "hello"), ("ai", "Two.")], [("human", "hello"), ("ai", "One.")]]


@pytest.mark.parametrize("thread", ["t", None])
def test_a_request_that_was_refused_is_new_when_it_is_repeated(
    served: Door, assistant: dict[str, Any], upstream: WireServer, thread: str | None
) -> None:
    upstream.replies += [says("One."), says("Something else."), says("Two.")]
    first = posted(served, assistant, thread_id=thread)
    changes = f"/assistants/update/{assistant['_id']}"
    assert served.api.put(changes, json={"messages_per_minute": 1}).status_code == 200
    assert posted(served, assistant, thread_id="other").status_code == 200
    assert posted(served, assistant, thread_id=thread).status_code == 429
    assert served.api.put(changes, json={"messages_per_minute": 0}).status_code == 200
    repeated = posted(served, assistant, {"x-stainless-retry-count": "1"}, thread_id=thread)
    assert (repeated.json()["choices"][0]["message"]["content"], len(upstream.requests)) == ("Two.", 3)
    same_thread = repeated.json()["thread_id"] == first.json()["thread_id"]
    assert same_thread is (thread is not None)


def test_lost_outputs_of_functions_are_no_second_round(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies += [asks(), says("Sunny.")]
    tools = [{"type": "function", "function": {"name": "weather"}}]
    assert posted(served, assistant, tools=tools).json()["choices"][0]["finish_reason"] == "tool_calls"
    call: Any = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    outputs: list[ChatCompletionMessageParam] = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "30 degrees"},
    ]
    with client_of(served, assistant, http_client=httpx2.Client(transport=Losing())) as client:
        answer = client.chat.completions.create(model="m", messages=outputs, extra_body={"thread_id": "t"})
    assert answer.choices[0].message.content == "Sunny."
    assert len(upstream.requests) == 2
    assert [chat["response"] for chat in served.chats(assistant)] == ["", "Sunny."]


def test_an_upstream_that_fails_first_is_no_second_turn(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    failing = document(500, {"error": {"message": "no"}}, Connection="close")
    upstream.replies += [[*failing, Action.CLOSE]] * 3 + [says("One answer.")]
    with client_of(served, assistant) as client:
        answer = client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "One answer."
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One answer.")]]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_grew_impatient_is_no_second_turn(
    served: Door, assistant: dict[str, Any], upstream: WireServer, streamed: bool
) -> None:
    upstream.replies += [SILENT, says("One answer.")]
    with client_of(served, assistant, timeout=3.0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="m", messages=HELLO, stream=streamed, extra_body={"thread_id": "t"}
        )
        assert "One answer." in raw.http_response.read().decode()
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One answer.")]]
    assert len(upstream.requests) == 2


def test_the_same_words_again_are_a_new_turn(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies += [says("One."), says("Two.")]
    with client_of(served, assistant) as client:
        for expected in ("One.", "Two."):
            answer = client.chat.completions.create(model="m", messages=HELLO, extra_body={"thread_id": "t"})
            assert answer.choices[0].message.content == expected
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One."), ("human", "hello"), ("ai", "Two.")]]


@pytest.mark.parametrize("thread", ["t", None])
def test_an_idempotency_key_names_a_message(
    served: Door, assistant: dict[str, Any], upstream: WireServer, thread: str | None
) -> None:
    upstream.replies += [[0.3, *says("One answer.")]]
    body = {"thread_id": thread}

    def ask(text: str = "hello") -> str | None:
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": text}]
        answer = client.chat.completions.create(
            model="m", messages=messages, extra_body=body, extra_headers={"Idempotency-Key": f"k{thread}"}
        )
        return answer.id

    with client_of(served, assistant) as client, ThreadPoolExecutor(3) as pool:
        ids = {answer.result() for answer in [pool.submit(ask) for _ in range(3)]}
        assert ids == {ask()}
        with pytest.raises(openai.ConflictError) as reused:
            ask("something else")
    assert reused.value.code == "message_id_reused"
    assert reused.value.response.headers["x-should-retry"] == "false"
    assert served.said(assistant) == [[("human", "hello"), ("ai", "One answer.")]]


class Impatient(httpx2.HTTPTransport):
    """A way to the server on which the first two responses are waited for a moment only.

    Args:
        given_up: set when both have been given up.
    """

    def __init__(self, given_up: threading.Event) -> None:
        super().__init__()
        self._given_up = given_up
        self._brief = 2

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        if self._brief:
            self._brief -= 1
            request.extensions["timeout"] = {"connect": 10.0, "read": 0.3, "write": 10.0, "pool": 10.0}
        else:
            self._given_up.set()
        return super().handle_request(request)


def leave(served: Door, assistant: dict[str, Any], upstream: WireServer, *, streamed: bool) -> float:
    """Close the client within an answer; return the seconds until the upstream saw it."""
    began = len(upstream.requests)
    with client_of(served, assistant, max_retries=0, timeout=20) as client:
        if streamed:
            chunks = client.chat.completions.create(model="m", messages=HELLO, stream=True)
            assert next(chunks).choices[0].delta.role == "assistant"
            closed = time.monotonic()
            chunks.close()
        else:
            waiting = threading.Thread(target=_ask, args=[client])
            waiting.start()
            while len(upstream.requests) == began:
                time.sleep(0.01)
            time.sleep(1.0)  # the upstream has begun its answer, and the server has read that
            closed = time.monotonic()
            _hang_up(client)
            waiting.join()
        assert upstream.gone.wait(SOON)
    return time.monotonic() - closed


def _ask(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=HELLO)


def _hang_up(client: openai.OpenAI) -> None:
    """Shut the client's connection down under a call that waits: its `close` would wait for the call."""
    (connection,) = client._client._transport._pool.connections  # type: ignore[attr-defined]
    connection._connection._network_stream.get_extra_info("socket").shutdown(2)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_stops_the_model(
    served: Door, assistant: dict[str, Any], upstream: WireServer, streamed: bool
) -> None:
    upstream.replies.append(HANGING)
    assert leave(served, assistant, upstream, streamed=streamed) < SOON
    end = time.monotonic() + 30
    while (chat := served.chats(assistant)[0])["status"] == "received" and time.monotonic() < end:
        time.sleep(0.05)
    assert (chat["status"], chat["error"]["code"], chat["error"]["partial"]) == (
        "failed",
        "caller_gone",
        "Half an answer",
    )


def test_a_model_that_says_nothing_is_stopped_too(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies.append(SILENT)
    assert leave(served, assistant, upstream, streamed=False) < SOON


def test_a_request_whose_client_left_in_the_queue_is_dropped(tmp_path: Path) -> None:
    """There is one thread, and it is busy: the first tries come up for it when their client has given up on them."""
    with (
        wire([given_up := threading.Event(), *says("First.")], says("Second.")) as upstream,
        door(tmp_path, upstream.base_url, THREADS="1") as one,
    ):
        assistant = one.api.new_assistant()
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(posted, one, assistant, thread_id="a")
            while not upstream.requests:
                time.sleep(0.01)
            way = httpx2.Client(transport=Impatient(given_up))
            with client_of(one, assistant, http_client=way) as client:  # gives up in the queue, and asks once more
                answer = client.chat.completions.create(model="m", messages=HELLO, extra_body={"thread_id": "b"})
            assert first.result().status_code == 200
        assert answer.choices[0].message.content == "Second."
        said = [text for conversation in one.said(assistant) for text in conversation]
        assert sorted(said) == [("ai", "First."), ("ai", "Second."), ("human", "hello"), ("human", "hello")]
