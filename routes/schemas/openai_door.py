"""Wire names of OpenAI's API: what its clients send to chat completions, models, memory and embeddings."""

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.answers import Audience
from models.errors import Invalid
from models.given import Given
from models.tools import ToolSpec
from routes.schemas.base import LONGEST_MESSAGE, ClientSchema, Text
from routes.schemas.chats import fits_metadata
from routes.schemas.openai_messages import CompletionMessageSchema, told
from services.doors import DoorMessage

_MOST_TOOLS = 128
_AS_SENT = (
    "top_p", "stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "response_format",
    "reasoning_effort", "verbosity",
)  # fmt: skip
"""Parameters that models get as they came."""


def _is_stop(value: Any) -> None:
    """Take what ends an answer: a text, or several."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise ValidationError("Must be a string or a list of strings.")


class ThreadName(fields.Field[str | None]):
    """The name of a thread: a string or a whole number; "" and null name none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **_: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValidationError("Must be a string or a whole number.")
        name = str(Text().deserialize(str(value)))
        if len(name) > 256:
            raise ValidationError("Must have at most 256 characters.")
        return name if name.strip() else None


class OfferedFunctionSchema(Schema):
    """A function that the client makes itself."""

    class Meta:
        """Take what is known; clients send new fields all the time."""

        unknown = EXCLUDE

    name = Text(
        required=True,
        validate=validate.Regexp(
            r"^[a-zA-Z0-9_-]{1,64}(?![\s\S])", error="Must have 1 to 64 letters, digits, underscores and dashes."
        ),
    )
    description = Text(load_default="", allow_none=True)
    parameters = fields.Dict(load_default=None, allow_none=True)
    strict = fields.Boolean(load_default=False, allow_none=True)


class CompletionToolSchema(Schema):
    """A tool of the client's."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    type = Text(required=True, validate=validate.Equal("function", error="Only tools of type function are taken."))
    function = fields.Nested(OfferedFunctionSchema, required=True)


class CompletionStreamSchema(Schema):
    """What a stream has besides."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    include_usage = fields.Boolean(load_default=False, allow_none=True)


class ChatCompletionSchema(ClientSchema):
    """A request for a chat completion, with Orquestra's `thread_id` beside OpenAI's fields."""

    messages = fields.List(fields.Nested(CompletionMessageSchema), required=True)
    model = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    thread_id = ThreadName(load_default=None, allow_none=True)
    stream = fields.Boolean(load_default=False, allow_none=True)
    stream_options = fields.Nested(CompletionStreamSchema, load_default=None, allow_none=True)
    temperature = fields.Float(load_default=None, allow_none=True, validate=validate.Range(0, 2))
    max_tokens = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(1))
    max_completion_tokens = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(1))
    tools = fields.List(
        fields.Nested(CompletionToolSchema),
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=_MOST_TOOLS),
    )
    tool_choice = fields.Raw(load_default=None, allow_none=True)
    parallel_tool_calls = fields.Boolean(load_default=None, allow_none=True)
    top_p = fields.Float(allow_none=True, validate=validate.Range(0, 1))
    stop = fields.Raw(allow_none=True, validate=_is_stop)
    seed = fields.Integer(allow_none=True, strict=True)
    frequency_penalty = fields.Float(allow_none=True, validate=validate.Range(-2, 2))
    presence_penalty = fields.Float(allow_none=True, validate=validate.Range(-2, 2))
    logit_bias = fields.Dict(allow_none=True)
    response_format = fields.Dict(allow_none=True)
    reasoning_effort = Text(allow_none=True, validate=validate.Length(1, 50))
    verbosity = Text(allow_none=True, validate=validate.Length(1, 50))
    metadata = fields.Raw(load_default=None, allow_none=True)
    n = fields.Integer(load_default=None, allow_none=True, strict=True)
    logprobs = fields.Boolean(load_default=None, allow_none=True)
    modalities = fields.List(fields.String(), load_default=None, allow_none=True)
    audio = fields.Raw(load_default=None, allow_none=True)
    functions = fields.Raw(load_default=None, allow_none=True)
    function_call = fields.Raw(load_default=None, allow_none=True)


def door_message(data: dict[str, Any], idempotency_key: str | None, digest: str, *, repeated: bool) -> DoorMessage:
    """Build the message from a loaded ChatCompletionSchema.

    Raises:
        Invalid: code `unsupported_parameter`, it asks for what no answer here has; codes of `told`.
    """
    _refuse_unsupported(data)
    said = told(data["messages"], alone=data["thread_id"] is None)
    if len(said.text) > LONGEST_MESSAGE:
        raise Invalid(
            f"The user's message is longer than {LONGEST_MESSAGE} characters. Shorten it.",
            code="message_too_long",
            errors={"messages": ["Too long."]},
        )
    tools = _tools(data)
    limit = data["max_completion_tokens"] if data["max_tokens"] is None else data["max_tokens"]
    given = Given(
        turns=said.turns,
        instructions=said.instructions,
        tools=tools,
        rounds=said.rounds,
        temperature=data["temperature"],
        max_output_tokens=limit,
        options={name: data[name] for name in _AS_SENT if data.get(name) is not None} | _choice(data, tools),
    )
    return DoorMessage(
        text=said.text,
        thread=data["thread_id"],
        given=given,
        message_id=idempotency_key,
        digest=digest,
        repeated=repeated,
        audience=Audience.TEXT if data["stream"] else Audience.NOBODY,
        metadata=_metadata(data["metadata"]),
    )


def wants_usage(data: dict[str, Any]) -> bool:
    """Tell whether a stream is to end with a chunk that says its tokens."""
    return bool((data["stream_options"] or {}).get("include_usage"))


def _refuse_unsupported(data: dict[str, Any]) -> None:
    wrong = {
        "n": data["n"] not in (None, 1),
        "logprobs": bool(data["logprobs"]),
        "modalities": any(one != "text" for one in data["modalities"] or ()),
        "audio": data["audio"] is not None,
        "functions": data["functions"] is not None,
        "function_call": data["function_call"] is not None,
    }
    name = next((name for name, is_wrong in wrong.items() if is_wrong), None)
    if name is not None:
        raise _unsupported(name, f"This server does not take {name!r} so. Leave it out.")


def _tools(data: dict[str, Any]) -> tuple[ToolSpec, ...]:
    """Return the client's functions; none where it forbids them."""
    functions = [one["function"] for one in data["tools"] or () if data["tool_choice"] != "none"]
    if len({one["name"] for one in functions}) < len(functions):
        raise Invalid("Some values are wrong.", errors={"tools": ["Two functions have the same name."]})
    return tuple(
        ToolSpec(
            one["name"],
            one["description"] or "",
            {"type": "object", "properties": {}} if one["parameters"] is None else one["parameters"],
            strict=bool(one["strict"]),
        )
        for one in functions
    )


def _choice(data: dict[str, Any], tools: tuple[ToolSpec, ...]) -> dict[str, Any]:
    """Return what says which of the client's functions the model shall call, and how many at once."""
    choice, parallel = data["tool_choice"], data["parallel_tool_calls"]
    if choice in (None, "auto", "none"):
        chosen = {}
    elif choice == "required" and tools:
        chosen = {"tool_choice": choice}
    elif isinstance(choice, dict) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if name not in [tool.name for tool in tools]:
            raise Invalid("Some values are wrong.", errors={"tool_choice": ["Must name a function of `tools`."]})
        chosen = {"tool_choice": {"type": "function", "function": {"name": name}}}
    else:
        raise _unsupported("tool_choice", "tool_choice must be auto, none, required or a function of `tools`.")
    return chosen if parallel is None or not tools else {**chosen, "parallel_tool_calls": parallel}


def _metadata(value: Any) -> dict[str, Any]:
    """Return what can be stored with the chat; OpenAI's clients may send anything here."""
    is_plain = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    return value if is_plain and fits_metadata(value) else {}


def _unsupported(name: str, detail: str) -> Invalid:
    return Invalid(detail, code="unsupported_parameter", errors={name: ["Not supported."]})


class MemorySchema(Schema):
    """Whose memory is to be cleared."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    thread_id = ThreadName(load_default=None, allow_none=True)


def thread_to_clear(body: dict[str, Any], query: dict[str, Any]) -> str:
    """Return the thread that the body or the query names.

    Raises:
        Invalid: neither does.
    """
    thread: str | None = body["thread_id"] or query["thread_id"]
    if thread is None:
        raise Invalid("Say whose memory to clear.", errors={"thread_id": ["Missing data for required field."]})
    return thread


def _is_input(value: Any) -> None:
    """Take a text, texts, or texts as lists of tokens."""
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | int | list) and not isinstance(item, bool) for item in items):
        raise ValidationError("Must be a string, or a list of strings or of tokens.")


class EmbeddingsSchema(Schema):
    """A request for vectors."""

    class Meta:
        """As above."""

        unknown = EXCLUDE

    input = fields.Raw(required=True, validate=_is_input)
    model = Text(load_default=None, allow_none=True)
    dimensions = fields.Integer(allow_none=True, strict=True, validate=validate.Range(1))
    encoding_format = Text(allow_none=True, validate=validate.OneOf(["float", "base64"]))
    user = Text(allow_none=True)
