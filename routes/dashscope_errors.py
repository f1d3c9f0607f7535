"""Failures as DashScope shapes them: `{"code", "message", "request_id"}`, for everything under its apps' paths."""

import math

from flask import Response, json

from models.errors import Invalid, OrquestraError, RateLimited, Unavailable
from routes.requests import request_id

_CODES = {
    401: "InvalidApiKey",
    403: "AccessDenied",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    413: "BadRequest.TooLarge",
    429: "Throttling",
    502: "InternalError.Algo",
    503: "ModelUnavailable",
    504: "InternalError.Timeout",
}
"""DashScope's names of these statuses, or in its manner; other faults of a request are `InvalidParameter`."""


def dashscope_failure(error: OrquestraError) -> Response:
    """Return the response to an error of ours."""
    body = json.dumps(dashscope_error(error, request_id()))
    response = Response(body, dashscope_status(error), content_type="application/json")
    if isinstance(error, RateLimited | Unavailable):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def dashscope_error(error: OrquestraError, request_id: str) -> dict[str, str]:
    """Return the body of an error of ours; it is also what breaks off a stream."""
    usual = "InternalError" if error.status >= 500 else "InvalidParameter"
    return {"code": _CODES.get(error.status, usual), "message": _message(error), "request_id": request_id}


def dashscope_status(error: OrquestraError) -> int:
    """Return the HTTP status: DashScope calls every wrong request a bad one."""
    return 400 if error.status in (415, 422) else error.status


def _message(error: OrquestraError) -> str:
    """Return what is wrong; of a schema's refusal the fields, because this shape shows them nowhere else."""
    if not isinstance(error, Invalid) or error.code != Invalid.code or not error.errors:
        return error.detail
    return " ".join(f"{name}: {' '.join(messages)}" for name, messages in error.errors.items())
