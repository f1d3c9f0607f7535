"""Messages whose outcome is sent to a callback: stored at once, answered by a job, asked again when a model fails."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from models.answers import Done
from models.callbacks import Delivery, DeliveryStatus
from models.chats import Chat, ChatStatus
from models.clock import now
from models.errors import Conflict, ProviderFailed, Unavailable
from services.nudges import ANSWER_CHAT, SEND_CALLBACK
from services.providers.scripted import ScriptedModel
from tests.contract.engine import Asked, Engine, Meddled, Trouble, echo, wait_until
from tests.contract.stores import Stores, at_once

BROKEN = ProviderFailed("The model is down. Try again later.")
URL = "https://example.org/hook"


def accept(engine: Engine, text: str = "hello", **fields: object) -> tuple[Chat, bool]:
    """Accept a message whose id is its text."""
    given = {"message_id": text, "callback_url": URL, **fields}
    return engine.service.accept(engine.inbound(text, **given))


def due(engine: Engine, chat: Chat) -> None:
    """Let the time of a waiting delivery come."""
    assert chat.delivery is not None
    soon = replace(chat.delivery, next_at=now())
    assert engine.stores.chats.change_delivery(chat.id, chat.delivery, soon)


def fail_for_good(engine: Engine) -> Chat:
    """Let every attempt that a message has by itself fail."""
    chat, _ = accept(engine)
    engine.service.resume(chat.id)
    while (stored := delivery_of(engine.chat("hello"))).status is DeliveryStatus.WAITING:
        assert stored.next_at is not None
        due(engine, engine.chat("hello"))
        engine.service.resume(chat.id)
    return engine.chat("hello")


def delivery_of(chat: Chat) -> Delivery:
    """Return the delivery of a chat that has one."""
    assert chat.delivery is not None
    return chat.delivery


def test_a_message_is_stored_free_and_answered_by_its_job(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat, repeated = accept(engine)
    assert not repeated and engine.model.calls == 0
    assert (chat.status, chat.lease_owner, chat.attempts) == (ChatStatus.RECEIVED, None, 0)
    assert not chat.is_worked_on(now())
    assert chat.delivery == Delivery(URL) and engine.chats() == [chat]
    assert engine.jobs.jobs == [(ANSWER_CHAT, chat.id, 0.0)]
    engine.asked()
    engine.service.resume(chat.id)
    answered = engine.chat("hello")
    assert (answered.status, answered.response, answered.attempts) == (ChatStatus.ANSWERED, "re hello", 1)
    delivery = delivery_of(answered)
    assert (delivery.status, delivery.event_id, delivery.url) == (DeliveryStatus.PENDING, f"{chat.id}-1", URL)
    assert delivery.next_at is not None and delivery.next_at <= now()
    assert engine.jobs.jobs == [(SEND_CALLBACK, chat.id, 0.0)]


def test_a_message_whose_job_was_lost_is_asked_for_by_the_sweeper(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat, _ = accept(engine)
    assert stores.chats.unfinished(now(), 10) == []  # its job has some time first
    assert [one.id for one in stores.chats.unfinished(now() + timedelta(seconds=60), 10)] == [chat.id]


def test_while_many_jobs_wait_few_messages_are_asked_for_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    for number in range(8):
        accept(engine, f"{number}")
        assert stores.chats.requeue(engine.chat(f"{number}"), now())  # the time is up at which it is asked for again
    engine.jobs.jobs *= 20
    engine.service.sweep()
    assert len(engine.jobs.jobs) == 8 * 20 + 5
    engine.jobs.jobs.clear()
    engine.service.sweep()
    assert len(engine.jobs.jobs) == 3, "the others had been asked for a moment ago"


def test_accepting_it_again_changes_nothing(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat, _ = accept(engine)
    assert accept(engine.twin()) == (chat, True)
    engine.service.resume(chat.id)
    answered = engine.chat("hello")
    assert accept(engine) == (answered, True)
    assert engine.chats() == [answered] and engine.model.calls == 1


def test_accepting_it_many_times_at_once_stores_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    servers = [engine, engine.twin()]
    ends = at_once(8, lambda number: accept(servers[number % 2]))
    assert sorted(repeated for _, repeated in ends) == [False] + [True] * 7
    assert {chat.id for chat, _ in ends} == {chat.id for chat in engine.chats()}
    assert len(servers[0].jobs.jobs + servers[1].jobs.jobs) == 1
    at_once(4, lambda number: servers[number % 2].service.resume(engine.chat("hello").id))
    assert engine.model.calls == 1


def test_another_text_is_refused(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    accept(engine)
    for call in (accept, Engine.say):
        with pytest.raises(Conflict) as refused:
            call(engine, "other", message_id="hello")
        assert refused.value.code == "message_id_reused"


def test_a_plain_delivery_answers_what_has_no_answer_yet(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat, _ = accept(engine)
    done = engine.say("hello", message_id="hello")
    assert (done.chat.response, done.replayed) == ("re hello", False)
    assert delivery_of(done.chat).status is DeliveryStatus.PENDING
    engine.service.resume(chat.id)
    assert engine.chats() == [done.chat] and engine.model.calls == 1


def test_a_plain_delivery_waits_for_the_job_that_runs(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "once"]]))
    chat, _ = accept(engine)
    with ThreadPoolExecutor(2) as pool:
        job = pool.submit(engine.service.resume, chat.id)
        wait_until(lambda: engine.model.calls == 1)
        plain = pool.submit(engine.twin().say, "hello", message_id="hello")
        writing.set()
        job.result(30)
        assert plain.result(30) == Done(engine.chat("hello"), replayed=True)
    assert engine.say("hello", message_id="hello").replayed


def test_a_message_without_a_callback_gets_none_later(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]))
    chat = engine.say("hello", message_id="hello").chat
    with pytest.raises(Conflict) as refused:
        accept(engine)
    assert refused.value.code == "callback_missing"
    assert engine.chats() == [chat] and chat.delivery is None


@pytest.mark.parametrize("off", ["conversation", "request"])
def test_an_inactive_message_is_sent_at_once(stores: Stores, off: str) -> None:
    engine = Engine(stores, ScriptedModel([]))
    if off == "conversation":
        engine.say("before", active=False)
        engine.switch(False)
    chat, _ = accept(engine, active=off != "request")
    assert (chat.status, chat.active, delivery_of(chat).status) == (ChatStatus.INACTIVE, False, DeliveryStatus.PENDING)
    assert engine.chat("hello") == chat
    assert engine.jobs.jobs == [(SEND_CALLBACK, chat.id, 0.0)]


def test_an_answer_that_a_human_overtook_is_sent_as_suppressed(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "late"]]))
    chat, _ = accept(engine)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(engine.service.resume, chat.id)
        wait_until(lambda: engine.model.calls == 1)
        engine.switch(False)
        writing.set()
        job.result(30)
    stored = engine.chat("hello")
    assert (stored.status, delivery_of(stored).status) == (ChatStatus.SUPPRESSED, DeliveryStatus.PENDING)


def test_a_model_that_fails_is_asked_again_when_it_is_time(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo]))
    chat, _ = accept(engine)
    engine.asked()
    engine.service.resume(chat.id)
    failed = engine.chat("hello")
    delivery = delivery_of(failed)
    assert (failed.status, failed.failures, delivery.status) == (ChatStatus.FAILED, 1, DeliveryStatus.WAITING)
    assert delivery.next_at is not None and delivery.next_at > now()
    ((job, argument, delay),) = engine.jobs.jobs
    assert (job, argument) == (SEND_CALLBACK, chat.id) and delay > 1
    engine.service.resume(chat.id)
    engine.sweep()
    assert engine.chat("hello") == failed  # not yet
    due(engine, failed)
    engine.service.resume(chat.id)
    answered = engine.chat("hello")
    assert (answered.status, answered.attempts, answered.error) == (ChatStatus.ANSWERED, 2, None)
    assert delivery_of(answered).event_id == f"{chat.id}-2"


def test_a_model_that_fails_again_and_again_is_an_outcome(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN] * 5))
    failed = fail_for_good(engine)
    assert engine.model.calls == 5
    assert (failed.status, failed.failures, failed.attempts) == (ChatStatus.FAILED, 5, 5)
    assert delivery_of(failed).status is DeliveryStatus.PENDING
    engine.service.resume(failed.id)
    assert engine.chat("hello") == failed


def test_a_message_that_failed_for_good_is_asked_again_when_it_is_delivered_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN] * 5 + [echo]))
    failed = fail_for_good(engine)
    engine.asked()
    chat, repeated = accept(engine)
    assert repeated and chat.id == failed.id
    assert engine.asked() == [failed.id]
    assert accept(engine)[1] and engine.asked() == []  # asked for once
    engine.service.resume(failed.id)
    answered = engine.chat("hello")
    assert (answered.status, answered.failures) == (ChatStatus.ANSWERED, 5)
    assert delivery_of(answered).event_id == f"{failed.id}-6"


def test_a_message_that_failed_for_good_is_answered_by_a_plain_delivery(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN] * 5 + [echo]))
    fail_for_good(engine)
    done = engine.say("hello", message_id="hello")
    assert done.chat.response == "re hello" and delivery_of(done.chat).event_id == f"{done.chat.id}-6"


def test_a_job_that_dies_is_followed_by_another(stores: Stores) -> None:
    never = threading.Event()
    dying = Engine(stores, ScriptedModel([["half", never, "late"]]), lease_seconds=0.4).die()
    chat, _ = accept(dying)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(dying.service.resume, chat.id)
        try:
            wait_until(lambda: dying.model.calls == 1)
            wait_until(lambda: not dying.chat("hello").is_worked_on(now()))
            engine = dying.twin(ScriptedModel([echo]))
            engine.sweep()
            answered = engine.chat("hello")
            assert (answered.response, delivery_of(answered).event_id) == ("re hello", f"{chat.id}-2")
        finally:
            never.set()
        job.result(30)
    assert engine.chat("hello") == answered
    assert (SEND_CALLBACK, chat.id, 0.0) in engine.jobs.jobs


def test_a_job_whose_store_goes_away_leaves_it_to_the_next(stores: Stores) -> None:
    away = Trouble(0)
    engine = Engine(stores, ScriptedModel([BROKEN, echo]))
    server = engine.twin(chats=Meddled(stores.chats, before={"finish": away}), lease_seconds=0.4).die()
    chat, _ = accept(server)
    away.left = 1
    server.service.resume(chat.id)
    assert engine.chat("hello").status is ChatStatus.RECEIVED
    wait_until(lambda: not engine.chat("hello").is_worked_on(now()))
    engine.sweep()
    assert engine.chat("hello").response == "re hello"


def test_messages_with_and_without_callbacks_are_answered_in_order(stores: Stores) -> None:
    """The queue is slow or lost: whoever waits behind a message answers it first, then its own."""
    engine = Engine(stores, ScriptedModel([echo] * 3))
    accept(engine, "one")
    accept(engine, "two")
    engine.say("three")
    assert [request.question for request in engine.model.requests] == ["one", "two", "three"]
    assert [delivery_of(engine.chat(text)).status for text in ("one", "two")] == [DeliveryStatus.PENDING] * 2


def test_each_message_of_a_burst_of_callbacks_is_answered_once_and_has_an_event(stores: Stores) -> None:
    """A job that begins at the moment when the last message closes the burst may answer its own one apart."""
    engine = Engine(stores, ScriptedModel([echo] * 3), debounce_seconds=0.5)
    chats = [accept(engine, text)[0] for text in ("one", "two", "three")]
    engine.work(threads=3)
    asked = "\n".join(request.question for request in engine.model.requests).split("\n")
    assert sorted(asked) == ["one", "three", "two"]
    assert {chat.status for chat in engine.chats()} <= {ChatStatus.MERGED, ChatStatus.ANSWERED}
    assert {delivery_of(chat).status for chat in engine.chats()} == {DeliveryStatus.PENDING}
    assert {argument for _, argument, _ in engine.jobs.jobs} == {chat.id for chat in chats}


def test_a_burst_of_callbacks_with_one_job_thread_is_one_answer(stores: Stores) -> None:
    """The jobs of the others are behind the first one in the queue, and it does not wait for them."""
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=30.0)
    for text in ("one", "two"):
        accept(engine, text)
    accept(engine, "three", assistant=replace(engine.assistant, debounce_seconds=0.1))  # soon the burst is over
    engine.work(threads=1)
    assert [request.question for request in engine.model.requests] == ["one\ntwo\nthree"]


def test_a_job_does_not_wait_for_the_turn_of_its_chat(stores: Stores) -> None:
    """A thread that only waited would keep other conversations from being answered."""
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([["one", release], ["two"]]))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        chat, _ = accept(engine, "second")
        (asked,) = engine.asked()
        engine.service.resume(asked)
        ((job, argument, delay),) = engine.jobs.jobs
        assert (job, argument, delay > 0) == (ANSWER_CHAT, chat.id, True)
        release.set()
        first.result(30)
    engine.work()
    assert [one.response for one in engine.chats()] == ["one", "two"]


def test_jobs_of_one_conversation_do_not_wait_for_each_other(stores: Stores) -> None:
    """A job whose chat is not the first one answers the first one, and comes back for its own."""
    engine = Engine(stores, ScriptedModel([echo] * 3))
    chats = [accept(engine, text)[0] for text in ("one", "two", "three")]
    engine.asked()
    engine.service.resume(chats[2].id)
    assert [chat.status.value for chat in engine.chats()] == ["answered", "received", "received"]
    assert engine.asked() == [chats[2].id]
    engine.service.resume(chats[2].id)
    engine.work()
    assert [chat.response for chat in engine.chats()] == ["re one", "re two", "re three"]
    assert {chat.attempts for chat in engine.chats()} == {1}


def test_a_chat_has_one_job_however_long_it_waits(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([["one", release], echo]))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        chat, _ = accept(engine, "second")
        engine.asked()
        for _ in range(4):  # four jobs for it, as sweepers may ask for
            engine.service.resume(chat.id)
        assert engine.asked() == [chat.id]
        release.set()
        first.result(30)


def test_a_queue_that_is_away_loses_nothing(stores: Stores) -> None:
    class Away(Asked):
        def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
            raise Unavailable("Redis is away.", code="redis_unavailable")

    engine = Engine(stores, ScriptedModel([echo]), jobs=Away())
    chat, _ = accept(engine)
    engine.service.sweep()
    engine.service.resume(chat.id)
    assert delivery_of(engine.chat("hello")).status is DeliveryStatus.PENDING
