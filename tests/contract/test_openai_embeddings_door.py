"""Clients' requests for vectors, passed on over exact bytes."""

import base64
import contextlib
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.deadline import Deadline
from models.errors import CallCancelled, Invalid, NotFound, ProviderFailed
from services.client_embeddings import ClientEmbeddings
from services.providers.openai_chat import build_client
from services.providers.openai_embeddings_door import OpenAIEmbeddingsDoor
from tests.contract.stores import make_assistant
from tests.emulators.openai_wire import Action, WireServer, document, wire

ASSISTANT = replace(make_assistant(), id="a" * 24, name="Bia")
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
    "model": "an-upstreams-name",
    "usage": {"prompt_tokens": 1, "total_tokens": 1},
}
SECRET = "sk-test-0123456789"


@contextlib.contextmanager
def embeddings(server: WireServer) -> Iterator[ClientEmbeddings]:
    """Give the service in front of an endpoint."""
    with contextlib.closing(build_client(SECRET, server.base_url, 4)) as client:
        yield ClientEmbeddings(OpenAIEmbeddingsDoor(client, "vectors-1"))


@pytest.mark.parametrize("model", [None, "", "vectors-1", ASSISTANT.id, "Bia"])
def test_what_a_client_wrote_is_passed_on_and_the_answer_passed_back(model: str | None) -> None:
    fields = {"input": [[1, 2], [3]], "dimensions": 2, "user": "u", "encoding_format": "float", "model": model}
    with wire(document(200, VECTORS)) as server, embeddings(server) as service:
        content = service.embed(ASSISTANT, fields, Deadline(5))
    assert content == document(200, VECTORS)[0].partition(b"\r\n\r\n")[2]  # type: ignore[union-attr]
    (request,) = server.requests
    assert request.path == "/v1/embeddings"
    assert request.body == {**fields, "model": "vectors-1"}
    assert request.headers["authorization"] == f"bearer {SECRET}"


def test_base64_is_asked_for_only_where_the_client_does() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -0.25)).decode()
    row = {"object": "embedding", "index": 0, "embedding": packed}
    with wire(document(200, {**VECTORS, "data": [row]}), document(200, VECTORS)) as server:
        with embeddings(server) as service:
            content = service.embed(ASSISTANT, {"input": "x", "encoding_format": "base64"}, Deadline(5))
            service.embed(ASSISTANT, {"input": "x"}, Deadline(5))
    assert packed.encode() in content
    assert [request.body["encoding_format"] for request in server.requests] == ["base64", "float"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_the_endpoint_refuses_is_the_clients_fault(status: int) -> None:
    words = {"error": {"message": f"secret words and {SECRET}"}}
    with wire(document(status, words)) as server, embeddings(server) as service:
        with pytest.raises(Invalid) as refused:
            service.embed(ASSISTANT, {"input": "x", "dimensions": 9}, Deadline(5))
    assert refused.value.code == "embeddings_refused"
    assert "secret" not in refused.value.detail


@pytest.mark.parametrize(
    ("status", "code"), [(401, "provider_auth"), (404, "model_not_found"), (429, "provider_rate_limited")]
)
def test_other_refusals_are_not(status: int, code: str) -> None:
    with wire(*[document(status, {"error": {"message": SECRET}})] * 3) as server, embeddings(server) as service:
        with pytest.raises(ProviderFailed) as failed:
            service.embed(ASSISTANT, {"input": "x"}, Deadline(5))
    assert failed.value.code == code
    assert SECRET not in failed.value.detail


def test_a_server_error_is_tried_again() -> None:
    with wire(document(503, {}), document(200, VECTORS)) as server, embeddings(server) as service:
        assert b"an-upstreams-name" in service.embed(ASSISTANT, {"input": "x"}, Deadline(10))


def test_whoever_leaves_stops_it() -> None:
    deadline = Deadline(30)
    with wire([Action.HANG]) as server, embeddings(server) as service:
        timer = threading.Timer(0.3, deadline.cancel)
        timer.start()
        with pytest.raises(CallCancelled):
            service.embed(ASSISTANT, {"input": "x"}, deadline)
        assert server.gone.wait(10)
        timer.join()


def test_another_model_and_none_at_all() -> None:
    with wire() as server, embeddings(server) as service:
        with pytest.raises(NotFound) as other:
            service.embed(ASSISTANT, {"input": "x", "model": "another"}, Deadline(5))
    assert other.value.code == "model_not_found"
    with pytest.raises(NotFound) as absent:
        ClientEmbeddings(None).embed(ASSISTANT, {"input": "x"}, Deadline(5))
    assert absent.value.code == "embeddings_not_configured"
