"""OpenAIResponsesModel against aimock, an emulator that was not written for it; it keeps no conversations."""

import contextlib
from collections.abc import Iterator

import pytest

from models.answers import ModelRequest, TextDelta, Usage
from models.chats import Tokens
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed
from models.given import Turn
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.providers.openai_chat import build_client
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from tests.contract.hosted import Places
from tests.emulators.aimock import AimockServer, aimock

_ANSWER = "The office opens at nine, and closes at six: não há exceções, 没有例外."


@pytest.fixture(scope="module")
def emulator() -> Iterator[AimockServer]:
    with aimock() as server:
        yield server


@pytest.fixture
def server(emulator: AimockServer) -> AimockServer:
    emulator.reset()
    return emulator


@pytest.fixture
def model(server: AimockServer) -> Iterator[OpenAIResponsesModel]:
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        with contextlib.closing(build_client("sk-test-0123456789", server.base_url, 4)) as client:
            threads = OpenAIThreads(client, RedisThreads(nowhere))
            yield OpenAIResponsesModel(client, "gpt-any", threads, Places(known=False))


def _text(model: OpenAIResponsesModel, question: str, seconds: float = 10) -> str:
    events = model.stream(ModelRequest("a", question), Deadline(seconds))
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_the_answer_comes_in_pieces_with_its_usage_and_id(server: AimockServer, model: OpenAIResponsesModel) -> None:
    usage = {"input_tokens": 11, "output_tokens": 22}
    server.add_fixtures({"match": {"userMessage": "opens"}, "response": {"content": _ANSWER, "usage": usage}})
    *deltas, last = model.stream(ModelRequest("a", "When opens the office?"), Deadline(10))
    assert len(deltas) > 5
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == _ANSWER
    assert isinstance(last, Usage)
    assert (last.tokens, last.model) == (Tokens(11, 22), "gpt-any")
    assert last.response_id and last.response_id.startswith("resp")


def test_the_emulator_reads_the_conversation_that_is_sent(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures({"match": {"userMessage": "third"}, "response": {"content": "yes"}})
    turns = (Turn("first", "one"), Turn(None, "an agent's words"), Turn("second", None))
    list(model.stream(ModelRequest("a", "third", "Be kind.", history=turns), Deadline(10)))
    system, *spoken = server.journal()[-1]["body"]["messages"]
    assert "Be kind." in system["content"]
    assert [(one["role"], one["content"]) for one in spoken] == [
        ("user", "first"), ("assistant", "one"), ("assistant", "an agent's words"), ("user", "second"),
        ("user", "third"),
    ]  # fmt: skip


def test_a_failing_server_is_asked_again_then_given_up(server: AimockServer, model: OpenAIResponsesModel) -> None:
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
def test_a_refusal_is_not_repeated(server: AimockServer, model: OpenAIResponsesModel, status: int, code: str) -> None:
    server.fail_next(status, "vendor words")
    with pytest.raises(ProviderFailed) as failure:
        _text(model, "q")
    assert failure.value.code == code
    assert "vendor words" not in failure.value.detail
    assert len(server.journal()) == 1


def test_a_stall_ends_at_the_deadline(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures({"match": {"userMessage": "q"}, "response": {"content": _ANSWER}, "latency": 5000})
    with pytest.raises(DeadlineExceeded):
        _text(model, "q", seconds=0.4)


def test_a_cut_stream_keeps_what_was_said_and_fails(server: AimockServer, model: OpenAIResponsesModel) -> None:
    server.add_fixtures(
        {"match": {"userMessage": "q"}, "response": {"content": _ANSWER}, "truncateAfterChunks": 6, "latency": 20}
    )
    said = []
    with pytest.raises(ProviderFailed) as failure:
        for event in model.stream(ModelRequest("a", "q"), Deadline(10)):
            said.append(event)
    assert failure.value.code == "stream_cut"
    assert said and len(server.journal()) == 1, "what was said is not asked for again"
