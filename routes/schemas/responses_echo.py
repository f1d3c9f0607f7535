"""Wire names of the Responses API: what a response repeats of its request, and how ids of responses look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.assistants import Assistant
from models.chats import Chat
from models.errors import Invalid
from models.given import NOTHING_GIVEN

_PREFIX = "resp_"
_DEFAULTS: Mapping[str, Any] = {
    "model": "",
    "instructions": None,
    "previous_response_id": None,
    "tools": (),
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_tool_calls": None,
    "max_output_tokens": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "top_logprobs": 0,
    "text": {"format": {"type": "text"}},
    "reasoning": None,
    "truncation": "disabled",
    "metadata": {},
    "prompt_cache_key": None,
}
"""What is said of fields that a request leaves out, as OpenAI says it."""

_AS_SENT = frozenset(_DEFAULTS) - {"tools", "text", "reasoning"}


@dataclass(frozen=True)
class Asked:
    """What a response repeats of its request.

    Attributes:
        thread: the name that the client gave the thread; None for one that the answer names.
        fields: of the response, as they are from its beginning to its end.
    """

    thread: str | None
    fields: Mapping[str, Any]


def asked(data: Mapping[str, Any], assistant: Assistant) -> Asked:
    """Return what the response repeats of a loaded ResponseRequestSchema; the assistant's values come behind it."""
    own = {
        "model": assistant.id,
        "temperature": assistant.temperature,
        "max_output_tokens": assistant.max_output_tokens,
        "tools": [{"type": "function", **tool, "strict": bool(tool["strict"])} for tool in data["tools"] or ()],
        **_text(data["text"] or {}),
        **_reasoning(data["reasoning"]),
    }
    sent = {name: data[name] for name in _AS_SENT}
    if data["conversation"] is not None:
        sent["conversation"] = {"id": data["conversation"]}
    return Asked(named_thread(data), {**_DEFAULTS, **_known(own), **_known(sent)})


def asked_of(chat: Chat) -> Asked:
    """Return what the response of a stored chat repeats of its request, as far as that is stored."""
    given = chat.given or NOTHING_GIVEN
    tools = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
            "strict": tool.strict,
        }
        for tool in given.tools
    ]
    kept = {
        "model": chat.model or chat.assistant_id,
        "instructions": given.instructions or None,
        "tools": tools,
        "temperature": given.temperature,
        "max_output_tokens": given.max_output_tokens,
        "metadata": {name: value for name, value in chat.metadata.items() if isinstance(value, str)},
    }
    options = {name: value for name, value in given.options.items() if name in _AS_SENT and name != "tool_choice"}
    return Asked(None, {**_DEFAULTS, **_known(kept), **_known(options)})


def named_thread(data: Mapping[str, Any]) -> str | None:
    """Return the thread that a loaded request names.

    Raises:
        Invalid: code `mutually_exclusive_parameters`, it names more than one place.
    """
    named = [name for name in ("conversation", "thread_id", "previous_response_id") if data[name] is not None]
    if len(named) > 1:
        raise Invalid(
            f"Send either {' or '.join(named)}.",
            code="mutually_exclusive_parameters",
            errors={named[-1]: ["Not with the others."]},
        )
    thread: str | None = data["conversation"] or data["thread_id"]
    return thread


def response_id(chat_id: str) -> str:
    """Return the id of the response that a chat is."""
    return f"{_PREFIX}{chat_id}"


def chat_of_response(name: str) -> str:
    """Return the id of the chat that a response is, "" for what is the id of no response of ours."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else ""


def previous_chat(data: Mapping[str, Any]) -> str | None:
    """Return the id of the chat that a loaded request goes on from, None where it names no response."""
    previous = data["previous_response_id"]
    return None if previous is None else chat_of_response(previous)


def _text(wanted: Mapping[str, Any]) -> dict[str, Any]:
    text = {"format": wanted.get("format") or {"type": "text"}}
    return {"text": text | ({"verbosity": wanted["verbosity"]} if wanted.get("verbosity") else {})}


def _reasoning(wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if wanted is None else {"reasoning": {name: wanted[name] for name in ("effort", "summary")}}


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
