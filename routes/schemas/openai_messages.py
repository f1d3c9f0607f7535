"""The `messages` of chat completions: what of them is new, what was said before, what the client's functions gave."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.errors import Invalid
from models.given import Turn
from models.tools import ToolCall, ToolResult
from routes.schemas.base import Text

_TEXTS = frozenset({"text", "refusal"})
_MESSAGES = {"messages": ["Nothing to answer."]}
_INSTRUCTING = frozenset({"system", "developer"})


class Content(fields.Field[str]):
    """A message's text: a string, or a list of parts whose texts are joined; null is no text.

    Raises:
        Invalid: code `unsupported_content`, a part is no text.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str:
        if isinstance(value, str):
            return _text(value)
        if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
            raise ValidationError("Must be a string or a list of parts.")
        return "\n".join(_part(part) for part in value)


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
    content = Content(load_default="", allow_none=True)
    refusal = Text(load_default=None, allow_none=True)
    tool_calls = fields.List(fields.Nested(CompletionCallSchema), load_default=list, allow_none=True)
    tool_call_id = Text(load_default="", allow_none=True)


@dataclass(frozen=True)
class Told:
    """What a list of messages tells.

    Attributes:
        text: the newest words of the user; "" where there are only outputs of functions.
    """

    text: str
    instructions: str
    turns: tuple[Turn, ...]
    rounds: tuple[tuple[ToolResult, ...], ...]


def told(messages: Sequence[dict[str, Any]], *, alone: bool = True) -> Told:
    """Return what loaded messages tell.

    Args:
        alone: they are all there is; else they go on from what is stored.

    Raises:
        Invalid: code `message_missing`, there is nothing to answer; `messages_out_of_order`, behind the last message of
            the user is something else than calls with the outputs of exactly these.
    """
    instructions = "\n\n".join(one["content"] for one in messages if one["role"] in _INSTRUCTING and one["content"])
    spoken = [one for one in messages if one["role"] not in _INSTRUCTING]
    last = max((place for place, one in enumerate(spoken) if one["role"] == "user"), default=-1)
    first = _beginning_of_question(spoken, last)
    if first < last and not alone:
        raise _out_of_order("Send the outputs of functions first, and the user's next message with the next request.")
    asked = [one["content"] for one in spoken[max(first, 0) : last + 1] if one["role"] == "user" and one["content"]]
    text = "\n".join(asked)
    rounds = _rounds([one for one in spoken[max(first, 0) :] if one["role"] != "user"])
    if not text.strip() and (last >= 0 or not rounds):
        raise Invalid("Send a message of the user, not blank.", code="message_missing", errors=_MESSAGES)
    return Told(text, instructions, turns_told(spoken[: max(first, 0)]), rounds)


def _beginning_of_question(spoken: Sequence[dict[str, Any]], last: int) -> int:
    """Return the place of the question: the user's last message, or an earlier one whose outputs nobody answered."""
    while last > 0 and spoken[last - 1]["role"] == "tool":
        earlier = max((place for place, one in enumerate(spoken[:last]) if one["role"] == "user"), default=-1)
        if earlier < 0:
            raise _out_of_order("Send the outputs of functions alone, and the user's next message behind the answer.")
        last = earlier
    return last


def turns_told(messages: Sequence[dict[str, Any]]) -> tuple[Turn, ...]:
    """Pair what the user said with the answer behind it; of calls on the way to an answer only the text counts."""
    turns: list[Turn] = []
    for one in messages:
        said = one["content"] or one.get("refusal") or ""
        if not said.strip() or one["role"] == "tool":
            continue
        if one["role"] == "user":
            turns.append(Turn(said, None))
        elif not turns:
            turns.append(Turn(None, said))
        else:
            earlier = turns[-1].response
            turns[-1] = replace(turns[-1], response=f"{earlier}\n\n{said}" if earlier else said)
    return tuple(turns)


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


def _part(part: dict[str, Any]) -> str:
    kind = part.get("type", "text")
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise Invalid(
            f"Parts of type {str(kind)[:50]!r} are not read; send text.",
            code="unsupported_content",
            errors={"messages": [f"Parts of type {str(kind)[:50]!r} are not read."]},
        )
    return _text(part.get(str(kind)))


def _text(value: Any) -> str:
    return str(Text().deserialize(value))
