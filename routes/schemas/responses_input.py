"""The `input` of the Responses API: what of it is new, what was said before, what the client's functions gave."""

from collections.abc import Sequence
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.errors import Invalid
from models.tools import ToolCall, ToolResult
from routes.schemas.base import Text
from routes.schemas.openai_told import INSTRUCTING, PartsText, Told, parted, turns_told

_TEXT_OF_PART = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_PASSED_OVER = frozenset({"reasoning"})
"""Items that models of others made for themselves."""


class _ItemSchema(Schema):
    class Meta:
        """Take what is known; clients send new fields all the time."""

        unknown = EXCLUDE


class MessageItemSchema(_ItemSchema):
    """A message; what was said while tools ran has the phase `commentary` and is no part of an answer."""

    role = Text(
        required=True,
        validate=validate.OneOf(["system", "developer", "user", "assistant"], error="Must be one of: {choices}."),
    )
    content = PartsText("input", _TEXT_OF_PART, required=True)
    phase = Text(load_default=None, allow_none=True)


class CallItemSchema(_ItemSchema):
    """A call that an assistant asked for."""

    call_id = Text(required=True, validate=validate.Length(1, 256))
    name = Text(required=True, validate=validate.Length(1, 256))
    arguments = Text(required=True)


class OutputItemSchema(_ItemSchema):
    """What a call gave."""

    call_id = Text(required=True, validate=validate.Length(1, 256))
    output = PartsText("input", _TEXT_OF_PART, required=True)


_SCHEMAS: dict[str, _ItemSchema] = {
    "message": MessageItemSchema(),
    "function_call": CallItemSchema(),
    "function_call_output": OutputItemSchema(),
}


class Input(fields.Field[list[dict[str, Any]]]):
    """What a request says: a text of the user, or items, which are loaded with their `type`.

    Raises:
        Invalid: code `unsupported_item`, an item is of a type that is not read.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> list[dict[str, Any]]:
        if isinstance(value, str):
            value = [{"type": "message", "role": "user", "content": value}]
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise ValidationError("Must be a string or a list of items.")
        items, wrong = list[dict[str, Any]](), dict[int, Any]()
        for number, item in enumerate(value):
            kind = item.get("type") or "message"
            if isinstance(kind, str) and kind in _PASSED_OVER:
                continue
            try:
                items.append({**_schema_of(kind).load(item), "type": kind})
            except ValidationError as error:
                wrong[number] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return items


def told(items: Sequence[dict[str, Any]], *, alone: bool) -> Told:
    """Return what loaded items tell.

    Args:
        alone: the items are all there is; else they go on from what is stored.

    Raises:
        Invalid: code `message_missing`, there is nothing to answer; `input_out_of_order`, calls and outputs do not
            belong together, or stand where they cannot be answered.
    """
    instructions = "\n\n".join(one["content"] for one in items if _is_instruction(one) and one["content"])
    spoken = [one for one in items if not _is_instruction(one) and one.get("phase") != "commentary"]
    question = parted(spoken, _is_users, _is_output, _out_of_order, alone=alone)
    asked = [one["content"] for one in question.since if _is_users(one)]
    if spoken and _is_from(spoken[-1], "assistant"):
        raise _missing()
    rounds = _rounds([one for one in question.since if one["type"] != "message"], known=question.asks)
    text = "\n".join(asked)
    if not text.strip() and (asked or not rounds):
        raise _missing()
    return Told(text, instructions, turns_told([one for one in question.before if one["type"] == "message"]), rounds)


def _rounds(items: Sequence[dict[str, Any]], *, known: bool) -> tuple[tuple[ToolResult, ...], ...]:
    """Return calls with their outputs, those together that were asked for at once.

    Args:
        known: the question is told too, so the calls have to be; else they may be what is stored.
    """
    rounds: list[tuple[ToolResult, ...]] = []
    calls: dict[str, ToolCall] = {}
    outputs: dict[str, str] = {}
    for item in items:
        if _is_output(item):
            outputs[item["call_id"]] = item["output"]
            continue
        if outputs:
            rounds.append(_round(calls, outputs))
            calls, outputs = {}, {}
        calls[item["call_id"]] = ToolCall(item["call_id"], item["name"], item["arguments"])
    if outputs and not calls and not known and not rounds:
        calls = {call_id: ToolCall(call_id, "", "") for call_id in outputs}
    return (*rounds, _round(calls, outputs)) if calls or outputs else tuple(rounds)


def _round(calls: dict[str, ToolCall], outputs: dict[str, str]) -> tuple[ToolResult, ...]:
    odd = next(iter(calls.keys() ^ outputs.keys()), None)
    if odd is not None:
        what = "the function_call_output" if odd in calls else "the function_call"
        raise _out_of_order(f"Send {what} of call {odd[:100]!r} too.")
    return tuple(ToolResult(call, outputs[call.id]) for call in calls.values())


def _is_instruction(item: dict[str, Any]) -> bool:
    return item.get("role") in INSTRUCTING


def _is_users(item: dict[str, Any]) -> bool:
    return _is_from(item, "user")


def _is_from(item: dict[str, Any], role: str) -> bool:
    return bool(item["type"] == "message" and item["role"] == role)


def _is_output(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "function_call_output")


def _schema_of(kind: object) -> _ItemSchema:
    schema = _SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        name = str(kind)[:50]
        raise Invalid(
            f"Items of type {name!r} are not read. Send messages, function_call and function_call_output.",
            code="unsupported_item",
            errors={"input": [f"Items of type {name!r} are not read."]},
        )
    return schema


def _missing() -> Invalid:
    return Invalid(
        "Send a message of the user, not blank.", code="message_missing", errors={"input": ["Nothing to answer."]}
    )


def _out_of_order(detail: str) -> Invalid:
    return Invalid(detail, code="input_out_of_order", errors={"input": ["Out of order."]})
