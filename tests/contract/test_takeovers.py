"""A chat's life when attempts die: who takes over, and that whoever comes back late changes nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from models.answers import Done
from models.chats import Chat, ChatFailure, ChatStatus
from models.clock import now
from models.conversations import Channel, Conversation
from models.errors import Conflict, OrquestraError, ProviderFailed, Unavailable
from models.ids import new_id
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import DYING, Engine, Meddled, echo, wait_until
from tests.contract.stores import Stores, make_chat

BROKEN = ProviderFailed("The model is down. Try again later.")
Rescue = Callable[[Engine], object]


def plant(engine: Engine, text: str, **fields: Any) -> Chat:
    """Store a message that a server left behind; without other fields its attempt died just now."""
    channel, at = Channel("+55", "whatsapp"), now()
    conversation = engine.stores.conversations.find_or_add(Conversation(new_id(), engine.assistant.id, channel, at, at))
    left: dict[str, Any] = {
        "status": ChatStatus.RECEIVED,
        "lease_owner": new_id(),
        "lease_until": at - timedelta(seconds=1),
        "attempts": 1,
        **fields,
    }
    chat = replace(make_chat(engine.assistant.id, conversation.id, channel=channel, message=text), **left)
    assert engine.stores.chats.add(chat)
    return chat


@dataclass
class Slow:
    """A server that stopped in the middle of an answer; `wake` lets it go on."""

    engine: Engine
    wake: threading.Event
    ends: Future[Done]


@contextmanager
def stopped(stores: Stores, last: Item = "") -> Iterator[Slow]:
    """Stop a server that has written a part of an answer to "hello", until its lease is over."""
    wake = threading.Event()
    engine = Engine(stores, ScriptedModel([["late", wake, last]]), lease_seconds=DYING).die()
    with ThreadPoolExecutor(1) as pool:
        ends = pool.submit(engine.say, "hello", message_id="m")
        try:
            wait_until(lambda: engine.model.calls == 1)
            wait_until(lambda: not engine.chat("hello").is_worked_on(now()))
            yield Slow(engine, wake, ends)
        finally:
            wake.set()


def by_delivery(engine: Engine) -> None:
    """Take over as the next delivery does."""
    done = engine.say("hello", message_id="m")
    assert (done.replayed, done.chat.response) == (False, "re hello")


def by_a_later_message(engine: Engine) -> None:
    """Take over as a later message does that waits for its turn."""
    assert engine.say("later").chat.response == "re later"


def by_the_sweeper(engine: Engine) -> None:
    """Take over as the sweeper and its job do."""
    engine.sweep()


RESCUES = pytest.mark.parametrize("rescue", [by_delivery, by_a_later_message, by_the_sweeper])


@RESCUES
@pytest.mark.parametrize("last", ["", BROKEN], ids=["answer", "failure"])
def test_a_slow_owner_that_comes_back_late_overwrites_nothing(stores: Stores, rescue: Rescue, last: Item) -> None:
    with stopped(stores, last) as slow:
        quick = slow.engine.twin(ScriptedModel([echo, echo]))
        rescue(quick)
        taken = quick.chat("hello")
        assert (taken.status, taken.response, taken.attempts) == (ChatStatus.ANSWERED, "re hello", 2)
        slow.wake.set()
        if last is BROKEN:
            with pytest.raises(ProviderFailed):
                slow.ends.result(30)
        else:
            assert slow.ends.result(30) == Done(taken, replayed=True)
        assert quick.chat("hello") == taken


@RESCUES
def test_a_slow_owner_that_would_suppress_overwrites_nothing(stores: Stores, rescue: Rescue) -> None:
    with stopped(stores) as slow:
        quick = slow.engine.twin(ScriptedModel([echo, echo]))
        rescue(quick)
        quick.switch(False)
        taken = quick.chat("hello")
        slow.wake.set()
        assert slow.ends.result(30).chat.response == "re hello"
        assert quick.chat("hello") == taken and taken.status is ChatStatus.ANSWERED


def test_a_slow_owner_comes_back_while_another_attempt_runs_and_waits_for_it(stores: Stores) -> None:
    go_on = threading.Event()
    with stopped(stores) as slow, ThreadPoolExecutor(1) as pool:
        quick = slow.engine.twin(ScriptedModel([["quick", go_on]]))
        taking = pool.submit(quick.say, "hello", message_id="m")
        wait_until(lambda: quick.model.calls == 1)
        slow.wake.set()
        time.sleep(0.2)
        assert quick.chat("hello").status is ChatStatus.RECEIVED
        go_on.set()
        assert taking.result(30).chat == slow.ends.result(30).chat
    assert quick.chat("hello").response == "quick"


def test_a_slow_owner_is_told_of_the_failure_of_whoever_took_over(stores: Stores) -> None:
    with stopped(stores) as slow:
        quick = slow.engine.twin(ScriptedModel([BROKEN]))
        with pytest.raises(ProviderFailed):
            quick.say("hello", message_id="m")
        slow.wake.set()
        with pytest.raises(ProviderFailed):
            slow.ends.result(30)
        assert quick.chat("hello").status is ChatStatus.FAILED


def test_a_slow_owner_that_nobody_has_followed_makes_the_answer_itself(stores: Stores) -> None:
    """The sweeper took its lease away, and the job got lost with Redis."""
    with stopped(stores) as slow:
        slow.engine.model.add(echo)
        slow.engine.twin().service.sweep()
        assert slow.engine.chat("hello").lease_owner is None
        slow.wake.set()
        assert slow.ends.result(30).chat.status is ChatStatus.ANSWERED


def test_a_slow_owner_whose_message_was_erased_is_told(stores: Stores) -> None:
    with stopped(stores) as slow:
        stores.chats.delete_of_conversation(slow.engine.chat("hello").conversation_id)
        slow.wake.set()
        with pytest.raises(Conflict) as told:
            slow.ends.result(30)
        assert told.value.code == "conversation_erased"
        assert slow.engine.chats() == []


def test_an_attempt_that_was_lost_while_it_waited_calls_no_model(stores: Stores) -> None:
    go_on = threading.Event()
    engine = Engine(stores, ScriptedModel([[go_on, "one"], echo]))
    slow = engine.twin(ScriptedModel([]), lease_seconds=DYING).die()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(slow.say, "second", message_id="m")
        wait_until(lambda: engine.is_stored("second") and not engine.chat("second").is_worked_on(now()))
        again = pool.submit(engine.say, "second", message_id="m")
        wait_until(lambda: engine.chat("second").attempts == 2)
        go_on.set()
        assert first.result(30).chat.response == "one"
        assert again.result(30).chat == second.result(30).chat
    assert engine.chat("second").response == "re second"


def test_the_one_that_was_taken_over_is_answered_first(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    plant(engine, "hello")
    engine.say("later")
    assert [request.question for request in engine.model.requests] == ["hello", "later"]
    assert [turn.response for turn in engine.model.requests[1].history] == ["re hello"]


def test_a_live_attempt_is_left_alone(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    chat = plant(engine, "hello", lease_until=now() + timedelta(seconds=60))
    engine.sweep()
    engine.service.resume(chat.id)
    with pytest.raises(Conflict):
        engine.retry(chat)
    assert engine.chats() == [chat]


def test_a_sweep_asks_once_for_each_message(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    left = [plant(engine, text).id for text in ("one", "two")]
    engine.service.sweep()
    engine.twin().service.sweep()
    assert engine.asked() == left
    assert {chat.lease_owner for chat in engine.chats()} == {None}
    assert stores.chats.unfinished(now() + timedelta(seconds=20), 10) == []
    assert [chat.id for chat in stores.chats.unfinished(now() + timedelta(seconds=40), 10)] == left


def test_a_job_for_a_message_that_is_done_with_does_nothing(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    for status in set(ChatStatus) - {ChatStatus.RECEIVED}:
        engine.service.resume(plant(engine, status, status=status, lease_owner=None, lease_until=None).id)
    engine.service.resume(new_id())
    assert {chat.status for chat in engine.chats()} == set(ChatStatus) - {ChatStatus.RECEIVED}


@pytest.mark.parametrize("status", [ChatStatus.ANSWERED, ChatStatus.MERGED])
def test_what_is_answered_is_never_answered_again(stores: Stores, status: ChatStatus) -> None:
    engine = Engine(stores, ScriptedModel([]))
    chat = plant(engine, "hello", status=status, lease_owner=None, lease_until=None)
    with pytest.raises(Conflict) as refused:
        engine.retry(chat)
    assert refused.value.code == "not_retryable"
    assert engine.chats() == [chat]


@pytest.mark.parametrize("deaths", [9, 10])
def test_a_message_that_has_not_died_too_often_is_answered(stores: Stores, deaths: int) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    plant(engine, "hello", attempts=deaths - 1)
    engine.sweep()
    assert engine.chat("hello").status is ChatStatus.ANSWERED


@RESCUES
def test_a_message_whose_attempts_died_ten_times_is_given_up(stores: Stores, rescue: Rescue) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    plant(engine, "hello", attempts=10, message_id="m", dedupe_key=_key(stores))
    try:
        rescue(engine)
    except OrquestraError as error:
        assert error.code == "abandoned"
    chat = engine.chat("hello")
    assert chat.status is ChatStatus.FAILED and chat.error is not None and chat.error.code == "abandoned"
    assert "hello" not in [request.question for request in engine.model.requests]
    engine.sweep()
    engine.service.resume(chat.id)
    assert engine.chat("hello") == chat


def test_a_message_that_was_given_up_is_tried_once_more_when_somebody_asks(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    error = ChatFailure("abandoned", "Every attempt died.", now())
    failed = {"status": ChatStatus.FAILED, "attempts": 11, "failures": 1, "error": error}
    chat = plant(engine, "hello", lease_owner=None, lease_until=None, **failed)
    assert engine.retry(chat).chat.response == "re hello"


def test_a_message_that_died_once_more_is_given_up_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    plant(engine, "hello", attempts=12, failures=1)
    engine.sweep()
    chat = engine.chat("hello")
    assert chat.error is not None and chat.error.code == "abandoned"


def test_a_stopping_server_hands_its_jobs_back(stores: Stores) -> None:
    never = threading.Event()
    stopping = Engine(stores, ScriptedModel([["half", never]]))
    chat = plant(stopping, "hello")
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(stopping.service.resume, chat.id)
        wait_until(lambda: stopping.model.calls == 1)
        assert stopping.chat("hello").is_worked_on(now())
        stopping.service.close(within=0.1)
        job.result(30)  # the model is cut off: its event is never set
    left = stopping.chat("hello")
    assert (left.status, left.lease_owner, left.failures, left.error) == (ChatStatus.RECEIVED, None, 0, None)
    other = stopping.twin(ScriptedModel([echo]))
    other.sweep()
    assert other.chat("hello").response == "re hello"
    stopping.service.resume(chat.id)


def test_a_stopped_server_begins_no_job(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    chat = plant(engine, "hello")
    engine.service.close()
    with pytest.raises(Unavailable) as refused:  # so that its job is done by another server
        engine.service.resume(chat.id)
    assert refused.value.code == "server_draining"
    assert engine.chats() == [chat]


def test_a_stopping_server_lets_its_jobs_end(stores: Stores) -> None:
    nearly = threading.Event()
    stopping = Engine(stores, ScriptedModel([["half ", nearly, "and half"]]))
    chat = plant(stopping, "hello")
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(stopping.service.resume, chat.id)
        wait_until(lambda: stopping.model.calls == 1)
        closing = pool.submit(stopping.service.close)
        nearly.set()
        job.result(30)
        closing.result(30)
    assert stopping.chat("hello").response == "half and half"


def test_a_lease_that_is_renewed_while_a_job_is_handed_back_is_handed_back_all_the_same(stores: Stores) -> None:
    never = threading.Event()
    stopping = Engine(stores, ScriptedModel([[never]]))
    chat = plant(stopping, "hello")

    def renew() -> None:
        owner = stopping.chat("hello").lease_owner
        assert owner is not None
        stores.chats.renew([chat.id], owner, now() + timedelta(seconds=30))
        meddled.clear()

    meddled: dict[str, Callable[[], object]] = {"requeue": renew}
    server = stopping.twin(chats=Meddled(stores.chats, before=meddled))
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(server.service.resume, chat.id)
        wait_until(lambda: stopping.model.calls == 1)
        server.service.close(within=0)
        job.result(30)
    assert stopping.chat("hello").lease_owner is None


def test_of_many_that_take_over_at_once_one_does(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 20))
    chat = plant(engine, "hello")
    servers = [engine, engine.twin(), engine.twin()]
    with ThreadPoolExecutor(12) as pool:
        jobs = [pool.submit(server.service.resume, chat.id) for server in servers * 3]
        says = [pool.submit(server.say, f"later {number}") for number, server in enumerate(servers)]
        for job in jobs:
            job.result(30)
        for said in says:
            said.result(30)
    questions = [request.question for request in engine.model.requests]
    assert questions.count("hello") == 1 and len(questions) == 4
    assert engine.chat("hello").attempts == 2


def _key(stores: Stores) -> str:
    """Return the dedupe key of the message "hello" with the id "m"."""
    probe = Engine(stores, ScriptedModel([]))
    return probe.say("hello", message_id="m", active=False).chat.dedupe_key
