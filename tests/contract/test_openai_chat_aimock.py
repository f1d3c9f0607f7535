"""OpenAIChatModel against aimock, an emulator that was not written for it."""

import contextlib
import time
from collections.abc import Iterator

import pytest

from models.answers import ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from models.given import Turn
from services.providers.openai_chat import OpenAIChatModel, build_client
from tests.emulators.aimock import AimockServer, aimock

_ANSWER = "The office opens at nine, and closes at six: não há exceções, 没有例外."
_LIMITED = {"error": {"message": "slow down", "type": "rate_limit_error"}, "status": 429}


@pytest.fixture(scope="module")
def emulator() -> Iterator[AimockServer]:
    with aimock() as server:
        yield server


@pytest.fixture
def server(emulator: AimockServer) -> AimockServer:
    emulator.reset()
    return emulator


@pytest.fixture
def model(server: AimockServer) -> Iterator[OpenAIChatModel]:
    with contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client:
        yield OpenAIChatModel(client, "gpt-any")


def _text(model: OpenAIChatModel, question: str, seconds: float = 10) -> str:
    events = model.stream(ModelRequest("a", question), Deadline(seconds))
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_answer_comes_in_pieces_with_its_usage(server: AimockServer, model: OpenAIChatModel) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 22}
    server.add_fixtures({"match": {"userMessage": "opens"}, "response": {"content": _ANSWER, "usage": usage}})
    *deltas, last = model.stream(ModelRequest("a", "When opens the office?"), Deadline(10))
    assert len(deltas) > 5
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == _ANSWER
    assert last == Usage(Tokens(11, 22), "gpt-any")


def test_the_request_holds_the_conversation_and_only_what_is_set(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures({"match": {"userMessage": "third"}, "response": {"content": "yes"}})
    turns = (Turn("first", "one"), Turn(None, "an agent's words"), Turn("second", None))
    request = ModelRequest("a", "third", instructions="Be kind.", history=turns, model="gpt-other", temperature=0.5)
    list(model.stream(request, Deadline(10)))
    body, headers = server.journal()[-1]["body"], server.journal()[-1]["headers"]
    system, *spoken = body["messages"]
    assert system["role"] == "system" and "Be kind." in system["content"]
    assert spoken == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one\n\nan agent's words"},
        {"role": "user", "content": "second\n\nthird"},
    ]
    assert (body["model"], body["temperature"], body["stream"]) == ("gpt-other", 0.5, True)
    assert body["stream_options"] == {"include_usage": True}
    assert not {"max_tokens", "max_completion_tokens"} & set(body)
    assert headers["authorization"]


def test_a_rate_limit_is_waited_out(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(
        {"match": {"userMessage": "q", "sequenceIndex": 0}, "response": {**_LIMITED, "retryAfter": 1}},
        {"match": {"userMessage": "q"}, "response": {"content": "at last"}},
    )
    started = time.monotonic()
    assert _text(model, "q") == "at last"
    assert time.monotonic() - started >= 1.0
    assert len(server.journal()) == 2


def test_a_wait_past_the_deadline_is_not_begun(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures({"match": {"userMessage": "q"}, "response": {**_LIMITED, "retryAfter": 60}})
    started = time.monotonic()
    with pytest.raises(ProviderFailed) as failure:
        _text(model, "q")
    assert failure.value.code == "provider_rate_limited"
    assert "slow down" not in failure.value.detail
    assert time.monotonic() - started < 10.0
    assert len(server.journal()) == 1


def test_a_failing_server_is_asked_again_then_given_up(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures({"match": {"userMessage": "q"}, "response": {"content": "recovered"}})
    server.fail_next(500)
    assert _text(model, "q") == "recovered"
    for _ in range(3):
        server.fail_next(503)
    with pytest.raises(ProviderFailed) as failure:
        _text(model, "q")
    assert failure.value.code == "provider_failed"
    assert len(server.journal()) == 2 + 3


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "provider_auth"), (403, "provider_auth"), (404, "model_not_found"), (400, "provider_failed")],
)
def test_a_refusal_is_not_repeated(server: AimockServer, model: OpenAIChatModel, status: int, code: str) -> None:
    server.fail_next(status, "vendor words")
    with pytest.raises(ProviderFailed) as failure:
        _text(model, "q")
    assert failure.value.code == code
    assert "vendor words" not in failure.value.detail
    assert len(server.journal()) == 1


def test_a_stall_ends_at_the_deadline(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures({"match": {"userMessage": "q"}, "response": {"content": _ANSWER}, "latency": 5000})
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        _text(model, "q", seconds=0.4)
    assert time.monotonic() - started < 4.0


def test_a_cut_stream_keeps_what_was_said_and_fails(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures(
        {"match": {"userMessage": "q"}, "response": {"content": _ANSWER}, "truncateAfterChunks": 4, "latency": 20}
    )
    said = []
    with pytest.raises(ProviderFailed) as failure:
        for event in model.stream(ModelRequest("a", "q"), Deadline(10)):
            said.append(event)
    assert failure.value.code == "stream_cut"
    assert said and len(server.journal()) == 1, "what was said is not asked for again"


def test_a_dropped_connection_is_retried_then_reported(server: AimockServer, model: OpenAIChatModel) -> None:
    server.add_fixtures({"match": {"userMessage": "q"}, "response": {"content": _ANSWER}})
    server.chaos(disconnectRate=1.0)
    with pytest.raises(ProviderFailed) as failure:
        _text(model, "q")
    assert failure.value.code in {"provider_unreachable", "stream_cut"}
