"""/documents: what an assistant knows."""

import mimetypes
from os import SEEK_END
from typing import Any

from flask import Response, send_file, url_for

from models.documents import Document
from routes.access import caller, services, signed_in
from routes.paging import page_headers
from routes.parsing import Blueprint
from routes.room import in_room
from routes.schemas.documents import (
    DocumentQuery,
    DocumentSchema,
    DocumentUpload,
    DocumentVersionSchema,
    FoundPassageSchema,
    ListedDocumentSchema,
    PathSchema,
    RestoreSchema,
    SearchSchema,
    WaitQuery,
)

blueprint = Blueprint("documents", __name__, url_prefix="/documents", description="Documents and search in them")


def _waits(query: dict[str, bool], *_: Any, **__: Any) -> bool:
    return query["wait"]


@blueprint.post("/add")
@signed_in
@blueprint.arguments(WaitQuery, location="query")
@blueprint.arguments(DocumentUpload, location="files")
@blueprint.response(201, DocumentSchema)
@in_room(when=_waits)
def add(query: dict[str, bool], form: dict[str, Any]) -> Any:
    """Upload a document, or replace the one of the same name; the old content answers until the new one is ready."""
    file = form.pop("file")
    content = file.read()
    document = services().documents.add(
        caller(), filename=file.filename or "", content=content, wait=query["wait"], **form
    )
    return document, {"Location": url_for("documents.get", document_id=document.id)}


@blueprint.get("/list")
@signed_in
@blueprint.arguments(DocumentQuery, location="query")
@blueprint.response(200, ListedDocumentSchema(many=True))
def list_(query: dict[str, Any]) -> Any:
    """List documents, newest first, with how their files differ from what was uploaded."""
    listing = services().documents.list(caller(), query["assistant_id"], query["type"], query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.get("/get/<document_id>")
@signed_in
@blueprint.response(200, DocumentSchema)
def get(document_id: str) -> Document:
    """Return a document's record."""
    return services().documents.get(caller(), document_id)


@blueprint.route("/path/get/<document_id>", methods=["GET", "PUT"])
@signed_in
@blueprint.response(200, PathSchema)
def path(document_id: str) -> Document:
    """Return where a document's file lies."""
    return services().documents.get(caller(), document_id)


@blueprint.get("/download/<document_id>")
@signed_in
@blueprint.response(200, description="the original bytes, as attachment")
def download(document_id: str) -> Response:
    """Download a document's original bytes."""
    document, content = services().documents.open(caller(), document_id)
    kind = mimetypes.guess_type(document.filename)[0] or "application/octet-stream"
    response = send_file(content, kind, as_attachment=True, download_name=document.filename, etag=document.sha256)
    response.content_length = content.seek(0, SEEK_END)
    content.seek(0)
    response.headers.pop("Accept-Ranges", None)
    return response


@blueprint.get("/text/<document_id>")
@signed_in
@blueprint.response(200, description="the text that answers quote, UTF-8")
def text(document_id: str) -> Response:
    """Return the text that answers quote: the offsets of citations count its code points."""
    _, content = services().documents.open_text(caller(), document_id)
    return send_file(content, "text/plain; charset=utf-8")


@blueprint.get("/versions/<document_id>")
@signed_in
@blueprint.response(200, DocumentVersionSchema(many=True))
def versions(document_id: str) -> Any:
    """List the contents that a document has, or had, newest first."""
    return list(services().documents.get(caller(), document_id).versions)


@blueprint.post("/restore/<document_id>")
@signed_in
@blueprint.arguments(RestoreSchema)
@blueprint.response(200, DocumentSchema)
def restore(data: dict[str, str], document_id: str) -> Document:
    """Make an earlier content the current one again."""
    return services().documents.restore(caller(), document_id, data["revision"])


@blueprint.delete("/delete/<document_id>")
@signed_in
@blueprint.response(204)
def delete(document_id: str) -> None:
    """Delete a document with its versions: from answers at once, then its files."""
    services().documents.delete(caller(), document_id)


@blueprint.post("/reindex/<document_id>")
@signed_in
@blueprint.arguments(WaitQuery, location="query")
@blueprint.response(200, DocumentSchema)
@in_room(when=_waits)
def reindex(query: dict[str, bool], document_id: str) -> Document:
    """Read a document's file again and replace its passages; the old ones answer meanwhile."""
    return services().documents.reindex(caller(), document_id, wait=query["wait"])


@blueprint.post("/search")
@signed_in
@blueprint.arguments(SearchSchema)
@blueprint.response(200, FoundPassageSchema(many=True))
def search(data: dict[str, Any]) -> Any:
    """Return the passages that an answer to this question would use, with scores."""
    return services().documents.search(caller(), **data)
