"""Conversations at the provider against exact replies, with a real registry. Not an independent witness."""

import contextlib
import dataclasses
import threading

import pytest

from models.deadline import Deadline
from models.errors import ProviderFailed, Unavailable
from models.ids import new_id
from models.threads import Thread
from repositories.redis.database import RedisDatabase
from repositories.redis.threads import RedisThreads
from tests.contract.hosted import Dialogue, scripted
from tests.emulators.openai_wire import STREAM, Action, Reply, document, piece, stream
from tests.emulators.response_wire import (
    answer,
    begun,
    conversation,
    deleted,
    delta,
    ended,
    refusal,
    response_event,
)

_TEXT = "Olá, 世界 😀"
_WHOLE = answer("Olá, ", "世界 😀")


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


def test_a_conversation_that_holds_something_else_is_replaced_and_deleted(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one", "never committed")
    ours.remember("one", "1")
    with scripted(registry, conversation("conv_2"), _WHOLE, deleted("conv_1")) as peer:
        peer.text(ours.ask("two"))
        assert peer.asked() == ["/v1/conversations", ("conv_2", "one", "1", "two"), "/v1/conversations/conv_1"]
    assert registry.take(*ours.ours, "look") == Thread("conv_2", ("one", "two"), settled=True)


def test_a_very_long_conversation_is_begun_anew(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, *map(str, range(401)))
    ours.remember("400", "answer")
    with scripted(registry, conversation("conv_2"), _WHOLE, deleted("conv_1")) as peer:
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
    with scripted(registry, ending, conversation("conv_2"), _WHOLE, deleted("conv_1")) as peer:
        with contextlib.suppress(ProviderFailed):
            peer.text(ours.ask("two"))
        peer.text(ours.ask("two"))
        assert peer.asked() == [
            ("conv_1", "two"), "/v1/conversations", ("conv_2", "one", "1", "two"), "/v1/conversations/conv_1",
        ]  # fmt: skip


def test_an_answer_that_is_not_complete_is_remembered_by_us_and_its_conversation_begins_anew(
    registry: RedisThreads,
) -> None:
    ours = Dialogue()
    with scripted(
        registry, conversation("conv_1"), _UNFINISHED, conversation("conv_2"), _WHOLE, deleted("conv_1")
    ) as peer:
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
    with scripted(registry, reply, conversation("conv_2"), _WHOLE, refusal(404, "not found")) as peer:
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
    with scripted(registry, *replies, deleted("conv_1"), deleted("conv_2")) as peer:
        assert peer.text(ours.ask("two")) == _TEXT
        assert peer.asked() == [
            ("conv_1", "two"),
            "/v1/conversations", ("conv_2", "one", "1", "two"),
            "/v1/conversations", ("conv_3", "one", "1", "two"),
            "/v1/conversations/conv_1", "/v1/conversations/conv_2",
        ]  # fmt: skip


def test_a_rate_limit_keeps_the_conversation(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "one")
    ours.remember("one", "1")
    with scripted(registry, document(429, {}, Retry_After="0.05"), _WHOLE) as peer:
        peer.text(ours.ask("two"))
        assert peer.asked() == [("conv_1", "two")] * 2
    assert registry.take(*ours.ours, "look").settled


def test_what_cannot_be_deleted_now_is_deleted_next_time(registry: RedisThreads) -> None:
    ours = Dialogue()
    ours.settled(registry, "lost")
    with scripted(registry, conversation("conv_2"), _WHOLE, refusal(403, "not now"), _WHOLE, deleted("conv_1")) as peer:
        peer.text(ours.ask("one"))
        ours.remember("one", _TEXT)
        peer.text(ours.ask("two"))
        assert peer.asked()[-2:] == [("conv_2", "two"), "/v1/conversations/conv_1"]
    assert registry.take(*ours.ours, "look").replaced == ()


def test_a_slow_attempt_that_was_overtaken_registers_nothing(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_slow"), _WHOLE, conversation("conv_quick"), _WHOLE) as peer:
        slow = peer.model.stream(ours.ask("one"), Deadline(5))
        next(slow)
        peer.server.replies.append(deleted("conv_slow"))
        peer.text(ours.ask("one"))
        list(slow)
    assert registry.take(*ours.ours, "look") == Thread("conv_quick", ("one",), settled=True)


def test_an_attempt_that_is_overtaken_before_it_asks_leaves_nothing_at_the_provider(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, [0.4, *conversation("conv_1")], deleted("conv_1"), _WHOLE) as peer:
        timer = threading.Timer(0.1, lambda: registry.take(*ours.ours, "another"))
        timer.start()
        assert peer.text(ours.ask("one")) == _TEXT
        assert peer.asked() == ["/v1/conversations", "/v1/conversations/conv_1", (None, "one")]
        timer.join()
    assert registry.take(*ours.ours, "look") == Thread()


def test_without_the_registry_the_answer_is_made_from_our_history_and_nothing_is_kept() -> None:
    ours = Dialogue()
    ours.remember("one", "1")
    with contextlib.closing(RedisDatabase("redis://127.0.0.1:1/0")) as nowhere:
        with scripted(RedisThreads(nowhere), _WHOLE) as peer:
            assert peer.text(ours.ask("two")) == _TEXT
            assert peer.asked() == [(None, "one", "1", "two")]
            assert peer.server.requests[0].body["store"] is False
            with pytest.raises(Unavailable):
                peer.threads.forget(*ours.ours)


def test_a_conversation_that_is_forgotten_meanwhile_is_not_registered_again(registry: RedisThreads) -> None:
    ours = Dialogue()
    with scripted(registry, conversation("conv_1"), [STREAM, 0.3, *_WHOLE[1:]], deleted("conv_1")) as peer:
        timer = threading.Timer(0.15, lambda: registry.forget(*ours.ours))
        timer.start()
        peer.text(ours.ask("one"))
        timer.join()
    assert registry.take(*ours.ours, "look") == Thread()


def test_an_endpoint_without_conversations_says_which_provider_to_choose(registry: RedisThreads) -> None:
    with scripted(registry, document(404, {"detail": "Not Found"})) as peer:
        with pytest.raises(ProviderFailed, match="openai_chat"):
            peer.text(Dialogue().ask("one"))


def test_forgetting_deletes_at_the_provider_as_far_as_it_can_be_reached(registry: RedisThreads) -> None:
    assistant, others = new_id(), [Dialogue(), Dialogue()]
    for number, one in enumerate(others):
        one.ours = (assistant, one.ours[1])
        one.settled(registry, "one", name=f"conv_{number}")
    with scripted(registry, deleted("x"), refusal(403, "no")) as peer:
        peer.threads.forget(assistant)
        assert sorted(peer.asked()) == ["/v1/conversations/conv_0", "/v1/conversations/conv_1"]
        peer.threads.forget(assistant)
    assert [registry.take(*one.ours, "look") for one in others] == [Thread(), Thread()]


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
