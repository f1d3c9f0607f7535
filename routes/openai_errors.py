"""Failures as OpenAI shapes them: `{"error": {message, type, param, code}}`, for everything under /v1."""

import math
from typing import Any

from flask import Response, json

from models.errors import Invalid, OrquestraError, RateLimited, Unavailable

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
"""Ours, but for these, which clients know by OpenAI's names."""

_USELESS_TO_RETRY = frozenset({"provider_auth", "provider_not_configured", "model_not_found", "content_filtered"})
"""Failures of a model that another try does not mend."""


def openai_failure(error: OrquestraError) -> Response:
    """Return the response to an error of ours, with what OpenAI's SDKs read before they try again by themselves."""
    status = _status(error)
    response = Response(json.dumps(openai_error(error)), status, content_type="application/json")
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status == 409 or error.code in _USELESS_TO_RETRY:
        response.headers["x-should-retry"] = "false"
    return response


def openai_error(error: OrquestraError) -> dict[str, Any]:
    """Return the body of an error of ours; it is also what breaks off a stream."""
    status = _status(error)
    kind = "server_error" if status >= 500 else _TYPES.get(status, "invalid_request_error")
    fields = error.errors if isinstance(error, Invalid) else {}
    body = {
        "message": _message(error, fields),
        "type": kind,
        "param": next(iter(fields), None),
        "code": _CODES.get(status, error.code),
    }
    return {"error": body}


def _status(error: OrquestraError) -> int:
    """Return the HTTP status: OpenAI knows no 422, it calls every wrong request a bad one."""
    return 400 if error.status == 422 else error.status


def _message(error: OrquestraError, fields: dict[str, list[str]]) -> str:
    """Return what is wrong; of a schema's refusal the fields, because this shape shows them nowhere else."""
    if error.code != Invalid.code or not fields:
        return error.detail
    return " ".join(f"{name}: {' '.join(messages)}" for name, messages in fields.items())
