"""What a request of the Responses API says: turns and question, tools, function calls and what they gave.

Where the provider keeps the conversation, it has its own calls already and is told the outputs alone. Where it keeps
nothing, it is told its own items again as they were, reasoning included, or it would have to think the same a second
time. A conversation that is begun anew, and another model, are told text, calls and outputs: items belong where they
were made.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from openai.types.responses import (
    FileSearchToolParam,
    FunctionToolParam,
    ResponseIncludable,
    ResponseInputItemParam,
    ToolParam,
)
from openai.types.shared_params import ComparisonFilter, CompoundFilter

from models.answers import ModelRequest, ToolRound
from models.given import Turn
from models.hosting import HostedSearch
from models.tools import ToolCall, ToolResult, ToolSpec
from services.providers.openai_chat_input import forces_a_call
from services.providers.openai_findings import Findings
from services.providers.openai_threads import Continuation


@dataclass(frozen=True)
class Carried:
    """What a round leaves to the next one, as `ToolCalls.state`.

    Attributes:
        conversation: goes on with the next round.
        items: what the provider said, to be told again; empty where it keeps that itself.
        findings: what was found so far: the answer may cite it.
    """

    conversation: Continuation
    items: tuple[Mapping[str, Any], ...]
    findings: Findings


def carried(request: ModelRequest) -> Carried | None:
    """Return what this provider's round before left; None if there was none, or it was another model's."""
    state = request.rounds[-1].state if request.rounds else None
    return state if isinstance(state, Carried) else None


def input_of(request: ModelRequest, conversation: Continuation) -> list[ResponseInputItemParam]:
    """Return what the conversation lacks: turns of the history, the question, calls and what they gave."""
    told: list[ResponseInputItemParam] = []
    if not conversation.rounds:
        told += [*_messages(conversation.unheard), {"role": "user", "content": request.question}]
    return [*told, *_items(request.rounds, conversation)]


def tools_of(request: ModelRequest) -> list[ToolParam]:
    """Return what the model may use."""
    functions: list[ToolParam] = [_function(tool) for tool in request.tools]
    return functions if request.search is None else [_file_search(request.search), *functions]


def included(request: ModelRequest, conversation: Continuation, *, encrypted: bool) -> list[ResponseIncludable]:
    """Return what the provider is to tell besides: what it found, and reasoning that it is to be told again.

    Args:
        encrypted: False for a model that has no such reasoning.
    """
    wanted: list[ResponseIncludable] = []
    if request.search is not None:
        wanted.append("file_search_call.results")
    if request.tools and conversation.id is None and encrypted:
        wanted.append("reasoning.encrypted_content")
    return wanted


def options_of(request: ModelRequest) -> dict[str, Any]:
    """Return the further parameters as this API names them; those that it does not know are left out."""
    told, named = request.options, dict[str, Any]()
    if told.get("reasoning_effort"):
        named["reasoning"] = {"effort": told["reasoning_effort"]}
    text = {"verbosity": told.get("verbosity"), "format": _format(told.get("response_format"))}
    if any(text.values()):
        named["text"] = {name: value for name, value in text.items() if value}
    if request.tools:
        choice = told.get("tool_choice")
        named["parallel_tool_calls"] = told.get("parallel_tool_calls")
        named["tool_choice"] = None if request.rounds and forces_a_call(choice) else _choice(choice)
    named["top_p"] = told.get("top_p")
    return {name: value for name, value in named.items() if value is not None}


def _format(wanted: Any) -> Any:
    """Return a format of the text, whose schema stands beside its type here."""
    if not isinstance(wanted, Mapping):
        return None
    return {"type": wanted["type"], **wanted.get("json_schema", {})}


def _choice(wanted: Any) -> Any:
    """Return a choice of tools; a function's name stands beside its type here, a list of them beside its own."""
    inner = wanted.get(wanted["type"]) if isinstance(wanted, Mapping) else None
    if inner is None:
        return wanted
    tools = {"tools": [_choice(tool) for tool in inner["tools"]]} if "tools" in inner else {}
    return {"type": wanted["type"], **inner, **tools}


def _messages(turns: Sequence[Turn]) -> Iterator[ResponseInputItemParam]:
    for turn in turns:
        if turn.message:
            yield {"role": "user", "content": turn.message}
        if turn.response:
            yield {"role": "assistant", "content": turn.response}


def _items(rounds: Sequence[ToolRound], conversation: Continuation) -> Iterator[ResponseInputItemParam]:
    for one in rounds[max(conversation.rounds - 1, 0) :]:
        if not conversation.rounds:
            yield from _said(one, as_it_was=conversation.id is None)
        for result in one.results:
            yield _output(result)


def _said(one: ToolRound, *, as_it_was: bool) -> Iterator[ResponseInputItemParam]:
    state = one.state
    if as_it_was and isinstance(state, Carried) and state.items:
        yield from (cast(ResponseInputItemParam, dict(item)) for item in state.items)
        return
    if one.text.strip():
        yield {"role": "assistant", "content": one.text}
    for result in one.results:
        yield _call(result.call)


def _call(call: ToolCall) -> ResponseInputItemParam:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _output(result: ToolResult) -> ResponseInputItemParam:
    return {"type": "function_call_output", "call_id": result.call.id, "output": result.output}


def _function(tool: ToolSpec) -> FunctionToolParam:
    """Return a tool as the provider takes it, which holds it to strict rules unless it is told not to."""
    return FunctionToolParam(
        type="function",
        name=tool.name,
        description=tool.description,
        parameters=dict(tool.parameters),
        strict=tool.strict,
    )


def _file_search(search: HostedSearch) -> FileSearchToolParam:
    """Return the tool that finds the files of this moment, whatever is put into the store or taken out meanwhile."""
    of_this_moment = ComparisonFilter(key="number", type="lte", value=search.last)
    filters: ComparisonFilter | CompoundFilter = of_this_moment
    if search.without:
        current = ComparisonFilter(key="number", type="nin", value=list(search.without))
        filters = CompoundFilter(type="and", filters=[of_this_moment, current])
    return FileSearchToolParam(type="file_search", vector_store_ids=[search.store_id], filters=filters)
