"""/chats: the channels' endpoint, and what managers do with chats."""

from collections.abc import Iterator
from typing import Any

from flask import Response, request, url_for

from models.answers import AnswerEvent, Done, Filler, Replaying, TextDelta, ToolProgress
from models.chats import ChatStatus
from models.deadline import Deadline
from models.errors import OrquestraError, Unavailable
from routes.access import caller, calling_assistant, metrics, services, signed_in, with_api_key
from routes.answering import IDEMPOTENCY_KEY, REPLAYED, counted, idempotency_key, replayed_header, whole
from routes.audio_links import AudioLinks, audio_links
from routes.errors import problem
from routes.metrics import Metrics
from routes.paging import page_headers
from routes.parsing import Blueprint
from routes.requests import request_id
from routes.room import before_it_is_stored, in_room, new_deadline
from routes.schemas.chats import (
    ChannelAnswerSchema,
    ChannelMessageSchema,
    ChatQuery,
    ChatSchema,
    DeactivateSchema,
    DeliveryTrySchema,
    FeedbackSchema,
    ReplySchema,
    SwitchedSchema,
    inbound,
)
from routes.schemas.voice_notes import VoiceNoteSchema
from routes.streaming import frame, stream

_CHANNEL_ANSWER = ChannelAnswerSchema()
blueprint = Blueprint("chats", __name__, url_prefix="/chats", description="Messages and their answers")


def _keeps_its_thread(data: dict[str, Any]) -> bool:
    """Tell whether a message is answered, or at least heard, while its sender waits."""
    return data["callback_url"] is None or "recording" in data


@blueprint.post("/enviarMensagemLLM")
@with_api_key
@blueprint.json_or_form(ChannelMessageSchema, VoiceNoteSchema)
@blueprint.response(200, ChannelAnswerSchema)
@blueprint.alt_response(202, schema=ChannelAnswerSchema, description="its outcome goes to callback_url")
@blueprint.doc(
    parameters=[IDEMPOTENCY_KEY],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
@in_room(when=_keeps_its_thread)
def send_message(data: dict[str, Any]) -> Any:
    """Take a person's message from a channel, written or recorded, and give its one answer.

    It comes whole, as server-sent events, or by callback.
    """
    streamed = data["stream"] or request.accept_mimetypes.best == "text/event-stream"
    message = inbound(data, calling_assistant(), idempotency_key(), streamed=streamed)
    deadline = new_deadline()
    if (recording := data.get("recording")) is not None:
        message = services().voice.heard(message, recording, before_it_is_stored(deadline))
    links = audio_links()
    if message.callback_url is not None:
        chat, replayed = services().conversations.accept(message)
        place = {"Location": url_for("chats.get", reference=chat.id)}
        return links.on(chat), 202, {**place, REPLAYED: "true"} if replayed else place
    events = services().conversations.answer(message, deadline)
    if streamed:
        return _streamed(events, deadline, links)
    done = whole(events, metrics())
    return links.on(done.chat), replayed_header(done)


def _streamed(events: Iterator[AnswerEvent], deadline: Deadline, links: AudioLinks) -> Response:
    headers: dict[str, str] = {}
    this_request = request_id()

    def failed(error: OrquestraError) -> bytes:
        return frame("error", problem(error, this_request))

    response = stream(answer_frames(events, headers, metrics(), links), deadline, failed)
    response.headers.update(headers)
    return response


@blueprint.get("/get/<reference:reference>")
@signed_in
@blueprint.response(200, ChatSchema)
def get(reference: str) -> Any:
    """Return a chat by its id, or a channel's newest chat by the channel's id."""
    return audio_links().on(services().chats.get(caller(), reference))


@blueprint.get("/deliveries/<chat_id>")
@signed_in
@blueprint.response(200, DeliveryTrySchema(many=True))
def deliveries(chat_id: str) -> Any:
    """List the tries at delivering a chat's outcome to its `callback_url`, newest first."""
    return list(services().callbacks.log(caller(), chat_id))  # Flask takes a tuple for body, status and headers


@blueprint.get("/list")
@signed_in
@blueprint.arguments(ChatQuery, location="query")
@blueprint.response(200, ChatSchema(many=True))
def list_(query: dict[str, Any]) -> Any:
    """List chats, newest first."""
    return _listed(query, None)


@blueprint.get("/listarAtivos")
@signed_in
@blueprint.arguments(ChatQuery, location="query")
@blueprint.response(200, ChatSchema(many=True))
def list_active(query: dict[str, Any]) -> Any:
    """List the chats of conversations that a model answers."""
    return _listed(query, True)


@blueprint.get("/listarInativos")
@signed_in
@blueprint.arguments(ChatQuery, location="query")
@blueprint.response(200, ChatSchema(many=True))
def list_inactive(query: dict[str, Any]) -> Any:
    """List the chats that people have taken over."""
    return _listed(query, False)


@blueprint.put("/ativar/<reference:reference>")
@signed_in
@blueprint.response(200, SwitchedSchema)
def activate(reference: str) -> Any:
    """Let the model answer again: in a chat's conversation, or in every conversation of a channel id."""
    return services().chats.switch(caller(), reference, active=True)


@blueprint.put("/desativar/<reference:reference>")
@signed_in
@blueprint.arguments(DeactivateSchema, required=False)
@blueprint.response(200, SwitchedSchema)
def deactivate(data: dict[str, Any], reference: str) -> Any:
    """Stop the model from answering, for good or until a time."""
    return services().chats.switch(caller(), reference, active=False, until=data["until"])


@blueprint.post("/responder/<reference:reference>")
@signed_in
@blueprint.arguments(ReplySchema)
@blueprint.response(201, ChatSchema)
def reply(data: dict[str, str], reference: str) -> Any:
    """Put a human agent's words into the conversation and its memory."""
    chat = services().chats.reply(caller(), reference, data["message"])
    return chat, {"Location": url_for("chats.get", reference=chat.id)}


@blueprint.post("/retry/<reference:reference>")
@signed_in
@blueprint.response(200, ChatSchema)
@in_room()
def retry(reference: str) -> Any:
    """Ask the model again for a chat without an answer."""
    deadline = new_deadline()
    done = whole(services().chats.retry(caller(), reference, deadline), metrics())
    return audio_links().on(done.chat)


@blueprint.post("/feedback/<reference:reference>")
@signed_in
@blueprint.arguments(FeedbackSchema)
@blueprint.response(200, ChatSchema)
def rate(data: dict[str, Any], reference: str) -> Any:
    """Store an opinion of an answer."""
    return audio_links().on(services().chats.rate(caller(), reference, data["score"], data["comment"]))


def _listed(query: dict[str, Any], active: bool | None) -> Any:
    listing = services().chats.list(caller(), query["wanted"], active, query["assistant_id"], query["page"])
    return list(map(audio_links().on, listing.items)), page_headers(listing, query["page"])


def answer_frames(
    events: Iterator[AnswerEvent], headers: dict[str, str], measured: Metrics, links: AudioLinks
) -> Iterator[bytes]:
    """Turn events into SSE frames; a replay is noted in the headers before the first of them.

    Raises:
        Unavailable: code `answer_overtaken`, the pieces that were sent are not the answer that was committed: another
            server took the message over meanwhile.
    """
    sent: list[str] = []
    for event in counted(events, measured):
        match event:
            case Replaying():
                headers[REPLAYED] = "true"
            case TextDelta(text):
                sent.append(text)
                yield frame("message", {"delta": text})
            case ToolProgress() | Filler():
                yield _aside(event)
            case Done(chat):
                if chat.status is ChatStatus.ANSWERED and not sent:
                    yield frame("message", {"delta": chat.response})
                elif chat.status is ChatStatus.ANSWERED and "".join(sent) != chat.response:
                    raise Unavailable(
                        "Another server has answered this message meanwhile. Deliver it again to get that answer.",
                        code="answer_overtaken",
                    )
                yield frame("done", _CHANNEL_ANSWER.dump(links.on(chat)))


def _aside(event: ToolProgress | Filler) -> bytes:
    """Return the frame of what is no part of the answer."""
    if isinstance(event, Filler):
        return frame("filler", {"delta": event.text})
    return frame("tool", {"name": event.name, "status": event.status})
