"""Wire names of /chats."""

import json
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_dump, post_load, validate, validates_schema

from models.answers import Audience, Inbound
from models.assistants import Assistant
from models.callbacks import DeliveryStatus
from models.chats import ChatFilter, ChatStatus
from models.clock import now
from models.conversations import Channel
from models.routing import Route
from routes.schemas.base import PageQuery, Text, Timestamp, answering_now, is_object_id, not_blank
from services.callback_urls import check_callback_url

_METADATA_ITEMS = 50
_METADATA_BYTES = 8_000
_EARLIEST, _LATEST = datetime(2000, 1, 1), datetime(9000, 1, 1)


def is_metadata(value: dict[str, Any]) -> None:
    """Keep metadata small, since it is stored with every chat, and such that it can be given back."""
    try:
        fits = fits_metadata(value)
    except ValueError:
        raise ValidationError("Must be JSON without NaN and without unpaired surrogates.") from None
    if not fits:
        raise ValidationError(f"At most {_METADATA_ITEMS} entries and {_METADATA_BYTES} bytes of JSON.")


def fits_metadata(value: dict[str, Any]) -> bool:
    """Tell whether metadata is small enough to be stored with every chat.

    Raises:
        ValueError: it is not JSON.
    """
    size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    return len(value) <= _METADATA_ITEMS and size <= _METADATA_BYTES


class ChannelMessageSchema(Schema):
    """A person's message, as a channel delivers it. `id` and `message_service` name the channel."""

    id = Text(required=True, validate=[validate.Length(1, 256), not_blank])
    message_service = Text(required=True, validate=[validate.Length(1, 64), not_blank])
    message = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])
    username = Text(load_default=None, allow_none=True, validate=validate.Length(max=256))
    active = fields.Boolean(load_default=True)
    message_id = Text(load_default=None, allow_none=True, validate=validate.Length(1, 256))
    stream = fields.Boolean(load_default=False)
    callback_url = Text(load_default=None, allow_none=True, validate=validate.Length(1, 2048))
    metadata = fields.Dict(keys=fields.String(), load_default=dict, validate=is_metadata)
    reply_audio = fields.Boolean(load_default=False)

    @validates_schema
    def check_callback(self, data: dict[str, Any], **_: Any) -> None:
        """Refuse a message whose sender both waits and does not."""
        if data["callback_url"] is not None and data["stream"]:
            raise ValidationError("Send either callback_url or stream, not both.", "callback_url")


def inbound(
    data: dict[str, Any], assistant: Assistant, idempotency_key: str | None, *, streamed: bool = False
) -> Inbound:
    """Build the message from a loaded ChannelMessageSchema; the header means the same as `message_id`.

    Args:
        streamed: the answer is sent as events of several kinds.

    Raises:
        Invalid: code `callback_not_allowed`.
    """
    if data["callback_url"] is not None:
        check_callback_url(data["callback_url"], assistant.callback_hosts)
    return Inbound(
        assistant=assistant,
        channel=Channel(data["id"], data["message_service"]),
        text=data["message"],
        username=data["username"],
        message_id=data["message_id"] or idempotency_key or None,
        active=data["active"],
        callback_url=data["callback_url"],
        metadata=data["metadata"],
        audience=Audience.EVENTS if streamed else Audience.NOBODY,
        reply_audio=data["reply_audio"],
    )


class ChatQuery(PageQuery):
    """Filters of the lists."""

    assistant_id = Text(load_default=None, validate=is_object_id)
    channel_id = Text(load_default=None)
    message_service = Text(load_default=None)
    status = fields.Enum(ChatStatus, by_value=True, load_default=None)
    q = Text(load_default=None, validate=validate.Length(1, 200))

    @post_load
    def build_filter(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Fold the filters into a ChatFilter."""
        wanted = ChatFilter(
            channel_id=data.pop("channel_id"),
            message_service=data.pop("message_service"),
            status=data.pop("status"),
            text=data.pop("q"),
        )
        return {**data, "wanted": wanted}


def in_the_future(until: datetime) -> None:
    """Take a time that lies ahead and that every store can hold."""
    if not _EARLIEST <= until.replace(tzinfo=None) <= _LATEST or until <= now():
        raise ValidationError("Must lie in the future, before the year 9000.")


class DeactivateSchema(Schema):
    """When a stopped conversation resumes by itself."""

    until = fields.AwareDateTime(format="iso", load_default=None, allow_none=True, validate=in_the_future)


class ReplySchema(Schema):
    """A human agent's words."""

    message = Text(required=True, validate=[validate.Length(1, 32_000), not_blank])


class FeedbackSchema(Schema):
    """An opinion of an answer."""

    score = fields.Integer(required=True, strict=True, validate=validate.OneOf([-1, 1]))
    comment = Text(load_default=None, allow_none=True, validate=validate.Length(max=4_000))


class ChannelSchema(Schema):
    """A channel."""

    id = fields.String()
    message_service = fields.String()


class TokenCountsSchema(Schema):
    """Tokens read and written."""

    in_ = fields.Integer(attribute="input", data_key="in")
    out = fields.Integer(attribute="output")


class CitationSchema(Schema):
    """A place in a document: `passage` is the document's text from `start` to `end`, in code points.

    `page` counts from 1 and is null for formats without pages.
    """

    document_id = fields.String()
    filename = fields.String()
    passage = fields.String()
    start = fields.Integer()
    end = fields.Integer()
    page = fields.Integer(allow_none=True)


CITATIONS = CitationSchema(many=True)


class TimingsSchema(Schema):
    """Where the time went."""

    queued_ms = fields.Integer(allow_none=True)
    retrieval_ms = fields.Integer(allow_none=True)
    first_token_ms = fields.Integer(allow_none=True)
    total_ms = fields.Integer(allow_none=True)
    decode_ms = fields.Integer(allow_none=True)
    transcribe_ms = fields.Integer(allow_none=True)
    first_sentence_ms = fields.Integer(allow_none=True)
    first_audio_ms = fields.Integer(allow_none=True)


class HeardSchema(Schema):
    """How a message was heard."""

    transcriber = fields.String()
    language = fields.String(allow_none=True)
    seconds = fields.Float()


class ChatFailureSchema(Schema):
    """Why there is no answer; `partial` is what the model had said before its stream broke."""

    code = fields.String()
    detail = fields.String()
    at = Timestamp()
    said = fields.String(attribute="partial", data_key="partial")


class StoredFeedbackSchema(Schema):
    """An opinion, and whose."""

    score = fields.Integer()
    comment = fields.String(allow_none=True)
    user_id = fields.String()
    at = Timestamp()


class CallbackSchema(Schema):
    """Where the outcome goes and how that went; `next_at` is when it is gone on with, null for never."""

    url = fields.String()
    status = fields.Enum(DeliveryStatus, by_value=True)
    tries = fields.Integer()
    next_at = Timestamp(allow_none=True)


class DeliveryTrySchema(Schema):
    """One try at a delivery: what the receiver answered, or the code of why it did not."""

    webhook_id = fields.String(attribute="event_id")
    at = Timestamp()
    status_code = fields.Integer(allow_none=True)
    error = fields.String(allow_none=True)
    duration_ms = fields.Integer()


class ToolEndSchema(Schema):
    """A call of a tool, without what was said to it and what it gave."""

    name = fields.String()
    failed = fields.Boolean()
    duration_ms = fields.Integer()


class CalledToolSchema(ToolEndSchema):
    """A call of a tool; `source` is the assistant's, "" for a function of the client's own."""

    source = fields.String()
    arguments = fields.String()


class ToolUseSchema(CalledToolSchema):
    """A call of a tool, and what it gave."""

    output = fields.String()
    started_at = Timestamp()


class ToolCallSchema(Schema):
    """A function of the client's that the model waits for."""

    id = fields.String()
    name = fields.String()
    arguments = fields.String()


class ChatSchema(Schema):
    """A message and its answer, as its managers see it.

    `audio_url` is where the answer to a message with `reply_audio` can be heard, for a day.
    """

    _id = fields.String(attribute="id")
    channel = fields.Nested(ChannelSchema)
    tokens = fields.Nested(TokenCountsSchema)
    username = fields.String(allow_none=True)
    assistant_id = fields.String()
    conversation_id = fields.String()
    active = fields.Function(answering_now, metadata={"type": "boolean"})
    message = fields.String(allow_none=True)
    response = fields.String(allow_none=True)
    status = fields.Enum(ChatStatus, by_value=True)
    message_id = fields.String(allow_none=True)
    heard = fields.Nested(HeardSchema, allow_none=True)
    citations = fields.List(fields.Nested(CitationSchema))
    provider = fields.String(allow_none=True)
    model = fields.String(allow_none=True)
    tools = fields.List(fields.Nested(ToolUseSchema))
    asked = fields.List(fields.Nested(ToolCallSchema))
    route = fields.Enum(Route, by_value=True, allow_none=True)
    truncated = fields.Boolean()
    timings = fields.Nested(TimingsSchema)
    error = fields.Nested(ChatFailureSchema, allow_none=True)
    feedback = fields.Nested(StoredFeedbackSchema, allow_none=True)
    answered_by = fields.String(allow_none=True)
    merged_into = fields.String(allow_none=True)
    callback = fields.Nested(CallbackSchema, attribute="delivery", allow_none=True)
    metadata = fields.Dict()
    audio_url = fields.String(allow_none=True, dump_default=None)
    createdAt = Timestamp(attribute="created_at")


class ChannelAnswerSchema(ChatSchema):
    """A chat as its channel sees it: an answer that a human overtook is not given out, nor what tools were told.

    `active` says whether a model answered this message, whatever has become of the conversation since.
    """

    tools = fields.List(fields.Nested(ToolEndSchema))

    @post_dump
    def withhold(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Keep a suppressed answer from the channel."""
        if data["status"] == ChatStatus.SUPPRESSED.value:
            return {**data, "response": None, "citations": [], "tools": [], "asked": [], "active": False}
        if data["status"] == ChatStatus.INACTIVE.value:
            return {**data, "active": False}
        return data


class ChatEventSchema(Schema):
    """What a callback carries: a settled chat as its channel sees it, without the delivery's own progress."""

    type = fields.String()
    timestamp = Timestamp()
    data = fields.Nested(ChannelAnswerSchema(exclude=("callback",)))


class SwitchedSchema(Schema):
    """The conversations that were switched."""

    conversations = fields.List(fields.String())
    active = fields.Boolean()
    paused_until = Timestamp(allow_none=True)
