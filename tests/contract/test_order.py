"""The order of a conversation: one message at a time, whatever becomes of the earlier ones."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest

from models.answers import Done, ModelRequest
from models.chats import ChatStatus
from models.clock import now
from models.conversations import Channel
from models.deadline import Deadline
from models.errors import CallCancelled, Conflict, DeadlineExceeded, ProviderFailed
from models.given import Turn
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import Engine, Meddled, echo, wait_until
from tests.contract.stores import Stores
from tests.contract.test_takeovers import plant

BROKEN = ProviderFailed("The model is down. Try again later.")


def test_a_conversation_is_answered_in_order_and_others_do_not_wait(stores: Stores) -> None:
    release = threading.Event()
    order: list[str] = []

    def answer(request: ModelRequest, deadline: Deadline) -> list[Item]:
        order.append(request.question)
        return [release, "ok"] if request.question == "first" else ["ok"]

    engine = Engine(stores, ScriptedModel([answer] * 4))
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: order == ["first"])
        second = pool.submit(engine.twin().say, "second")
        wait_until(lambda: engine.is_stored("second"))
        third = pool.submit(engine.say, "third")
        wait_until(lambda: engine.is_stored("third"))
        engine.say("elsewhere", channel=Channel("+99", "whatsapp"))
        assert order == ["first", "elsewhere"]
        release.set()
        for one in (first, second, third):
            one.result()
    assert order == ["first", "elsewhere", "second", "third"]


def test_many_that_wait_on_two_servers_are_answered_by_their_ids_and_know_what_came_before(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, "re 0"], *[echo] * 11]))
    servers = [engine, engine.twin()]
    with ThreadPoolExecutor(12) as pool:
        waiting = []
        for number in range(12):
            waiting.append(pool.submit(servers[number % 2].say, str(number)))
            wait_until(partial(engine.is_stored, str(number)))
        release.set()
        for one in waiting:
            one.result(30)
    chats = engine.chats()
    assert [chat.message for chat in chats] == [str(number) for number in range(12)]
    ends = [chat.answered_at for chat in chats if chat.answered_at is not None]
    assert len(ends) == 12 and ends == sorted(ends)
    for number, request in enumerate(engine.model.requests):
        assert request.question == str(number)
        assert request.history == tuple(Turn(str(earlier), f"re {earlier}") for earlier in range(number))


def test_a_message_that_failed_blocks_nobody(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo, echo]))
    with pytest.raises(ProviderFailed):
        engine.say("first", message_id="m")
    assert engine.say("second").chat.response == "re second"
    assert engine.say("first", message_id="m").chat.response == "re first"
    assert engine.model.requests[-1].history == ()  # the second came later, whenever it was answered


def test_a_message_that_fails_while_others_wait_blocks_nobody(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, BROKEN], echo]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(engine.twin().say, "second")
        wait_until(lambda: engine.is_stored("second"))
        release.set()
        with pytest.raises(ProviderFailed):
            first.result(30)
        assert second.result(30).chat.response == "re second"
    assert engine.model.requests[-1].history == ()


def test_waiting_for_ones_turn_is_bounded(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, "ok"]]))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        with pytest.raises(DeadlineExceeded):
            engine.say("second", Deadline(1.0))
        release.set()
        first.result()
    assert [chat.status for chat in engine.chats()] == [ChatStatus.ANSWERED, ChatStatus.FAILED]


def test_a_model_that_hangs_is_bounded_and_the_later_ones_go_on(stores: Stores) -> None:
    never = threading.Event()
    engine = Engine(stores, ScriptedModel([[never], echo]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "first", Deadline(2.0))
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(engine.twin().say, "second")
        with pytest.raises(DeadlineExceeded):
            first.result(30)
        assert second.result(30).chat.response == "re second"


def test_a_left_message_that_hangs_costs_one_deadline_and_not_that_of_everybody_behind_it(stores: Stores) -> None:
    never = threading.Event()
    engine = Engine(stores, ScriptedModel([[never], echo]))
    plant(engine, "poison")
    with pytest.raises(DeadlineExceeded):
        engine.say("second", Deadline(3.0))
    error = engine.chat("poison").error
    assert error is not None and error.code == "deadline_exceeded"
    assert engine.say("third").chat.response == "re third"


def test_a_left_message_is_not_blamed_for_the_little_time_that_somebody_had(stores: Stores) -> None:
    """The second has spent its time on the first, whose owner died at last, and has none for its answer."""
    never = threading.Event()

    def answer(request: ModelRequest, deadline: Deadline) -> list[Item]:
        return [never] if deadline.seconds < 30 else echo(request, deadline)

    engine = Engine(stores, ScriptedModel([answer] * 3))
    plant(engine, "first", lease_until=now() + timedelta(seconds=1.8))
    with pytest.raises(DeadlineExceeded):
        engine.say("second", Deadline(3))
    left = engine.chat("first")
    assert (left.status, left.lease_owner, left.error) == (ChatStatus.RECEIVED, None, None)
    engine.say("third")
    assert engine.chat("first").response == "re first"


def test_a_left_message_goes_back_when_the_caller_of_the_one_behind_it_leaves(stores: Stores) -> None:
    never = threading.Event()
    engine = Engine(stores, ScriptedModel([[never], echo]))
    plant(engine, "first")
    deadline = Deadline(10)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(engine.say, "second", deadline)
        wait_until(lambda: engine.model.calls == 1)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            second.result(30)
    left = engine.chat("first")
    assert (left.status, left.lease_owner, left.failures) == (ChatStatus.RECEIVED, None, 0)
    engine.sweep()
    assert engine.chat("first").response == "re first"


def test_a_left_message_that_fails_blocks_nobody(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, echo]))
    plant(engine, "first")
    assert engine.say("second").chat.response == "re second"
    assert engine.chat("first").status is ChatStatus.FAILED


def test_several_left_messages_are_answered_in_their_order(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 4))
    for text in ("one", "two", "three"):
        plant(engine, text)
    engine.say("four")
    assert [request.question for request in engine.model.requests] == ["one", "two", "three", "four"]
    assert [len(request.history) for request in engine.model.requests] == [0, 1, 2, 3]


def test_a_left_message_in_the_middle_waits_for_its_own_turn(stores: Stores) -> None:
    """The sweeper's job begins with the second; the first is left as well, and is answered before it."""
    engine = Engine(stores, ScriptedModel([echo] * 2))
    plant(engine, "one")
    engine.service.resume(plant(engine, "two").id)
    engine.work()
    assert [request.question for request in engine.model.requests] == ["one", "two"]


def test_a_message_that_is_tried_again_holds_the_later_ones_up(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([BROKEN, [release, "at last"], echo]))
    with pytest.raises(ProviderFailed):
        engine.say("first", message_id="m")
    with ThreadPoolExecutor(2) as pool:
        again = pool.submit(engine.say, "first", message_id="m")
        wait_until(lambda: engine.model.calls == 2)
        second = pool.submit(engine.say, "second")
        wait_until(lambda: engine.is_stored("second"))
        release.set()
        assert again.result(30).chat.response == "at last"
        second.result(30)
    assert engine.model.requests[-1].history == (Turn("first", "at last"),)


def test_a_message_of_a_deleted_assistant_goes_with_it(stores: Stores) -> None:
    """It was stored by a server that died before it saw the deletion; nobody waits behind it."""
    engine = Engine(stores, ScriptedModel([]))
    plant(engine, "first")
    second = plant(engine, "second")
    stores.assistants.delete(engine.assistant.id)
    with pytest.raises(Conflict) as gone:
        list(engine.service.retry(engine.assistant, second, Deadline(5)))
    assert gone.value.code == "conversation_erased"
    assert engine.chats() == []


def test_a_message_that_is_stored_late_comes_behind_the_one_that_overtook_it(stores: Stores) -> None:
    """Its server has its id, and is slow to store it; meanwhile another one has stored and answered the next."""
    engine = Engine(stores, ScriptedModel([echo] * 3))
    engine.say("hello")
    engine.twin(chats=overtaken(engine)).say("slow")
    assert [chat.message for chat in engine.chats()] == ["hello", "quick", "slow"]
    assert engine.model.requests[-1].history[-1] == Turn("quick", "re quick")


def overtaken(engine: Engine) -> Meddled:
    """Return the engine's chats, where another server comes first the first time that a chat is added."""

    def overtake() -> None:
        meddled.clear()
        engine.twin().say("quick")

    meddled: dict[str, Callable[[], object]] = {"add": overtake}
    return Meddled(engine.stores.chats, before=meddled)


def test_a_message_with_a_callback_keeps_the_id_that_its_callers_were_told(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo] * 2))
    slow = engine.twin(chats=overtaken(engine))
    chat, _ = slow.service.accept(slow.inbound("slow", callback_url="https://example.com/hook"))
    assert (chat.message, chat.id) == ("slow", engine.chat("slow").id)
    slow.work()
    assert engine.chat("slow").response == "re slow"


def test_other_deliveries_of_a_message_that_is_put_behind_get_its_answer(stores: Stores) -> None:
    """They wait for a chat that its server withdraws, to store the message once more."""
    engine = Engine(stores, ScriptedModel([echo]))
    others: list[Future[Done]] = []

    def deliver_again() -> None:
        engine.twin().say("quick", active=False)
        for _ in range(3):
            others.append(pool.submit(engine.twin().say, "slow", message_id="m"))
        wait_until(lambda: sum(one.running() for one in others) == 3)
        time.sleep(0.1)  # they have found the chat, and wait for its answer
        meddled.clear()

    meddled: dict[str, Callable[[], object]] = {"add": deliver_again}
    with ThreadPoolExecutor(3) as pool:
        slow = engine.twin(chats=Meddled(stores.chats, after=meddled))
        first = slow.say("slow", message_id="m")
        assert [one.result(30).chat for one in others] == [first.chat] * 3
    assert (first.chat.response, first.replayed, engine.model.calls) == ("re slow", False, 1)
    assert [chat.message for chat in engine.chats()] == ["quick", "slow"]


def test_a_message_that_is_overtaken_again_and_again_is_answered_all_the_same(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    overtaking = Meddled(stores.chats, before={"add": lambda: engine.twin().say("quick", active=False)})
    engine.model.add(echo)
    assert engine.twin(chats=overtaking).say("slow").chat.response == "re slow"
    assert [chat.message for chat in engine.chats()].count("slow") == 1
