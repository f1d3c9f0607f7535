"""What a request of chat completions says: the conversation, tools, calls and what they gave, options."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from models.answers import ModelRequest, ToolRound
from models.tools import ToolCall, ToolSpec
from services.prompting import system_text
from services.providers.openai_chat_calls import EXTRA, is_object
from services.providers.openai_chat_dialect import Dialect
from services.providers.openai_chat_events import Carried

_OPTIONS = frozenset(
    {
        "top_p",
        "stop",
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "logit_bias",
        "response_format",
        "reasoning_effort",
        "verbosity",
    }
)
_OF_TOOLS = frozenset({"tool_choice", "parallel_tool_calls"})
"""Options that are refused where there are no tools."""

_ANYTHING = {"type": "object", "properties": {}}


def messages_of(request: ModelRequest, dialect: Dialect) -> list[ChatCompletionMessageParam]:
    """Return the conversation; neighbours of one role are joined, since many chat templates want them to alternate."""
    spoken: list[tuple[str, str]] = []
    for turn in request.history:
        spoken += [("user", turn.message or ""), ("assistant", turn.response or "")]
    joined: list[tuple[str, str]] = []
    for role, text in [*(one for one in spoken if one[1]), ("user", request.question)]:
        if joined and joined[-1][0] == role:
            text = f"{joined.pop()[1]}\n\n{text}"
        joined.append((role, text))
    messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": system_text(request)}]
    for role, text in joined:
        messages.append({"role": "user", "content": text} if role == "user" else {"role": "assistant", "content": text})
    for one in request.rounds:
        messages += _round(one, None if dialect.null_content else "")
    return messages


def tools_of(request: ModelRequest, dialect: Dialect) -> list[ChatCompletionFunctionToolParam]:
    """Return what the model may call, or for some servers what it has called."""
    if request.tools:
        return [_function(tool, strict=tool.strict and dialect.strict) for tool in request.tools]
    called = dict.fromkeys(result.call.name for one in request.rounds for result in one.results)
    return [_function(ToolSpec(name, "", _ANYTHING), strict=False) for name in called] if dialect.declared else []


def options_of(request: ModelRequest, dialect: Dialect) -> dict[str, Any]:
    """Return the further parameters that the request has a use for and the server knows."""
    known = (_OPTIONS | _OF_TOOLS if request.tools else _OPTIONS) - dialect.omitted
    options = {name: value for name, value in request.options.items() if name in known and value is not None}
    if request.rounds and forces_a_call(options.get("tool_choice")):
        del options["tool_choice"]
    if request.rounds and not request.tools and dialect.declared:
        options["tool_choice"] = "none"
    return options


def forces_a_call(choice: object) -> bool:
    """Tell whether a `tool_choice` makes the model call; after its first calls it would go on with that for ever."""
    if isinstance(choice, Mapping):
        return bool(choice.get("allowed_tools", choice).get("mode") != "auto")
    return choice == "required"


def _round(one: ToolRound, no_text: str | None) -> Iterator[ChatCompletionMessageParam]:
    """Yield a round; what the model thought is told again where this provider handed it out."""
    carried = one.state if isinstance(one.state, Carried) else Carried({})
    extras = [*carried.extras, *(None for _ in one.results)]
    calls = [_call(result.call, extra) for result, extra in zip(one.results, extras, strict=False)]
    said = {"role": "assistant", "content": one.text or no_text, "tool_calls": calls, **carried.thoughts}
    yield cast(ChatCompletionMessageParam, said)
    for result in one.results:
        yield {"role": "tool", "tool_call_id": result.call.id, "content": result.output}


def _call(call: ToolCall, extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a call as it was, but for arguments that are no JSON object: vLLM and Ollama refuse to be told these."""
    arguments = call.arguments if is_object(call.arguments) else json.dumps({"unreadable": call.arguments})
    told = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
    return told | ({EXTRA: extra} if extra else {})


def _function(tool: ToolSpec, *, strict: bool) -> ChatCompletionFunctionToolParam:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    told = {"type": "function", "function": function | ({"strict": True} if strict else {})}
    return cast(ChatCompletionFunctionToolParam, told)
