"""The `messages` of chat completions: what of them is new, what was said before, what the client's functions gave."""

from collections.abc import Sequence
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from models.errors import Invalid
from models.tools import ToolCall, ToolResult
from routes.schemas.base import Text
from routes.schemas.openai_told import INSTRUCTING, PartsText, Told, parted, turns_told

_TEXTS = {"text": "text", "refusal": "refusal"}
_MESSAGES = {"messages": ["Nothing to answer."]}


class CompletionCallFunctionSchema(Schema):
    """The function of a call."""

    class Meta:
        """Take what is known; clients send new fields all the time."""

        unknown = EXCLUDE

    name = Text(required=True, validate=validate.Length(1, 256))
    arguments = Text(load_default="", allow_none=True)


class CompletionCallSchema(Schema):
    """A call that an assistant asked for."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    id = Text(required=True, validate=validate.Length(1, 256))
    type = Text(load_default="function", validate=validate.Equal("function", error="Only functions can be called."))
    function = fields.Nested(CompletionCallFunctionSchema, required=True)


class CompletionMessageSchema(Schema):
    """One message."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    role = Text(
        required=True,
        validate=validate.OneOf(
            ["system", "developer", "user", "assistant", "tool"], error="Must be one of: {choices}."
        ),
    )
    content = PartsText("messages", _TEXTS, "text", load_default="", allow_none=True)
    refusal = Text(load_default=None, allow_none=True)
    tool_calls = fields.List(fields.Nested(CompletionCallSchema), load_default=list, allow_none=True)
    tool_call_id = Text(load_default="", allow_none=True)


def told(messages: Sequence[dict[str, Any]], *, alone: bool = True) -> Told:
    """Return what loaded messages tell.

    Args:
        alone: they are all there is; else they go on from what is stored.

    Raises:
        Invalid: code `message_missing`, there is nothing to answer; `messages_out_of_order`, behind the last message of
            the user is something else than calls with the outputs of exactly these.
    """
    instructions = "\n\n".join(one["content"] for one in messages if one["role"] in INSTRUCTING and one["content"])
    spoken = [one for one in messages if one["role"] not in INSTRUCTING]
    question = parted(spoken, _is_users, lambda one: one["role"] == "tool", _out_of_order, alone=alone)
    asked = [one["content"] for one in question.since if _is_users(one) and one["content"]]
    text = "\n".join(asked)
    rounds = _rounds([one for one in question.since if not _is_users(one)])
    if not text.strip() and (question.asks or not rounds):
        raise Invalid("Send a message of the user, not blank.", code="message_missing", errors=_MESSAGES)
    return Told(text, instructions, turns_told(question.before), rounds)


def _is_users(message: dict[str, Any]) -> bool:
    return bool(message["role"] == "user")


def _rounds(messages: Sequence[dict[str, Any]]) -> tuple[tuple[ToolResult, ...], ...]:
    """Return calls with their outputs: an assistant's message, then one of a tool for each of its calls."""
    rounds: list[tuple[ToolResult, ...]] = []
    rest = list(messages)
    while rest:
        asking = rest.pop(0)
        calls = [_call(one) for one in asking["tool_calls"] or ()] if asking["role"] == "assistant" else []
        given, rest = rest[: len(calls)], rest[len(calls) :]
        outputs = {one["tool_call_id"]: one["content"] or "" for one in given if one["role"] == "tool"}
        if not calls or set(outputs) != {call.id for call in calls} or len(outputs) != len(given):
            raise _out_of_order(
                "Behind the user's last message only calls may come: an assistant's message with tool_calls, then one "
                "message of role tool for each of them."
            )
        rounds.append(tuple(ToolResult(call, outputs[call.id]) for call in calls))
    return tuple(rounds)


def _out_of_order(detail: str) -> Invalid:
    return Invalid(detail, code="messages_out_of_order", errors={"messages": ["Out of order."]})


def _call(loaded: dict[str, Any]) -> ToolCall:
    return ToolCall(loaded["id"], loaded["function"]["name"], loaded["function"]["arguments"] or "")
