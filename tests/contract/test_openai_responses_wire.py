"""OpenAIResponsesModel against exact events and replies: streams, failures, requests. Not an independent witness."""

import contextlib
import json
import logging
import threading
import time

import pytest
from openai.types.responses import FileSearchToolParam
from pydantic import TypeAdapter

from models.answers import ModelEvent, ModelRequest, Sources, TextDelta, Usage
from models.chats import Citation, Tokens
from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.given import Turn
from models.hosting import HostedSearch
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.hosted import ALONE, KEY, Places, scripted
from tests.emulators.openai_wire import END, STREAM, Action, Reply, document, piece, stream, wire
from tests.emulators.response_wire import (
    answer,
    begun,
    cited,
    delta,
    ended,
    item_done,
    refusal,
    response_event,
    said,
)

_TEXT = "Olá, 世界 😀"
_WHOLE = answer("Olá, ", "世界 😀")


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("named", [True, False], ids=["event-lines", "data-only"])
def test_every_framing_of_a_stream_is_read(registry: RedisThreads, size: int, named: bool) -> None:
    body = begun() + delta("Olá, ") + delta("世界 😀") + ended()
    if not named:
        body = b"\n".join(line for line in body.split(b"\n") if not line.startswith(b"event:"))
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    with scripted(registry, stream(*pieces)) as peer:
        assert peer.text() == _TEXT


def test_an_answer_ends_with_its_usage_model_and_id(registry: RedisThreads) -> None:
    with scripted(registry, answer("hi")) as peer:
        events: list[ModelEvent] = list(peer.model.stream(ALONE, Deadline(5)))
    assert events == [TextDelta("hi"), Usage(Tokens(5, 7), "wire-1", "resp_1")]


def test_an_answer_without_usage_has_none(registry: RedisThreads) -> None:
    with scripted(registry, answer("hi", usage=None)) as peer:
        assert list(peer.model.stream(ALONE, Deadline(5)))[-1] == Usage(None, "wire-1", "resp_1")


def test_a_refusals_words_are_the_answer(registry: RedisThreads) -> None:
    with scripted(
        registry, stream(begun(), delta("I cannot ", refusal=True), delta("say.", refusal=True), ended())
    ) as peer:
        assert peer.text() == "I cannot say."


def test_remarks_besides_the_answer_are_left_out(registry: RedisThreads) -> None:
    aside = {"type": "message", "id": "m0", "role": "assistant", "status": "in_progress", "content": []}
    added = response_event("response.output_item.added", output_index=0, item={**aside, "phase": "commentary"})
    with scripted(registry, stream(added, delta("Let me look.", item="m0"), delta("Nine."), ended())) as peer:
        assert peer.text() == "Nine."


def test_what_is_said_before_and_after_a_search_are_paragraphs(registry: RedisThreads) -> None:
    search = item_done(type="file_search_call", id="fs_1", status="completed", queries=["q"], results=None)
    later = (delta("At ", item="msg_2", index=2), delta("nine.", item="msg_2", index=2))
    with scripted(registry, stream(begun(), delta("Let me "), delta("look. "), search, *later, ended())) as peer:
        assert peer.text() == "Let me look. \n\nAt nine."


@pytest.mark.parametrize("size", [1, 3, 100])
def test_marks_of_sources_never_reach_people_however_they_are_cut(registry: RedisThreads, size: int) -> None:
    text = "At nine 【4:0†source】【4:1†policy v2.md】. 【重要】 \ue200filecite\ue202turn0file0\ue201"
    pieces = [delta(text[start : start + size]) for start in range(0, len(text), size)]
    with scripted(registry, stream(begun(), *pieces, ended())) as peer:
        assert peer.text() == "At nine. 【重要】"


def test_text_that_was_held_back_comes_with_the_end(registry: RedisThreads) -> None:
    with scripted(registry, stream(begun(), delta("see 【4"), ended()), answer("【4:0†source】")) as peer:
        assert peer.text() == "see 【4"
        assert peer.code() == "empty_answer", "a mark alone is no answer"


def test_an_answer_at_its_limit_of_tokens_is_one(registry: RedisThreads) -> None:
    tail = ended("incomplete", incomplete_details={"reason": "max_output_tokens"})
    with scripted(registry, stream(begun(), delta("It begins"), tail)) as peer:
        assert peer.text() == "It begins"


@pytest.mark.parametrize(
    ("tail", "code"),
    [
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filtered"),
        (ended("failed", error={"code": "bio_policy", "message": "vendor words"}), "content_filtered"),
        (response_event("error", code="content_filter", message="vendor words", param=None), "content_filtered"),
        (ended("failed", error={"code": "server_error", "message": "vendor words"}), "provider_failed"),
        (ended("failed", error={"code": "rate_limit_exceeded", "message": "vendor words"}), "provider_rate_limited"),
        (response_event("error", code="server_error", message="vendor words", param=None), "provider_failed"),
        (response_event("error", code="rate_limit_exceeded", message="x", param=None), "provider_rate_limited"),
        (b'event: error\ndata: {"error": {"message": "vendor words", "code": null}}\n\n', "provider_failed"),
        (b"data: not json\n\n", "provider_failed"),
        (b"data: [1]\n\n", "provider_failed"),
        (b'event: response.output_text.delta\ndata: {"piece": 1}\n\n', "provider_failed"),
        (b'event: response.completed\ndata: {"response": {}}\n\n', "provider_failed"),
        (b"", "stream_cut"),
        (b"data: [DONE]\n\n", "stream_cut"),
    ],
)
def test_every_bad_end_is_a_failure_in_our_words(registry: RedisThreads, tail: bytes, code: str) -> None:
    with scripted(registry, stream(begun(), delta("some"), tail)) as peer:
        with pytest.raises(ProviderFailed) as failure:
            peer.text()
        assert failure.value.code == code
        assert "vendor" not in failure.value.detail
        assert len(peer.server.requests) == 1, "what was said is not asked for again"


@pytest.mark.parametrize("ending", [Action.CLOSE, Action.RESET])
def test_a_cut_stream_is_a_failure_and_a_cut_after_the_end_is_none(registry: RedisThreads, ending: Action) -> None:
    with scripted(
        registry,
        [STREAM, piece(begun() + delta("some")), ending],
        [STREAM, piece(begun() + delta("all") + ended()), ending],
    ) as peer:
        assert peer.code() == "stream_cut"
        assert peer.text() == "all"


def test_an_empty_answer_and_a_document_are_failures(registry: RedisThreads) -> None:
    with scripted(registry, answer(" "), document(200, {"output": []})) as peer:
        assert peer.code() == "empty_answer"
        assert peer.code() == "provider_failed"


def test_a_limit_that_leaves_no_word_says_which_one_to_raise(registry: RedisThreads) -> None:
    tail = ended("incomplete", incomplete_details={"reason": "max_output_tokens"})
    with scripted(registry, stream(begun(), tail)) as peer:
        with pytest.raises(ProviderFailed, match="max_output_tokens") as failure:
            peer.text()
    assert failure.value.code == "empty_answer"


def test_connections_are_used_again(registry: RedisThreads) -> None:
    with scripted(registry, *[_WHOLE] * 5) as peer:
        assert [peer.text() for _ in range(5)] == [_TEXT] * 5
        assert peer.server.connections == 1


def test_the_tail_of_a_stream_is_read_so_that_its_connection_can_be_used_again(registry: RedisThreads) -> None:
    late: Reply = [STREAM, piece(begun() + delta("hi") + ended()), 0.05, END]
    with scripted(registry, late, _WHOLE) as peer:
        assert peer.text() == "hi"
        assert peer.text() == _TEXT
        assert peer.server.connections == 1


@pytest.mark.parametrize("reply", [[Action.HANG], [STREAM, piece(begun() + delta("some")), Action.HANG]])
def test_a_stall_ends_at_the_deadline_and_a_cancel_at_once(registry: RedisThreads, reply: Reply) -> None:
    with scripted(registry, reply, reply) as peer:
        with pytest.raises(DeadlineExceeded):
            peer.text(seconds=1.5)
        assert peer.server.gone.wait(10)
        peer.server.gone.clear()
        deadline = Deadline(30)
        timer = threading.Timer(0.2, deadline.cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(CallCancelled):
            list(peer.model.stream(ALONE, deadline))
        assert time.monotonic() - began < 15
        assert peer.server.gone.wait(10), "the provider learns of it"
        timer.join()


def test_closing_the_stream_closes_the_connection(registry: RedisThreads) -> None:
    with scripted(registry, [STREAM, piece(begun() + delta("some")), Action.HANG]) as peer:
        events = peer.model.stream(ALONE, Deadline(10))
        next(events)
        events.close()
        assert peer.server.gone.wait(10)


# The request


def test_without_a_conversation_the_whole_history_is_sent_and_nothing_is_stored(registry: RedisThreads) -> None:
    turns = (Turn("first", "one"), Turn(None, "an agent's words"), Turn("left to a human", None))
    request = ModelRequest("a", "third", "Be kind.", history=turns, model="gpt-x", temperature=0.5, max_output_tokens=3)
    with scripted(registry, _WHOLE) as peer:
        peer.text(request)
        (sent,) = peer.server.requests
    assert sent.path == "/v1/responses"
    assert sent.headers["authorization"] == f"bearer {KEY}"
    assert [(one["role"], one["content"]) for one in sent.body["input"]] == [
        ("user", "first"),
        ("assistant", "one"),
        ("assistant", "an agent's words"),
        ("user", "left to a human"),
        ("user", "third"),
    ]
    assert "Be kind." in sent.body["instructions"]
    assert (sent.body["model"], sent.body["temperature"], sent.body["max_output_tokens"]) == ("gpt-x", 0.5, 16)
    assert (sent.body["store"], sent.body["stream"], sent.body["truncation"]) == (False, True, "auto")
    assert not {"conversation", "tools", "include"} & set(sent.body)


def test_a_temperature_that_a_model_refuses_is_left_out_from_then_on(registry: RedisThreads) -> None:
    refused = refusal(400, "Unsupported parameter: 'temperature' is not supported with this model.")
    with scripted(registry, refused, _WHOLE, _WHOLE, _WHOLE) as peer:
        for model in ("strict", "strict", "other"):
            peer.text(ModelRequest("a", "q", temperature=0.5, model=model))
        sent = [request.body.get("temperature") for request in peer.server.requests]
    assert sent == [0.5, None, None, 0.5]


def test_what_one_answer_learns_is_not_forgotten_by_another_that_began_before(registry: RedisThreads) -> None:
    refused = refusal(400, "Unsupported parameter: 'temperature' is not supported with this model.")
    warm = ModelRequest("a", "q", temperature=0.5)
    with scripted(registry, [0.5, *_WHOLE], refused, _WHOLE, _WHOLE) as peer:
        slow = threading.Thread(target=peer.text)
        slow.start()
        while not peer.server.requests:
            time.sleep(0.01)
        peer.text(warm)
        slow.join()
        peer.text(warm)
        assert "temperature" not in peer.server.requests[-1].body


def test_azures_address_is_used_as_it_stands_and_its_filter_of_questions_is_ours(registry: RedisThreads) -> None:
    """Azure's v1 address takes OpenAI's own paths and headers; the model is the deployment's name."""
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"violence": {"filtered": True}}}
    filtered = refusal(400, "vendor words", code="content_filter", param="prompt", innererror=inner)
    with (
        wire(filtered, _WHOLE) as server,
        contextlib.closing(build_client(KEY, f"{server.url}/openai/v1/", 4)) as client,
    ):
        model = OpenAIResponsesModel(client, "our-deployment", OpenAIThreads(client, registry), Places())
        with pytest.raises(ProviderFailed) as failure:
            list(model.stream(ALONE, Deadline(5)))
        list(model.stream(ALONE, Deadline(5)))
        asked = server.requests
    assert (failure.value.code, "vendor" in failure.value.detail) == ("content_filtered", False)
    assert {request.path for request in asked} == {"/openai/v1/responses"}
    assert [request.body["model"] for request in asked] == ["our-deployment"] * 2
    assert asked[0].headers["authorization"] == f"bearer {KEY}"


@pytest.mark.parametrize(
    ("status", "message", "code", "tries"),
    [
        (401, f"Incorrect API key provided: {KEY}", "provider_auth", 1),
        (404, "The model `gpt-x` does not exist.", "model_not_found", 1),
        (400, "vendor words", "provider_failed", 1),
        (429, "vendor words", "provider_rate_limited", 3),
        (503, "vendor words", "provider_failed", 3),
    ],
)
def test_a_refusal_is_one_of_our_failures_and_the_log_has_its_words_without_the_key(
    registry: RedisThreads, caplog: pytest.LogCaptureFixture, status: int, message: str, code: str, tries: int
) -> None:
    with scripted(registry, *[refusal(status, message)] * tries) as peer, caplog.at_level(logging.DEBUG):
        with pytest.raises(ProviderFailed) as failure:
            peer.text()
        assert (failure.value.code, len(peer.server.requests)) == (code, tries)
    assert message.partition(":")[0] in caplog.text and message not in failure.value.detail
    assert KEY not in caplog.text


# File search


def test_with_a_vector_store_the_provider_searches_and_its_citations_become_ours(registry: RedisThreads) -> None:
    at_nine = {"number": 3, "document": "d"}
    results = [
        {"file_id": "file_1", "filename": "policy.md", "text": "Nine o'clock.", "score": 0.9, "attributes": at_nine},
        {"file_id": "file_1", "filename": "policy.md", "text": "Another passage.", "score": 0.4, "attributes": {}},
        {"file_id": "file_2", "filename": "other.md", "text": "Not cited.", "score": 0.3, "attributes": {}},
    ]
    found = item_done(type="file_search_call", id="fs_1", status="completed", queries=["q"], results=results)
    events = (begun(), found, delta("At nine."), cited("file_1", "policy.md", 8), cited("file_1", "policy.md", 8))
    request = ModelRequest("a", "q", search=HostedSearch("vs_1", 7, (2, 5)))
    with scripted(registry, stream(*events, ended())) as peer:
        *_, sources, _usage = peer.model.stream(request, Deadline(5))
        body = peer.server.requests[0].body
    assert sources == Sources((Citation("d", "policy.md", "Nine o'clock.", 0, 13),))
    now = {"key": "number", "type": "lte", "value": 7}
    current = {"key": "number", "type": "nin", "value": [2, 5]}
    filters = {"type": "and", "filters": [now, current]}
    assert body["tools"] == [{"type": "file_search", "vector_store_ids": ["vs_1"], "filters": filters}]
    assert body["include"] == ["file_search_call.results"]
    assert "what the file search finds" in body["instructions"]


def test_a_search_that_leaves_nothing_out_is_kept_to_what_was_registered_when_it_began(registry: RedisThreads) -> None:
    with scripted(registry, _WHOLE, _WHOLE) as peer:
        events = list(peer.model.stream(ModelRequest("a", "q", search=HostedSearch("vs_1", 7)), Deadline(5)))
        peer.text()
        searching, plain = (request.body for request in peer.server.requests)
    TypeAdapter(list[FileSearchToolParam]).validate_python(searching["tools"])
    filters = {"key": "number", "type": "lte", "value": 7}
    assert searching["tools"] == [{"type": "file_search", "vector_store_ids": ["vs_1"], "filters": filters}]
    assert Sources(()) in events, "it looked and cites nothing: our own index is not asked"
    assert not {"tools", "include"} & set(plain)


def test_citations_that_come_with_the_whole_message_alone_count(registry: RedisThreads) -> None:
    result = {"file_id": "file_1", "filename": "p.md", "text": "Nine.", "score": 0.9, "attributes": {"document": "d"}}
    found = item_done(type="file_search_call", id="fs_1", status="completed", queries=["q"], results=[result])
    annotation = {"type": "file_citation", "file_id": "file_1", "filename": "p.md", "index": 4}
    whole = said("Nine.", content=[{"type": "output_text", "text": "Nine.", "annotations": [annotation]}])
    with scripted(registry, stream(begun(), found, delta("Nine."), whole, ended())) as peer:
        events = list(peer.model.stream(ModelRequest("a", "q", search=HostedSearch("vs_1", 7)), Deadline(5)))
    assert Sources((Citation("d", "policy.md", "Nine.", 0, 5),)) in events


def test_what_is_cited_and_not_in_our_documents_any_more_is_left_out(registry: RedisThreads) -> None:
    found = [{"file_id": "file_1", "filename": "gone.md", "text": "Nine.", "score": 0.9, "attributes": {}}]
    search = item_done(type="file_search_call", id="fs_1", status="completed", queries=["q"], results=found)
    events = (begun(), search, delta("Nine."), cited("file_1", "gone.md", 5), cited("file_9", "unfound.md", 5), ended())
    with scripted(registry, stream(*events), known=False) as peer:
        told = list(peer.model.stream(ModelRequest("a", "q", search=HostedSearch("vs_1", 7)), Deadline(5)))
    assert Sources(()) in told


@pytest.mark.parametrize("event", ["failed", "unreadable"])
def test_no_words_of_a_prompt_or_an_answer_reach_the_log(
    registry: RedisThreads, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    response = {"id": "resp_1", "instructions": "SECRET prompt", "error": {"code": "server_error", "message": "Oops."}}
    if event == "failed":
        body = f"event: response.failed\ndata: {json.dumps({'type': 'response.failed', 'response': response})}\n\n"
    else:
        body = 'event: response.output_text.delta\ndata: {"text": "SECRET words"}\n\n'
    with scripted(registry, stream(body.encode())) as peer:
        peer.code()
    assert "SECRET" not in caplog.text
    assert ("resp_1" in caplog.text and "Oops." in caplog.text) == (event == "failed")
