"""/assistants: what answers, and with which keys."""

from typing import Any

from flask import url_for

from models.assistants import Assistant
from models.hosting import SyncReport
from routes.access import caller, services, signed_in
from routes.paging import page_headers
from routes.parsing import Blueprint, request_text
from routes.room import in_room, new_deadline
from routes.schemas.assistants import (
    AssistantChangesSchema,
    AssistantSchema,
    FlushedSchema,
    NewAssistantSchema,
    RotationSchema,
)
from routes.schemas.base import PageQuery
from routes.schemas.hosting import SynchronizedSchema, SyncQuery
from routes.schemas.tools import MCP_FILE, InspectedSourceSchema, ToolImportSchema

blueprint = Blueprint("assistants", __name__, url_prefix="/assistants", description="Assistants and their API keys")


@blueprint.post("/add")
@signed_in
@blueprint.arguments(NewAssistantSchema)
@blueprint.response(201, AssistantSchema)
def add(data: dict[str, Any]) -> Any:
    """Create an assistant; the answer holds its API key."""
    assistant = services().assistants.add(caller(), **data)
    return _shown(assistant), {"Location": url_for("assistants.get", assistant_id=assistant.id)}


@blueprint.get("/list")
@signed_in
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, AssistantSchema(many=True))
def list_(query: dict[str, Any]) -> Any:
    """List the caller's assistants, newest first; an admin's list holds all."""
    listing = services().assistants.list(caller(), query["page"])
    return [_shown(assistant) for assistant in listing.items], page_headers(listing, query["page"])


@blueprint.get("/get/<assistant_id>")
@signed_in
@blueprint.response(200, AssistantSchema)
def get(assistant_id: str) -> Any:
    """Return an assistant."""
    return _shown(services().assistants.get(caller(), assistant_id))


@blueprint.put("/update/<assistant_id>")
@signed_in
@blueprint.arguments(AssistantChangesSchema)
@blueprint.response(200, AssistantSchema)
def update(changes: dict[str, Any], assistant_id: str) -> Any:
    """Set fields of an assistant."""
    return _shown(services().assistants.update(caller(), assistant_id, changes))


@blueprint.delete("/delete/<assistant_id>")
@signed_in
@blueprint.response(204)
def delete(assistant_id: str) -> None:
    """Delete an assistant with its documents, conversations and chats."""
    services().assistants.delete(caller(), assistant_id)


@blueprint.post("/rotateKey/<assistant_id>")
@signed_in
@blueprint.arguments(RotationSchema)
@blueprint.response(200, AssistantSchema)
def rotate_key(data: dict[str, Any], assistant_id: str) -> Any:
    """Give an assistant a new key; the current one works until the grace ends."""
    return _shown(services().assistants.rotate_key(caller(), assistant_id, **data))


@blueprint.post("/rotateWebhookSecret/<assistant_id>")
@signed_in
@blueprint.arguments(RotationSchema)
@blueprint.response(200, AssistantSchema)
def rotate_webhook_secret(data: dict[str, Any], assistant_id: str) -> Any:
    """Give an assistant a new webhook secret; callbacks carry both signatures until the grace ends."""
    return _shown(services().assistants.rotate_webhook_secret(caller(), assistant_id, **data))


def _waits(query: dict[str, bool], *_: Any, **__: Any) -> bool:
    return query["wait"]


@blueprint.post("/sync/<assistant_id>")
@signed_in
@blueprint.arguments(SyncQuery, location="query")
@blueprint.response(200, SynchronizedSchema)
@in_room(when=_waits)
def sync(query: dict[str, bool], assistant_id: str) -> SyncReport:
    """Tell what differs between the documents and what the provider holds, and have it mended."""
    return services().hosting.survey(caller(), assistant_id, new_deadline(), wait=query["wait"])


@blueprint.post("/flushThreads/<assistant_id>")
@signed_in
@blueprint.response(200, FlushedSchema)
def flush_threads(assistant_id: str) -> dict[str, int]:
    """Let every conversation go on in a new thread at the provider; what the old ones hold is deleted there."""
    return {"flushed": services().threads.flush(caller(), assistant_id)}


@blueprint.get("/tools/<assistant_id>")
@signed_in
@blueprint.response(200, InspectedSourceSchema(many=True))
@in_room()
def tools(assistant_id: str) -> Any:
    """Tell what each source of an assistant's tools offers now, or why it offers nothing."""
    return services().tool_inspection.inspect(caller(), assistant_id, new_deadline())


@blueprint.post("/importTools/<assistant_id>")
@signed_in
@blueprint.doc(requestBody=MCP_FILE)
@blueprint.response(200, ToolImportSchema)
def import_tools(assistant_id: str) -> Any:
    """Take the MCP servers of another program's file, with its comments; a second time changes nothing."""
    return services().tool_imports.take(caller(), assistant_id, request_text())


def _shown(assistant: Assistant) -> dict[str, Any]:
    """Return what the schema needs: the assistant and its secrets in clear."""
    held = services().assistants
    return {
        **vars(assistant),
        "api_key": held.revealed_key(assistant),
        "webhook_secret": held.webhook_secret(assistant),
    }
