"""Wire names of the Responses API: what its clients send."""

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.answers import Audience
from models.errors import Invalid
from models.given import Given
from models.tools import ToolSpec
from routes.schemas.base import LONGEST_MESSAGE, ClientSchema, Text
from routes.schemas.openai_door import OfferedFunctionSchema, ThreadName
from routes.schemas.responses_echo import named_thread
from routes.schemas.responses_input import Input, told
from services.doors import DoorMessage

_MOST_TOOLS = 128
_ANYTHING = {"type": "object", "properties": {}}
_MODES = frozenset({"auto", "none", "required"})


class OfferedTools(fields.Field[list[dict[str, Any]]]):
    """The client's functions, each loaded by `OfferedFunctionSchema`.

    Raises:
        Invalid: code `unsupported_tool`, a tool is no function.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
            raise ValidationError("Must be a list of tools.")
        if len(value) > _MOST_TOOLS:
            raise ValidationError(f"At most {_MOST_TOOLS} tools.")
        for kind in (tool.get("type") for tool in value):
            if kind != "function":
                raise _unsupported_tool(str(kind), "tools")
        loaded = [dict(OfferedFunctionSchema().load(tool)) for tool in value]
        if len({tool["name"] for tool in loaded}) < len(loaded):
            raise ValidationError("Two functions have the same name.")
        return loaded


class ConversationName(ThreadName):
    """The name of a conversation: a string, or an object with it as `id`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str | None:
        return super()._deserialize(value.get("id") if isinstance(value, dict) else value, attr, data)


class _LenientSchema(Schema):
    class Meta:
        """Take what is known; clients send new fields all the time."""

        unknown = EXCLUDE


class TextOptionsSchema(_LenientSchema):
    """How the text is to look."""

    format = fields.Dict(load_default=None, allow_none=True)
    verbosity = Text(load_default=None, allow_none=True, validate=validate.OneOf(["low", "medium", "high"]))


class ReasoningSchema(_LenientSchema):
    """How much the model is to think."""

    effort = Text(load_default=None, allow_none=True, validate=validate.Length(1, 50))
    summary = Text(load_default=None, allow_none=True, validate=validate.Length(1, 50))


class ResponseRequestSchema(ClientSchema):
    """A request for a response, with Orquestra's `thread_id` beside OpenAI's fields."""

    input = Input(load_default=list, allow_none=True)
    model = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    instructions = Text(load_default=None, allow_none=True)
    previous_response_id = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    conversation = ConversationName(load_default=None, allow_none=True)
    thread_id = ThreadName(load_default=None, allow_none=True)
    stream = fields.Boolean(load_default=False, allow_none=True)
    tools = OfferedTools(load_default=list, allow_none=True)
    tool_choice = fields.Raw(load_default=None, allow_none=True)
    parallel_tool_calls = fields.Boolean(load_default=None, allow_none=True)
    max_tool_calls = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(1))
    max_output_tokens = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(1))
    temperature = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 2))
    top_p = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 1))
    frequency_penalty = fields.Float(load_default=None, allow_none=True, validate=validate.Range(-2, 2))
    presence_penalty = fields.Float(load_default=None, allow_none=True, validate=validate.Range(-2, 2))
    text = fields.Nested(TextOptionsSchema, load_default=None, allow_none=True)
    reasoning = fields.Nested(ReasoningSchema, load_default=None, allow_none=True)
    truncation = Text(load_default=None, allow_none=True, validate=validate.OneOf(["auto", "disabled"]))
    metadata = fields.Dict(
        keys=Text(validate=validate.Length(max=64)),
        values=Text(validate=validate.Length(max=512)),
        load_default=dict,
        allow_none=True,
        validate=validate.Length(max=16),
    )
    prompt_cache_key = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    background = fields.Boolean(load_default=False, allow_none=True)
    top_logprobs = fields.Integer(load_default=None, allow_none=True, strict=True)
    prompt = fields.Raw(load_default=None, allow_none=True)


def door_message(data: dict[str, Any], idempotency_key: str | None, digest: str, *, repeated: bool) -> DoorMessage:
    """Build the message from a loaded ResponseRequestSchema.

    Raises:
        Invalid: code `unsupported_parameter`, `unsupported_tool` or `mutually_exclusive_parameters`; codes of `told`.
    """
    _refuse_unsupported(data)
    thread = named_thread(data)
    said = told(data["input"] or (), alone=thread is None and data["previous_response_id"] is None)
    if len(said.text) > LONGEST_MESSAGE:
        raise Invalid(
            f"The user's message is longer than {LONGEST_MESSAGE} characters. Shorten it.",
            code="message_too_long",
            errors={"input": ["Too long."]},
        )
    tools, choice = _tools(data)
    parallel = {"parallel_tool_calls": data["parallel_tool_calls"]} if tools else {}
    options = {**_options(data), **({"tool_choice": choice} if choice else {}), **parallel}
    given = Given(
        turns=said.turns,
        instructions="\n\n".join(filter(None, (data["instructions"], said.instructions))),
        tools=tools,
        rounds=said.rounds,
        temperature=data["temperature"],
        max_output_tokens=data["max_output_tokens"],
        options={name: value for name, value in options.items() if value is not None},
    )
    return DoorMessage(
        text=said.text,
        thread=thread,
        given=given,
        message_id=idempotency_key,
        digest=digest,
        repeated=repeated,
        audience=Audience.TEXT if data["stream"] else Audience.NOBODY,
        metadata=data["metadata"] or {},
    )


def _refuse_unsupported(data: dict[str, Any]) -> None:
    wrong = {
        "background": bool(data["background"]),
        "top_logprobs": bool(data["top_logprobs"]),
        "prompt": data["prompt"] is not None,
    }
    name = next((name for name, is_wrong in wrong.items() if is_wrong), None)
    if name is not None:
        raise _unsupported(name, f"This server does not take {name!r} so. Leave it out.")


def _tools(data: dict[str, Any]) -> tuple[tuple[ToolSpec, ...], Any]:
    """Return the functions that the model may call, and how it shall choose, in the words of chat completions."""
    offered, choice = data["tools"] or [], data["tool_choice"]
    if choice is None or (isinstance(choice, str) and choice in _MODES):
        mode, names, forced = choice or "auto", None, None
    elif isinstance(choice, dict) and choice.get("type") == "function":
        mode, names, forced = "required", None, choice.get("name")
        _check_offered([forced], offered)
    elif isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        mode, names, forced = choice.get("mode", "auto"), _allowed(choice, offered), None
    else:
        kind = choice.get("type") if isinstance(choice, dict) else choice
        raise _unsupported_tool(str(kind), "tool_choice")
    if not isinstance(mode, str) or mode not in _MODES or (mode == "required" and not offered):
        raise _unsupported("tool_choice", "tool_choice must be auto, none, required or functions of `tools`.")
    tools = tuple(_spec(tool) for tool in offered if mode != "none" and (names is None or tool["name"] in names))
    if forced is not None:
        return tools, {"type": "function", "function": {"name": forced}}
    return tools, mode if mode == "required" else None


def _allowed(choice: dict[str, Any], offered: list[dict[str, Any]]) -> list[Any]:
    """Return the functions that a choice restricts the model to: it is offered no others."""
    allowed = choice.get("tools")
    if not isinstance(allowed, list) or not all(isinstance(one, dict) for one in allowed):
        raise _unsupported("tool_choice", "allowed_tools must have the list `tools`.")
    names = [one.get("name") for one in allowed]
    _check_offered(names, offered)
    return names


def _check_offered(names: list[Any], offered: list[dict[str, Any]]) -> None:
    known = [tool["name"] for tool in offered]
    if not names or any(name not in known for name in names):
        raise Invalid("Some values are wrong.", errors={"tool_choice": ["Must name functions of `tools`."]})


def _spec(tool: Mapping[str, Any]) -> ToolSpec:
    parameters = _ANYTHING if tool["parameters"] is None else tool["parameters"]
    return ToolSpec(tool["name"], tool["description"] or "", parameters, strict=bool(tool["strict"]))


def _options(data: dict[str, Any]) -> dict[str, Any]:
    """Return further parameters of the model, in the words of chat completions."""
    text, reasoning = data["text"] or {}, data["reasoning"] or {}
    return {
        "top_p": data["top_p"],
        "frequency_penalty": data["frequency_penalty"],
        "presence_penalty": data["presence_penalty"],
        "response_format": _response_format(text.get("format")),
        "verbosity": text.get("verbosity"),
        "reasoning_effort": reasoning.get("effort"),
    }


def _response_format(wanted: Mapping[str, Any] | None) -> dict[str, Any] | None:
    kind = (wanted or {"type": "text"}).get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    if kind != "json_schema" or wanted is None or not isinstance(wanted.get("schema"), dict):
        raise _unsupported(
            "text", "text.format must be of type text, json_object or json_schema, the last with schema."
        )
    known = ("name", "description", "schema", "strict")
    return {"type": kind, kind: {name: wanted[name] for name in known if wanted.get(name) is not None}}


def _unsupported(name: str, detail: str) -> Invalid:
    return Invalid(detail, code="unsupported_parameter", errors={name: ["Not supported."]})


def _unsupported_tool(kind: str, parameter: str) -> Invalid:
    return Invalid(
        f"Tools of type {kind[:50]!r} are not taken, only those of type 'function'. An assistant's own tools and "
        "documents are configured on the server.",
        code="unsupported_tool",
        errors={parameter: ["Only tools of type function are taken."]},
    )
