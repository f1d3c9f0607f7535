"""The shape of every request that we send to OpenAI, checked by Steady against OpenAI's description of its API.

The requests are those that our code makes of scripted replies. Steady is a witness of their shape alone.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from models.answers import ModelRequest, ToolCalls, ToolRound
from models.deadline import Deadline
from models.hosting import HostedFile, HostedSearch
from models.threads import Leftover, LeftoverKind
from models.tools import ToolCall, ToolResult, ToolSpec
from models.voice import Codec, Manner, Recording, Upload
from repositories.redis.threads import RedisThreads
from services.providers.embedding_form import EmbeddingForm
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from services.providers.openai_erasing import OpenAIEraser
from services.providers.openai_files import OpenAIFiles
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_speech import OpenAISpeech
from services.providers.openai_threads import OpenAIThreads
from services.providers.openai_transcription import OpenAITranscriber
from tests.contract.hosted import KEY, Dialogue, Places
from tests.emulators.openai_wire import DONE, Recorded, Reply, chunk, document, event, stream, wire
from tests.emulators.response_wire import answer, begun, called, conversation, ended
from tests.emulators.steady import SteadyServer, steady

_FILE = HostedFile(7, "doc_1", "policy.md", "b", "file-1")
_HELD = {"id": "file-1", "object": "vector_store.file", "status": "completed", "attributes": {"number": 7}}
_TOOL = ToolSpec("weather", "Tell the weather.", {"type": "object", "properties": {"city": {"type": "string"}}})
_STRICT = ToolSpec(
    "time", "Tell the time.", {"type": "object", "properties": {}, "required": [], "additionalProperties": False}, True
)
_ROUND = ToolRound((ToolResult(ToolCall("call_1", "weather", '{"city": "Faro"}'), "21 degrees"),))
_OPTIONS = {
    "top_p": 0.5,
    "stop": ["END"],
    "seed": 7,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}}},
    "reasoning_effort": "low",
    "verbosity": "low",
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
}


@pytest.fixture(scope="module")
def checker() -> Iterator[SteadyServer]:
    with steady() as server:
        yield server


def _sent(ask: Callable[[openai.OpenAI], object], *replies: Reply) -> list[Recorded]:
    """Return the requests that are made until all replies are used."""
    with wire(*replies) as server, contextlib.closing(build_client(KEY, server.base_url, 4)) as client:
        ask(client)
        assert not server.replies, "a reply was not asked for"
        return server.requests


def _check(checker: SteadyServer, requests: list[Recorded], *expected: str) -> None:
    """Assert that these are the requests, as method and path, and that nothing is said against them."""
    assert [f"{one.method} {one.path}" for one in requests] == list(expected)
    assert {f"{one.method} {one.path}": checker.problems(one) for one in requests} == {one: [] for one in expected}


def _answers(registry: RedisThreads, *requests: ModelRequest) -> Callable[[openai.OpenAI], None]:
    def ask(client: openai.OpenAI) -> None:
        model = OpenAIResponsesModel(client, "gpt-any", OpenAIThreads(client, registry), Places())
        for request in requests:
            list(model.stream(request, Deadline(10)))

    return ask


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instructions": "Be kind.", "temperature": 0.2, "max_output_tokens": 500, "language": "pt-PT"},
        {"search": HostedSearch("vs_1", 7)},
        {"search": HostedSearch("vs_1", 7, (3, 5)), "temperature": 1.0},
        {"tools": (_TOOL, _STRICT)},
        {"tools": (_TOOL,), "search": HostedSearch("vs_1", 7, (3,)), "max_output_tokens": 1},
        {"tools": (_TOOL, _STRICT), "options": _OPTIONS},
        {"tools": (_TOOL,), "options": _OPTIONS, "rounds": (_ROUND, _ROUND)},
    ],
)
def test_an_answer(checker: SteadyServer, registry: RedisThreads, fields: dict[str, Any]) -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    alone = replace(ours.ask("two", **fields), conversation_id="")
    _check(checker, _sent(_answers(registry, alone), answer("yes")), "POST /v1/responses")
    kept = _sent(_answers(registry, ours.ask("two", **fields)), conversation("conv_1"), answer("yes"))
    _check(checker, kept, "POST /v1/conversations", "POST /v1/responses")
    assert kept[1].body["conversation"] == "conv_1"


@pytest.mark.parametrize("kept", [True, False])
def test_the_outputs_of_tools(checker: SteadyServer, registry: RedisThreads, kept: bool) -> None:
    request = Dialogue().ask("Is it warm?", tools=(_TOOL,))
    request = request if kept else replace(request, conversation_id="")
    asking = stream(begun(), called("weather", '{"city": "Faro"}'), ended())

    def ask(client: openai.OpenAI) -> None:
        model = OpenAIResponsesModel(client, "gpt-any", OpenAIThreads(client, registry), Places())
        *_, calls = (one for one in model.stream(request, Deadline(10)) if isinstance(one, ToolCalls))
        assert calls.calls == (ToolCall("call_1", "weather", '{"city": "Faro"}'),)
        list(model.stream(request.after(calls, ["21 degrees"]), Deadline(10)))

    made = [conversation("conv_1")] if kept else []
    paths = ["POST /v1/conversations"] if kept else []
    requests = _sent(ask, *made, asking, answer("yes"))
    for one in requests[-2:]:
        assert checker.problems(one) == []
    assert [f"{one.method} {one.path}" for one in requests] == [*paths, "POST /v1/responses", "POST /v1/responses"]
    assert requests[-1].body["input"][-1]["output"] == "21 degrees"


def test_what_erases_conversations_and_responses(checker: SteadyServer) -> None:
    def ask(client: openai.OpenAI) -> None:
        eraser = OpenAIEraser(client)
        eraser.delete(Leftover(LeftoverKind.CONVERSATION, "conv_1"), Deadline(10))
        eraser.delete(Leftover(LeftoverKind.RESPONSE, "resp_1"), Deadline(10))

    item = {"id": "msg_1", "type": "message", "role": "user", "content": []}
    done = document(200, {"id": "x", "deleted": True})
    full = document(200, {"object": "list", "data": [item], "has_more": False})
    empty = document(200, {"object": "list", "data": [], "has_more": False})
    requests = _sent(ask, full, done, empty, done, done)
    first, *_ = requests
    assert first.path.startswith("/v1/conversations/conv_1/items?")
    _check(
        checker,
        requests[1:2] + requests[3:],
        "DELETE /v1/conversations/conv_1/items/msg_1",
        "DELETE /v1/conversations/conv_1",
        "DELETE /v1/responses/resp_1",
    )
    assert checker.problems(first) == []


def test_files_and_vector_stores(checker: SteadyServer) -> None:
    def ask(client: openai.OpenAI) -> None:
        files, deadline = OpenAIFiles(client), Deadline(10)
        files.find_store("orquestra-a", deadline)
        files.create_store("orquestra-a", deadline)
        files.upload("política.a.b.md", b"The office opens at nine.", deadline)
        list(files.list_files(deadline))
        files.attach("vs_1", _FILE, deadline)
        list(files.attached("vs_1", deadline))
        files.detach("vs_1", "file-1", deadline)
        files.delete_file("file-1", deadline)
        files.delete_store("vs_1", deadline)

    more = {"object": "list", "data": [{"id": "x-1"}], "has_more": True}
    last = {"object": "list", "data": [], "has_more": False}
    absent = document(404, {"error": {"message": "No file found with id 'file-1' in vector store 'vs_1'."}})
    pages, done = [document(200, more), document(200, last)], document(200, {"id": "x", "deleted": True})
    made, stored = document(200, {"id": "vs_1"}), document(200, {"id": "file-1"})
    replies = [*pages, made, stored, *pages, absent, document(200, _HELD), *pages, done, done, done]
    _check(
        checker,
        _sent(ask, *replies),
        "GET /v1/vector_stores?limit=100&order=asc",
        "GET /v1/vector_stores?after=x-1&limit=100&order=asc",
        "POST /v1/vector_stores",
        "POST /v1/files",
        "GET /v1/files?limit=1000&purpose=assistants",
        "GET /v1/files?after=x-1&limit=1000&purpose=assistants",
        "GET /v1/vector_stores/vs_1/files/file-1",
        "POST /v1/vector_stores/vs_1/files",
        "GET /v1/vector_stores/vs_1/files?limit=100",
        "GET /v1/vector_stores/vs_1/files?after=x-1&limit=100",
        "DELETE /v1/vector_stores/vs_1/files/file-1",
        "DELETE /v1/files/file-1",
        "DELETE /v1/vector_stores/vs_1",
    )


def test_vectors(checker: SteadyServer) -> None:
    row = {"object": "embedding", "index": 0, "embedding": [1.0, 0.0]}
    reply = document(200, {"object": "list", "data": [row], "model": "m", "usage": {}})
    form = EmbeddingForm("query: ", "passage: ", 2)
    requests = _sent(lambda client: OpenAIEmbedder(client, "m", form=form).embed(["a text"], Deadline(10)), reply)
    _check(checker, requests, "POST /v1/embeddings")


@pytest.mark.parametrize("codec", list(Codec))
def test_speech(checker: SteadyServer, codec: Codec) -> None:
    reply = [b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 2\r\n\r\nab"]
    manner = Manner("pt-BR", "alloy")
    requests = _sent(
        lambda client: list(OpenAISpeech(client, "m").synthesize("Olá.", manner, codec, Deadline(5))), reply
    )
    _check(checker, requests, "POST /v1/audio/speech")


@pytest.mark.parametrize("language", [None, "pt-BR"])
def test_a_transcription(checker: SteadyServer, language: str | None) -> None:
    recording = Recording(bytes(3_200), Upload(b"fLaC and so on"))
    requests = _sent(
        lambda client: OpenAITranscriber(client, "m").transcribe(recording, language, Deadline(5)),
        document(200, {"text": "Olá."}),
    )
    _check(checker, requests, "POST /v1/audio/transcriptions")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instructions": "Be kind.", "temperature": 0.2, "max_output_tokens": 500},
        {"tools": (_TOOL, _STRICT), "options": _OPTIONS},
        {"tools": (_TOOL,), "options": _OPTIONS, "rounds": (_ROUND, _ROUND)},
        {"rounds": (_ROUND,), "options": {"tool_choice": "none"}},
        {"whole": True, "tools": (_TOOL,), "max_output_tokens": 500},
    ],
)
def test_chat_completions(checker: SteadyServer, fields: dict[str, Any]) -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    reply = stream(event(chunk("yes")), event(chunk(finish="stop")), event(chunk(usage=(1, 1))), DONE)
    requests = _sent(
        lambda client: list(OpenAIChatModel(client, "m").stream(ours.ask("two", **fields), Deadline(10))), reply
    )
    _check(checker, requests, "POST /v1/chat/completions")


def _search(filters: object) -> dict[str, Any]:
    return {"type": "file_search", "vector_store_ids": ["vs_1"], "filters": filters}


def _both(operator: str) -> dict[str, Any]:
    return {"type": "and", "filters": [{"type": operator, "key": "number", "value": 1}]}


_WRONG: list[tuple[str, str, Any]] = [
    ("POST", "/v1/vector_stores", {"name": 5}),
    ("POST", "/v1/vector_stores/vs_1/files", {"attributes": {"number": 1}}),
    ("POST", "/v1/vector_stores/vs_1/files", {"file_id": "file-1", "attributes": {"number": [1]}}),
    ("GET", "/v1/vector_stores/vs_1/files?limit=many", None),
    ("POST", "/v1/embeddings", {"model": "m", "input": {"text": 1}}),
    ("POST", "/v1/audio/speech", {"model": "m", "input": "a"}),
    ("POST", "/v1/audio/speech", {"model": "m", "input": "a", "voice": "alloy", "response_format": "midi"}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": "nope"}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": [], "tools": [{"type": "function"}]}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": [], "tool_choice": {"type": "function"}}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "temperature": "hot"}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "tool_choice": {"type": "function"}}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "text": {"format": {"type": "json_schema"}}}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "tools": [{"type": "file_search"}]}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "tools": [_search({"type": "lte", "key": "number"})]}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "tools": [_search(_both("below"))]}),
    ("POST", "/v1/responses", {"model": "m", "input": "q", "include": ["everything"]}),
]


@pytest.mark.parametrize(("method", "path", "body"), _WRONG)
def test_a_wrong_request_is_reported(checker: SteadyServer, method: str, path: str, body: Any) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": "Bearer x"}
    assert checker.problems(Recorded(method, path, headers, content))
