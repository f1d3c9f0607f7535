"""Who is calling, and the services they may use."""

import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask, Response, current_app, g, request
from flask_jwt_extended import JWTManager, get_current_user, get_jwt, verify_jwt_in_request

from models.assistants import Assistant
from models.errors import Invalid, Unauthenticated
from models.users import Principal
from routes.errors import failure
from routes.metrics import Metrics
from routes.parsing import RequestParser
from services.registry import Services

SERVICES_KEY = "orquestra"
METRICS_KEY = "orquestra-metrics"
_KEYS_BEGIN = "orq_"
P = ParamSpec("P")
R = TypeVar("R")


def services() -> Services:
    """Return the services of the running app."""
    return cast(Services, current_app.extensions[SERVICES_KEY])


def metrics() -> Metrics:
    """Return the measures of the running app."""
    return cast(Metrics, current_app.extensions[METRICS_KEY])


def signed_in(view: Callable[P, R]) -> Callable[P, R]:
    """Let only callers with a valid access token in; `caller()` then tells who it is."""

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        verify_jwt_in_request()
        return view(*args, **kwargs)

    _document_security(guarded, [{"accessToken": []}])
    return guarded


def with_api_key(view: Callable[P, R]) -> Callable[P, R]:
    """Let only callers with an assistant's API key in, and count a message; `calling_assistant()` is the assistant."""
    return _with_api_key(view, counted=True)


def with_uncounted_api_key(view: Callable[P, R]) -> Callable[P, R]:
    """Let callers in as `with_api_key` does, to a path that takes no message."""
    return _with_api_key(view, counted=False)


def with_bare_api_key(view: Callable[P, R]) -> Callable[P, R]:
    """Let callers in as `with_api_key` does, and those who send the key as all of `Authorization`, without a scheme."""
    return _with_api_key(view, counted=True, bare=True)


def _with_api_key(view: Callable[P, R], *, counted: bool, bare: bool = False) -> Callable[P, R]:
    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        key = _key()
        if bare and not key:
            key = request.headers.get("Authorization", "").strip() or None
        g.assistant = services().assistants.admit(key, counted=counted)
        return view(*args, **kwargs)

    _document_security(guarded, [{"apiKey": []}, {"apiKeyBearer": []}])
    return guarded


def with_voice_access(view: Callable[P, R]) -> Callable[P, R]:
    """Let callers in with an API key, or with an access token and the `assistant_id` of an assistant of theirs.

    It counts a message; `calling_assistant()` is the assistant.
    """
    return _with_voice_access(view, counted=True)


def with_uncounted_voice_access(view: Callable[P, R]) -> Callable[P, R]:
    """Let callers in as `with_voice_access` does, to a path that takes no message."""
    return _with_voice_access(view, counted=False)


def _with_voice_access(view: Callable[P, R], *, counted: bool) -> Callable[P, R]:
    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if _carries_token():
            verify_jwt_in_request()
            g.assistant = services().assistants.admit_manager(caller(), _named_assistant(), counted=counted)
        else:
            g.assistant = services().assistants.admit(_key(), counted=counted)
        return view(*args, **kwargs)

    _document_security(guarded, [{"apiKey": []}, {"apiKeyBearer": []}, {"accessToken": []}])
    return guarded


def key_or_token() -> Assistant | Principal:
    """Return whose request it is: the assistant's whose API key it carries, or the signed-in user's. It counts nothing.

    Raises:
        Unauthenticated: neither is valid.
    """
    if _carries_token():
        verify_jwt_in_request()
        return caller()
    return services().assistants.admit(_key(), counted=False)


def _carries_token() -> bool:
    """Tell whether a request that may carry either has an access token, and no API key."""
    token = bearer()
    return token is not None and not token.startswith(_KEYS_BEGIN) and not request.headers.get("X-API-Key")


def _key() -> str | None:
    return request.headers.get("X-API-Key") or bearer()


def _named_assistant() -> str:
    """Return the `assistant_id` of the query, of a JSON body or of a form."""
    body = RequestParser().load_json(request, None) if request.is_json else request.form
    named = request.args.get("assistant_id") or (body.get("assistant_id") if isinstance(body, Mapping) else None)
    if not isinstance(named, str) or not named:
        raise Invalid("Name the assistant that you mean.", errors={"assistant_id": ["Needed with an access token."]})
    return named


def caller() -> Principal:
    """Return the signed-in user."""
    return cast(Principal, get_current_user())


def login_check() -> Callable[[], bool]:
    """Return a question that outlives the request: may this caller still be served here?"""
    auth, health, claims = services().auth, services().health, dict(get_jwt())

    def still_logged_in() -> bool:
        if health.draining:
            return False
        try:
            auth.principal_of(claims)
        except Unauthenticated:
            return False
        return float(claims["exp"]) > time.time()

    return still_logged_in


def optional_caller() -> Principal | None:
    """Return the signed-in user, or None when the request carries no credentials at all."""
    if "Authorization" not in request.headers:
        return None
    verify_jwt_in_request()
    return caller()


def calling_assistant() -> Assistant:
    """Return the assistant whose key the caller holds."""
    return cast(Assistant, g.assistant)


def bearer() -> str | None:
    """Return the token of `Authorization: Bearer <token>`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def register_tokens(app: Flask) -> None:
    """Make flask-jwt-extended check tokens with our rules and fail with our errors."""
    manager = JWTManager(app)
    manager.user_lookup_loader(_principal_of)
    manager.unauthorized_loader(_missing)
    manager.invalid_token_loader(_invalid)
    manager.expired_token_loader(_expired)


def _principal_of(_header: dict[str, Any], claims: dict[str, Any]) -> Principal:
    return services().auth.principal_of(claims)


def _missing(_reason: str) -> Response:
    return failure(Unauthenticated("Send the access token as Authorization: Bearer <token>.", code="token_missing"))


def _invalid(_reason: str) -> Response:
    return failure(Unauthenticated("This access token is not valid. Log in again.", code="token_invalid"))


def _expired(_header: dict[str, Any], _claims: dict[str, Any]) -> Response:
    return failure(Unauthenticated("The access token has expired. Refresh it or log in again.", code="token_expired"))


def _document_security(view: Any, security: list[dict[str, list[str]]]) -> None:
    """Put the guard into the OpenAPI document, where flask-smorest keeps a view's own notes."""
    docs = {**getattr(view, "_apidoc", {})}
    docs["manual_doc"] = {**docs.get("manual_doc", {}), "security": security}
    view._apidoc = docs
