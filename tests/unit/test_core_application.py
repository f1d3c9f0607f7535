"""The core application of the reference system, played by raw bytes."""

import contextlib
import time
from collections.abc import Iterator

import httpx2
import pytest

from models.answers import ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from models.given import Turn
from services.providers.core_application import CoreModel
from tests.emulators.openai_wire import Action, Reply, Step, WireServer, document, wire

_REQUEST = ModelRequest(
    "6650 a/b", "E hoje?", history=(Turn("Oi", "Olá"), Turn("Quem?", None), Turn(None, "Um agente"))
)


@contextlib.contextmanager
def _core(*replies: Reply) -> Iterator[tuple[WireServer, CoreModel]]:
    with wire(*replies) as server, httpx2.Client() as client:
        yield server, CoreModel(client, f"{server.url}/api/v1/")


def _failure(reply: Reply, times: int = 1) -> ProviderFailed:
    with _core(*[reply] * times) as (server, model):
        with pytest.raises(ProviderFailed) as failure:
            list(model.stream(_REQUEST, Deadline(5)))
        assert server.replies == []
    return failure.value


def test_it_is_asked_as_the_reference_system_asked_it() -> None:
    with _core(document(200, {"response": "Aberto.", "tokens": {"in": 12, "out": 3}})) as (server, model):
        events = list(model.stream(_REQUEST, Deadline(5)))
        assert events == [TextDelta("Aberto."), Usage(Tokens(12, 3))]
        (request,) = server.requests
        assert request.path == "/api/v1/llm/6650%20a%2Fb/query"
        assert request.body == {
            "history": [
                {"message": "Oi", "response": "Olá"},
                {"message": "Quem?", "response": ""},
                {"message": "", "response": "Um agente"},
            ],
            "query": "E hoje?",
        }


@pytest.mark.parametrize("answer", [{"response": "Sim."}, {"response": "Sim.", "tokens": None}])
def test_tokens_may_be_missing(answer: object) -> None:
    with _core(document(200, answer)) as (_, model):
        assert list(model.stream(_REQUEST, Deadline(5))) == [TextDelta("Sim."), Usage(None)]


@pytest.mark.parametrize(
    "answer", [{}, {"response": 7}, [], "text", {"response": "x", "tokens": {"in": 1}}, {"response": None}]
)
def test_another_shape_is_a_failure(answer: object) -> None:
    assert _failure(document(200, answer)).code == "provider_failed"


def test_no_json_is_a_failure() -> None:
    page: Reply = [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"]
    assert _failure(page).code == "provider_failed"


@pytest.mark.parametrize(
    ("status", "code", "times"),
    [
        (401, "provider_auth", 1),
        (404, "model_not_found", 1),
        (400, "provider_failed", 1),
        (302, "provider_failed", 1),
        (429, "provider_rate_limited", 3),
        (503, "provider_failed", 3),
    ],
)
def test_statuses_are_mapped_and_busy_ones_asked_again(status: int, code: str, times: int) -> None:
    failure = _failure(document(status, {"error": "Assistente secreto"}, Retry_After="0.01"), times)
    assert failure.code == code
    assert failure.detail.startswith("The core application") and "secreto" not in failure.detail


def test_an_empty_answer_and_a_cut_one_are_failures() -> None:
    assert _failure(document(200, {"response": " "})).code == "empty_answer"
    assert _failure([b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{", Action.CLOSE]).code == "stream_cut"


def test_a_drip_of_bytes_does_not_outlive_the_deadline() -> None:
    drip: list[Step] = [b" ", 0.1]
    with _core([b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", *drip * 50]) as (_, model):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            list(model.stream(_REQUEST, Deadline(0.4)))
        assert time.monotonic() - started < 4.0


def test_an_unreachable_one_is_said_to_be() -> None:
    with httpx2.Client() as client, pytest.raises(ProviderFailed) as failure:
        list(CoreModel(client, "http://127.0.0.1:1").stream(_REQUEST, Deadline(10)))
    assert failure.value.code == "provider_unreachable"
