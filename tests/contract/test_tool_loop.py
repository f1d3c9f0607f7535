"""The loop of tools in the engine, on both stores: what is called, what the model is told, what is kept, what stops."""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from models.answers import (
    AnswerEvent,
    Done,
    ModelRequest,
    TextDelta,
    ToolCalls,
    ToolProgress,
    ToolRound,
    ToolStatus,
    Usage,
)
from models.assistants import Assistant
from models.chats import Chat, ChatStatus, Citation, Tokens
from models.conversations import Channel
from models.deadline import Deadline
from models.documents import ScoredPassage
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.given import Given
from models.ids import new_id
from models.tools import SourceKind, ToolCall, ToolOutput, ToolResult, ToolSource, ToolSpec
from services.providers.scripted import Item, ScriptedModel
from services.tools.builtin import CURRENT_TIME, SEARCH_DOCUMENTS
from services.tools.loop import MOST_STEPS
from tests.contract.engine import DYING, Engine, wait_until
from tests.contract.stores import Stores, make_assistant, make_passage
from tests.contract.tool_servers import ToolServers, source, spec, waiting

BROKEN = ProviderFailed("The model is down. Try again later.")
ORDER = ToolCall("call_1", "order_status", '{"order": "7"}')
DESK = source("desk")


def desk(handler: Any = lambda arguments, _: f"order {arguments['order']} is in transit") -> ToolServers:
    """Return a server with one tool."""
    return ToolServers().offer(spec("order_status", "order"), handler)


def having(stores: Stores, *sources: ToolSource, **fields: Any) -> Assistant:
    """Return a stored assistant with these tools."""
    assistant = make_assistant(tools=sources, **fields)
    stores.assistants.add(assistant)
    return assistant


def engine_of(stores: Stores, model: ScriptedModel, host: ToolServers, *sources: ToolSource, **fields: Any) -> Engine:
    """Return an engine whose assistant has tools."""
    return Engine(stores, model, assistant=having(stores, *(sources or (DESK,)), **fields), host=host)


def told(engine: Engine, text: str = "Where is order 7?", **fields: Any) -> list[AnswerEvent]:
    """Return what whoever asks is told, without the stored chats."""
    events = list(engine.service.answer(engine.inbound(text, **fields)))
    return [event for event in events if isinstance(event, TextDelta | ToolProgress)]


def outputs(request: ModelRequest) -> list[str]:
    """Return what the model was told of its last calls."""
    return [result.output for result in request.rounds[-1].results]


def test_a_tool_is_called_and_its_result_is_told_shown_and_kept(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,)), Usage(Tokens(10, 5))], ["It is in transit.", Usage(Tokens(20, 7))]])
    engine = engine_of(stores, model, host := desk())
    assert told(engine) == [
        ToolProgress("order_status", ToolStatus.RUNNING),
        ToolProgress("order_status", ToolStatus.DONE),
        TextDelta("It is in transit."),
    ]
    assert host.called == [("desk", "order_status", {"order": "7"})]
    first, second = model.requests
    assert [tool.name for tool in first.tools] == ["order_status"] and first.rounds == ()
    assert second.rounds == (ToolRound((ToolResult(ORDER, "order 7 is in transit"),)),)
    assert second.tools == first.tools and second.question == first.question
    (chat,) = engine.chats()
    assert (chat.response, chat.tokens) == ("It is in transit.", Tokens(30, 12))
    (use,) = chat.tools
    assert (use.name, use.source, use.arguments, use.output, use.failed) == (
        "order_status", "desk", ORDER.arguments, "order 7 is in transit", False,
    )  # fmt: skip
    assert use.started_at >= chat.created_at.replace(microsecond=0) and use.duration_ms >= 0


def test_calls_of_a_step_are_made_at_the_same_time(stores: Stores) -> None:
    together = threading.Barrier(3, timeout=5)

    def meet(arguments: Mapping[str, Any], deadline: Deadline) -> str:
        together.wait()
        return f"order {arguments['order']}"

    calls = tuple(ToolCall(f"c{number}", "order_status", f'{{"order": "{number}"}}') for number in range(3))
    model = ScriptedModel([[ToolCalls(calls)], ["All three."]])
    engine = engine_of(stores, model, desk(meet))
    told(engine)
    assert outputs(model.requests[1]) == ["order 0", "order 1", "order 2"]
    assert len(engine.chats()[0].tools) == 3


def test_text_before_and_after_calls_are_paragraphs(stores: Stores) -> None:
    model = ScriptedModel([["Let me look.", ToolCalls((ORDER,), "Let me look.")], ["It is ", "in transit."]])
    engine = engine_of(stores, model, desk())
    texts = [event.text for event in told(engine) if isinstance(event, TextDelta)]
    assert texts == ["Let me look.", "\n\nIt is", " in transit."]
    assert engine.chats()[0].response == "Let me look.\n\nIt is in transit."
    assert model.requests[1].rounds[0].text == "Let me look."


def test_what_goes_wrong_is_told_to_the_model(stores: Stores) -> None:
    def broken(arguments: Mapping[str, Any], deadline: Deadline) -> ToolOutput:
        raise ProviderFailed("The server of tools is gone.", code="tool_server_failed")

    host = desk(lambda arguments, _: ToolOutput("No such order.", failed=True)).offer(spec("broken"), broken)
    calls = (
        ORDER,
        ToolCall("c2", "broken", "{}"),
        ToolCall("c3", "nothing_like_it", "{}"),
        ToolCall("c4", "order_status", '{"order": 7}'),
        ToolCall("c5", "order_status", "{"),
    )
    model = ScriptedModel([[ToolCalls(calls)], ["Sorry."]])
    engine = engine_of(stores, model, host)
    progress = [event for event in told(engine) if isinstance(event, ToolProgress)]
    assert {(one.name, one.status) for one in progress} == {
        (name, status) for name in ("order_status", "broken") for status in (ToolStatus.RUNNING, ToolStatus.FAILED)
    }
    gone, unknown, wrong, unreadable = outputs(model.requests[1])[1:]
    assert outputs(model.requests[1])[0] == "No such order."
    assert gone == "The tool failed: The server of tools is gone."
    assert "'nothing_like_it'" in unknown and "order_status, broken" in unknown
    assert "order: 7 is not of type 'string'" in wrong and "no JSON" in unreadable
    (chat,) = engine.chats()
    assert chat.status is ChatStatus.ANSWERED and all(use.failed for use in chat.tools) and len(chat.tools) == 5
    assert {use.source for use in chat.tools} == {"desk", ""}


def test_a_tool_that_takes_too_long_costs_its_own_time_only(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["No news."]])
    host = desk(waiting(threading.Event()))
    engine = engine_of(stores, model, host, replace(DESK, timeouts=(("order_status", 0.1),)))
    told(engine)
    assert outputs(model.requests[1]) == ["The tool gave nothing within 0.1 s."]
    assert host.cancelled == ["order_status"]


def test_a_server_that_is_down_is_left_out(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedModel([["one"], ["two"]])
    host = desk()
    engine = engine_of(stores, model, host, source("gone"), DESK)
    told(engine)
    told(engine)
    assert [tool.name for tool in model.requests[1].tools] == ["order_status"]
    assert host.listed.count("gone") == 2
    assert [record.message for record in caplog.records].count("a server of tools is left out of answers") == 1


def test_a_server_that_hangs_is_not_waited_for_again_at_once(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tools.listing._LISTING_SECONDS", 0.2)

    class Hanging(ToolServers):
        def tools(self, server: Any, deadline: Deadline) -> list[ToolSpec]:
            self.listed.append(server.name)
            deadline.sleep(60)
            return []

    host = Hanging()
    engine = engine_of(stores, ScriptedModel([["one"], ["two"]]), host, DESK, source("shop"))
    assert told(engine) == [TextDelta("one")] and sorted(host.listed) == ["desk", "shop"]
    assert told(engine) == [TextDelta("two")] and sorted(host.listed) == ["desk", "shop"]


def test_the_same_call_is_made_twice_at_most(stores: Stores) -> None:
    again = [replace(ORDER, id=f"c{number}", arguments=text) for number, text in enumerate(['{"order":"7"}'] * 3)]
    model = ScriptedModel([*([ToolCalls((call,))] for call in again), ["Enough."]])
    engine = engine_of(stores, model, host := desk())
    told(engine)
    assert len(host.called) == 2
    assert "made before with the same arguments" in outputs(model.requests[3])[0]


def test_after_so_many_steps_the_model_has_to_answer(stores: Stores) -> None:
    def ask(request: ModelRequest, deadline: Deadline) -> list[Item]:
        number = len(request.rounds)
        return [ToolCalls((ToolCall(f"c{number}", "order_status", f'{{"order": "{number}"}}'),))]

    model = ScriptedModel([*([ask] * MOST_STEPS), ["That is all I know."]])
    engine = engine_of(stores, model, host := desk())
    told(engine)
    assert len(host.called) == MOST_STEPS
    assert model.requests[-1].tools == () and len(model.requests[-1].rounds) == MOST_STEPS
    assert engine.chats()[0].response == "That is all I know."


def test_a_model_that_only_ever_asks_gives_no_answer(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))]] * (MOST_STEPS + 1))
    engine = engine_of(stores, model, desk())
    with pytest.raises(ProviderFailed) as failed:
        told(engine)
    assert failed.value.code == "empty_answer" and len(engine.chats()[0].tools) == MOST_STEPS


def test_a_model_that_fails_after_its_tools_keeps_what_they_did(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["It ", BROKEN], [ToolCalls((ORDER,))], ["It is in transit."]])
    engine = engine_of(stores, model, host := desk())
    with pytest.raises(ProviderFailed):
        told(engine, message_id="m")
    (chat,) = engine.chats()
    assert chat.status is ChatStatus.FAILED and [use.output for use in chat.tools] == ["order 7 is in transit"]
    assert engine.say("Where is order 7?", message_id="m").chat.response == "It is in transit."
    assert len(host.called) == 2 and len(engine.chats()[0].tools) == 1


def test_a_clients_functions_end_the_answer_and_its_outputs_go_on(stores: Stores) -> None:
    mine, both = ToolCall("c9", "open_door", '{"door": 1}'), Channel("t", "thread")
    model = ScriptedModel([[ToolCalls((ORDER,))], ["Wait.", ToolCalls((mine, ORDER), "Wait.")], ["The door is open."]])
    engine = engine_of(stores, model, host := desk())
    given = Given(tools=(spec("open_door", door={"type": "integer"}),))
    asked = engine.say("Open it.", channel=both, given=given).chat
    assert (asked.asked, asked.response, asked.status) == ((mine,), "Wait.", ChatStatus.ANSWERED)
    assert len(host.called) == 1 and [use.name for use in asked.tools] == ["order_status"]
    assert [tool.name for tool in model.requests[0].tools] == ["open_door", "order_status"]
    rounds = ((ToolResult(mine, "opened"),),)
    chat = engine.say("", channel=both, given=replace(given, question="Open it.", rounds=rounds)).chat
    assert chat.response == "The door is open."
    own, clients = model.requests[2].rounds
    assert [one.output for one in own.results] == ["order 7 is in transit"]
    assert (clients.results, clients.text) == (rounds[0], "Wait.")
    assert (model.requests[2].question, model.requests[2].history) == ("Open it.", ())


def test_the_device_reaches_the_tool_and_never_the_model_or_the_store(stores: Stores) -> None:
    host = ToolServers().offer(spec("lamp", "device_id", "state"), lambda arguments, _: "on")
    call = ToolCall("c1", "lamp", '{"state": "on"}')
    model = ScriptedModel([[ToolCalls((call,))], ["It is on."], ["I have no lamp."]])
    engine = engine_of(stores, model, host)
    chat = engine.say("Light!", given=Given(device_id="aa:bb")).chat
    assert host.called == [("desk", "lamp", {"state": "on", "device_id": "aa:bb"})]
    assert "aa:bb" not in str(model.requests) and chat.tools[0].arguments == call.arguments
    engine.say("Light!")
    assert model.requests[2].tools == ()


def test_models_that_call_nothing_are_told_of_nothing(stores: Stores) -> None:
    model = ScriptedModel([["hi"]])
    model.calls_tools = False
    engine = engine_of(stores, model, host := desk())
    told(engine, given=Given(tools=(spec("mine"),)))
    assert model.requests[0].tools == () and host.listed == []


def test_builtin_tools_answer_and_what_they_find_is_cited(stores: Stores) -> None:
    sources = [ToolSource(name, SourceKind.BUILTIN) for name in (CURRENT_TIME, SEARCH_DOCUMENTS)]
    calls = (ToolCall("c1", CURRENT_TIME, "{}"), ToolCall("c2", SEARCH_DOCUMENTS, '{"query": "water"}'))
    passage = replace(make_passage("", new_id(), 0), text="água fria")
    found: list[ScoredPassage] = []

    def asking(request: ModelRequest, deadline: Deadline) -> list[Item]:
        found.append(ScoredPassage(passage, 1.0, 1.0))
        return [ToolCalls(calls)]

    model = ScriptedModel([asking, ["It is cold.[^1]"]])
    engine = Engine(stores, model, assistant=having(stores, *sources), found=found)
    chat = engine.say("How is the water?").chat
    assert [tool.name for tool in model.requests[0].tools] == [CURRENT_TIME, SEARCH_DOCUMENTS]
    assert "água fria" in outputs(model.requests[1])[1] and 'number="1"' in outputs(model.requests[1])[1]
    assert chat.response == "It is cold."
    assert chat.citations == (Citation(passage.document_id, "a.md", "água fria", passage.start, passage.end, None),)


def test_usage_that_is_not_told_is_estimated_for_every_round(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["It is in transit."]])
    alone = ScriptedModel([["It is in transit."]])
    with_tools = engine_of(stores, model, desk()).say("Where?").chat.tokens
    without = Engine(stores, alone).say("Where?").chat.tokens
    assert with_tools.input > without.input + 20


@pytest.mark.parametrize("halves", ["\ud83d", "a\udc00b"])
def test_halves_of_characters_can_be_kept(stores: Stores, halves: str) -> None:
    call = ToolCall("c1", "order_status", f'{{"order": "{halves}"}}')
    mine = ToolCall("c2", "mine", f'"{halves}"')
    model = ScriptedModel([[ToolCalls((call, replace(call, id="c3", name="x" + halves)))], [ToolCalls((mine,))]])
    engine = engine_of(stores, model, desk(lambda arguments, _: halves))
    chat = engine.say("?", given=Given(tools=(spec("mine"),))).chat
    assert "\ufffd" in chat.tools[-1].output and "\ufffd" in chat.asked[0].arguments


def test_long_outputs_are_told_whole_and_kept_cut(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["Long."]])
    engine = engine_of(stores, model, desk(lambda arguments, _: "x" * 19_000))
    told(engine)
    assert outputs(model.requests[1]) == ["x" * 19_000]
    assert engine.chats()[0].tools[0].output == "x" * 8_000


class Running:
    """A tool that runs until it is stopped, and says when that was."""

    def __init__(self) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()

    def __call__(self, arguments: Mapping[str, Any], deadline: Deadline) -> str:
        """Wait to be stopped."""
        self.begun.set()
        try:
            deadline.sleep(60)
        except (CallCancelled, DeadlineExceeded):
            self.stopped.set()
            raise
        raise AssertionError("nobody stopped it")


def test_closing_the_answer_stops_a_tool_that_runs(stores: Stores) -> None:
    tool = Running()
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))]]), desk(tool))
    events = engine.service.answer(engine.inbound("Where?"))
    while not isinstance(next(events), ToolProgress):
        pass
    assert tool.begun.wait(30)
    events.close()  # type: ignore[attr-defined]
    assert tool.stopped.wait(30)
    (chat,) = engine.chats()
    assert chat.error is not None and chat.error.code == "caller_gone"
    assert [(use.name, use.failed) for use in chat.tools] == [("order_status", True)]


def test_a_cancelled_deadline_stops_an_answer_that_waits_for_a_tool(stores: Stores) -> None:
    tool, deadline = Running(), Deadline(10)
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))]]), desk(tool))
    with ThreadPoolExecutor(1) as pool:
        waiting_ = pool.submit(engine.say, "Where?", deadline)
        assert tool.begun.wait(30)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            waiting_.result(30)
    assert tool.stopped.wait(30)
    assert engine.chats()[0].status is ChatStatus.FAILED and len(engine.chats()[0].tools) == 1


@pytest.mark.parametrize("how", ["cancelled", "late"])
def test_a_tool_that_hears_nothing_holds_nobody(stores: Stores, how: str) -> None:
    never, deadline = threading.Event(), Deadline(30 if how == "cancelled" else 3)
    host = desk(lambda arguments, _: str(never.wait(60)))
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))]]), host)
    with ThreadPoolExecutor(1) as pool:
        saying = pool.submit(engine.say, "Where?", deadline)
        wait_until(lambda: host.called)
        if how == "cancelled":
            deadline.cancel()
        with pytest.raises(CallCancelled if how == "cancelled" else DeadlineExceeded):
            saying.result(30)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "tool")
    never.set()
    assert [use.output for use in engine.chats()[0].tools] == [
        "It was stopped: the answer's time was up, or nobody waited any more."
    ]


def test_a_human_who_comes_while_a_tool_runs_wins(stores: Stores) -> None:
    release = threading.Event()
    host = desk(waiting(release))
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))], ["Too late."]]), host)
    with ThreadPoolExecutor(1) as pool:
        saying = pool.submit(engine.say, "Where?")
        wait_until(lambda: host.called)
        engine.switch(active=False)
        release.set()
        chat = saying.result(30).chat
    assert (chat.status, chat.active) == (ChatStatus.SUPPRESSED, False)
    assert [use.output for use in chat.tools] == ["done"]


def test_a_server_that_dies_while_a_tool_runs_leaves_one_answer(stores: Stores) -> None:
    """The tool may run twice; docs/tools.md says so."""
    never = threading.Event()
    host = desk(waiting(never))
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))], ["Old."]]), host)
    dying = Engine(stores, engine.model, assistant=engine.assistant, lease_seconds=DYING, host=host)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(dying.say, "Where?", message_id="m")
        wait_until(lambda: host.called)
        dying.die()
        time.sleep(2 * DYING)
        heir_host = desk()
        heir_model = ScriptedModel([[ToolCalls((ORDER,))], ["It is in transit."]])
        heir = Engine(stores, heir_model, assistant=engine.assistant, host=heir_host)
        done = heir.say("Where?", message_id="m")
        assert (done.chat.response, done.chat.attempts, len(done.chat.tools)) == ("It is in transit.", 2, 1)
        never.set()
        late = first.result(30)
    assert late.replayed and late.chat.response == "It is in transit."
    assert len(engine.chats()) == 1


def test_messages_of_a_burst_share_their_tools(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["Both are here."]])
    engine = engine_of(stores, model, host := desk(), debounce_seconds=30.0)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.say, "Where is 7?")
        wait_until(lambda: engine.is_stored("Where is 7?"))
        second = pool.submit(engine.say, "And 8?", assistant=engine.hurried())
        ends: list[Chat] = [one.result(30).chat for one in (first, second)]
    assert [end.status for end in ends] == [ChatStatus.MERGED, ChatStatus.ANSWERED]
    assert model.requests[0].question == "Where is 7?\nAnd 8?" and len(host.called) == 1
    assert (ends[0].tools, len(ends[1].tools)) == ((), 1)


def test_a_replay_is_the_answer_without_the_tools(stores: Stores) -> None:
    engine = engine_of(stores, ScriptedModel([[ToolCalls((ORDER,))], ["It is in transit."]]), host := desk())
    engine.say("Where?", message_id="m")
    again = list(engine.service.answer(engine.inbound("Where?", message_id="m")))
    assert [event for event in again if isinstance(event, ToolProgress)] == [] and len(host.called) == 1
    assert isinstance(again[-1], Done) and again[-1].replayed and len(again[-1].chat.tools) == 1


def test_later_messages_remember_the_answer_and_not_the_calls(stores: Stores) -> None:
    model = ScriptedModel([[ToolCalls((ORDER,))], ["It is in transit."], ["You are welcome."]])
    engine = engine_of(stores, model, desk())
    engine.say("Where?")
    engine.say("Thanks.")
    (turn,) = model.requests[2].history
    assert (turn.message, turn.response, model.requests[2].rounds) == ("Where?", "It is in transit.", ())
