"""Handoff: people take a conversation over and give it back, whatever the model is doing meanwhile."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from models.answers import Done, ModelRequest
from models.chats import ChatStatus
from models.clock import now
from models.deadline import Deadline
from models.errors import Conflict, ProviderFailed
from models.given import Turn
from models.users import Principal, Role
from services.chats import ChatService
from services.news import ConversationNews
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import Engine, Meddled, echo, wait_until
from tests.contract.stores import Stores
from tests.contract.test_takeovers import plant

BROKEN = ProviderFailed("The model is down. Try again later.")
ADMIN = Principal("0" * 24, Role.ADMIN)


def desk(engine: Engine) -> ChatService:
    """Return what managers work with."""
    stores = engine.stores
    news = ConversationNews(engine.news, stores.assistants, stores.conversations)
    return ChatService(stores.assistants, stores.conversations, stores.chats, engine.service, news)


def test_an_inactive_conversation_is_stored_and_no_model_called(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    engine.say("hello")
    engine.switch(False)
    silent = engine.say("anybody?", message_id="m")
    chat = silent.chat
    assert (chat.status, chat.active, chat.response, chat.lease_owner) == (ChatStatus.INACTIVE, False, None, None)
    assert engine.say("anybody?", message_id="m") == Done(chat, replayed=True)
    assert engine.say("and now?", active=False).chat.status is ChatStatus.INACTIVE
    assert engine.model.calls == 1


def test_an_answer_whose_conversation_is_switched_off_while_it_is_written_is_suppressed(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([["too ", writing, "late"]]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "hello", message_id="m")
        wait_until(lambda: engine.model.calls == 1)
        again = pool.submit(engine.twin().say, "hello", message_id="m")
        engine.switch(False)
        writing.set()
        chat = first.result(30).chat
        assert again.result(30) == Done(chat, replayed=True)
    assert (chat.status, chat.active, chat.response) == (ChatStatus.SUPPRESSED, False, "too late")
    engine.switch(True)
    assert engine.say("hello", message_id="m").chat.status is ChatStatus.SUPPRESSED


@pytest.mark.parametrize("store", ["conversations", "chats"])
def test_half_a_switch_is_enough_to_suppress(stores: Stores, store: str) -> None:
    """A switch marks the conversation, then its chats; the answer may be committed in between, before or behind."""

    def hand_over(request: ModelRequest, deadline: Deadline) -> list[Item]:
        getattr(stores, store).set_active(engine.chats()[0].conversation_id, False, None)
        return ["too late"]

    engine = Engine(stores, ScriptedModel([hand_over]))
    chat = engine.say("hello").chat
    assert (chat.status, chat.response, chat.active) == (ChatStatus.SUPPRESSED, "too late", False)


def test_a_switch_between_the_last_look_and_the_commit_wins(stores: Stores) -> None:
    before: dict[str, Callable[[], object]] = {}
    engine = Engine(stores, ScriptedModel([echo]), chats=Meddled(stores.chats, before=before))

    def switch() -> None:
        before.clear()
        engine.switch(False)

    before["finish"] = switch
    chat = engine.say("hello").chat
    assert (chat.status, chat.active) == (ChatStatus.SUPPRESSED, False)


def test_a_switch_behind_the_commit_is_too_late(stores: Stores) -> None:
    after: dict[str, Callable[[], object]] = {}
    engine = Engine(stores, ScriptedModel([echo]), chats=Meddled(stores.chats, after=after))
    after["finish"] = lambda: engine.switch(False)
    chat = engine.say("hello").chat
    assert (chat.status, chat.response) == (ChatStatus.ANSWERED, "re hello")


def test_a_switch_between_claim_and_model_wins_although_a_claim_makes_a_chat_active(stores: Stores) -> None:
    before: dict[str, Callable[[], object]] = {}
    engine = Engine(stores, ScriptedModel([]), chats=Meddled(stores.chats, before=before))
    chat = plant(engine, "hello")
    before["claim"] = lambda: engine.switch(False)
    engine.service.resume(chat.id)
    stored = engine.chat("hello")
    assert (stored.status, stored.active) == (ChatStatus.INACTIVE, False)


def test_a_conversation_that_is_handed_over_while_a_message_waits_is_not_answered(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, "ok"]]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(engine.say, "second")
        wait_until(lambda: engine.is_stored("second"))
        engine.switch(False)
        release.set()
        assert first.result(30).chat.status is ChatStatus.SUPPRESSED
        waited = second.result(30).chat
    assert (waited.status, waited.active, waited.response) == (ChatStatus.INACTIVE, False, None)
    assert engine.model.calls == 1


def test_a_conversation_that_is_off_and_on_again_while_a_message_waits_is_answered(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, "ok"], echo]))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "first")
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(engine.say, "second")
        wait_until(lambda: engine.is_stored("second"))
        engine.switch(False)
        engine.switch(True)
        release.set()
        assert first.result(30).chat.status is ChatStatus.ANSWERED
        assert second.result(30).chat.status is ChatStatus.ANSWERED


def test_what_was_said_meanwhile_is_in_the_memory_of_the_next_answer(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([["never ", writing, "shown"], echo]))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.say, "help!")
        wait_until(lambda: engine.model.calls == 1)
        engine.switch(False)
        writing.set()
        first.result(30)
    desk(engine).reply(ADMIN, engine.chat("help!").id, "I am Ana. How can I help?")
    engine.say("my order is late")
    desk(engine).reply(ADMIN, engine.chat("help!").id, "It comes tomorrow.")
    engine.switch(True)
    engine.say("thanks. when?")
    assert engine.model.requests[-1].history == (
        Turn("help!", None),
        Turn(None, "I am Ana. How can I help?"),
        Turn("my order is late", None),
        Turn(None, "It comes tomorrow."),
    )


def test_a_pause_ends_by_itself(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([echo, echo, echo]))
    engine.say("one")
    until = now() + timedelta(seconds=2)
    engine.switch(False, until)
    silent = engine.say("two").chat
    assert (silent.status, silent.paused_until) == (ChatStatus.INACTIVE, until)
    wait_until(lambda: now() >= until)
    assert engine.say("three").chat.status is ChatStatus.ANSWERED
    assert engine.model.requests[-1].history == (Turn("one", "re one"), Turn("two", None))
    assert engine.retry(silent).chat.response == "re two"


def test_a_pause_that_ends_while_the_model_writes_lets_the_answer_through(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([["in ", writing, "time"]]))
    plant(engine, "hello", message_id="m")
    until = now() + timedelta(seconds=0.4)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(engine.sweep)
        wait_until(lambda: engine.model.calls == 1)
        (conversation_id,) = {chat.conversation_id for chat in engine.chats()}
        stores.conversations.set_active(conversation_id, False, until)
        wait_until(lambda: now() >= until)
        writing.set()
        job.result(30)
    assert engine.chat("hello").status is ChatStatus.ANSWERED


@pytest.mark.parametrize("active", [True, False])
def test_a_retry_needs_an_active_conversation(stores: Stores, active: bool) -> None:
    engine = Engine(stores, ScriptedModel([["late"]]))
    silent = engine.say("hello", active=False).chat
    engine.switch(False)
    if active:
        engine.switch(True)
        answered = engine.retry(silent).chat
        assert (answered.status, answered.active, answered.attempts) == (ChatStatus.ANSWERED, True, 1)
        with pytest.raises(Conflict) as refused:
            engine.retry(answered)
        assert refused.value.code == "not_retryable"
    else:
        with pytest.raises(Conflict) as refused:
            engine.retry(silent)
        assert refused.value.code == "conversation_inactive"


def test_a_retry_that_is_overtaken_is_inactive_again(stores: Stores) -> None:
    before: dict[str, Callable[[], object]] = {}
    engine = Engine(stores, ScriptedModel([]), chats=Meddled(stores.chats, before=before))
    silent = engine.say("hello", active=False).chat
    before["claim"] = lambda: engine.switch(False)
    chat = engine.retry(silent).chat
    assert (chat.status, chat.active) == (ChatStatus.INACTIVE, False)


def test_two_retries_at_once_make_one_call(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "once"]]))
    silent = engine.say("hello", active=False).chat
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.retry, silent)
        wait_until(lambda: engine.model.calls == 1)
        for seen in (silent, engine.chat("hello")):
            with pytest.raises(Conflict):
                engine.retry(seen)
        writing.set()
        assert first.result(30).chat.response == "once"


def test_a_failed_message_of_a_conversation_that_was_handed_over_is_not_asked_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN]))
    with pytest.raises(ProviderFailed):
        engine.say("hello", message_id="m")
    engine.switch(False)
    chat = engine.say("hello", message_id="m").chat
    assert (chat.status, chat.active, chat.error) == (ChatStatus.INACTIVE, False, None)
    assert engine.model.calls == 1


def test_a_failure_leaves_a_handed_over_chat_inactive(stores: Stores) -> None:
    def hand_over(request: ModelRequest, deadline: Deadline) -> list[Item]:
        stores.chats.set_active(engine.chats()[0].conversation_id, False, None)
        return [BROKEN]

    engine = Engine(stores, ScriptedModel([hand_over]))
    with pytest.raises(ProviderFailed):
        engine.say("hello")
    assert engine.chats()[0].active is False


def test_what_a_dead_server_left_in_a_conversation_that_was_handed_over_is_not_answered(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    plant(engine, "hello")
    engine.switch(False)
    engine.sweep()
    chat = engine.chat("hello")
    assert (chat.status, chat.active, chat.lease_owner) == (ChatStatus.INACTIVE, False, None)


def test_switches_and_messages_at_once_end_as_the_last_switch_says(stores: Stores) -> None:
    """Whatever the interleaving: no answer is shown that was committed after a switch had been made."""
    engine = Engine(stores, ScriptedModel([echo] * 200))
    engine.say("first")
    stop = threading.Event()
    seen: list[tuple[str, list[str]]] = []

    def toggle() -> None:
        while not stop.is_set():
            engine.switch(False)
            answered = [chat.id for chat in engine.chats() if chat.status is ChatStatus.ANSWERED]
            stop.wait(0.02)
            later = [chat.id for chat in engine.chats() if chat.status is ChatStatus.ANSWERED]
            if set(later) - set(answered):
                seen.append(("answered while off", later))
            engine.switch(True)

    def talk(number: int) -> None:
        for turn in range(10):
            engine.say(f"{number}/{turn}")

    with ThreadPoolExecutor(4) as pool:
        switching = pool.submit(toggle)
        try:
            list(pool.map(talk, range(3)))
        finally:
            stop.set()
        switching.result()
    assert seen == []
    chats = engine.chats()
    assert {chat.status for chat in chats} <= {ChatStatus.ANSWERED, ChatStatus.INACTIVE, ChatStatus.SUPPRESSED}
    assert len(chats) == 31
