"""A chat's life, transition by transition, on both stores, with Redis lost: the store alone must give one answer."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from models.answers import AnswerEvent, Done, ModelRequest, Replaying, Stored, TextDelta, Usage, Written
from models.chats import ChatStatus, Tokens
from models.clock import now
from models.conversations import Channel
from models.deadline import Deadline
from models.documents import Document, DocumentStatus, DocumentType, ScoredPassage
from models.errors import (
    CallCancelled,
    Conflict,
    DeadlineExceeded,
    OrquestraError,
    ProviderFailed,
    Unauthenticated,
    Unavailable,
)
from models.given import Turn
from models.ids import is_id, new_id
from models.paging import Page
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import Engine, wait_until
from tests.contract.stores import Stores, make_document, make_passage

BROKEN = ProviderFailed("The model is down. Try again later.")


def test_a_message_is_stored_before_the_model_is_called(stores: Stores) -> None:
    seen: list[tuple[str, str | None]] = []

    def look(request: ModelRequest, deadline: Deadline) -> list[str]:
        seen.extend((chat.status, chat.message) for chat in engine.chats())
        return ["hi"]

    engine = Engine(stores, ScriptedModel([look]))
    done = engine.say("hello")
    assert seen == [(ChatStatus.RECEIVED, "hello")]
    assert (done.chat.status, done.chat.response, done.replayed) == (ChatStatus.ANSWERED, "hi", False)
    assert done.chat.lease_owner is None and done.chat.attempts == 1
    assert [chat.id for chat in engine.chats()] == [done.chat.id]


def test_an_answer_keeps_usage_model_and_timings(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi", Usage(Tokens(12, 3), "model-7", "resp_1")]]))
    chat = engine.say("hello").chat
    assert (chat.tokens, chat.model, chat.provider) == (Tokens(12, 3), "model-7", "scripted")
    assert chat.response_id == "resp_1"
    assert chat.timings.total_ms is not None and chat.timings.first_token_ms is not None


def test_usage_that_a_provider_does_not_tell_is_estimated(stores: Stores) -> None:
    chat = Engine(stores, ScriptedModel([["hi there"]])).say("hello").chat
    assert chat.tokens.input > 0 and chat.tokens.output > 0


def test_deliveries_at_once_on_two_servers_make_one_call(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([["one ", release, "answer"]]))
    other = engine.twin()
    with ThreadPoolExecutor(16) as pool:
        servers = [engine, other] * 8
        waiting = [pool.submit(server.say, "hello", message_id="m") for server in servers]
        wait_until(lambda: engine.model.calls == 1)
        time.sleep(0.2)
        release.set()
        ends = [one.result() for one in waiting]
    assert engine.model.calls == 1
    assert {end.chat.response for end in ends} == {"one answer"}
    assert [end.replayed for end in ends].count(False) == 1
    assert len(engine.chats()) == 1


def test_a_later_delivery_replays_and_another_text_is_refused(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"], ["hi again"]]))
    first = engine.say("hello", message_id="m")
    assert engine.say("hello", message_id="m") == Done(first.chat, replayed=True)
    with pytest.raises(Conflict) as refused:
        engine.say("other", message_id="m")
    assert refused.value.code == "message_id_reused"
    elsewhere = engine.say("hello", message_id="m", channel=Channel("+56", "whatsapp"))
    assert elsewhere.chat.id != first.chat.id


def test_a_failure_is_stored_and_the_next_delivery_tries_again(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["half ", BROKEN], ["whole"]]))
    with pytest.raises(ProviderFailed):
        engine.say("hello", message_id="m")
    (failed,) = engine.chats()
    assert (failed.status, failed.response) == (ChatStatus.FAILED, None)
    assert failed.error is not None and failed.error.code == "provider_failed" and failed.error.partial == "half"
    answered = engine.say("hello", message_id="m")
    assert (answered.chat.id, answered.chat.response, answered.replayed) == (failed.id, "whole", False)
    assert answered.chat.error is None and answered.chat.attempts == 2


def test_callers_that_waited_for_a_failure_are_told_and_call_nobody(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([[release, DeadlineExceeded("Too late. Try again.")]]))

    def deliver() -> OrquestraError:
        with pytest.raises(OrquestraError) as failure:
            engine.say("hello", message_id="m")
        return failure.value

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(deliver) for _ in range(8)]
        wait_until(lambda: engine.model.calls == 1)
        time.sleep(0.2)
        release.set()
        assert {type(one.result()) for one in waiting} == {DeadlineExceeded}
    assert engine.model.calls == 1


def test_an_attempt_that_lives_keeps_its_lease(stores: Stores) -> None:
    release = threading.Event()
    slow = Engine(stores, ScriptedModel([["slow", release]]), lease_seconds=3.0)
    other = slow.twin(ScriptedModel([]))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(slow.say, "hello", message_id="m")]
        wait_until(lambda: slow.model.calls == 1)
        first_end = slow.chat("hello").lease_until
        assert first_end is not None
        waiting.append(pool.submit(other.say, "hello", message_id="m"))
        wait_until(lambda: now() > first_end + timedelta(seconds=0.5))
        release.set()
        assert {one.result().chat.response for one in waiting} == {"slow"}
    slow.leases.close()


def test_a_caller_that_leaves_makes_it_failed_and_the_next_delivery_answers(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["half ", "an ", "answer"], ["whole"]]))
    events = engine.service.answer(engine.inbound("hello", message_id="m"))
    assert isinstance(next(events), Stored) and next(events) == TextDelta("half")
    events.close()  # type: ignore[attr-defined]
    (chat,) = engine.chats()
    assert chat.status is ChatStatus.FAILED
    assert chat.error is not None and chat.error.code == "caller_gone"
    assert engine.say("hello", message_id="m").chat.response == "whole"


def test_when_a_caller_leaves_one_of_those_that_wait_makes_the_answer(stores: Stores) -> None:
    never = threading.Event()
    engine = Engine(stores, ScriptedModel([["half", never], ["whole"]]))
    servers, deadline = [engine, engine.twin()], Deadline(10)
    with ThreadPoolExecutor(7) as pool:
        leaving = pool.submit(engine.say, "hello", deadline, message_id="m")
        wait_until(lambda: engine.model.calls == 1)
        waiting = [pool.submit(servers[number % 2].say, "hello", message_id="m") for number in range(6)]
        time.sleep(0.2)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            leaving.result(30)
        ends = [one.result(30) for one in waiting]
    assert {end.chat.response for end in ends} == {"whole"}
    assert [end.replayed for end in ends].count(False) == 1
    assert engine.model.calls == 2


def test_a_delivery_that_comes_later_is_shown_the_whole_answer_as_a_replay(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([["one ", writing, "answer"]]))

    def stream(server: Engine) -> list[AnswerEvent]:
        return list(server.service.answer(engine.inbound("hello", message_id="m")))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stream, engine)
        wait_until(lambda: engine.model.calls == 1)
        second = pool.submit(stream, engine.twin())
        writing.set()
        first.result(30)
        chat = engine.chats()[0]
        stored, *made = first.result(30)
        assert isinstance(stored, Stored) and stored.chat.id == chat.id
        assert made == [TextDelta("one"), TextDelta(" answer"), Written(), Done(chat)]
        assert second.result(30) == [Replaying(), Stored(chat), TextDelta("one answer"), Done(chat, replayed=True)]


def test_a_delivery_that_waits_no_longer_leaves_the_attempt_alone(stores: Stores) -> None:
    writing = threading.Event()
    engine = Engine(stores, ScriptedModel([[writing, "answer"]]))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.say, "hello", message_id="m")
        wait_until(lambda: engine.model.calls == 1)
        with pytest.raises(DeadlineExceeded):
            engine.say("hello", Deadline(0.2), message_id="m")
        writing.set()
        assert first.result(30).chat.response == "answer"


def test_a_cancelled_deadline_stops_a_silent_model(stores: Stores) -> None:
    never = threading.Event()
    engine = Engine(stores, ScriptedModel([[never]]))
    deadline = Deadline(10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(engine.say, "hello", deadline)
        wait_until(lambda: engine.model.calls == 1)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            waiting.result(30)
    assert engine.chats()[0].status is ChatStatus.FAILED


def test_memory_holds_what_reached_people_and_nothing_else(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["one"], BROKEN, ["three"]]))
    first = engine.say("question 1").chat
    with pytest.raises(ProviderFailed):
        engine.say("question 2")
    engine.say("only to a human", active=False)
    engine.say("question 3")
    history = engine.model.requests[-1].history
    assert history == (Turn("question 1", "one"), Turn("only to a human", None))
    assert first.conversation_id == engine.chats()[-1].conversation_id


def test_a_retry_answers_what_has_no_answer_once(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([BROKEN, ["late"]]))
    with pytest.raises(ProviderFailed):
        engine.say("hello")
    (chat,) = engine.chats()
    events = list(engine.service.retry(engine.assistant, chat, Deadline(5)))
    assert isinstance(events[-1], Done) and events[-1].chat.response == "late"
    with pytest.raises(Conflict):
        list(engine.service.retry(engine.assistant, chat, Deadline(5)))


def test_a_conversation_that_is_erased_meanwhile_stays_erased(stores: Stores) -> None:
    def erase(request: ModelRequest, deadline: Deadline) -> list[str]:
        conversation_id = engine.chats()[0].conversation_id
        stores.chats.delete_of_conversation(conversation_id)
        stores.conversations.delete(conversation_id)
        return ["to nobody"]

    engine = Engine(stores, ScriptedModel([erase]))
    with pytest.raises(Conflict) as refused:
        engine.say("hello")
    assert refused.value.code == "conversation_erased"
    assert engine.chats() == []


def test_a_message_to_an_assistant_that_is_deleted_meanwhile_leaves_nothing(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    stores.assistants.delete(engine.assistant.id)
    with pytest.raises(Unauthenticated):
        engine.say("hello")
    assert engine.chats() == []
    assert stores.conversations.list([engine.assistant.id], Page()).items == []


def test_an_unconfigured_provider_fails_and_is_no_offline_answer(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([]))
    stores.assistants.update(engine.assistant.id, {"provider": "elsewhere"}, now())
    changed = stores.assistants.get(engine.assistant.id)
    assert changed is not None
    with pytest.raises(ProviderFailed) as failed:
        Engine(stores, engine.model, assistant=changed).say("hello")
    assert failed.value.code == "provider_not_configured"
    assert engine.chats()[0].status is ChatStatus.FAILED


def test_a_message_to_a_conversation_that_is_being_erased_begins_a_new_one(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]] * 200))
    stop = threading.Event()

    def erase() -> None:
        while not stop.is_set():
            for conversation in stores.conversations.list([engine.assistant.id], Page()).items:
                stores.conversations.delete(conversation.id)
                stores.chats.delete_of_conversation(conversation.id)

    def talk(_: int) -> None:
        for _turn in range(10):
            try:
                engine.say("hello")
            except Conflict:
                pass  # erased after it had arrived: that is what erasing means

    with ThreadPoolExecutor(5) as pool:
        eraser = pool.submit(erase)
        try:
            list(pool.map(talk, range(4)))
        finally:
            stop.set()
        eraser.result()
    for chat in engine.chats():
        assert stores.conversations.get(chat.conversation_id) is not None


def test_halves_of_a_character_are_put_together(stores: Stores) -> None:
    chat = Engine(stores, ScriptedModel([["good \ud83d", "\ude00 day \ud83d", " x"]])).say("hello").chat
    assert chat.response == "good \U0001f600 day \ufffd x"


def test_an_answer_of_nothing_is_a_failure(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([[" ", "[^1]"]]))
    with pytest.raises(ProviderFailed) as failed:
        engine.say("hello")
    assert failed.value.code == "empty_answer"


def test_a_bug_is_stored_as_one_and_waiters_are_told(stores: Stores) -> None:
    release = threading.Event()

    def break_down(request: ModelRequest, deadline: Deadline) -> list[Item]:
        release.wait(5)
        raise ZeroDivisionError

    engine = Engine(stores, ScriptedModel([break_down]))

    def deliver() -> type[BaseException]:
        with pytest.raises((ZeroDivisionError, OrquestraError)) as failure:
            engine.say("hello", message_id="m")
        return failure.type

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(deliver) for _ in range(4)]
        wait_until(lambda: engine.model.calls == 1)
        time.sleep(0.2)
        release.set()
        kinds = [one.result() for one in waiting]
    assert sorted(kind.__name__ for kind in kinds) == ["OrquestraError"] * 3 + ["ZeroDivisionError"]
    assert engine.model.calls == 1
    error = engine.chats()[0].error
    assert error is not None and error.code == "internal_error"


def test_redeliveries_at_once_of_a_failed_message_make_one_call(stores: Stores) -> None:
    release = threading.Event()
    engine = Engine(stores, ScriptedModel([BROKEN, [release, BROKEN]]))
    with pytest.raises(ProviderFailed):
        engine.say("hello", message_id="m")

    def deliver() -> None:
        with pytest.raises(ProviderFailed):
            engine.say("hello", message_id="m")

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(deliver) for _ in range(8)]
        wait_until(lambda: engine.model.calls == 2)
        time.sleep(0.3)
        release.set()
        for one in waiting:
            one.result()
    assert engine.model.calls == 2


def _prompted(engine: Engine, text: str, **fields: Any) -> Document:
    """Give the engine's assistant a prompt whose build is `b1`."""
    prompt = make_document(engine.assistant.id, "prompt.txt", type=DocumentType.PROMPT, **{"build": "b1", **fields})
    engine.stores.documents.add(prompt)
    engine.stores.passages.add([replace(make_passage(engine.assistant.id, prompt.id, 0, "b1"), text=text)])
    return prompt


def test_the_prompt_and_the_passages_reach_the_model(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    prompt = _prompted(engine, "Be brief.")
    engine.say("hello")
    assert engine.model.requests[0].instructions == "Be brief."
    stores.passages.delete_of_document(engine.assistant.id, prompt.id)
    with pytest.raises(Unavailable) as lost:  # and without its rules it does not speak
        engine.say("hello")
    assert lost.value.code == "prompt_missing"
    assert engine.model.calls == 1


@pytest.mark.parametrize("status", DocumentStatus)
def test_a_prompt_answers_from_its_build_whatever_becomes_of_its_newest_content(
    stores: Stores, status: DocumentStatus
) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    _prompted(engine, "Be brief.", status=status, revision="r9")
    engine.say("hello")
    assert engine.model.requests[0].instructions == "Be brief."


def test_a_prompt_without_a_build_is_none(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    _prompted(engine, "Be brief.", build="")
    engine.say("hello")
    assert engine.model.requests[0].instructions == ""


def test_a_prompt_is_rendered_for_the_chat(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"], ["hi"]]))
    _prompted(engine, "{{ assistant }}: {{ username|default('friend') }} on {{ channel }}, {{ today }}")
    days = [now().date()]
    engine.say("hello", username="Jo\n# System", channel=Channel("+1", "telegram"))
    engine.say("hello")
    days.append(now().date())  # midnight may pass between
    named, unnamed = (request.instructions.rpartition(", ") for request in engine.model.requests)
    assert named[0] == f"{engine.assistant.name}: Jo # System on telegram"
    assert unnamed[0] == f"{engine.assistant.name}: friend on whatsapp"
    assert {named[2], unnamed[2]} <= {day.isoformat() for day in days}


def test_a_stored_prompt_that_is_no_template_is_used_as_it_stands(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    text = "Write {{ secret names }} in braces, {% always %}."
    _prompted(engine, text)
    engine.say("hello")
    assert engine.model.requests[0].instructions == text
    (record,) = [record for record in caplog.records if record.name == "orquestra.composing"]
    assert vars(record)["assistant_id"] == engine.assistant.id
    assert "secret" not in str(vars(record))


def test_citations_are_stored_with_their_page(stores: Stores) -> None:
    passage = replace(make_passage("", new_id(), 0), text="água fria", page=12)
    engine = Engine(stores, ScriptedModel([["sim [^1]"]]), found=[ScoredPassage(passage, 1.0, 1.0)])
    stored = stores.chats.get(engine.say("hello").chat.id)
    assert stored is not None
    assert [(citation.passage, citation.page) for citation in stored.citations] == [("água fria", 12)]


def test_news_are_told_in_order(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["hi"]]))
    chat = engine.say("hello").chat
    assert [event["type"] for event in engine.news.events] == ["conversation_new", "conversation_updated"]
    assert {event["conversation_id"] for event in engine.news.events} == {chat.conversation_id}
    conversation = stores.conversations.get(chat.conversation_id)
    assert conversation is not None
    assert (conversation.message_count, conversation.last_message) == (2, "hi")


def test_ids_sort_by_time_and_behind_a_clock_that_is_ahead() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))
    ahead = f"{int(ids[-1][:8], 16) + 60:08x}" + ids[-1][8:]
    assert new_id(after=ahead) > ahead
    assert is_id(new_id(after=ahead))


def test_turns_have_keys_and_a_model_that_hosts_no_memory_is_not_told_the_conversation(stores: Stores) -> None:
    engine = Engine(stores, ScriptedModel([["one"], ["two"]]))
    first = engine.say("first").chat
    engine.say("second")
    before, after = engine.model.requests
    assert before.keys == (f"{first.id}.1",) == tuple(turn.key for turn in after.history)
    assert (before.conversation_id, after.conversation_id) == ("", "")
