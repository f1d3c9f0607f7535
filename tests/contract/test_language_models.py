"""What every language model does, whoever writes the answer."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import pytest

from models.answers import ModelEvent, ModelRequest, Sources, TextDelta, Usage
from models.deadline import Deadline
from models.documents import Passage, ScoredPassage
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from services.ports import LanguageModel
from services.providers.core_application import CoreModel
from services.providers.offline import OfflineModel
from services.providers.openai_chat import OpenAIChatModel, build_client
from services.providers.openai_responses import OpenAIResponsesModel
from services.providers.openai_threads import OpenAIThreads
from services.providers.scripted import ScriptedModel
from tests.contract.hosted import Places
from tests.emulators.aimock import aimock
from tests.emulators.openai_wire import Action, document, wire

_TEXT = "The office opens at nine and closes at six on every working day."
_PASSAGE = Passage("p", "a", "d", "r", "office.md", 0, 0, len(_TEXT), _TEXT, language="en")
_REQUEST = ModelRequest("a", "When does the office open?", passages=(ScoredPassage(_PASSAGE, 1.0, 1.0),))
_ANSWER = document(200, {"response": _TEXT, "tokens": {"in": 3, "out": 4}})


@dataclass(frozen=True)
class Case:
    """A model with what it takes to make it slow or fail; nothing makes the offline one."""

    model: LanguageModel
    slow: Callable[[], None] = lambda: None
    failing: Callable[[], None] = lambda: None


@contextlib.contextmanager
def _openai_chat() -> Iterator[Case]:
    fixture = {"match": {"userMessage": "office"}, "response": {"content": _TEXT}}
    with aimock([fixture]) as server, contextlib.closing(build_client("", server.base_url, 4)) as client:
        yield Case(
            OpenAIChatModel(client, "gpt-any"),
            slow=lambda: server.chaos(latencyMs=5000),
            failing=lambda: server.fail_next(400),
        )


@contextlib.contextmanager
def _openai() -> Iterator[Case]:
    """Give the model without a conversation: aimock keeps none."""
    fixture = {"match": {"userMessage": "office"}, "response": {"content": _TEXT}}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(aimock([fixture]))
        client = stack.enter_context(contextlib.closing(build_client("", server.base_url, 4)))
        nowhere = stack.enter_context(contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")))
        threads = OpenAIThreads(client, RedisThreads(nowhere))
        yield Case(
            OpenAIResponsesModel(client, "gpt-any", threads, Places(known=False)),
            slow=lambda: server.chaos(latencyMs=5000),
            failing=lambda: server.fail_next(400),
        )


@contextlib.contextmanager
def _core() -> Iterator[Case]:
    with wire() as server, httpx2.Client() as client:
        server.replies.extend([_ANSWER] * 3)
        yield Case(
            CoreModel(client, server.url),
            slow=lambda: server.replies.__setitem__(slice(None), [[Action.HANG]]),
            failing=lambda: server.replies.insert(0, document(400, {"error": "no"})),
        )


@contextlib.contextmanager
def _offline() -> Iterator[Case]:
    yield Case(OfflineModel())


@contextlib.contextmanager
def _scripted() -> Iterator[Case]:
    model = ScriptedModel()
    whole = [*(f"{word} " for word in _TEXT.split()), Usage(model="scripted")]
    steps: list[object] = []

    def play(request: ModelRequest, deadline: Deadline) -> list[ModelEvent | str | BaseException | threading.Event]:
        return [*steps, *whole]  # type: ignore[list-item]

    for _ in range(3):
        model.add(play)
    yield Case(
        model,
        slow=lambda: steps.append(threading.Event()),
        failing=lambda: steps.append(ProviderFailed("planned")),
    )


@pytest.fixture(
    params=[_openai_chat, _openai, _core, _offline, _scripted],
    ids=["openai_chat", "openai", "core", "offline", "scripted"],
)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with request.param() as case:
        yield case


@pytest.fixture(params=[_openai_chat, _openai, _core, _scripted], ids=["openai_chat", "openai", "core", "scripted"])
def fallible(request: pytest.FixtureRequest) -> Iterator[Case]:
    """Give each model that can wait and fail: all but the offline one."""
    with request.param() as case:
        yield case


def test_an_answer_is_text_in_pieces_and_one_usage_at_its_end(case: Case) -> None:
    events = list(case.model.stream(_REQUEST, Deadline(10)))
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert "office opens at nine" in "".join(texts)
    assert all(isinstance(text, str) and text for text in texts)
    assert [event for event in events if isinstance(event, Usage)] == [events[-1]]
    assert all(isinstance(event, TextDelta | Sources | Usage) for event in events)


def test_a_model_tells_its_names(case: Case) -> None:
    assert case.model.provider in {"openai_chat", "openai", "core", "offline", "scripted"}
    assert isinstance(case.model.model, str)
    assert case.model.hosts_memory is (case.model.provider == "openai")
    assert case.model.calls_tools is (case.model.provider in {"openai_chat", "openai", "scripted"})


def test_a_past_deadline_stops_it(case: Case) -> None:
    with pytest.raises(DeadlineExceeded):
        list(case.model.stream(_REQUEST, Deadline(0)))


def test_a_cancelled_deadline_stops_it(case: Case) -> None:
    deadline = Deadline(10)
    deadline.cancel()
    with pytest.raises(CallCancelled):
        list(case.model.stream(_REQUEST, deadline))


def test_closing_early_is_safe_and_leaves_the_model_usable(case: Case) -> None:
    events = case.model.stream(_REQUEST, Deadline(10))
    assert isinstance(next(events), TextDelta)
    events.close()
    assert any(isinstance(event, Usage) for event in case.model.stream(_REQUEST, Deadline(10)))


def test_a_cancel_after_the_answer_harms_nothing(case: Case) -> None:
    deadline = Deadline(10)
    list(case.model.stream(_REQUEST, deadline))
    deadline.cancel()
    assert any(isinstance(event, Usage) for event in case.model.stream(_REQUEST, Deadline(10)))


def test_a_slow_answer_ends_at_the_deadline(fallible: Case) -> None:
    fallible.slow()
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        list(fallible.model.stream(_REQUEST, Deadline(0.3)))
    assert time.monotonic() - started < 4.0


def test_a_cancel_from_another_thread_ends_the_wait_within_a_second(fallible: Case) -> None:
    fallible.slow()
    deadline = Deadline(10)
    timer = threading.Timer(0.3, deadline.cancel)
    started = time.monotonic()
    timer.start()
    with pytest.raises(CallCancelled):
        list(fallible.model.stream(_REQUEST, deadline))
    assert time.monotonic() - started < 4.0
    timer.join()


def test_a_failure_is_one_of_our_errors(fallible: Case) -> None:
    fallible.failing()
    with pytest.raises(ProviderFailed) as failure:
        list(fallible.model.stream(_REQUEST, Deadline(10)))
    assert failure.value.detail


def test_a_scripted_model_records_its_calls_and_refuses_unplanned_ones() -> None:
    go_on = threading.Event()
    model = ScriptedModel([["one ", go_on, "two"], ProviderFailed("planned")])
    events = model.stream(_REQUEST, Deadline(5))
    assert next(events) == TextDelta("one ")
    threading.Timer(0.1, go_on.set).start()
    assert next(events) == TextDelta("two")
    with pytest.raises(ProviderFailed, match="planned"):
        list(model.stream(_REQUEST, Deadline(5)))
    with pytest.raises(AssertionError, match="call 3 was not planned"):
        model.stream(_REQUEST, Deadline(5))
    assert (model.calls, model.requests) == (3, [_REQUEST] * 3)
