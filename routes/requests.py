"""What every request gets: an id, a log line, a size limit, a measure."""

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from models.ids import is_id
from routes.metrics import Metrics

logger = logging.getLogger("orquestra.requests")

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}\Z")
_JSON_BYTES = 2**20
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id() -> str:
    """Return the id of the current request."""
    return str(g.get("request_id", ""))


def register_requests(app: Flask, metrics: Metrics, max_upload_bytes: int) -> None:
    """Give every request its id, its limit and its log line."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if SANE_REQUEST_ID.match(given) else secrets.token_hex(12)
        g.began = time.monotonic()
        _name_scheme_as_expected()
        # A form carries its file and a little besides; everything else is JSON.
        form = request.mimetype == "multipart/form-data"
        request.max_content_length = max_upload_bytes + _JSON_BYTES if form else _JSON_BYTES

    @app.after_request
    def finish(response: Response) -> Response:
        seconds = time.monotonic() - g.get("began", time.monotonic())
        response.headers["X-Request-ID"] = request_id()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        rule = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in _METHODS else "other"
        metrics.requests.labels(method, rule, response.status_code).inc()
        metrics.request_seconds.labels(method, rule).observe(seconds)
        logger.info(
            "request",
            extra={
                "request_id": request_id(),
                "method": request.method,
                "path": _loggable_path(),
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
            },
        )
        return response


def _name_scheme_as_expected() -> None:
    """Write `Bearer` as flask-jwt-extended wants it: the scheme's case means nothing (RFC 9110, section 11.1)."""
    scheme, space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        request.environ["HTTP_AUTHORIZATION"] = f"Bearer{space}{token}"


def _loggable_path() -> str:
    """Return the path without what may be personal: a channel's id is often a phone number, a session's a device."""
    named = request.view_args or {}
    if "session_id" in named:
        return request.path.replace(f"/sessions/{named['session_id']}/", "/sessions/<session>/")
    reference = named.get("reference")
    if reference is None or is_id(reference):
        return request.path
    return request.path.removesuffix(reference) + "<channel>"
