"""Operations: is it alive, is it ready, what is it, how is it doing, what has it given up."""

import hmac
from typing import Any

from flask import Response, current_app

from models.errors import NotFound, Unauthenticated
from models.jobs import DeadLetter
from models.paging import Page
from routes.access import bearer, caller, metrics, services, signed_in
from routes.paging import page_headers
from routes.parsing import Blueprint
from routes.schemas.base import PageQuery
from routes.schemas.ops import DeadLetterSchema, HealthSchema, JobSchema, ReadinessSchema, VersionSchema

blueprint = Blueprint("ops", __name__, description="Health, version, metrics and dead letters")


@blueprint.get("/healthz")
@blueprint.response(200, HealthSchema)
def healthz() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@blueprint.response(200, ReadinessSchema)
@blueprint.alt_response(503, schema=ReadinessSchema, description="a store is down, or the server is draining")
def readyz() -> Any:
    """Tell whether this server can do its work, and with what; 503 if not."""
    found = services().health.readiness()
    return (found, 200) if found.ready else (found, 503, {"Retry-After": "2"})


@blueprint.get("/version")
@blueprint.response(200, VersionSchema)
def version() -> dict[str, str]:
    """Tell which version this is."""
    return {"name": "orquestra", "version": current_app.config["API_VERSION"]}


@blueprint.get("/metrics")
@blueprint.doc(security=[{"metricsToken": []}])
@blueprint.response(200, description="Prometheus text format")
def exposition() -> Response:
    """Return metrics to a caller with METRICS_TOKEN; without that setting there are none."""
    token = current_app.config["METRICS_TOKEN"]
    if not token:
        raise NotFound("Metrics are off. Set METRICS_TOKEN to have them.")
    if not hmac.compare_digest((bearer() or "").encode(), token.encode()):
        raise Unauthenticated("Send METRICS_TOKEN as Authorization: Bearer <token>.", code="token_invalid")
    return Response(metrics().exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@blueprint.get("/ops/deadletters")
@signed_in
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, DeadLetterSchema(many=True))
def dead_letters(query: dict[str, Page]) -> Any:
    """List the jobs that failed too often, newest first; only for admins."""
    listing = services().dead_letters.list(caller(), query["page"])
    return listing.items, page_headers(listing, query["page"])


@blueprint.post("/ops/deadletters/retry/<letter_id>")
@signed_in
@blueprint.response(202, JobSchema)
def retry_dead_letter(letter_id: str) -> DeadLetter:
    """Run a job again that failed too often; only for admins."""
    return services().dead_letters.rerun(caller(), letter_id)


@blueprint.delete("/ops/deadletters/delete/<letter_id>")
@signed_in
@blueprint.response(204)
def delete_dead_letter(letter_id: str) -> None:
    """Delete a job that failed too often, undone; only for admins."""
    services().dead_letters.delete(caller(), letter_id)
