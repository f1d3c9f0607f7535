"""Conversations at the provider against exact replies, with a real registry. Not an independent witness."""

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.deadline import Deadline
from models.errors import ProviderFailed
from models.threads import Thread
from models.tools import ToolSpec
from repositories.embedded_redis import EmbeddedRedis
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from tests.contract.hosted import Dialogue, scripted
from tests.emulators.openai_wire import STREAM, Action, Reply, document, piece, stream
from tests.emulators.response_wire import (
    answer,
    begun,
    called,
    conversation,
    delta,
    ended,
    refusal,
    response_event,
)
from tests.redis_server import redis_server

_TEXT = "Olá, 世界 😀"
_BUSY = 0.1
_WHOLE = answer("Olá, ", "世界 😀")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisThreads]:
    """Give a registry whose conversations are taken for not in use at once."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        with contextlib.closing(RedisDatabase(server.url)) as database:
            yield RedisThreads(database, busy_seconds=_BUSY)


def _left(registry: RedisThreads, ours: Dialogue) -> set[str]:
    """Return what is to be deleted at the provider."""
    left: set[str] = set()
    for _ in range(2):  # the first time finds what was flushed, and may have been in use until now
        time.sleep(_BUSY)
        left |= {one.id for _ in range(2) for one in registry.claim(ours.ours[0], 100, 60)}
    return left


def test_a_conversation_is_made_once_and_then_continued_with_the_question_alone(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_1"), _WHOLE, _WHOLE) as peer:
        peer.text(ours.ask("one"))
        ours.remember("one", _TEXT)
        peer.text(ours.ask("two"))
        assert peer.asked() == ["/v1/conversations", ("conv_1", "one"), ("conv_1", "two")]
        assert [request.body["store"] for request in peer.server.requests[1:]] == [True, True]
    assert registry.take(*ours.ours, "look") == Thread("conv_1", ("one", "two"), settled=True)


def test_what_the_conversation_lacks_goes_along_with_the_question(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    ours.remember(None, "an agent's words")
    ours.remember("left to a human", None)
    with scripted(registry, _WHOLE) as peer:
        peer.text(dataclasses.replace(ours.ask("two"), keys=("merged", "two")))
        assert peer.asked() == [("conv_1", "an agent's words", "left to a human", "two")]
    held = ("one", "an agent's words", "left to a human", "merged", "two")
    assert registry.take(*ours.ours, "look").turns == held


def test_a_conversation_that_holds_something_else_is_replaced_and_left_to_be_deleted(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one", "never committed")
    ours.remember("one", "1")
    with scripted(registry, conversation("conv_2"), _WHOLE) as peer:
        peer.text(ours.ask("two"))
        assert peer.asked() == ["/v1/conversations", ("conv_2", "one", "1", "two")]
    assert _left(registry, ours) == {"conv_1"}
    assert registry.take(*ours.ours, "look") == Thread("conv_2", ("one", "two"), settled=True)


def test_a_very_long_conversation_is_begun_anew(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, *map(str, range(401)))
    ours.remember("400", "answer")
    with scripted(registry, conversation("conv_2"), _WHOLE) as peer:
        peer.text(ours.ask("next"))
        assert peer.asked()[1] == ("conv_2", "400", "answer", "next")


_CUT: Reply = [STREAM, piece(begun() + delta("some")), Action.CLOSE]
_UNFINISHED = stream(begun(), delta("some"), ended("incomplete", incomplete_details={"reason": "max_output_tokens"}))
_FAILED = stream(begun(), delta("some"), ended("failed", error={"code": "server_error", "message": "x"}))


@pytest.mark.parametrize("ending", [_CUT, _UNFINISHED, _FAILED], ids=["cut", "incomplete", "failed"])
def test_after_an_answer_that_was_not_complete_the_conversation_begins_anew(
    registry: RedisThreads, ending: Reply
) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, ending, conversation("conv_2"), _WHOLE) as peer:
        with contextlib.suppress(ProviderFailed):
            peer.text(ours.ask("two"))
        peer.text(ours.ask("two"))
        assert peer.asked() == [("conv_1", "two"), "/v1/conversations", ("conv_2", "one", "1", "two")]


def test_an_answer_that_is_not_complete_is_remembered_by_us_and_its_conversation_begins_anew(
    registry: RedisThreads,
) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_1"), _UNFINISHED, conversation("conv_2"), _WHOLE) as peer:
        ours.remember("one", peer.text(ours.ask("one")))
        peer.text(ours.ask("two"))
        assert peer.asked()[2:4] == ["/v1/conversations", ("conv_2", "one", "some", "two")]


def test_an_attempt_that_is_stopped_or_dies_leaves_the_conversation_in_doubt(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, [STREAM, piece(begun() + delta("some")), Action.HANG]) as peer:
        events = peer.model.stream(ours.ask("two"), Deadline(5))
        next(events)
        assert not registry.take(*ours.ours, "another server, if this one were killed now").settled
        events.close()
    assert not registry.take(*ours.ours, "look").settled


@pytest.mark.parametrize(
    "reply",
    [
        refusal(404, "Conversation with id 'conv_1' not found."),
        document(404, {"detail": "Conversation 'conv_1' not found."}),
        refusal(400, "Another process is operating on this conversation.", code="conversation_locked"),
        stream(response_event("error", code="404", message="Conversation 'conv_1' not found.", param=None)),
    ],
    ids=["openai", "detail", "locked", "within the stream"],
)
def test_a_conversation_that_the_provider_refuses_begins_anew(registry: RedisThreads, reply: Reply) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, reply, conversation("conv_2"), _WHOLE) as peer:
        assert peer.text(ours.ask("two")) == _TEXT
        assert peer.asked()[1:3] == ["/v1/conversations", ("conv_2", "one", "1", "two")]
    assert registry.take(*ours.ours, "look") == Thread("conv_2", ("one", "two"), settled=True)


def test_a_conversation_that_is_refused_again_and_again_is_a_failure(registry: RedisThreads) -> None:
    ours = Dialogue()
    refused = stream(response_event("error", code="404", message="Conversation not found.", param=None))
    with scripted(registry, conversation("conv_1"), refused, conversation("conv_2"), refused) as peer:
        assert peer.code(ours.ask("one")) == "provider_failed"


def test_a_model_that_is_not_known_costs_no_conversation(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, refusal(404, "The model `m` does not exist.", code="model_not_found")) as peer:
        assert peer.code(ours.ask("two")) == "model_not_found"
        assert peer.asked() == [("conv_1", "two")]


@pytest.mark.parametrize("reply", [refusal(500, "x"), [Action.RESET]], ids=["500", "reset"])
def test_a_conversation_that_may_have_heard_the_question_is_not_asked_twice(
    registry: RedisThreads, reply: Reply
) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    replies = (reply, conversation("conv_2"), reply, conversation("conv_3"), _WHOLE)
    with scripted(registry, *replies) as peer:
        assert peer.text(ours.ask("two")) == _TEXT
        assert peer.asked() == [
            ("conv_1", "two"),
            "/v1/conversations", ("conv_2", "one", "1", "two"),
            "/v1/conversations", ("conv_3", "one", "1", "two"),
        ]  # fmt: skip
    assert _left(registry, ours) == {"conv_1", "conv_2"}


def test_a_rate_limit_keeps_the_conversation(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, document(429, {}, Retry_After="0.05"), _WHOLE) as peer:
        peer.text(ours.ask("two"))
        assert peer.asked() == [("conv_1", "two")] * 2
    assert registry.take(*ours.ours, "look").settled


def test_a_conversation_in_which_other_texts_were_found_is_not_continued(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_1"), _WHOLE, _WHOLE, conversation("conv_2"), _WHOLE) as peer:
        for question, context in (("one", "old texts"), ("two", "old texts"), ("three", "new texts")):
            ours.remember(question, peer.text(ours.ask(question, context=context)))
        assert peer.asked() == [
            "/v1/conversations", ("conv_1", "one"), ("conv_1", "two"),
            "/v1/conversations", ("conv_2", "one", _TEXT, "two", _TEXT, "three"),
        ]  # fmt: skip
    assert _left(registry, ours) == {"conv_1"}
    assert registry.take(*ours.ours, "look").context == "new texts"


def test_a_slow_attempt_that_was_overtaken_registers_nothing(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_slow"), _WHOLE, conversation("conv_quick"), _WHOLE) as peer:
        slow = peer.model.stream(ours.ask("one"), Deadline(5))
        next(slow)
        peer.text(ours.ask("one"))
        list(slow)
    assert _left(registry, ours) == {"conv_slow", "resp_1"}
    assert registry.take(*ours.ours, "look") == Thread("conv_quick", ("one",), settled=True)


def test_an_attempt_that_is_overtaken_before_it_asks_leaves_nothing_at_the_provider(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, [0.4, *conversation("conv_1")], _WHOLE) as peer:
        timer = threading.Timer(0.1, lambda: registry.take(*ours.ours, "another"))
        timer.start()
        assert peer.text(ours.ask("one")) == _TEXT
        assert peer.asked() == ["/v1/conversations", (None, "one")]
        timer.join()
    assert _left(registry, ours) == {"conv_1"}
    assert registry.take(*ours.ours, "look") == Thread()


def test_without_the_registry_the_answer_is_made_from_our_history_and_nothing_is_kept() -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        with scripted(RedisThreads(nowhere), _WHOLE) as peer:
            assert peer.text(ours.ask("two")) == _TEXT
            assert peer.asked() == [(None, "one", "1", "two")]
            assert peer.server.requests[0].body["store"] is False


@pytest.mark.parametrize("end", ["forget", "flush", "flush for good"])
def test_a_conversation_that_ends_meanwhile_is_not_registered_again_and_all_of_it_is_deleted(
    registry: RedisThreads, end: str
) -> None:
    ours = Dialogue()

    def ended() -> None:
        if end == "forget":
            registry.forget(*ours.ours)
        else:
            registry.flush(ours.ours[0], gone=end != "flush")

    with scripted(registry, conversation("conv_1"), [STREAM, 0.3, *_WHOLE[1:]]) as peer:
        timer = threading.Timer(0.15, ended)
        timer.start()
        peer.text(ours.ask("one"))
        timer.join()
    assert registry.take(*ours.ours, "look") == Thread()
    assert _left(registry, ours) == {"conv_1", "resp_1"}


def test_after_a_flush_a_conversation_goes_on_in_a_new_one_with_our_history(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    registry.flush(ours.ours[0])
    with scripted(registry, conversation("conv_2"), _WHOLE) as peer:
        peer.text(ours.ask("two"))
        assert peer.asked() == ["/v1/conversations", ("conv_2", "one", "1", "two")]


def test_an_answer_to_a_conversation_that_is_gone_leaves_nothing(registry: RedisThreads) -> None:
    ours = Dialogue()
    registry.forget(*ours.ours)
    with scripted(registry, conversation("conv_1"), _WHOLE) as peer:
        peer.text(ours.ask("one"))
        assert peer.asked() == ["/v1/conversations", (None, "one")]
    assert _left(registry, ours) == {"conv_1"}


def test_the_responses_of_rounds_of_calls_are_left_to_be_deleted_and_that_of_the_answer_is_not(
    registry: RedisThreads,
) -> None:
    ours = Dialogue()
    asked = ours.ask("one", tools=(ToolSpec("time", "Tells the time.", {"type": "object", "properties": {}}),))
    round_one = stream(begun(), called("time"), ended(id="resp_round"))
    with scripted(registry, conversation("conv_1"), round_one, answer("Noon.", id="resp_answer")) as peer:
        _, calls = peer.turn(asked)
        assert calls is not None
        assert peer.text(asked.after(calls, ["12:00"])) == "Noon."
    assert _left(registry, ours) == {"resp_round"}


def test_a_registry_that_dies_within_an_answer_costs_a_new_conversation(tmp_path: Path) -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(redis_server(tmp_path))
        database = stack.enter_context(contextlib.closing(RedisDatabase(url)))
        registry = RedisThreads(database)
        ours.settled(registry, "one")
        replies = ([STREAM, 0.5, *_WHOLE[1:]], _WHOLE, conversation("conv_2"), _WHOLE)
        peer = stack.enter_context(scripted(registry, *replies))
        with _killed_within(database):
            ours.remember("two", peer.text(ours.ask("two")))
        ours.remember("three", peer.text(ours.ask("three")))
        stack.enter_context(redis_server(tmp_path, url))
        assert peer.text(ours.ask("four")) == _TEXT
        said = ("one", "1", "two", _TEXT, "three")
        assert peer.asked() == [
            ("conv_1", "two"), (None, *said), "/v1/conversations", ("conv_2", *said, _TEXT, "four"),
        ]  # fmt: skip
        assert registry.take(*ours.ours, "look").settled


def test_an_embedded_registry_that_dies_within_an_answer_costs_nothing(tmp_path: Path) -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    with EmbeddedRedis(tmp_path) as server, contextlib.closing(RedisDatabase(server.url)) as database:
        registry = RedisThreads(database)
        ours.settled(registry, "one")
        with scripted(registry, [STREAM, 0.5, *_WHOLE[1:]], _WHOLE) as peer:
            with _killed_within(database):
                ours.remember("two", peer.text(ours.ask("two")))
            peer.text(ours.ask("three"))
            assert peer.asked() == [("conv_1", "two"), ("conv_1", "three")]


@contextlib.contextmanager
def _killed_within(database: RedisDatabase) -> Iterator[None]:
    """Kill the server while an answer is being made."""
    process = database.client.info("server")["process_id"]
    timer = threading.Timer(0.25, os.kill, [process, signal.SIGKILL])
    timer.start()
    yield
    timer.join()


def test_an_endpoint_without_conversations_says_which_provider_to_choose(registry: RedisThreads) -> None:
    with scripted(registry, document(404, {"detail": "Not Found"})) as peer:
        with pytest.raises(ProviderFailed, match="openai_chat"):
            peer.text(Dialogue().ask("one"))


def test_many_conversations_share_a_model_and_keep_apart(registry: RedisThreads) -> None:
    dialogues = [Dialogue() for _ in range(20)]
    with scripted(registry, *[_WHOLE] * 40) as peer:
        for number, ours in enumerate(dialogues):
            ours.settled(registry, "zero", name=f"conv_{number}")
            ours.remember("zero", "0")

        def talk(ours: Dialogue) -> None:
            for question in ("one", "two"):
                ours.remember(question, peer.text(ours.ask(question)))

        threads = [threading.Thread(target=talk, args=(ours,)) for ours in dialogues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, ours in enumerate(dialogues):
        assert registry.take(*ours.ours, "look") == Thread(f"conv_{number}", ("zero", "one", "two"), settled=True)
