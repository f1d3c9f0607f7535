"""Wire names of DashScope's applications, read as leniently as the service itself reads them."""

from collections.abc import Mapping, Sequence
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from models.answers import Audience
from models.errors import Invalid
from models.given import Given, Turn
from routes.schemas.base import Text
from services.devices import device_session
from services.doors import DoorMessage

_LONGEST_MESSAGE = 200_000
_LONGEST_SESSION = 256
Said = tuple[str, str]
"""Who said it, and what: "" where a message has no text."""


class Content(Text):
    """What a message says: a text, a list with parts of one, or nothing at all."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, list):
            value = "".join(_text_of(part) for part in value)
        return super()._deserialize(value, attr, data, **kwargs)


def _text_of(part: Any) -> str:
    """Return a part's text.

    Raises:
        ValidationError: it is a picture, a sound or a film.
    """
    text = part.get("text") if isinstance(part, dict) else part
    if not isinstance(text, str):
        raise ValidationError("Only parts with text are understood. Send no images, audio, video or files.")
    return text


class SessionId(Text):
    """A session's name; clients send numbers too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        number = isinstance(value, int) and not isinstance(value, bool)
        return super()._deserialize(str(value) if number else value, attr, data, **kwargs)


def _no_pictures(value: Sequence[Any]) -> None:
    if value:
        raise ValidationError("Images are not understood. Send text only.")


class LenientSchema(Schema):
    """Fields of which each may be absent or null, among others that are ignored."""

    class Meta:
        """Take the fields below, whatever else comes along."""

        unknown = EXCLUDE


class AppMessageSchema(LenientSchema):
    """A message of a dialogue; one of an assistant that called functions has no content."""

    role = fields.String(allow_none=True)
    content = Content(allow_none=True)


class AppExchangeSchema(LenientSchema):
    """A question and its answer, as `history` has them."""

    user = Content(allow_none=True)
    bot = Content(allow_none=True)


class AppInputSchema(LenientSchema):
    """What is asked: `messages`, or `prompt` behind `history`; both are one dialogue."""

    messages = fields.List(fields.Nested(AppMessageSchema), allow_none=True)
    prompt = Content(allow_none=True)
    history = fields.List(fields.Nested(AppExchangeSchema), allow_none=True)
    session_id = SessionId(allow_none=True, validate=validate.Length(max=_LONGEST_SESSION))
    image_list = fields.List(fields.Raw(), allow_none=True, validate=_no_pictures)


class AppParametersSchema(LenientSchema):
    """How it is to be answered."""

    temperature = fields.Float(allow_none=True, validate=validate.Range(0, 2))
    top_p = fields.Float(allow_none=True, validate=validate.Range(0, 1))
    seed = fields.Integer(allow_none=True, validate=validate.Range(0, 2**63 - 1))
    max_tokens = fields.Integer(allow_none=True, validate=validate.Range(1, 2**31 - 1))
    incremental_output = fields.Boolean(allow_none=True)
    stream = fields.Boolean(allow_none=True)


class AppCompletionSchema(LenientSchema):
    """A request to an application."""

    input = fields.Nested(AppInputSchema, allow_none=True)
    messages = fields.List(fields.Nested(AppMessageSchema), allow_none=True)
    parameters = fields.Nested(AppParametersSchema, allow_none=True)
    stream = fields.Boolean(allow_none=True)


class AppModelUsageSchema(Schema):
    """What a model read and wrote, in tokens."""

    model_id = fields.String()
    input_tokens = fields.Integer()
    output_tokens = fields.Integer()


class AppUsageSchema(Schema):
    """What an answer took; of one that no model gave the list is empty."""

    models = fields.List(fields.Nested(AppModelUsageSchema))


class AppOutputSchema(Schema):
    """The answer."""

    text = fields.String()
    finish_reason = fields.String()
    session_id = fields.String()
    created = fields.Integer()
    model = fields.String()


class AppAnswerSchema(Schema):
    """An answer of an application, with what system 003's clients look at."""

    request_id = fields.String()
    code = fields.Integer()
    message = fields.String()
    app_id = fields.String()
    session_id = fields.String()
    output = fields.Nested(AppOutputSchema)
    usage = fields.Nested(AppUsageSchema)
    is_end = fields.Boolean()


def wants_stream(data: Mapping[str, Any]) -> bool:
    """Tell whether the body asks for a stream; the SDK asks by headers instead."""
    return bool(data.get("stream") or (data.get("parameters") or {}).get("stream"))


def wants_increments(data: Mapping[str, Any]) -> bool:
    """Tell whether each frame of a stream is to have the new text only."""
    return bool((data.get("parameters") or {}).get("incremental_output"))


def door_message(data: Mapping[str, Any], path_session: str, message_id: str | None, audience: Audience) -> DoorMessage:
    """Build the message from a loaded AppCompletionSchema.

    Args:
        path_session: the session that the path names; one in the body comes first.

    Raises:
        Invalid: there is nothing to answer, or too much of it.
    """
    asked = data.get("input") or {}
    said = _dialogue(data, asked)
    newest = _newest(said)
    if newest is None:
        raise Invalid(
            "messages is required: send input.messages or input.prompt with what the user says.", code="message_missing"
        )
    text = said[newest][1]
    if len(text) > _LONGEST_MESSAGE:
        raise Invalid(f"The message has over {_LONGEST_MESSAGE} characters. Shorten it.", code="message_too_long")
    session = asked.get("session_id") or _checked(path_session)
    return DoorMessage(
        text,
        thread=session or None,
        device=device_session(session),
        given=_given(data.get("parameters") or {}, said[:newest], said[newest + 1 :]),
        message_id=message_id,
        audience=audience,
    )


def _checked(path_session: str) -> str:
    """Return the session that a path names.

    Raises:
        Invalid: no store could hold it.
    """
    if len(path_session) > _LONGEST_SESSION or "\0" in path_session:
        raise Invalid("The path's session is too long, or has a NUL in it. Choose another one.", code="session_invalid")
    return path_session


def _dialogue(data: Mapping[str, Any], asked: Mapping[str, Any]) -> list[Said]:
    """Return all that was said, oldest first, and last the prompt.

    xiaozhi's memory mode has the SDK send the last message once more, as the prompt: the two are one.
    """
    said: list[Said] = []
    for exchange in asked.get("history") or ():
        said += [("user", exchange.get("user") or ""), ("assistant", exchange.get("bot") or "")]
    messages = data.get("messages") or asked.get("messages") or ()
    said += [(one.get("role") or "user", one.get("content") or "") for one in messages]
    if asked.get("prompt"):
        said.append(("user", asked["prompt"]))
    if len(said) > 1 and said[-1][0] == "user" and said[-2] in (said[-1], ("tool", said[-1][1])):
        said.pop()
    return said


def _newest(said: Sequence[Said]) -> int | None:
    """Return the place of the message to answer: the last one of the user, else the last one that has a text."""
    with_text = [index for index, (_, text) in enumerate(said) if text.strip()]
    users = [index for index in with_text if said[index][0] == "user"]
    return next(reversed(users or with_text), None)


def _given(parameters: Mapping[str, Any], earlier: Sequence[Said], later: Sequence[Said]) -> Given:
    told = [text for role, text in (*earlier, *later) if role == "system" and text.strip()]
    return Given(
        turns=_turns(earlier),
        instructions="\n\n".join(told),
        temperature=parameters.get("temperature"),
        max_output_tokens=parameters.get("max_tokens"),
        options={name: parameters[name] for name in ("top_p", "seed") if parameters.get(name) is not None},
    )


def _turns(earlier: Sequence[Said]) -> tuple[Turn, ...]:
    """Return what was said as exchanges; messages without a text, and what functions gave, are left out."""
    turns: list[Turn] = []
    for role, text in earlier:
        if role == "user" and text.strip():
            turns.append(Turn(text, None))
        elif role == "assistant" and text.strip() and turns and turns[-1].response is None:
            turns[-1] = Turn(turns[-1].message, text)
        elif role == "assistant" and text.strip():
            turns.append(Turn(None, text))
    return tuple(turns)
