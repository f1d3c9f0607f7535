"""Filler in the engine, on both stores: who hears it, when it begins and ends, and that nothing of it stays."""

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.answers import (
    AnswerEvent,
    Audience,
    Done,
    Filler,
    ModelRequest,
    TextDelta,
    ToolCalls,
    ToolProgress,
    ToolStatus,
    Usage,
    Written,
)
from models.chats import ChatStatus, Tokens
from models.conversations import Channel
from models.deadline import Deadline
from models.errors import CallCancelled, ProviderFailed
from models.routing import FillerUse, Routing
from models.tools import ToolCall
from services.filler import DEFAULT_PROMPT
from services.providers.scripted import Item, ScriptedModel
from tests.contract.engine import Engine, wait_until
from tests.contract.stores import Stores, make_assistant
from tests.contract.tool_servers import ToolServers, source, spec, waiting

ASKING = ToolCalls((ToolCall("c1", "order_status", "{}"),))
CHATTY = "chatty-model"
Answering = Callable[[ModelRequest, Deadline], Iterable[Item]]


def model_of(chatty: Answering | list[Item], answer: Answering | list[Item], turns: int = 1) -> ScriptedModel:
    """Return a model that calls a tool, is chatty when it is asked to be, and answers."""

    def speak(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        if request.model == CHATTY:
            return chatty(request, deadline) if callable(chatty) else chatty
        if not request.rounds:
            return [ASKING]
        return answer(request, deadline) if callable(answer) else answer

    return ScriptedModel([speak] * 3 * turns)


def engine_of(stores: Stores, model: ScriptedModel, host: ToolServers, **fields: Any) -> Engine:
    """Return an engine whose assistant has a tool, and filler everywhere if nothing else is said."""
    assistant = make_assistant(tools=(source(),), **{"routing": Routing(chatty_model=CHATTY), **fields})
    stores.assistants.add(assistant)
    return Engine(stores, model, assistant=assistant, host=host)


def told(engine: Engine, audience: Audience = Audience.EVENTS) -> list[AnswerEvent]:
    """Return what whoever asks is told, but for the stored chats."""
    events = list(engine.service.answer(engine.inbound("Where?", audience=audience)))
    return [event for event in events if isinstance(event, TextDelta | Filler | ToolProgress)]


def fillers(events: list[AnswerEvent]) -> list[str]:
    """Return the filler among events."""
    return [event.text for event in events if isinstance(event, Filler)]


def slow_desk(event: threading.Event) -> ToolServers:
    """Return a server whose tool waits for an event."""
    return ToolServers().offer(spec("order_status"), waiting(event, "in transit"))


def test_filler_is_heard_while_the_tool_runs_and_kept_nowhere(stores: Stores) -> None:
    release = threading.Event()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One "
        yield "moment. "
        yield Usage(Tokens(100, 3))
        release.set()

    answering: list[Item] = ["In transit.", Usage(Tokens(10, 2))]
    engine = engine_of(stores, model_of(chatty, answering), slow_desk(release), language="pt-BR")
    events = told(engine)
    assert fillers(events) == ["One ", "moment. "]
    done = events.index(ToolProgress("order_status", ToolStatus.DONE))
    assert all(events.index(event) < done for event in events if isinstance(event, Filler))
    (chat,) = engine.chats()
    assert chat.response == "In transit." and chat.tokens.input >= 110
    (request,) = [one for one in engine.model.requests if one.model == CHATTY]
    assert request.bare and request.question == "Where?" and (request.tools, request.history) == ((), ())
    assert request.instructions.startswith(DEFAULT_PROMPT) and "order_status" in request.instructions
    assert "pt-BR" in request.instructions and request.conversation_id == ""
    engine.model.add(["Bye."])
    engine.say("Bye")
    assert "moment" not in str(engine.model.requests[-1])


@pytest.mark.parametrize("use", FillerUse)
@pytest.mark.parametrize("audience", Audience)
def test_only_those_hear_it_who_are_meant_to(stores: Stores, use: FillerUse, audience: Audience) -> None:
    wanted = (use, audience) in {
        (FillerUse.EVENTS, Audience.EVENTS),
        (FillerUse.EVERYWHERE, Audience.EVENTS),
        (FillerUse.EVERYWHERE, Audience.TEXT),
    }
    release = threading.Event()
    if not wanted:
        release.set()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One moment."
        release.set()

    model = model_of(chatty, ["In transit."])
    engine = engine_of(stores, model, slow_desk(release), routing=Routing(chatty_model=CHATTY, filler=use))
    assert fillers(told(engine, audience)) == (["One moment."] if wanted else [])
    assert [one.model for one in model.requests].count(CHATTY) == wanted


def test_without_routing_nobody_is_chatty(stores: Stores) -> None:
    release = threading.Event()
    release.set()
    engine = engine_of(stores, model_of(["no"], ["In transit."]), slow_desk(release), routing=None)
    assert fillers(told(engine)) == [] and engine.model.calls == 2


def test_a_model_that_said_something_before_needs_no_filler(stores: Stores) -> None:
    release = threading.Event()
    release.set()
    engine = engine_of(stores, ScriptedModel([["Let me see.", ASKING], ["In transit."]]), slow_desk(release))
    assert fillers(told(engine)) == [] and engine.model.calls == 2


def test_the_answer_silences_it_at_once(stores: Stores) -> None:
    """The chatty model talks on and on: from the answer's first word nothing of it is heard, and it is cancelled."""
    release, silenced = threading.Event(), threading.Event()
    beginning, writing = threading.Event(), threading.Event()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        try:
            for number in range(10_000):
                deadline.check()
                yield f"{number} "
                if number == 3:
                    release.set()
                    assert beginning.wait(30)  # beside the model that is about to answer
                if number == 6:
                    writing.set()
                time.sleep(0.001)
        except CallCancelled:
            silenced.set()
            raise

    def answer(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        beginning.set()
        assert writing.wait(30)
        yield "In "
        time.sleep(0.1)
        yield "transit."

    events = told(engine := engine_of(stores, model_of(chatty, answer), slow_desk(release)))
    assert silenced.wait(30)
    kinds = [type(event) for event in events]
    assert kinds[-2:] == [TextDelta, TextDelta] and kinds.index(TextDelta) == len(kinds) - 2
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["In", " transit."]
    after = kinds[events.index(ToolProgress("order_status", ToolStatus.DONE)) :]
    assert Filler in after, "it goes on until the model answers"
    assert engine.chats()[0].response == "In transit."


def test_pending_filler_is_dropped_when_the_answer_begins(stores: Stores) -> None:
    """Nobody reads for a while: what was to be said meanwhile is not said any more once the answer is there."""
    release, talked, answered = threading.Event(), threading.Event(), threading.Event()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "first "
        release.set()
        assert talked.wait(30)
        yield from ["too ", "late ", "to be heard"]
        yield threading.Event()

    def answer(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        talked.set()
        time.sleep(0.2)
        yield "In transit."
        answered.set()

    engine = engine_of(stores, model_of(chatty, answer), slow_desk(release))
    events = engine.service.answer(engine.inbound("Where?", audience=Audience.EVENTS))
    heard: list[AnswerEvent] = []
    for event in events:
        heard.append(event)
        if isinstance(event, Filler) and event.text != "first ":
            answered.wait(30)  # a slow reader
    assert fillers(heard) in (["first "], ["first ", "too "])
    assert [type(event) for event in heard[-3:]] == [TextDelta, Written, Done]


def test_one_filler_is_enough_for_all_steps(stores: Stores) -> None:
    release = threading.Event()

    def answer(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        return [ToolCalls((ToolCall("c2", "order_status", '{"again": 1}'),))] if len(request.rounds) == 1 else ["Done."]

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One moment."
        release.set()

    engine = engine_of(stores, model_of(chatty, answer, turns=2), slow_desk(release))
    assert fillers(told(engine)) == ["One moment."]
    assert [one.model for one in engine.model.requests].count(CHATTY) == 1 and len(engine.chats()[0].tools) == 2


@pytest.mark.parametrize("failing", [[ProviderFailed("Down.")], ["One ", ProviderFailed("Down.")]])
def test_filler_that_fails_is_only_missing(
    stores: Stores, failing: list[Item], caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    engine = engine_of(stores, model_of(failing, ["In transit."]), slow_desk(release))
    with ThreadPoolExecutor(1) as pool:
        telling = pool.submit(told, engine)
        wait_until(lambda: "an answer has no filler" in caplog.text)
        release.set()
        assert fillers(telling.result(30)) == [str(one) for one in failing if isinstance(one, str)]
    assert engine.chats()[0].status is ChatStatus.ANSWERED


def test_a_chatty_model_that_does_not_stop_is_cut(stores: Stores) -> None:
    release = threading.Event()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield from ["x" * 100] * 100
        release.set()

    engine = engine_of(stores, model_of(chatty, ["In transit."]), slow_desk(release))
    assert sum(map(len, fillers(told(engine)))) <= 1_100


def test_a_model_that_fails_beside_filler_fails_the_answer(stores: Stores) -> None:
    release = threading.Event()

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One moment."
        release.set()
        yield threading.Event()

    engine = engine_of(stores, model_of(chatty, [ProviderFailed("Down.", code="down")]), slow_desk(release))
    with pytest.raises(ProviderFailed) as failed:
        told(engine)
    assert failed.value.code == "down" and len(engine.chats()[0].tools) == 1


def test_closing_stops_filler_and_tool_and_model(stores: Stores) -> None:
    never, stopped = threading.Event(), [threading.Event() for _ in range(2)]

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One moment."
        try:
            deadline.sleep(60)
        except CallCancelled:
            stopped[0].set()
            raise

    def answer(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        try:
            deadline.sleep(60)
        except CallCancelled:
            stopped[1].set()
            raise
        return []

    host = slow_desk(never)
    engine = engine_of(stores, model_of(chatty, answer), host)
    events = engine.service.answer(engine.inbound("Where?", audience=Audience.TEXT))
    while not isinstance(next(events), Filler):
        pass
    events.close()  # type: ignore[attr-defined]
    assert stopped[0].wait(30)
    wait_until(lambda: host.cancelled == ["order_status"])

    never.set()
    deadline = Deadline(10)
    beside = engine_of(stores, model_of(chatty, answer), host)
    with ThreadPoolExecutor(1) as pool:
        saying = pool.submit(list, beside.service.answer(beside.inbound("?", audience=Audience.TEXT), deadline))
        wait_until(lambda: beside.model.calls == 3)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            saying.result(30)
    assert stopped[1].wait(30)


def test_twenty_turns_with_filler_go_on_beside_each_other(stores: Stores) -> None:
    """Nobody gets any further before all the tools run, and something has been said beside each of them."""
    together = threading.Barrier(40)

    def turn(number: int) -> list[AnswerEvent]:
        inbound = engine.inbound("Where?", audience=Audience.EVENTS, channel=Channel(str(number), "whatsapp"))
        return [one for one in engine.service.answer(inbound) if isinstance(one, TextDelta | Filler)]

    def chatty(request: ModelRequest, deadline: Deadline) -> Iterable[Item]:
        yield "One moment. "
        together.wait(60)

    def slow(arguments: Any, deadline: Deadline) -> str:
        together.wait(60)
        deadline.sleep(1.0)
        return "in transit"

    host = ToolServers().offer(spec("order_status"), slow)
    engine = engine_of(stores, model_of(chatty, ["In transit."], turns=20), host)
    with ThreadPoolExecutor(20) as pool:
        for events in pool.map(turn, range(20)):
            assert fillers(events) == ["One moment. "] and events[-1] == TextDelta("In transit.")
