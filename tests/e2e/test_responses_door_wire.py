"""The Responses door over exact bytes: a golden stream, failures, repetitions by the client, clients that leave."""

import json
import re
import time
from typing import Any

import httpx2
import openai
import pytest

from tests.e2e.openai_clients import SOON, Door, Losing, client_of, says
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
)

TIMES = re.compile(r"(?<=_)[0-9a-f]{24}(?=[_\"])|(?<=_at\": )[0-9]{10}")
ITEM = '"item_id": "msg__0", "output_index": 0, "content_index": 0'
PART = '"part": {"type": "output_text", "text": "%s", "annotations": [], "logprobs": []}'
MESSAGE = '"item": {"type": "message", "id": "msg__0", "status": "%s", "role": "assistant", "content": [%s]}'


def posted(served: Door, assistant: dict[str, Any], **fields: Any) -> httpx2.Response:
    """Send a request without the SDK."""
    headers = {"Authorization": f"Bearer {assistant['api_key']}"}
    body = {"model": "m", "input": "hello", "conversation": "c", **fields}
    return httpx2.post(f"{served.base_url}/responses", json=body, headers=headers, timeout=20)


def golden(number: int, kind: str, *fields: str) -> str:
    """Return an event as it must be."""
    told = ", ".join((f'"type": "{kind}", "sequence_number": {number}', *fields))
    return f"event: {kind}\ndata: {{{told}}}\n\n"


def response(status: str, output: str, usage: str, completed: str) -> str:
    """Return a response as it must be."""
    return (
        f'"response": {{"id": "resp_", "object": "response", "created_at": , "completed_at": {completed}, '
        f'"status": "{status}", "error": null, "incomplete_details": null, "model": "m", "instructions": null, '
        '"previous_response_id": null, "tools": [], "tool_choice": "auto", "parallel_tool_calls": true, '
        '"max_tool_calls": null, "max_output_tokens": null, "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, '
        '"frequency_penalty": 0.0, "top_logprobs": 0, "text": {"format": {"type": "text"}}, "reasoning": null, '
        '"truncation": "disabled", "metadata": {}, "prompt_cache_key": null, "conversation": {"id": "c"}, '
        f'"output": [{output}], "usage": {usage}, "store": true, "background": false, "service_tier": "default", '
        '"thread_id": "c"}'
    )


def test_the_bytes_of_a_stream(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(says("Hello ", "you."))
    answer = posted(served, assistant, stream=True)
    begun = response("in_progress", "", "null", "null")
    whole = MESSAGE % ("completed", PART.removeprefix('"part": ') % "Hello you.")
    usage = (
        '{"input_tokens": 12, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, '
        '"output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 17}'
    )
    item = whole.removeprefix('"item": ')
    assert TIMES.sub("", answer.text) == (
        golden(0, "response.created", begun)
        + golden(1, "response.in_progress", begun)
        + golden(2, "response.output_item.added", '"output_index": 0', MESSAGE % ("in_progress", ""))
        + golden(3, "response.content_part.added", ITEM, PART % "")
        + golden(4, "response.output_text.delta", ITEM, '"delta": "Hello", "logprobs": []')
        + golden(5, "response.output_text.delta", ITEM, '"delta": " you.", "logprobs": []')
        + golden(6, "response.output_text.done", ITEM, '"text": "Hello you.", "logprobs": []')
        + golden(7, "response.content_part.done", ITEM, PART % "Hello you.")
        + golden(8, "response.output_item.done", '"output_index": 0', whole)
        + golden(9, "response.completed", response("completed", item, usage, ""))
        + "data: [DONE]\n\n"
    )
    assert answer.headers["x-thread-id"] == "c"


def test_a_failure_before_the_first_words_is_a_status(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    upstream.replies += [[*document(401, {"error": {"message": "no"}}, Connection="close"), Action.CLOSE]]
    with client_of(served, assistant, max_retries=0) as client, pytest.raises(openai.InternalServerError) as failed:
        client.responses.create(model="m", input="hello", stream=True)
    assert failed.value.status_code == 502
    assert failed.value.response.headers["x-should-retry"] == "false"


def test_a_failure_behind_them_is_a_response_that_failed(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    broken: Reply = [STREAM, piece(event(chunk("Half "))), piece(event(chunk("an"))), 0.2, Action.RESET]
    upstream.replies += [broken, broken]
    with client_of(served, assistant) as client:
        *_, last = client.responses.create(model="m", input="hello", stream=True)
        with client.responses.stream(model="m", input="hello") as events, pytest.raises(RuntimeError):
            events.get_final_response()  # all that this helper says of a failure
    assert last.type == "response.failed" and last.response.error is not None
    assert (last.response.error.code, last.response.error.type) == ("server_error", "stream_cut")
    assert last.response.output_text.startswith("Half")
    assert served.chats(assistant)[0]["status"] == "failed"


def test_an_answer_at_its_limit(served: Door, assistant: dict[str, Any], upstream: WireServer) -> None:
    upstream.replies.append(stream(event(chunk("Half")), event(chunk(finish="length")), DONE))
    answer = posted(served, assistant, max_output_tokens=1).json()
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["usage"]["input_tokens"] > 0 and answer["usage"]["output_tokens"] > 0  # estimated
    assert upstream.requests[-1].body["max_tokens"] == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_was_lost_is_no_second_turn(
    served: Door, assistant: dict[str, Any], upstream: WireServer, streamed: bool
) -> None:
    upstream.replies.append(says("One answer."))
    way = Losing(2)
    with client_of(served, assistant, http_client=httpx2.Client(transport=way)) as client:
        raw = client.responses.with_raw_response.create(model="m", input="hello", stream=streamed, conversation="c")
        text = raw.http_response.read().decode()
    assert "One answer." in text and way.retry_counts == ["0", "1", "2"]
    assert raw.headers["Idempotent-Replayed"] == "true"
    (chat,) = served.chats(assistant)
    assert raw.headers["x-thread-id"] == chat["channel"]["id"] == "c"
    assert f"resp_{chat['_id']}" in text
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("by_response", [False, True])
def test_outputs_whose_answer_was_lost_are_no_second_turn(
    served: Door, assistant: dict[str, Any], upstream: WireServer, by_response: bool
) -> None:
    """When they come again the calls are not what the thread waits for any more."""
    called = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asking = json.loads(chunk(""))
    asking["choices"][0]["delta"] = {"role": "assistant", "tool_calls": [called]}
    calls = stream(event(json.dumps(asking).encode()), event(chunk(finish="tool_calls")), DONE)
    upstream.replies += [calls, says("Sunny.")]
    tools: Any = [{"type": "function", "name": "weather", "parameters": None, "strict": False}]
    outputs: Any = [{"type": "function_call_output", "call_id": "call_1", "output": "sun"}]
    with client_of(served, assistant) as client:
        first = client.responses.create(model="m", input="hello", tools=tools, conversation="c")
    place: Any = {"previous_response_id": first.id} if by_response else {"conversation": "c"}
    with client_of(served, assistant, http_client=httpx2.Client(transport=Losing())) as client:
        second = client.responses.create(model="m", input=outputs, tools=tools, **place)
    assert second.output_text == "Sunny."
    assert len(served.chats(assistant)) == len(upstream.requests) == 2


def test_an_earlier_response_stays_the_newest_while_attempts_behind_it_fail(
    served: Door, assistant: dict[str, Any], upstream: WireServer
) -> None:
    failing = [*document(500, {"error": {"message": "no"}}, Connection="close"), Action.CLOSE]
    upstream.replies += [says("One."), *[failing] * 6, says("Two.")]
    with client_of(served, assistant, max_retries=0) as client:
        first = client.responses.create(model="m", input="hello")
        with pytest.raises(openai.InternalServerError):
            client.responses.create(model="m", input="more", previous_response_id=first.id)
        while upstream.replies and len(upstream.replies) > 1:
            upstream.replies.pop(0)
        second = client.responses.create(model="m", input="more", previous_response_id=first.id)
    assert second.output_text == "Two."
    assert len({chat["conversation_id"] for chat in served.chats(assistant)}) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_leaves_stops_the_model(
    served: Door, assistant: dict[str, Any], upstream: WireServer, streamed: bool
) -> None:
    upstream.replies.append([STREAM, piece(event(chunk("Half an answer"))), Action.HANG])
    with client_of(served, assistant, max_retries=0, timeout=3.0) as client, pytest.raises(openai.APITimeoutError):
        for _ in client.responses.create(model="m", input="hello", stream=True) if streamed else ():
            pass
        client.responses.create(model="m", input="hello")
    assert upstream.gone.wait(SOON)
    until = time.monotonic() + 30
    while (chat := served.chats(assistant)[0])["status"] == "received" and time.monotonic() < until:
        time.sleep(0.05)
    assert (chat["status"], chat["error"]["code"]) == ("failed", "caller_gone")
