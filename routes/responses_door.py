"""/v1/responses: the Responses API for OpenAI's clients. docs/doors.md says what differs."""

from typing import Any

from flask import Response, jsonify

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
from routes.parsing import Blueprint
from routes.responses_events import ResponseStream
from routes.room import in_room, new_deadline
from routes.schemas.responses_answers import settled, thread_of
from routes.schemas.responses_door import ResponseRequestSchema, door_message
from routes.schemas.responses_echo import asked, asked_of, chat_of_response, previous_chat
from routes.streaming import stream

blueprint = Blueprint("responses_door", __name__, url_prefix="/v1", description="OpenAI's Responses API")
blueprint.register_error_handler(RateLimited, turned_away)
blueprint.register_error_handler(Unavailable, turned_away)


@blueprint.post("/responses")
@with_api_key
@blueprint.arguments(ResponseRequestSchema)
@blueprint.response(200, description="a response, or with `stream` its events as server-sent events")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY])
@in_room(watched=True)
def create(data: dict[str, Any]) -> Response:
    """Answer as OpenAI's Responses API does; `previous_response_id` and `conversation` go on with a memory."""
    assistant, deadline = calling_assistant(), new_deadline()
    repeated = asked(data, assistant)
    message = door_message(data, idempotency_key(), request_digest(), repeated=is_repeated())
    inbound = services().responses.inbound(assistant, message, previous_chat(data))
    told = Told()
    events = told.heard(services().conversations.answer(inbound, deadline))
    if data["stream"]:
        streamed = ResponseStream(repeated)
        response = stream(streamed.frames(counted(events, metrics())), deadline, streamed.failed, told.end)
        response.headers.update(streamed.headers)
        return response
    done = whole(events, metrics())
    told.end()
    response = jsonify(settled(done.chat, repeated))
    response.headers.update({THREAD_ID: thread_header(thread_of(done.chat, repeated.thread)), **replayed_header(done)})
    return response


@blueprint.get("/responses/<response_id>")
@with_uncounted_api_key
@blueprint.response(200, description="the response as it is stored")
def get(response_id: str) -> Response:
    """Return an earlier response of the key's assistant."""
    chat = services().responses.get(calling_assistant(), chat_of_response(response_id))
    return jsonify(settled(chat, asked_of(chat)))
