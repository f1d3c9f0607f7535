"""What every request gets: an id, a log line, a size limit, a measure."""

import logging
import re
import secrets
import time

from flask import Flask, Response, g, request

from routes.metrics import Metrics

logger = logging.getLogger("orquestra.requests")

_SANE_ID = re.compile(r"[A-Za-z0-9._\-]{1,128}\Z")
_JSON_BYTES = 2**20


def request_id() -> str:
    """Return the id of the current request."""
    return str(g.get("request_id", ""))


def register_requests(app: Flask, metrics: Metrics, max_upload_bytes: int) -> None:
    """Give every request its id, its limit and its log line."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _SANE_ID.match(given) else secrets.token_hex(12)
        g.began = time.monotonic()
        # A form carries its file and a little besides; everything else is JSON.
        form = request.mimetype == "multipart/form-data"
        request.max_content_length = max_upload_bytes + _JSON_BYTES if form else _JSON_BYTES

    @app.after_request
    def finish(response: Response) -> Response:
        seconds = time.monotonic() - g.get("began", time.monotonic())
        response.headers["X-Request-ID"] = request_id()
        response.headers["X-Content-Type-Options"] = "nosniff"
        rule = request.url_rule.rule if request.url_rule else "none"
        metrics.requests.labels(request.method, rule, response.status_code).inc()
        metrics.request_seconds.labels(request.method, rule).observe(seconds)
        logger.info(
            "request",
            extra={
                "request_id": request_id(),
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round(seconds * 1000, 1),
            },
        )
        return response
