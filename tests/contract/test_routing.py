"""The router in the engine, on both stores: who decides what, with which prompt and model, and what is remembered."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from models.answers import ModelRequest, ToolCalls, Usage
from models.assistants import Assistant
from models.chats import ChatStatus, Tokens
from models.clock import now
from models.deadline import Deadline
from models.documents import DocumentType
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed
from models.given import Given, Turn
from models.routing import Route, Routing, RoutingMode
from models.tools import ToolCall, ToolResult, ToolSource
from services.providers.scripted import Item, ScriptedModel, Step
from services.routing import DEFAULT_PROMPT
from tests.contract.engine import Engine, wait_until
from tests.contract.stores import Stores, make_assistant, make_document, make_passage
from tests.contract.tool_servers import ToolServers, source, spec

ROUTING = Routing(
    RoutingMode.ROUTE, "router-model", "chat-model", "tool-model", prompts={"chat": "Chat.", "tool": "Tool."}
)
CHAT, TOOL = ['{"step": ', '"chat"}'], ['{"step": "tool"}']
HOST = ToolServers().offer(spec("order_status"), lambda arguments, _: "in transit")


def engine_of(
    stores: Stores, steps: Sequence[Step], *, tools: Sequence[ToolSource] = (source(),), **fields: Any
) -> Engine:
    """Return an engine whose assistant routes."""
    assistant = make_assistant(tools=tuple(tools), **{"routing": ROUTING, **fields})
    stores.assistants.add(assistant)
    return Engine(stores, ScriptedModel(steps), assistant=assistant, host=HOST)


def system_of(request: ModelRequest) -> str:
    """Return the beginning of what a model is told."""
    return request.instructions


def test_a_chat_is_answered_by_the_chat_model_without_tools(stores: Stores) -> None:
    engine = engine_of(stores, [[*CHAT, Usage(Tokens(30, 4))], ["Hello!", Usage(Tokens(10, 2))]], temperature=0.7)
    chat = engine.say("Hi").chat
    router, model = engine.model.requests
    assert (router.model, router.temperature, router.bare, router.question) == ("router-model", 0.0, True, "Hi")
    assert (router.instructions, router.tools, router.history) == (DEFAULT_PROMPT, (), ())
    assert (model.model, model.instructions, model.tools, model.temperature) == ("chat-model", "Chat.", (), 0.7)
    assert (chat.route, chat.response, chat.tokens) == (Route.CHAT, "Hello!", Tokens(40, 6))


def test_anything_else_is_answered_by_the_tool_model_with_tools(stores: Stores) -> None:
    steps: list[Step] = [TOOL, [ToolCalls((ToolCall("c1", "order_status", "{}"),))], ["In transit."]]
    engine = engine_of(stores, steps)
    chat = engine.say("Where is my order?").chat
    assert [request.model for request in engine.model.requests] == ["router-model", "tool-model", "tool-model"]
    assert engine.model.requests[1].instructions == "Tool."
    assert [tool.name for tool in engine.model.requests[1].tools] == ["order_status"]
    assert (chat.route, chat.model) == (Route.TOOL, "tool-model")


@pytest.mark.parametrize(
    ("said", "route"),
    [
        ("chat", Route.CHAT),
        ('```json\n{"step":"chat"}\n```', Route.CHAT),
        ("{'step': 'CHAT'}", Route.CHAT),
        ('<think>"step": "tool"? No.</think> {"step": "chat"}', Route.CHAT),
        ("`chat`.", Route.CHAT),
        ('{"step": "search"}', Route.TOOL),
        ("I would chat with them", Route.TOOL),
        ("[]", Route.TOOL),
    ],
)
def test_what_a_router_says_is_read_leniently(stores: Stores, said: str, route: Route) -> None:
    engine = engine_of(stores, [[said], ["answer"]])
    assert engine.say("Hi").chat.route is route


@pytest.mark.parametrize("failing", [[ProviderFailed("Down.")], [DeadlineExceeded("Late.")], []])
def test_a_router_that_fails_has_decided_for_tools(stores: Stores, failing: list[Item]) -> None:
    engine = engine_of(stores, [failing, ["answer"]])
    assert engine.say("Hi").chat.route is Route.TOOL


def test_a_slow_router_does_not_use_the_answers_time_up(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.routing._SECONDS", 0.1)
    engine = engine_of(stores, [[threading.Event()], ["answer"]])
    assert engine.say("Hi").chat.route is Route.TOOL


def test_the_router_sees_the_message_and_both_models_one_memory(stores: Stores) -> None:
    engine = engine_of(stores, [CHAT, ["Hello!"], TOOL, ["In transit."], CHAT, ["Bye!"]])
    for text in ("Hi", "Where is my order?", "Bye"):
        engine.say(text)
    requests = engine.model.requests
    assert [request.history for request in requests[::2]] == [(), (), ()]
    assert requests[3].history == (Turn("Hi", "Hello!"),)
    assert requests[5].history == (Turn("Hi", "Hello!"), Turn("Where is my order?", "In transit."))


def test_without_tools_nobody_is_asked(stores: Stores) -> None:
    engine = engine_of(stores, [["Hello!"]], tools=())
    assert engine.say("Hi").chat.route is Route.CHAT
    assert engine.model.requests[0].model == "chat-model"
    deaf = engine_of(stores, [["Hello!"]])
    deaf.model.calls_tools = False
    assert deaf.say("Hi").chat.route is Route.CHAT


def test_a_clients_functions_need_the_tool_model(stores: Stores) -> None:
    engine = engine_of(stores, [["answer"], ["answer"]], tools=())
    assert engine.say("Hi", given=Given(tools=(spec("mine"),))).chat.route is Route.TOOL
    mine = ToolCall("c1", "mine", "{}")
    rounds = ((ToolResult(mine, "done"),),)
    given = Given(alone=True, tools=(spec("mine"),), rounds=rounds)
    assert engine.say("Hi", given=given).chat.route is Route.TOOL
    assert [request.model for request in engine.model.requests] == ["tool-model", "tool-model"]


def test_direct_assistants_have_no_route(stores: Stores) -> None:
    for routing in (None, replace(ROUTING, mode=RoutingMode.DIRECT)):
        engine = engine_of(stores, [["answer"]], routing=routing, model="own")
        assert engine.say("Hi").chat.route is None
        assert (engine.model.requests[0].model, engine.model.requests[0].instructions) == ("own", "")


def test_models_that_routing_does_not_name_are_the_assistants_own(stores: Stores) -> None:
    engine = engine_of(stores, [CHAT, ["Hello!"]], routing=Routing(RoutingMode.ROUTE), model="own")
    engine.say("Hi")
    assert [request.model for request in engine.model.requests] == ["own", "own"]


def put_prompt(stores: Stores, assistant: Assistant, filename: str, text: str) -> None:
    """Store a prompt document."""
    document = make_document(assistant.id, filename, type=DocumentType.PROMPT, build="b1")
    stores.documents.add(document)
    stores.passages.add([replace(make_passage(assistant.id, document.id, 0, "b1"), text=text)])


def test_prompts_are_the_routings_then_the_documents_of_the_role_then_the_assistants(stores: Stores) -> None:
    prompts = {"chat": "Talk to {{ username }}."}
    engine = engine_of(stores, [CHAT, ["a"], TOOL, ["b"]], routing=replace(ROUTING, prompts=prompts))
    put_prompt(stores, engine.assistant, "chat.txt", "not this one")
    put_prompt(stores, engine.assistant, "router.txt", "Decide for {{ assistant }}.")
    put_prompt(stores, engine.assistant, "prompt.txt", "You are the assistant.")
    engine.say("Hi", username="Bia", given=Given(instructions="Be brief."))
    engine.say("Hi", username="Bia")
    router, chat, _, tool = engine.model.requests
    assert router.instructions == f"Decide for {engine.assistant.name}."
    assert chat.instructions == "Talk to Bia.\n\nBe brief." and tool.instructions == "You are the assistant."


def test_cancelling_stops_the_router(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    stopped, deadline = threading.Event(), Deadline(10)

    def endless(request: ModelRequest, within: Deadline) -> list[Item]:
        try:
            within.sleep(60)
        except CallCancelled:
            stopped.set()
            raise
        return []

    engine = engine_of(stores, [endless])
    with ThreadPoolExecutor(1) as pool:
        saying = pool.submit(engine.say, "Hi", deadline)
        wait_until(lambda: engine.model.calls == 1)
        deadline.cancel()
        with pytest.raises(CallCancelled):
            saying.result(30)
    assert stopped.is_set() and engine.chats()[0].status is ChatStatus.FAILED
    assert "a router failed" not in caplog.text


def test_a_failed_answer_keeps_its_route(stores: Stores) -> None:
    engine = engine_of(stores, [TOOL, [ProviderFailed("Down.")]])
    with pytest.raises(ProviderFailed):
        engine.say("Hi")
    assert engine.chats()[0].route is Route.TOOL


def test_an_update_of_the_routing_counts_for_the_next_message(stores: Stores) -> None:
    engine = engine_of(stores, [["a"], CHAT, ["b"]], routing=None)
    assert engine.say("Hi").chat.route is None
    stores.assistants.update(engine.assistant.id, {"routing": ROUTING}, now())
    changed = stores.assistants.get(engine.assistant.id)
    assert changed is not None and changed.routing == ROUTING
    assert Engine(stores, engine.model, assistant=changed, host=HOST).say("Hi").chat.route is Route.CHAT
