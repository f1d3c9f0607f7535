"""/v1: what OpenAI's clients ask, with `base_url` set to this server. docs/doors.md says what differs."""

from typing import Any

from flask import Response, jsonify

from models.answers import Done
from models.errors import RateLimited, Unavailable
from routes.access import calling_assistant, metrics, services, with_api_key, with_uncounted_api_key
from routes.answering import (
    IDEMPOTENCY_KEY,
    THREAD_ID,
    Told,
    counted,
    idempotency_key,
    is_repeated,
    replayed_header,
    request_digest,
    thread_header,
    turned_away,
    whole,
)
from routes.openai_chunks import ChunkStream, error_frame
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.openai_answers import completion, model_of
from routes.schemas.openai_door import (
    ChatCompletionSchema,
    EmbeddingsSchema,
    MemorySchema,
    door_message,
    thread_to_clear,
    wants_usage,
)
from routes.streaming import stream

blueprint = Blueprint("openai_door", __name__, url_prefix="/v1", description="OpenAI's API, for its clients")
blueprint.register_error_handler(RateLimited, turned_away)
blueprint.register_error_handler(Unavailable, turned_away)


@blueprint.post("/chat/completions")
@with_api_key
@blueprint.arguments(ChatCompletionSchema)
@blueprint.response(200, description="a chat.completion, or with `stream` its chunks as server-sent events")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY])
@in_room(watched=True)
def complete(data: dict[str, Any]) -> Response:
    """Answer a chat as OpenAI's chat completions do; `thread_id` goes on with a thread's memory."""
    message = door_message(data, idempotency_key(), request_digest(), repeated=is_repeated())
    assistant, deadline = calling_assistant(), new_deadline()
    told = Told()
    events = told.heard(services().conversations.answer(services().doors.inbound(assistant, message), deadline))
    model = data["model"] or assistant.id
    if data["stream"]:
        chunks = ChunkStream(model, message.thread, with_usage=wants_usage(data))
        response = stream(chunks.frames(counted(events, metrics())), deadline, error_frame, told.end)
        response.headers.update(chunks.headers)
        return response
    done = whole(events, metrics())
    told.end()
    return _whole(done, model, message.thread)


@blueprint.get("/models")
@with_uncounted_api_key
@blueprint.response(200, description="the key's assistant, as a list of models")
def list_models() -> Response:
    """List the one model that the key is for: its assistant."""
    return jsonify({"object": "list", "data": [model_of(calling_assistant())]})


@blueprint.get("/models/<reference:model>")
@with_uncounted_api_key
@blueprint.response(200, description="the key's assistant, as a model")
def get_model(model: str) -> Response:
    """Return the key's assistant by its id or name."""
    return jsonify(model_of(services().doors.model(calling_assistant(), model)))


@blueprint.delete("/memory")
@with_uncounted_api_key
@blueprint.arguments(MemorySchema, required=False)
@blueprint.arguments(MemorySchema, location="query")
@blueprint.response(200, description="that the memory is cleared")
def clear_memory(body: dict[str, Any], query: dict[str, Any]) -> Response:
    """Let a thread begin anew; what was said stays where managers read it."""
    channel = services().doors.channel_of(calling_assistant(), thread_to_clear(body, query))
    services().memory.clear(calling_assistant(), channel.message_service, channel.id)
    return jsonify({"status": "success", "message": "Memory cleared"})


@blueprint.post("/embeddings")
@with_api_key
@blueprint.arguments(EmbeddingsSchema)
@blueprint.response(200, description="the embeddings endpoint's own answer")
@in_room(watched=True)
def embed(data: dict[str, Any]) -> Response:
    """Turn texts into vectors, at the embeddings endpoint that the server is configured with."""
    content = services().embeddings.embed(calling_assistant(), data, new_deadline())
    return Response(content, content_type="application/json")


def _whole(done: Done, model: str, thread: str | None) -> Response:
    named = thread or done.chat.channel.id
    response = jsonify(completion(done.chat, model, named))
    response.headers.update({THREAD_ID: thread_header(named), **replayed_header(done)})
    return response
