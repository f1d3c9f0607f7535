"""System 000's routes: its clients need a key and nothing else. docs/drop_in.md says what differs."""

from typing import Any

from flask import Response, json

from models.conversations import QUERY_ASSISTANT
from models.errors import DeadlineExceeded, ProviderFailed
from routes.access import calling_assistant, metrics, services, with_api_key
from routes.answering import IDEMPOTENCY_KEY, idempotency_key, replayed_header, whole
from routes.parsing import Blueprint
from routes.room import in_room, new_deadline
from routes.schemas.legacy import AssistantReplySchema, ClearedSchema, QuestionSchema, failed, question

blueprint = Blueprint("legacy", __name__, description="The routes of system 000, for its clients")


@blueprint.post("/queryAssistant")
@with_api_key
@blueprint.arguments(QuestionSchema)
@blueprint.response(200, AssistantReplySchema, description="the answer, or with statusCode 500 why there is none")
@blueprint.doc(parameters=[IDEMPOTENCY_KEY])
@in_room()
def query_assistant(data: dict[str, str]) -> Any:
    """Answer a person's question as system 000 did; `address` names the person, whose memory is their own."""
    message = question(data, calling_assistant(), idempotency_key())
    done = whole(services().conversations.answer(message, new_deadline()), metrics())
    return done.chat, replayed_header(done)


@blueprint.post("/clearCache")
@with_api_key
@blueprint.response(200, ClearedSchema)
def clear_cache() -> dict[str, Any]:
    """Let everybody who asks through `/queryAssistant` begin anew: no earlier message is remembered."""
    services().memory.clear(calling_assistant(), QUERY_ASSISTANT)
    return {}


@blueprint.errorhandler(ProviderFailed)
@blueprint.errorhandler(DeadlineExceeded)
def not_answered(error: ProviderFailed | DeadlineExceeded) -> dict[str, Any]:
    """Present a failed answer as system 000 did: with HTTP status 200, because its clients look at `statusCode`."""
    return failed(error.detail)


@blueprint.after_request
def with_status_code(response: Response) -> Response:
    """Say the status of every other failure in its body too, where these clients look for it."""
    if response.mimetype == "application/problem+json":
        response.set_data(json.dumps({**(response.get_json() or {}), "statusCode": response.status_code}))
    return response
