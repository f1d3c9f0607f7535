"""Recorded messages and what comes while they are being heard, on both stores: all are answered in order of arrival."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from models.answers import Done
from models.chats import ChatStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import OrquestraError, ProviderFailed, Unavailable
from models.ids import id_at, new_id
from services.providers.scripted import ScriptedModel, Step
from tests.contract.engine import DYING, Engine, Meddled, Trouble, echo, use_clock_of_bursts, wait_until
from tests.contract.stores import Stores, make_chat
from tests.contract.test_recorded import OTHER, SECOND, Ear

PAUSE = 30.0
"""Seconds: within them comes whatever belongs together, however slow the machine is; a test skips them."""
LONG = 600.0
"""Seconds that a lease lasts which is to be valid after that."""


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Give the threads of clients."""
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Clock:
    """The clock of bursts, which a test puts forward."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._looks = 0

    def __call__(self) -> datetime:
        """Return the time."""
        self._looks += 1
        return now() + self._ahead

    def skip(self) -> None:
        """Let the pause go by, twice."""
        self._ahead += timedelta(seconds=2 * PAUSE)

    def wait_for_looks(self) -> None:
        """Wait until whoever waits has looked at the clock some times."""
        seen = self._looks
        wait_until(lambda: self._looks > seen + 5)


@pytest.fixture(autouse=True)
def right_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ids tell the time, which they do no more where an earlier test had one of a clock that was ahead."""
    monkeypatch.setattr("models.ids._last", 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock by which bursts begin and end."""
    made = Clock()
    use_clock_of_bursts(monkeypatch, made)
    return made


def patient(stores: Stores, *steps: Step, chats: Any = None) -> Engine:
    """Return a server whose assistant waits for bursts, and whose leases last."""
    return Engine(stores, ScriptedModel(steps), debounce_seconds=PAUSE, lease_seconds=LONG, chats=chats)


class Note:
    """A voice note that is being heard until `heard` is set."""

    def __init__(
        self,
        engine: Engine,
        pool: ThreadPoolExecutor,
        text: str | OrquestraError,
        content: bytes = SECOND,
        **fields: object,
    ) -> None:
        arrived, self.heard = threading.Event(), threading.Event()

        def hearing() -> None:
            arrived.set()
            assert self.heard.wait(20)

        self.end: Future[Done] = pool.submit(Ear(engine, [text], before=hearing).say, content, **fields)
        assert arrived.wait(10)

    def response(self) -> str | None:
        """Return the answer, once it has been heard."""
        self.heard.set()
        return self.end.result(10).chat.response


def messages(engine: Engine) -> list[str | None]:
    """Return what the conversation says, in its order."""
    return [chat.message for chat in engine.chats()]


def has_its_turn(engine: Engine, text: str) -> bool:
    """Tell whether the model was asked about a message."""
    return text in [request.question for request in engine.model.requests]


@contextmanager
def waits(engine: Engine, pool: ThreadPoolExecutor, text: str) -> Iterator[Future[Done]]:
    """Send a written message, which has to wait while the block runs."""
    end = pool.submit(engine.say, text)
    wait_until(lambda: engine.is_stored(text))
    yield end
    assert not end.done() and not has_its_turn(engine, text)


def test_what_is_written_while_a_note_is_heard_is_answered_after_it(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    engine.say("Bom dia")
    note = Note(engine, pool, "Qual o prazo?")
    twin = engine.twin()
    with waits(twin, pool, "E o preço?") as end:
        pass
    assert note.response() == "re Qual o prazo?"
    assert end.result(10).chat.response == "re E o preço?"
    assert messages(engine) == ["Bom dia", "Qual o prazo?", "E o preço?"]
    *_, last = engine.model.requests
    assert [turn.message for turn in last.history] == ["Bom dia", "Qual o prazo?"]
    created = [chat.created_at for chat in engine.chats()]
    assert created == sorted(created), "a message's time is that of its arrival"
    assert engine.places.ends == {}


def test_notes_are_answered_in_the_order_in_which_they_came(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    first = Note(engine, pool, "one")
    second = Note(engine, pool, "two", OTHER)
    second.heard.set()
    wait_until(lambda: engine.is_stored("two"))
    assert not second.end.done() and not has_its_turn(engine, "two")
    assert (first.response(), second.response()) == ("re one", "re two")
    assert messages(engine) == ["one", "two"]
    assert [request.question for request in engine.model.requests] == ["one", "two"]


def test_other_conversations_do_not_wait(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    note = Note(engine, pool, "Oi")
    other = engine.inbound("Olá").channel.__class__("+66", "whatsapp")
    assert engine.say("Olá", channel=other).chat.response == "re Olá"
    assert note.response() == "re Oi"


@pytest.mark.parametrize("message_id", ["m", None])
def test_a_note_that_cannot_be_heard_holds_nobody_up(
    stores: Stores, pool: ThreadPoolExecutor, message_id: str | None
) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    note = Note(engine, pool, ProviderFailed("It is down."), message_id=message_id)
    with waits(engine, pool, "Oi") as end:
        pass
    with pytest.raises(ProviderFailed):
        note.response()
    assert end.result(10).chat.response == "re Oi"
    assert messages(engine) == ["Oi"]


def test_a_server_that_dies_while_it_hears_holds_nobody_up_for_long(stores: Stores, pool: ThreadPoolExecutor) -> None:
    dying = Engine(stores, ScriptedModel([echo]), lease_seconds=DYING)
    note = Note(dying, pool, "Oi")
    engine = dying.twin()
    with waits(engine, pool, "Olá") as end:
        dying.die()
    assert end.result(10).chat.response == "re Olá"
    dying.model.add(echo)
    assert note.response() == "re Oi", "it had only been stopped"
    assert messages(engine) == ["Olá", "Oi"], "whose place is lost comes last"


def test_a_long_hearing_keeps_its_place(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]), lease_seconds=DYING)
    note = Note(engine, pool, "Oi")
    ((first,), (kept_until,)) = (tuple(engine.places.ends), tuple(engine.places.ends.values()))
    with waits(engine, pool, "Olá") as end:
        wait_until(lambda: now() > kept_until)
        assert tuple(engine.places.ends) == (first,)
    assert (note.response(), end.result(10).chat.response) == ("re Oi", "re Olá")
    assert messages(engine) == ["Oi", "Olá"]


def test_without_redis_messages_come_in_the_order_in_which_they_are_stored(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    engine.places.away = True
    note = Note(engine, pool, "Oi")
    assert engine.say("Olá").chat.response == "re Olá"
    assert note.response() == "re Oi"
    assert messages(engine) == ["Olá", "Oi"]


def test_redis_that_goes_away_meanwhile_costs_the_place_only(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    note = Note(engine, pool, "Oi")
    engine.places.away = True
    assert engine.say("Olá").chat.response == "re Olá"
    assert note.response() == "re Oi"
    assert messages(engine) == ["Olá", "Oi"]


def test_what_came_past_a_place_while_redis_was_away_comes_before_it(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    note = Note(engine, pool, "Oi")
    engine.places.away = True
    assert engine.say("Olá").chat.response == "re Olá"
    engine.places.away = False
    assert note.response() == "re Oi"
    assert messages(engine) == ["Olá", "Oi"]
    assert [turn.message for turn in engine.model.requests[-1].history] == ["Olá"]


def test_an_agents_words_overtake_nobody(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    first = engine.say("Bom dia").chat
    note = Note(engine, pool, "Oi")
    ours = {"assistant_id": engine.assistant.id, "conversation_id": first.conversation_id}
    words = make_chat(status=ChatStatus.ANSWERED, message=None, response="Já vejo.", **ours)
    stores.chats.add(replace(words, answered_by=new_id()))
    with waits(engine, pool, "Olá") as end:
        pass
    assert (note.response(), end.result(10).chat.response) == ("re Oi", "re Olá")
    assert messages(engine) == ["Bom dia", "Oi", None, "Olá"]


def test_a_store_that_fails_while_a_place_is_taken_leaves_none_behind(stores: Stores) -> None:
    trouble = Trouble(0)
    engine = Engine(stores, ScriptedModel([echo]), chats=Meddled(stores.chats, before={"newest": trouble}))
    engine.say("Oi")
    trouble.left = 1
    with pytest.raises(Unavailable):
        Ear(engine, ["Olá"]).say()
    assert engine.places.ends == {}


def test_nobody_waits_for_what_is_heard_beyond_its_time(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), lease_seconds=DYING)
    with engine.arrivals.keeping(engine.inbound(""), Deadline(0.0)):
        assert engine.say("Olá").chat.response == "re Olá"


def test_a_message_that_others_come_past_all_the_time_has_no_place(stores: Stores) -> None:
    first = Engine(stores, ScriptedModel([echo])).say("Oi").chat

    def others() -> None:
        ours = {"assistant_id": first.assistant_id, "conversation_id": first.conversation_id}
        stores.chats.add(make_chat(**ours))

    busy = Meddled(stores.chats, before={"newest": others})
    assistant = stores.assistants.get(first.assistant_id)
    engine = Engine(stores, ScriptedModel([]), assistant=assistant, chats=busy)
    with engine.arrivals.keeping(engine.inbound(""), Deadline(10)) as arrival:
        assert arrival is None and engine.places.ends == {}


def test_a_message_with_a_callback_is_accepted_at_once_and_answered_in_its_turn(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    note = Note(engine, pool, "Oi")
    accepted, _ = engine.service.accept(engine.inbound("Olá", callback_url="http://example.com/"))
    engine.jobs.jobs.clear()
    engine.service.resume(accepted.id)
    (*_, (_, chat_id, delay)) = engine.jobs.jobs
    assert chat_id == accepted.id and delay > 0, "put off, so that it holds no thread"
    assert engine.chat("Olá").status is ChatStatus.RECEIVED
    assert note.response() == "re Oi"
    engine.work()
    assert [chat.response for chat in engine.chats()] == ["re Oi", "re Olá"]


def test_what_comes_within_a_notes_burst_is_answered_with_it(
    stores: Stores, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    engine = patient(stores, echo)
    note = Note(engine, pool, "Oi")
    last = pool.submit(engine.say, "tudo bem?")
    wait_until(lambda: engine.is_stored("tudo bem?"))
    clock.skip()
    note.heard.set()
    assert note.end.result(20).chat.status is ChatStatus.MERGED
    assert last.result(20).chat.response == "re Oi\ntudo bem?"
    assert messages(engine) == ["Oi", "tudo bem?"]


def test_a_burst_stays_open_for_a_note_that_came_within_it(
    stores: Stores, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    engine = patient(stores, echo)
    first = pool.submit(engine.say, "Oi")
    wait_until(lambda: engine.is_stored("Oi"))
    note = Note(engine, pool, "tudo bem?")
    clock.skip()
    clock.wait_for_looks()
    assert not first.done() and not has_its_turn(engine, "Oi")
    assert note.response() == "re Oi\ntudo bem?"
    assert first.result(10).chat.status is ChatStatus.MERGED


def test_a_note_that_was_stored_while_its_burst_was_about_to_close_is_part_of_it(
    stores: Stores, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    looks: list[Callable[[], object]] = []
    went_on = threading.Event()
    chats = Meddled(stores.chats, after={"later_in_burst": lambda: looks and looks.pop()(), "leave_burst": went_on.set})
    engine = patient(stores, echo, echo, chats=chats)
    before = {"leave_burst": lambda: went_on.wait(10)}
    twin = engine.twin(lease_seconds=LONG, chats=Meddled(stores.chats, before=before))
    first = pool.submit(engine.say, "Oi")
    wait_until(lambda: engine.is_stored("Oi"))
    note = Note(twin, pool, "tudo bem?")

    def stored_now() -> None:
        note.heard.set()
        wait_until(lambda: engine.is_stored("tudo bem?") and not engine.places.ends)
        looks.append(went_on.set)

    clock.skip()
    looks.append(stored_now)
    assert first.result(20).chat.status is ChatStatus.MERGED
    assert note.response() == "re Oi\ntudo bem?"


def test_a_note_belongs_to_the_burst_before_it_where_the_next_message_came_too_late(
    stores: Stores, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    engine = patient(stores, echo, echo)
    first = pool.submit(engine.say, "Oi")
    wait_until(lambda: engine.is_stored("Oi"))
    note = Note(engine, pool, "tudo bem?")
    clock.skip()
    last = pool.submit(engine.say, "Olá")
    wait_until(lambda: engine.is_stored("Olá"))
    clock.skip()
    assert note.response() == "re Oi\ntudo bem?"
    assert first.result(10).chat.status is ChatStatus.MERGED
    assert last.result(10).chat.response == "re Olá"


def test_a_note_after_which_nothing_came_for_long_has_a_burst_of_its_own(
    stores: Stores, pool: ThreadPoolExecutor, clock: Clock
) -> None:
    engine = patient(stores, echo, echo)
    note = Note(engine, pool, "Oi")
    clock.skip()
    last = pool.submit(engine.say, "Olá")
    wait_until(lambda: engine.is_stored("Olá"))
    clock.skip()
    assert note.response() == "re Oi"
    assert last.result(10).chat.response == "re Olá"


def test_a_place_is_behind_what_a_clock_that_is_ahead_has_stored(stores: Stores, pool: ThreadPoolExecutor) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    engine.say("Oi")
    ahead = id_at(now() + timedelta(seconds=5))
    stores.conversations.clear_memory(engine.assistant.id, "whatsapp", ahead)
    note = Note(engine, pool, "Olá")
    assert note.response() == "re Olá"
    assert engine.chat("Olá").id > ahead


def test_what_comes_after_a_note_at_a_server_whose_clock_is_ahead_waits_for_it(
    stores: Stores, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    with monkeypatch.context() as ahead:
        ahead.setattr("services.arrivals.new_id", lambda after=None: id_at(now() + timedelta(seconds=5), after))
        first = Note(engine, pool, "one")
    second = Note(engine.twin(), pool, "two", OTHER)
    with waits(engine.twin(), pool, "three") as end:
        second.heard.set()
        wait_until(lambda: engine.is_stored("two"))
    assert (first.response(), second.response()) == ("re one", "re two")
    assert end.result(10).chat.response == "re three"
    assert messages(engine) == ["one", "two", "three"]


def test_a_note_that_was_on_its_way_when_the_memory_was_cleared_belongs_to_the_new_one(
    stores: Stores, pool: ThreadPoolExecutor
) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo]))
    engine.say("Oi")
    note = Note(engine, pool, "Olá")
    stores.conversations.clear_memory(engine.assistant.id, "whatsapp", cleared := new_id())
    assert note.response() == "re Olá"
    assert engine.chat("Olá").id > cleared


def together(*calls: Callable[[], object]) -> None:
    """Call all at once."""
    with ThreadPoolExecutor(len(calls)) as threads:
        for done in [threads.submit(call) for call in calls]:
            done.result(20)


def test_deliveries_of_one_note_at_once_leave_no_place_behind(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    ears = [Ear(engine, ["Oi"]) for _ in range(4)]
    together(*(lambda ear=ear: ear.say(message_id="m") for ear in ears))
    assert messages(engine) == ["Oi"] and engine.places.ends == {}
