"""OpenAIEmbedder against aimock, which was not written for it, and against exact bytes for what aimock cannot do.

The bytes are our own and no independent witness; what they say is at least checked against the SDK's type.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence

import numpy
import pytest
from openai.types import CreateEmbeddingResponse

from models.deadline import Deadline
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from services.ports import Embedder
from services.providers.embedding_form import PLAIN, EmbeddingForm
from services.providers.openai_chat import build_client
from services.providers.openai_embeddings import OpenAIEmbedder
from tests.emulators.aimock import AimockServer, aimock
from tests.emulators.openai_wire import Action, Reply, WireServer, document, wire

_KEY = "sk-test-0123456789abcdef"
_SECRET = "the patient's blood group"


@pytest.fixture(scope="module")
def emulator() -> Iterator[AimockServer]:
    with aimock() as server:
        yield server


@pytest.fixture
def server(emulator: AimockServer) -> AimockServer:
    emulator.reset()
    return emulator


@pytest.fixture
def embedder(server: AimockServer) -> Iterator[Embedder]:
    with contextlib.closing(build_client(_KEY, server.base_url, 4)) as client:
        yield OpenAIEmbedder(client, "text-embedding-any")


@contextlib.contextmanager
def _peer(
    *replies: Reply, call_seconds: float = 60.0, form: EmbeddingForm = PLAIN
) -> Iterator[tuple[WireServer, OpenAIEmbedder]]:
    with wire(*replies) as server, contextlib.closing(build_client(_KEY, server.base_url, 8)) as client:
        yield server, OpenAIEmbedder(client, "wire-1", call_seconds, form)


def _answer(*vectors: Sequence[float], order: Sequence[int] | None = None) -> Reply:
    """Return the reply with these embeddings, in this order of their indexes."""
    data = [
        {"object": "embedding", "index": index, "embedding": list(vectors[index])}
        for index in order or range(len(vectors))
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    body = {"object": "list", "data": data, "model": "wire-1", "usage": usage}
    CreateEmbeddingResponse.model_validate(body, strict=True)
    return document(200, body)


def _refusal(status: int, message: str = "batch too large", **headers: str) -> Reply:
    return document(status, {"error": {"message": message, "type": "invalid_request_error", "code": None}}, **headers)


def _sizes(server: WireServer) -> list[int]:
    return [len(request.body["input"]) for request in server.requests]


def test_each_text_gets_a_row_of_length_one(server: AimockServer, embedder: Embedder) -> None:
    rows = embedder.embed(["férias", "假期", "vacation", "férias"], Deadline(10))
    assert rows.dtype == numpy.float32 and rows.shape == (4, 1536)
    assert numpy.allclose(numpy.linalg.norm(rows, axis=1), 1.0, atol=1e-6)
    assert (rows[0] == rows[3]).all() and not numpy.allclose(rows[0], rows[1])
    assert len(server.journal()) == 1


def test_no_text_makes_no_call(server: AimockServer, embedder: Embedder) -> None:
    assert embedder.embed([], Deadline(10)).shape[0] == 0
    assert server.journal() == []


def test_a_known_vector_comes_back_normalised(server: AimockServer, embedder: Embedder) -> None:
    server.add_fixtures({"match": {"inputText": "car"}, "response": {"embedding": [3.0, 0.0, -4.0]}})
    assert embedder.embed(["a car"], Deadline(10)).tolist() == [pytest.approx([0.6, 0.0, -0.8])]


def test_many_texts_are_sent_in_bounded_batches(server: AimockServer, embedder: Embedder) -> None:
    texts = [f"text {number}" for number in range(150)]
    rows = embedder.embed(texts, Deadline(20))
    assert len(server.journal()) == 3
    alone = numpy.concatenate([embedder.embed([text], Deadline(10)) for text in (texts[0], texts[64], texts[149])])
    assert numpy.allclose(rows[[0, 64, 149]], alone)


def test_a_rate_limit_is_waited_out(server: AimockServer, embedder: Embedder) -> None:
    limited = {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429, "retryAfter": 1}
    server.add_fixtures(
        {"match": {"inputText": "car", "sequenceIndex": 0}, "response": limited},
        {"match": {"inputText": "car"}, "response": {"embedding": [1.0, 0.0]}},
    )
    assert embedder.embed(["car"], Deadline(10)).tolist() == [[1.0, 0.0]]
    assert [entry["response"]["status"] for entry in server.journal()] == [429, 200]


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_is_tried_again(server: AimockServer, embedder: Embedder, status: int) -> None:
    server.fail_next(status)
    assert embedder.embed(["car"], Deadline(10)).shape == (1, 1536)


@pytest.mark.parametrize("rates", [{"disconnectRate": 1.0}, {"malformedRate": 1.0}, {"dropRate": 1.0}])
def test_chaos_ends_in_our_error(server: AimockServer, embedder: Embedder, rates: dict[str, float]) -> None:
    server.chaos(**rates)
    with pytest.raises(ProviderFailed):
        embedder.embed(["car"], Deadline(10))


def test_the_request_asks_for_floats(embedder: Embedder) -> None:
    with _peer(_answer([1.0])) as (peer, wired):
        wired.embed(["hi"], Deadline(5))
        (request,) = peer.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {"model": "wire-1", "input": ["hi"], "encoding_format": "float"}
    assert request.headers["authorization"] == f"bearer {_KEY}"


def test_the_order_is_that_of_the_indexes() -> None:
    with _peer(_answer([1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], order=[2, 0, 1])) as (_, embedder):
        assert embedder.embed(["a", "b", "c"], Deadline(5)).tolist() == [[1, 0], [0, 1], [-1, 0]]


@pytest.mark.parametrize(
    "reply",
    [
        _answer([0.0, 0.0], [1.0, 0.0]),
        _answer([1.0, 0.0]),
        _answer([1.0, 0.0], [1.0, 0.0], [1.0, 0.0]),
        _answer([1.0, 0.0], [1.0]),
        _answer([], []),
        _answer([1.0], [1.0], order=[1, 1]),
        document(200, {"data": [{"index": 0, "embedding": [float("nan")]}, {"index": 1, "embedding": [1.0]}]}),
        document(200, {"data": [{"index": 0, "embedding": [None]}, {"index": 1, "embedding": [1.0]}]}),
        document(200, {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]}),
        document(200, {"error": {"message": "no such model"}}),
        document(200, []),
        [b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n<html/>\xff"],
    ],
    ids=["zero", "few", "many", "ragged", "empty", "twice", "nan", "null", "base64", "error", "list", "bytes"],
)
def test_an_unusable_answer_is_a_failure(reply: Reply) -> None:
    with _peer(reply) as (server, embedder):
        with pytest.raises(ProviderFailed) as failure:
            embedder.embed(["a", "b"], Deadline(5))
        assert "EMBEDDINGS_BASE_URL" in failure.value.detail
        assert len(server.requests) == 1


def test_batches_of_different_dimensions_are_a_failure() -> None:
    with _peer(_answer(*[[1.0, 0.0]] * 64), _answer([1.0])) as (_, embedder):
        with pytest.raises(ProviderFailed):
            embedder.embed(["a"] * 65, Deadline(5))


@pytest.mark.parametrize(("status", "code"), [(401, "provider_auth"), (404, "model_not_found")])
def test_a_refusal_is_not_tried_again(status: int, code: str) -> None:
    with _peer(_refusal(status, "no")) as (server, embedder):
        with pytest.raises(ProviderFailed) as failure:
            embedder.embed(["a"], Deadline(5))
        assert failure.value.code == code
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_text_gets_no_vector_and_the_others_do(status: int) -> None:
    refused, one, two = _refusal(status, "no"), _answer([3.0, 4.0]), _answer([1.0, 0.0], [0.0, 1.0])
    with _peer(refused, two, refused, one, refused, one, two) as (server, embedder):
        rows = embedder.embed(list("abcd"), Deadline(5))
        assert rows.tolist() == [[1, 0], [0, 1], pytest.approx([0.6, 0.8]), [0, 0]]
        assert _sizes(server) == [4, 2, 2, 1, 1, 1], "what is accepted afterwards tells that the text is at fault"
        embedder.embed(list("ef"), Deadline(5))
        assert _sizes(server)[6:] == [2], "and not the size of the batch"


def test_a_text_that_is_refused_first_is_compared_with_a_plain_one() -> None:
    refused, probe = _refusal(422, "no"), _answer([0.0, 2.0, 0.0])
    with _peer(refused, refused, probe, refused, probe) as (server, embedder):
        rows = embedder.embed(["a", "b"], Deadline(5))
        assert rows.dtype == numpy.float32 and rows.tolist() == [[0, 0, 0]] * 2
        assert [request.body["input"] for request in server.requests] == [["a", "b"], ["a"], ["text"], ["b"], ["text"]]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_endpoint_that_refuses_everything_is_asked_twice_for_one_text(status: int) -> None:
    with _peer(*[_refusal(status, "no")] * 4) as (server, embedder):
        with pytest.raises(ProviderFailed) as failure:
            embedder.embed(["a"], Deadline(5))
        assert failure.value.code == "embeddings_refused" and "EMBEDDINGS_MODEL" in failure.value.detail
        with pytest.raises(ProviderFailed):
            embedder.embed_question("a", Deadline(5))
        assert _sizes(server) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("form", "name", "sent"),
    [
        (EmbeddingForm("query: ", "passage: "), "wire-1?passage_prefix=707ad539", {}),
        (EmbeddingForm(query_prefix="Instruct: find\nQuery:"), "wire-1", {}),
        (EmbeddingForm(dimensions=2), "wire-1?dimensions=2", {"dimensions": 2}),
        (EmbeddingForm("", "p", 2), "wire-1?dimensions=2&passage_prefix=148de9c5", {"dimensions": 2}),
    ],
)
def test_the_form_is_kept(form: EmbeddingForm, name: str, sent: dict[str, int]) -> None:
    with _peer(_answer([1.0, 0.0]), _answer([3.0, 4.0]), form=form) as (server, embedder):
        assert embedder.model == name
        assert embedder.embed(["a"], Deadline(5)).tolist() == [[1, 0]]
        assert embedder.embed_question("b", Deadline(5)).tolist() == [pytest.approx(0.6), pytest.approx(0.8)]
        always = {"model": "wire-1", "encoding_format": "float", **sent}
        assert [request.body for request in server.requests] == [
            {**always, "input": [f"{form.passage_prefix}a"]},
            {**always, "input": [f"{form.query_prefix}b"]},
        ]


def test_the_dimensions_are_those_that_were_asked_for(server: AimockServer) -> None:
    with contextlib.closing(build_client(_KEY, server.base_url, 4)) as client:
        embedder = OpenAIEmbedder(client, "text-embedding-any", form=EmbeddingForm(dimensions=256))
        assert embedder.embed(["a", "b"], Deadline(10)).shape == (2, 256)


def test_names_differ_with_what_vectors_depend_on() -> None:
    forms = [EmbeddingForm("q", prefix, size) for prefix in ("", "passage: ", "passage:") for size in (0, 256, 512)]
    assert len({form.name_of("m") for form in forms}) == len(forms)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_too_large_is_halved_and_the_size_is_kept(status: int) -> None:
    refused, two = _refusal(status), _answer([1.0, 0.0], [0.0, 1.0])
    with _peer(refused, refused, two, two, refused, two, two, two) as (server, embedder):
        rows = embedder.embed(list("abcdefgh"), Deadline(5))
        assert rows.tolist() == [[1, 0], [0, 1]] * 4
        assert embedder.embed(list("ij"), Deadline(5)).shape == (2, 2)
        server.replies += [two, two]
        embedder.embed(list("klmn"), Deadline(5))
        assert _sizes(server) == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2]
        sent = [text for request in server.requests[2:] for text in request.body["input"]]
        assert sent == list("abcdefghefghijklmn")


def test_a_text_beyond_the_window_is_cut_shorter() -> None:
    long = _refusal(400, "This model's maximum context length is 512 tokens")
    with _peer(long, long, _answer([1.0]), _answer([1.0])) as (server, embedder):
        assert embedder.embed(["x" * 1000], Deadline(5)).shape == (1, 1)
        embedder.embed(["y" * 9_000], Deadline(5))
        assert [len(request.body["input"][0]) for request in server.requests] == [1000, 500, 250, 6000]


def test_a_text_is_not_cut_without_end() -> None:
    with _peer(*[_refusal(413)] * 3, _answer([1.0])) as (server, embedder):
        assert not embedder.embed(["x" * 1000], Deadline(5)).any()
        assert [len(request.body["input"][0]) for request in server.requests] == [1000, 500, 250, 4]


def test_long_texts_make_small_batches() -> None:
    with _peer(_answer(*[[1.0]] * 16), _answer(*[[1.0]] * 4)) as (server, embedder):
        embedder.embed(["x" * 6_000] * 20, Deadline(5))
        assert _sizes(server) == [16, 4]


def test_half_a_character_does_not_break_the_request() -> None:
    with _peer(_answer([1.0])) as (server, embedder):
        embedder.embed(["a\ud83d"], Deadline(5))
        assert server.requests[0].body["input"] == ["a?"]


def test_a_closed_connection_is_opened_again() -> None:
    with _peer([Action.RESET], _answer([1.0])) as (_, embedder):
        assert embedder.embed(["a"], Deadline(5)).shape == (1, 1)


def test_a_server_that_hangs_is_asked_once_more() -> None:
    with _peer([Action.HANG], _answer([1.0]), call_seconds=2.0) as (_, embedder):
        assert embedder.embed(["a"], Deadline(10)).shape == (1, 1)
    with _peer([Action.HANG], [Action.HANG], call_seconds=0.2) as (_, embedder):
        with pytest.raises(ProviderFailed) as failure:
            embedder.embed(["a"], Deadline(10))
        assert failure.value.code == "provider_timeout"


def test_the_deadline_holds() -> None:
    with _peer([Action.HANG], call_seconds=60) as (server, embedder):
        with pytest.raises(DeadlineExceeded):
            embedder.embed(["a"], Deadline(1.5))
        assert len(server.requests) == 1
        with pytest.raises(DeadlineExceeded):
            embedder.embed(["a"], Deadline(0))


def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    with _peer(_refusal(429, Retry_After="3600")) as (_, embedder):
        with pytest.raises(ProviderFailed) as failure:
            embedder.embed(["a"], Deadline(5))
        assert failure.value.code == "provider_rate_limited"


def test_a_cancel_wakes_the_call() -> None:
    with _peer([Action.HANG]) as (server, embedder):
        deadline = Deadline(30)
        timer = threading.Timer(0.2, deadline.cancel)
        timer.start()
        with pytest.raises(CallCancelled):
            embedder.embed(["a"], deadline)
        timer.join()
        assert server.gone.wait(30)


def test_nothing_secret_is_told(caplog: pytest.LogCaptureFixture) -> None:
    echo = {"error": {"message": f"bad input: {_SECRET} {_KEY}", "type": "invalid_request_error", "code": "bad_input"}}
    validation = {"detail": [{"msg": "not good", "input": _SECRET}]}
    replies = [document(400, echo), document(422, validation), document(500, echo), document(401, echo)]
    with caplog.at_level(logging.DEBUG):
        for reply in replies:
            with _peer(*[reply] * 3) as (_, embedder), pytest.raises(ProviderFailed) as failure:
                embedder.embed([_SECRET], Deadline(5))
            assert _SECRET not in failure.value.detail and _KEY not in failure.value.detail
        with _peer(document(200, [_SECRET])) as (_, embedder), pytest.raises(ProviderFailed):
            embedder.embed([_SECRET], Deadline(5))
    told = json.dumps([record.getMessage() for record in caplog.records if record.name.startswith("orquestra")])
    assert "invalid_request_error bad_input" in told
    assert _SECRET not in caplog.text and _KEY not in caplog.text


def test_an_endpoint_that_begins_to_refuse_everything_costs_no_text_its_vector() -> None:
    no_credit = _refusal(400, "Arrearage")
    replies = [no_credit, _answer([1.0, 0.0]), no_credit, no_credit]  # both, the first, the second, a plain word
    with _peer(*replies) as (server, embedder), pytest.raises(ProviderFailed) as failure:
        embedder.embed(["a", "b"], Deadline(5))
    assert failure.value.code == "embeddings_refused"
    assert _sizes(server) == [2, 1, 1, 1]
