"""Bursts: messages that come close behind each other are answered together, once."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from models.answers import Done
from models.chats import Burst, Chat, ChatOutcome, ChatStatus
from models.clock import now
from models.conversations import Channel
from models.errors import ProviderFailed
from models.given import Turn
from models.ids import new_id
from services.providers.scripted import ScriptedModel
from tests.contract.engine import Engine, Meddled, echo, wait_until
from tests.contract.stores import Stores
from tests.contract.test_takeovers import plant

BROKEN = ProviderFailed("The model is down. Try again later.")
PAUSE = 0.4
"""Seconds of `debounce_seconds` where nothing has to happen within them."""
SOME = 2.0
"""Seconds of a pause in which a second message comes, and which end while a test runs."""
LONG = 30.0
"""Seconds of a pause that outlasts a test, on whatever machine."""


def send(pool: ThreadPoolExecutor, servers: Sequence[Engine], *texts: str) -> list[Future[Done]]:
    """Send messages one right behind the other, each with its text as its id, by one server after the other.

    The last one finds the assistant with a short pause, so the burst closes soon behind it, and not before.
    """
    sent = [submitted(pool, servers[at % len(servers)], text) for at, text in enumerate(texts[:-1])]
    last = servers[(len(texts) - 1) % len(servers)]
    return [*sent, submitted(pool, last, texts[-1], assistant=last.hurried())]


def submitted(pool: ThreadPoolExecutor, server: Engine, text: str, **fields: Any) -> Future[Done]:
    """Send a message that keeps its burst open for the assistant's pause; it is stored."""
    sent = pool.submit(server.say, text, message_id=text, **fields)
    wait_until(partial(server.is_stored, text))
    return sent


def left_in_burst(engine: Engine, *texts: str, closes_in: float = -0.1) -> list[Chat]:
    """Store a burst whose server died."""
    burst = Burst(now() - timedelta(seconds=1), now() + timedelta(seconds=closes_in))
    return [plant(engine, text, burst=burst) for text in texts]


def answered_together(engine: Engine, *texts: str) -> None:
    """Check that these messages, and nothing else, were answered by one call with the last of them."""
    assert [request.question for request in engine.model.requests] == ["\n".join(texts)]
    assert engine.model.requests[0].history == ()
    chats = engine.chats()
    last = chats[-1]
    assert [chat.message for chat in chats] == list(texts)
    assert (last.status, last.response, last.merged_into) == (ChatStatus.ANSWERED, "re " + "\n".join(texts), None)
    for chat in chats[:-1]:
        assert (chat.status, chat.response, chat.merged_into) == (ChatStatus.MERGED, None, last.id)
        assert chat.lease_owner is None and chat.active


def test_messages_close_behind_each_other_are_answered_together(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(3) as pool:
        ends = [one.result(30) for one in send(pool, [engine], "one", "two", "three")]
    answered_together(engine, "one", "two", "three")
    assert [end.chat for end in ends] == engine.chats()
    assert [end.replayed for end in ends] == [False] * 3


def test_two_servers_answer_one_burst(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(4) as pool:
        ends = [one.result(30) for one in send(pool, [engine, engine.twin()], "one", "two", "three", "four")]
    answered_together(engine, "one", "two", "three", "four")
    assert [end.chat for end in ends] == engine.chats()


def test_a_burst_is_not_torn_while_its_last_one_is_about_to_merge_the_others(stores: Stores) -> None:
    """It has left the burst itself: the others must not go on alone."""
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    slow = engine.twin(chats=Meddled(stores.chats, after={"leave_burst": partial(time.sleep, 0.6)}))
    with ThreadPoolExecutor(2) as pool:
        for one in send(pool, [engine, slow], "one", "two"):
            one.result(30)
    answered_together(engine, "one", "two")


def test_a_lone_message_waits_for_its_burst_only(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE)
    chat = engine.say("alone").chat
    assert chat.response == "re alone" and chat.merged_into is None
    assert chat.answered_at is not None and chat.answered_at - chat.created_at >= timedelta(seconds=PAUSE)


def test_a_merged_message_is_replayed_as_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(2) as pool:
        ends = [one.result(30) for one in send(pool, [engine], "one", "two")]
    for end in ends:
        assert end.chat.message is not None
        again = engine.say(end.chat.message, message_id=end.chat.message)
        assert again == Done(end.chat, replayed=True)
    assert engine.model.calls == 1


def test_deliveries_of_the_members_wait_for_their_burst(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(6) as pool:
        first = send(pool, [engine], "one", "two")
        again = send(pool, [engine.twin()], "one", "two", "one", "two")
        ends = [one.result(30) for one in first + again]
    answered_together(engine, "one", "two")
    assert [end.replayed for end in ends] == [False] * 2 + [True] * 4
    assert {end.chat.id for end in ends} == {chat.id for chat in engine.chats()}


def test_a_message_behind_the_burst_begins_a_new_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=PAUSE)
    engine.say("one")
    engine.say("two")
    assert [request.question for request in engine.model.requests] == ["one", "two"]
    assert engine.model.requests[1].history == (Turn("one", "re one"),)


def test_a_message_that_comes_while_the_burst_is_answered_begins_a_new_one(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "both"], echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(3) as pool:
        first = send(pool, [engine], "one", "two")
        wait_until(lambda: engine.model.calls == 1)
        third = send(pool, [engine], "three")
        writing.set()
        for one in first + third:
            one.result(30)
    assert [request.question for request in engine.model.requests] == ["one\ntwo", "three"]
    assert engine.model.requests[1].history == (Turn("one", None), Turn("two", "both"))


def test_messages_without_an_end_are_answered_in_bursts_of_some_pauses(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 40), debounce_seconds=PAUSE)
    with ThreadPoolExecutor(40) as pool:
        sent = []
        for number in range(20):
            sent.append(submitted(pool, engine, f"{number:02}"))
            time.sleep(PAUSE / 3)
        for one in sent:
            one.result(30)
    bursts: dict[str, list[Chat]] = {}
    for chat in engine.chats():
        bursts.setdefault(chat.merged_into or chat.id, []).append(chat)
    assert 1 < len(bursts) == engine.model.calls
    for members in bursts.values():
        assert members[-1].status is ChatStatus.ANSWERED
        assert members[-1].created_at - members[0].created_at <= timedelta(seconds=5 * PAUSE)
    questions = "\n".join(request.question for request in engine.model.requests)
    assert questions.split("\n") == [f"{number:02}" for number in range(20)]


@pytest.mark.parametrize("age", [10, 36])
def test_each_message_keeps_the_burst_open_for_another_pause_up_to_a_cap(stores: Stores, age: int) -> None:
    """The cap is five pauses."""
    engine, pause = Engine(stores, ScriptedModel([]), debounce_seconds=8), timedelta(seconds=8)
    burst = Burst(now() - timedelta(seconds=age), now() + timedelta(seconds=LONG))
    plant(engine, "one", burst=burst, lease_until=now() + timedelta(seconds=60))
    before = now()
    joined = engine.service.accept(engine.inbound("two", callback_url="https://example.org/"))[0].burst
    assert joined is not None and joined.began == burst.began
    cap = burst.began + 5 * pause
    assert min(before + pause, cap) <= joined.until <= min(now() + pause, cap)


def test_a_burst_of_long_pauses_ends_after_45_seconds(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]), debounce_seconds=30)
    burst = Burst(now() - timedelta(seconds=40), now() + timedelta(seconds=20))
    plant(engine, "one", burst=burst, lease_until=now() + timedelta(seconds=60))
    joined, _ = engine.service.accept(engine.inbound("two", callback_url="https://example.org/"))
    assert joined.burst == Burst(burst.began, burst.began + timedelta(seconds=45))


def test_other_conversations_have_bursts_of_their_own(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=PAUSE)
    with ThreadPoolExecutor(2) as pool:
        for one in [pool.submit(engine.say, text, channel=Channel(text, "whatsapp")) for text in ("a", "b")]:
            assert one.result(30).chat.status is ChatStatus.ANSWERED
    assert sorted(request.question for request in engine.model.requests) == ["a", "b"]


def test_a_member_whose_server_dies_is_answered_with_the_others(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE)
    left_in_burst(engine, "one", closes_in=LONG)
    assert engine.say("two").chat.response == "re one\ntwo"
    answered_together(engine, "one", "two")


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_burst_whose_servers_died_is_answered_together_by_whoever_takes_over(stores: Stores, first: int) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE)
    left = left_in_burst(engine, "one", "two", "three")
    engine.service.resume(left[first].id)
    answered_together(engine, "one", "two", "three")


def test_a_burst_whose_servers_died_is_answered_together_by_the_sweeper(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE)
    left_in_burst(engine, "one", "two", "three")
    engine.sweep()
    answered_together(engine, "one", "two", "three")


@pytest.mark.parametrize("pause", [0.0, PAUSE])
def test_a_burst_whose_servers_died_is_answered_together_before_a_later_message(stores: Stores, pause: float) -> None:
    """The later message does not join it: it is closed."""
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=pause)
    left_in_burst(engine, "one", "two", "three")
    engine.say("later")
    assert [request.question for request in engine.model.requests] == ["one\ntwo\nthree", "later"]
    turns = (Turn("one", None), Turn("two", None), Turn("three", "re one\ntwo\nthree"))
    assert engine.model.requests[1].history == turns


def test_a_message_whose_last_one_died_waits_for_it_and_is_answered_with_it(stores: Stores) -> None:
    """The server of the last one stops before the burst closes; the first one's lives."""
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(1) as pool:
        first = submitted(pool, engine, "one")
        burst = engine.chat("one").burst
        assert burst is not None
        plant(engine, "two", burst=replace(burst, until=now()), lease_until=now() + timedelta(seconds=60))
        engine.lapse("two")
        merged = first.result(30)
    answered_together(engine, "one", "two")
    assert merged == Done(engine.chat("one"))


def test_a_last_one_whose_job_is_late_is_answered_with_the_others(stores: Stores) -> None:
    """Every job thread may be waiting for a burst itself: nobody waits for a job that has not begun."""
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(1) as pool:
        first = submitted(pool, engine, "one")
        inbound = engine.inbound("two", callback_url="https://example.org/", assistant=engine.hurried())
        engine.service.accept(inbound)
        assert first.result(30).chat.status is ChatStatus.MERGED
    answered_together(engine, "one", "two")


def test_a_last_one_that_dies_after_it_has_merged_the_others_is_answered_with_all(stores: Stores) -> None:
    dead = threading.Event()
    dying = Engine(stores, ScriptedModel([[dead, "late"]]), debounce_seconds=LONG).die()
    with ThreadPoolExecutor(2) as pool:
        ends = send(pool, [dying], "one", "two")
        try:
            wait_until(lambda: dying.model.calls == 1)
            assert ends[0].result(30).chat.status is ChatStatus.MERGED
            dying.lapse("two")
            engine = dying.twin(ScriptedModel([echo]))
            assert engine.say("two", message_id="two").chat.response == "re one\ntwo"
        finally:
            dead.set()
        assert ends[1].result(30) == Done(engine.chat("two"), replayed=True)
    answered_together(engine, "one", "two")


def test_a_last_one_that_dies_between_leaving_and_merging_loses_nothing(stores: Stores) -> None:
    """It left the burst, and merges nobody any more: each is answered once, in order, but not together."""
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=PAUSE)
    one = left_in_burst(engine, "one")[0]
    plant(engine, "two")
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(engine.service.resume, chat.id) for chat in (one, engine.chat("two"))]
        for job in jobs:
            job.result(30)
    engine.work()
    assert [request.question for request in engine.model.requests] == ["one", "two"]


@pytest.mark.parametrize("followed", [True, False])
def test_nobody_waits_to_be_merged_by_a_last_one_that_left_the_burst_and_died(stores: Stores, followed: bool) -> None:
    """Nor by the attempt that follows: it waits for the others' answers."""
    engine, planted = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE), threading.Event()
    looking = Meddled(stores.chats, before={"later_in_burst": partial(planted.wait, 30)})
    until = now() + timedelta(seconds=60)
    with ThreadPoolExecutor(1) as pool:
        one = submitted(pool, engine.twin(chats=looking), "one")
        two = plant(engine, "two", burst=engine.chat("one").burst, lease_until=until)
        planted.set()
        wait_until(lambda: now() > until - timedelta(seconds=60 - PAUSE))
        looks = looking.counted["later_in_burst"]
        wait_until(lambda: looking.counted["later_in_burst"] > looks + 1)  # it waits to be merged
        assert two.lease_owner is not None and stores.chats.leave_burst(two.id, two.lease_owner)
        if followed:
            left = engine.chat("two")
            assert stores.chats.requeue(left, now())
            assert stores.chats.claim(engine.chat("two"), new_id(), until, now())
        else:
            engine.lapse("two")
        assert one.result(30).chat.response == "re one"


def test_a_slow_last_one_that_comes_back_merges_nobody_that_was_answered(stores: Stores) -> None:
    """It stops between leaving its burst and merging; the others do not wait for it for ever."""
    go_on, left = threading.Event(), threading.Event()

    def stop() -> None:
        left.set()
        assert go_on.wait(30)

    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=SOME)
    slow = engine.twin(chats=Meddled(stores.chats, after={"leave_burst": stop})).die()
    with ThreadPoolExecutor(3) as pool:
        ends = send(pool, [engine, slow], "one", "two")
        assert left.wait(30)
        engine.lapse("two")
        taken = pool.submit(engine.say, "two", message_id="two")
        assert ends[0].result(30).chat.response == "re one"
        assert taken.result(30).chat.response == "re two"
        settled = engine.chats()
        go_on.set()
        assert ends[1].result(30) == Done(settled[1], replayed=True)
    assert engine.chats() == settled


def test_a_last_one_that_fails_is_tried_again_with_all_texts(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo]), debounce_seconds=LONG)
    with ThreadPoolExecutor(2) as pool:
        ends = send(pool, [engine], "one", "two")
        assert ends[0].result(30).chat.merged_into == engine.chat("two").id
        with pytest.raises(ProviderFailed):
            ends[1].result(30)
    assert engine.say("one", message_id="one").replayed
    assert engine.say("two", message_id="two").chat.response == "re one\ntwo"
    assert [chat.status for chat in engine.chats()] == [ChatStatus.MERGED, ChatStatus.ANSWERED]


def test_a_last_one_that_was_given_up_leaves_the_burst_to_the_others(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo]), debounce_seconds=PAUSE)
    one, two = left_in_burst(engine, "one", "two")
    poison = plant(engine, "poison", burst=two.burst, attempts=10)
    engine.service.resume(one.id)
    assert engine.chat("poison").status is ChatStatus.FAILED
    assert [request.question for request in engine.model.requests] == ["one\ntwo"]
    assert (engine.chat("one").merged_into, poison.burst) == (two.id, two.burst)


def test_a_human_takes_over_during_a_burst(stores: Stores) -> None:
    engine, switched = Engine(stores, ScriptedModel([echo]), debounce_seconds=LONG), threading.Event()
    server = engine.twin(chats=Meddled(stores.chats, before={"leave_burst": partial(switched.wait, 30)}))
    with ThreadPoolExecutor(2) as pool:
        ends = send(pool, [server], "one", "two")
        engine.switch(False)
        switched.set()
        merged, last = (one.result(30).chat for one in ends)
    assert (merged.status, merged.merged_into) == (ChatStatus.MERGED, last.id)
    assert (last.status, last.active, last.response) == (ChatStatus.INACTIVE, False, None)
    assert engine.model.calls == 0
    engine.switch(True)
    assert engine.retry(last).chat.response == "re one\ntwo"


def test_a_member_that_fails_leaves_its_burst(stores: Stores) -> None:
    """Its caller left; the next delivery is answered by itself, and the burst that goes on without it too."""
    engine, answered = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=LONG), threading.Event()
    server = engine.twin(chats=Meddled(stores.chats, before={"leave_burst": partial(answered.wait, 30)}))
    deadline = engine.service.new_deadline()
    with ThreadPoolExecutor(3) as pool:
        first = submitted(pool, engine, "one", deadline=deadline)
        second = send(pool, [server], "two")
        deadline.cancel()
        with pytest.raises(ProviderFailed):
            first.result(30)
        again = pool.submit(engine.say, "one", message_id="one")
        assert again.result(30).chat.response == "re one"
        answered.set()
        assert second[0].result(30).chat.response == "re two"
    assert [chat.merged_into for chat in engine.chats()] == [None, None]
    assert [request.question for request in engine.model.requests] == ["one", "two"]


def test_a_message_does_not_join_one_that_is_tried_again(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([BROKEN, [writing, "one"], echo]), debounce_seconds=LONG)
    with pytest.raises(ProviderFailed):
        engine.say("one", message_id="one", assistant=engine.hurried())
    with ThreadPoolExecutor(2) as pool:
        again = pool.submit(engine.say, "one", message_id="one")
        wait_until(lambda: engine.model.calls == 2)
        second = send(pool, [engine], "two")
        writing.set()
        assert (again.result(30).chat.response, second[0].result(30).chat.response) == ("one", "re two")


def test_a_burst_closes_although_debouncing_was_switched_off(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=LONG)
    changed = stores.assistants.update(engine.assistant.id, {"debounce_seconds": 0.0}, now())
    assert changed is not None
    after = Engine(stores, engine.model, assistant=changed)
    with ThreadPoolExecutor(3) as pool:
        ends = send(pool, [engine], "one", "two") + send(pool, [after], "three")
        for one in ends:
            one.result(30)
    assert [request.question for request in engine.model.requests] == ["one\ntwo", "three"]


def test_what_was_merged_stands_in_the_memory_once(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 2), debounce_seconds=LONG)
    with ThreadPoolExecutor(3) as pool:
        for one in send(pool, [engine], "one", "two", "three"):
            one.result(30)
    engine.say("four", assistant=engine.hurried())
    turns = (Turn("one", None), Turn("two", None), Turn("three", "re one\ntwo\nthree"))
    assert engine.model.requests[1].history == turns


def test_the_memory_of_a_burst_is_as_long_as_of_a_message(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 5), debounce_seconds=LONG)
    changed = stores.assistants.update(engine.assistant.id, {"history_turns": 2}, now())
    assert changed is not None
    server = Engine(stores, engine.model, assistant=changed)
    for text in ("a", "b", "c"):
        server.say(text, assistant=server.hurried())
    with ThreadPoolExecutor(3) as pool:
        for one in send(pool, [server], "one", "two", "three"):
            one.result(30)
    assert engine.model.requests[-1].history == (Turn("b", "re b"), Turn("c", "re c"))


@pytest.mark.parametrize("round", range(5))
def test_messages_at_the_same_instant_without_locks_are_each_answered_once(stores: Stores, round: int) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 8), debounce_seconds=0.2)
    other, start = engine.twin(), threading.Barrier(8)

    def say(number: int) -> Done:
        start.wait()
        return (engine, other)[number % 2].say(str(number), message_id=str(number))

    with ThreadPoolExecutor(8) as pool:
        ends = [one.result(30) for one in [pool.submit(say, number) for number in range(8)]]
    told = "\n".join(request.question for request in engine.model.requests).split("\n")
    assert sorted(told) == [str(number) for number in range(8)]
    answered = {chat.id for chat in engine.chats() if chat.status is ChatStatus.ANSWERED}
    assert len(answered) == engine.model.calls
    for end in ends:
        assert (end.chat.merged_into or end.chat.id) in answered


@pytest.mark.parametrize("port", ["later_in_burst", "leave_burst", "earlier_in_burst", "merge", "unfinished_before"])
def test_a_burst_survives_a_server_that_stops_anywhere(stores: Stores, port: str) -> None:
    """It stops at each step in turn, and comes back when others have taken over."""
    go_on, stopped = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        assert go_on.wait(30)

    engine = Engine(stores, ScriptedModel([echo] * 3), debounce_seconds=SOME)
    slow = engine.twin(chats=Meddled(stores.chats, before={port: stop})).die()
    with ThreadPoolExecutor(4) as pool:
        ends = send(pool, [engine, slow], "one", "two")
        try:
            assert stopped.wait(30)
            engine.lapse("two")
            taken = engine.say("two", message_id="two")
            first = ends[0].result(30)
        finally:
            go_on.set()
        assert ends[1].result(30).chat == taken.chat
    told = "\n".join(request.question for request in engine.model.requests)
    assert told == "one\ntwo"
    assert [first.chat, taken.chat] == engine.chats()


def test_an_erased_burst_ends_for_everybody(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]), debounce_seconds=LONG)
    with ThreadPoolExecutor(2) as pool:
        ends = [submitted(pool, engine, text) for text in ("one", "two")]
        (conversation_id,) = {chat.conversation_id for chat in engine.chats()}
        stores.conversations.delete(conversation_id)
        stores.chats.delete_of_conversation(conversation_id)
        for one in ends:
            error = one.exception(5)
            assert error is not None and getattr(error, "code", "") == "conversation_erased"
    assert engine.chats() == []


def test_a_merge_happens_in_the_burst_as_it_was_seen_only(stores: Stores) -> None:
    """Not one that has been settled meanwhile, or has left; and only its own attempt lets a member leave."""
    engine = Engine(stores, ScriptedModel([]))
    one, two = left_in_burst(engine, "one", "two")
    assert one.burst is not None and one.lease_owner is not None and two.lease_owner is not None
    elsewhere = replace(one, burst=replace(one.burst, began=now()))
    assert not stores.chats.merge(elsewhere, two.id, None)
    assert not stores.chats.leave_burst(one.id, two.lease_owner)
    assert engine.chats() == [one, two]
    assert stores.chats.leave_burst(one.id, one.lease_owner)
    assert not stores.chats.merge(one, two.id, None)
    assert stores.chats.finish(two.id, two.lease_owner, ChatOutcome(ChatStatus.FAILED))
    assert not stores.chats.merge(two, one.id, None)
    assert [chat.status for chat in engine.chats()] == [ChatStatus.RECEIVED, ChatStatus.FAILED]
