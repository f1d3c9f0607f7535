"""One shape for every failure: application/problem+json (RFC 9457), but for the doors, which have their protocol's."""

import logging
import math
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, json, request
from marshmallow import ValidationError
from werkzeug.exceptions import HTTPException

from models.errors import Invalid, OrquestraError, RateLimited, Unavailable
from routes.dashscope_errors import dashscope_failure
from routes.openai_errors import openai_failure
from routes.requests import request_id

logger = logging.getLogger("orquestra.errors")

_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_format",
    422: "validation_failed",
    429: "rate_limited",
    500: "internal_error",
}


def problem(error: OrquestraError, request_id: str) -> dict[str, Any]:
    """Return the problem document of an error of ours."""
    body = _document(error.status, error.title, error.detail, error.code, request_id)
    if isinstance(error, Invalid) and error.errors:
        body["errors"] = error.errors
    return body


def register_errors(app: Flask) -> None:
    """Answer every failure, expected or not, with a problem document, or as the path's door has it."""
    app.register_error_handler(OrquestraError, _ours)
    app.register_error_handler(ValidationError, _validation)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def failure(error: OrquestraError) -> Response:
    """Return the response to an error of ours."""
    response = _respond(problem(error, request_id()))
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _ours(error: OrquestraError) -> Response:
    """Present an error of ours in the shape of the path's protocol."""
    return next((present for path, present in _DOORS if path.match(request.path)), failure)(error)


def _validation(error: ValidationError) -> Response:
    return _ours(Invalid("Some values are wrong; `errors` names them.", errors=_flatten(error.messages)))


def _http(error: HTTPException) -> Response:
    """Present werkzeug's own errors, and webargs' validation errors that come as a 422 with `data`."""
    messages = getattr(error, "data", {}).get("messages") if error.code == 422 else None
    if messages is not None:
        # webargs groups by location: {"json": {field: [...]}}
        fields = {name: text for group in messages.values() for name, text in _flatten(group).items()}
        return _ours(Invalid("Some values are wrong; `errors` names them.", errors=fields))
    status = error.code or 500
    ours = OrquestraError(_advice(status), code=_CODES.get(status, "http_error"))
    ours.status, ours.title = status, HTTPStatus(status).phrase
    response = _ours(ours)
    for name, value in error.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    logger.error("unhandled error", exc_info=error)
    return _ours(OrquestraError(_advice(500)))


def _document(status: int, title: str, detail: str, code: str, request_id: str) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def _respond(body: dict[str, Any]) -> Response:
    return Response(json.dumps(body), body["status"], content_type="application/problem+json")


def _advice(status: int) -> str:
    """Return what to do next; werkzeug's own texts are not meant for API clients."""
    return {
        400: "The request cannot be read. Send valid JSON with Content-Type: application/json.",
        404: "There is nothing at this path. /openapi.json lists all paths.",
        405: "This path does not take this method. The Allow header names those it does.",
        413: "The request is larger than this server accepts (MAX_UPLOAD_MB for files, 1 MiB for JSON).",
        415: "This path takes another Content-Type. /openapi.json names it.",
        500: "The server failed. The request_id finds the reason in its log.",
    }.get(status, HTTPStatus(status).description or HTTPStatus(status).phrase)


def _flatten(messages: Any, prefix: str = "") -> dict[str, list[str]]:
    """Turn marshmallow's nested messages into `outer.inner` -> messages."""
    if isinstance(messages, list):
        return {prefix or "_schema": [str(message) for message in messages]}
    flat: dict[str, list[str]] = {}
    for name, inner in messages.items():
        flat.update(_flatten(inner, f"{prefix}.{name}" if prefix else str(name)))
    return flat


_DOORS: tuple[tuple[re.Pattern[str], Callable[[OrquestraError], Response]], ...] = (
    (re.compile(r"(/api)?(/v1)?/apps/"), dashscope_failure),
    (re.compile(r"/v1/"), openai_failure),
)
"""The paths whose clients speak another protocol, and how failures look in it; the first that matches counts."""
