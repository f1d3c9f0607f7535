"""DashScope's applications: for its SDKs, and for xiaozhi devices. docs/doors.md tells how to point them here."""

from typing import Any

from flask import request

from models.answers import Audience
from models.errors import OrquestraError
from routes.access import calling_assistant, metrics, services, with_bare_api_key
from routes.answering import IDEMPOTENCY_KEY, counted, idempotency_key, replayed_header, whole
from routes.dashscope_frames import Request, answer_frames, error_frame, whole_answer
from routes.parsing import Blueprint
from routes.requests import request_id
from routes.room import in_room, new_deadline
from routes.schemas.dashscope_door import (
    AppAnswerSchema,
    AppCompletionSchema,
    door_message,
    wants_increments,
    wants_stream,
)
from routes.streaming import stream

blueprint = Blueprint("dashscope", __name__, description="DashScope's applications, for its SDKs and devices")


@with_bare_api_key
@blueprint.arguments(AppCompletionSchema)
@blueprint.response(200, AppAnswerSchema)
@blueprint.doc(
    parameters=[IDEMPOTENCY_KEY],
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
@in_room(watched=True)
def complete(data: dict[str, Any], app_id: str, session_id: str = "") -> Any:
    """Answer a message as an application of DashScope does, whole or as server-sent events."""
    streamed = _wants_events() or wants_stream(data)
    audience = Audience.TEXT if streamed else Audience.NOBODY
    message = door_message(data, session_id, idempotency_key(), audience)
    inbound = services().doors.inbound(calling_assistant(), message)
    asked = Request(request_id(), app_id, message.thread or inbound.channel.id)
    deadline = new_deadline()
    events = services().conversations.answer(inbound, deadline)
    if not streamed:
        done = whole(events, metrics())
        return whole_answer(asked, done.chat), replayed_header(done)

    def failed(error: OrquestraError) -> bytes:
        return error_frame(error, asked.id)

    headers: dict[str, str] = {}
    frames = answer_frames(counted(events, metrics()), asked, headers, incremental=wants_increments(data))
    response = stream(frames, deadline, failed)
    response.headers.update(headers)
    return response


def _wants_events() -> bool:
    """Tell whether the request's headers ask for a stream, as the SDK's do."""
    return (
        request.headers.get("X-DashScope-SSE", "").lower() == "enable"
        or request.accept_mimetypes.best == "text/event-stream"
    )


for prefix in ("", "/v1", "/api", "/api/v1"):
    blueprint.add_url_rule(f"{prefix}/apps/<app_id>/completion", view_func=complete, methods=["POST"])
for prefix in ("", "/api"):
    path = f"{prefix}/v1/apps/<app_id>/sessions/<session_id>/responses"
    blueprint.add_url_rule(path, view_func=complete, methods=["POST"])
