"""Failures under /v1 have OpenAI's shape, and tell OpenAI's SDKs whether to try again."""

from typing import Any

import pytest
from flask import Flask
from marshmallow import ValidationError

from models.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Invalid,
    NotFound,
    OrquestraError,
    ProviderFailed,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from routes.errors import register_errors


def answered(error: Exception, path: str = "/v1/chat/completions") -> Any:
    """Return the response of an app whose view raises."""
    app = Flask(__name__)

    def view() -> str:
        raise error

    app.add_url_rule(path, "view", view)
    register_errors(app)
    return app.test_client().get(path)


@pytest.mark.parametrize(
    ("error", "status", "kind", "code"),
    [
        (Unauthenticated("No.", code="api_key_missing"), 401, "authentication_error", "invalid_api_key"),
        (Forbidden("No."), 403, "permission_error", "forbidden"),
        (NotFound("No.", code="model_not_found"), 404, "not_found_error", "model_not_found"),
        (Conflict("No.", code="message_id_reused"), 409, "invalid_request_error", "message_id_reused"),
        (TooLarge("No."), 413, "invalid_request_error", "too_large"),
        (Invalid("No.", code="message_missing"), 400, "invalid_request_error", "message_missing"),
        (RateLimited("No.", retry_after=2.5), 429, "rate_limit_error", "rate_limit_exceeded"),
        (ProviderFailed("No."), 502, "server_error", "provider_failed"),
        (Unavailable("No."), 503, "server_error", "unavailable"),
        (DeadlineExceeded("No."), 504, "server_error", "deadline_exceeded"),
    ],
)
def test_every_error_has_the_shape(error: OrquestraError, status: int, kind: str, code: str) -> None:
    answer = answered(error)
    assert (answer.status_code, answer.mimetype) == (status, "application/json")
    assert answer.json == {"error": {"message": "No.", "type": kind, "param": None, "code": code}}


def test_a_field_is_named() -> None:
    error = answered(ValidationError({"messages": {0: {"role": ["Missing."]}}, "n": ["Wrong."]})).json["error"]
    assert error["message"] == "messages.0.role: Missing. n: Wrong."
    assert (error["param"], error["code"]) == ("messages.0.role", "validation_failed")


def test_when_to_come_back() -> None:
    assert answered(RateLimited("No.", retry_after=2.5)).headers["Retry-After"] == "3"
    assert answered(Unavailable("No.", retry_after=2.0)).headers["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Conflict("No."), "false"),
        (ProviderFailed("No.", code="provider_auth"), "false"),
        (ProviderFailed("No."), None),
        (Unavailable("No."), None),
    ],
)
def test_whether_to_come_back(error: OrquestraError, said: str | None) -> None:
    assert answered(error).headers.get("x-should-retry") == said


def test_what_nobody_expected() -> None:
    answer = answered(ValueError("a secret"))
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


def test_unknown_paths_and_methods() -> None:
    app = Flask(__name__)
    app.add_url_rule("/v1/models", "view", lambda: "")
    register_errors(app)
    client = app.test_client()
    missing = client.get("/v1/nothing")
    assert (missing.status_code, missing.json and missing.json["error"]["type"]) == (404, "not_found_error")
    wrong = client.post("/v1/models")
    assert (wrong.status_code, wrong.json and wrong.json["error"]["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]


def test_other_paths_keep_problem_documents() -> None:
    answer = answered(NotFound("No."), "/chats/x")
    assert (answer.mimetype, answer.json["code"]) == ("application/problem+json", "not_found")
    outside = answered(ValueError("a secret"), "/v1x/chats")
    assert (outside.mimetype, outside.json["status"]) == ("application/problem+json", 500)
