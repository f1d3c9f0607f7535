"""The store goes away in the middle of an answer: it is waited for, and nothing is lost or doubled."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.answers import Done
from models.chats import ChatStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import DeadlineExceeded, ProviderFailed, Unavailable
from services.providers.scripted import ScriptedModel
from tests.contract.engine import DYING, Engine, Meddled, Trouble, echo, wait_until
from tests.contract.stores import Stores
from tests.contract.test_takeovers import plant

BROKEN = ProviderFailed("The model is down. Try again later.")
WHILE_WAITING = ["unfinished_before", "get"]
IN_A_BURST = ["get", "later_in_burst", "leave_burst", "earlier_in_burst", "merge", "merged_into", "finish"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_waits_for_the_store_and_is_made_once(stores: Stores, when: str) -> None:
    """After: it was written, and only the reply was lost; its caller gets its own answer."""
    engine = Engine(stores, ScriptedModel([echo]))
    chats = Meddled(stores.chats, **{when: {"finish": Trouble()}})
    done = engine.twin(chats=chats).say("hello", message_id="m")
    assert done == Done(engine.chat("hello"), replayed=False)
    assert (done.chat.status, done.chat.response, done.chat.attempts) == (ChatStatus.ANSWERED, "re hello", 1)
    assert engine.model.calls == 1


def test_a_commit_whose_reply_was_lost_is_told_to_those_who_watch_and_wait(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), chats=Meddled(stores.chats, after={"finish": Trouble()}))
    engine.service.accept(engine.inbound("hello", callback_url="https://example.org/"))
    for chat_id in engine.asked():
        engine.service.resume(chat_id)
    assert [event["type"] for event in engine.news.events] == ["conversation_new", "conversation_updated"]
    assert [argument for _, argument, _ in engine.jobs.jobs] == [engine.chat("hello").id]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", WHILE_WAITING)
def test_a_turn_is_waited_for_while_the_store_is_away(stores: Stores, method: str, when: str) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "one"], echo]))
    trouble = Trouble(0)
    other = engine.twin(chats=Meddled(stores.chats, **{when: {method: trouble}}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(other.say, "second")
        wait_until(lambda: engine.is_stored("second"))
        trouble.left = 1
        writing.set()
        first.result(30)
        assert second.result(30).chat.response == "re second"
    assert trouble.left == 0 and engine.model.calls == 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_take_over_waits_for_the_store_and_is_made_once(stores: Stores, when: str) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    plant(engine, "first")
    trouble = Trouble()
    other = engine.twin(chats=Meddled(stores.chats, **{when: {"claim": trouble}}))
    assert other.say("second").chat.response == "re second"
    assert trouble.left == 0
    assert [request.question for request in engine.model.requests] == ["first", "second"]
    assert engine.chat("first").attempts == 2


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", IN_A_BURST)
def test_a_burst_waits_for_the_store(stores: Stores, method: str, when: str) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=30.0)
    trouble = Trouble()
    other = engine.twin(chats=Meddled(stores.chats, **{when: {method: trouble}}))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "one")
        wait_until(lambda: engine.is_stored("one"))
        second = pool.submit(other.say, "two", assistant=other.hurried())
        assert first.result(30).chat.merged_into == second.result(30).chat.id
    assert trouble.left == 0
    assert [request.question for request in engine.model.requests] == ["one\ntwo"]


def test_a_failure_that_cannot_be_stored_is_an_attempt_that_died(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo]))
    chats = Meddled(stores.chats, before={"finish": Trouble()})
    dying = engine.twin(chats=chats, lease_seconds=DYING).die()
    with pytest.raises(ProviderFailed):
        dying.say("hello", message_id="m")
    assert engine.chat("hello").status is ChatStatus.RECEIVED
    assert engine.say("hello", message_id="m").chat.response == "re hello"
    assert len(engine.chats()) == 1


def test_a_failure_whose_reply_was_lost_is_stored(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN]), chats=Meddled(stores.chats, after={"finish": Trouble()}))
    with pytest.raises(ProviderFailed):
        engine.say("hello")
    assert engine.chat("hello").status is ChatStatus.FAILED


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_message_that_could_not_be_stored_can_be_sent_again(stores: Stores, when: str) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chats = Meddled(stores.chats, **{when: {"add": Trouble()}})
    dying = engine.twin(chats=chats, lease_seconds=DYING).die()
    with pytest.raises(Unavailable):
        dying.say("hello", message_id="m")
    assert engine.say("hello", message_id="m").chat.response == "re hello"
    assert len(engine.chats()) == 1 and engine.model.calls == 1


def test_a_store_that_stays_away_ends_with_the_deadline(stores: Stores) -> None:
    trouble = Trouble(10**6)
    engine = Engine(stores, ScriptedModel([echo, echo]))
    dying = engine.twin(chats=Meddled(stores.chats, before={"finish": trouble}), lease_seconds=DYING).die()
    with pytest.raises(DeadlineExceeded):
        dying.say("hello", Deadline(2.0), message_id="m")
    wait_until(lambda: not engine.chat("hello").is_worked_on(now()))
    assert engine.say("hello", message_id="m").chat.response == "re hello"


def test_a_lease_that_ended_while_the_store_was_away_gives_one_answer(stores: Stores) -> None:
    """The store comes back, the sweeper is first, and then the one that has the answer."""
    engine = Engine(stores, ScriptedModel([echo, echo]))
    before: dict[str, Callable[[], object]] = {}
    other = engine.twin(chats=Meddled(stores.chats, before=before), lease_seconds=DYING).die()

    def away() -> None:
        before.clear()
        wait_until(lambda: not engine.chat("hello").is_worked_on(now()))
        engine.sweep()
        raise Unavailable("The store is away.", code="store_unavailable")

    before["finish"] = away
    done = other.say("hello", message_id="m")
    assert done == Done(engine.chat("hello"), replayed=True)
    assert done.chat.attempts == 2
