"""The OpenAPI document, made from the schemas that validate."""

from typing import Any

from flask import Flask
from flask_smorest import Api

from routes.pages import SWAGGER_UI
from routes.schemas.base import ProblemSchema


class ProblemApi(Api):
    """flask-smorest, with our shape of failures in the document."""

    ERROR_SCHEMA = ProblemSchema

    def _register_responses(self) -> None:
        """Register the failures with their own content type."""
        usual, self.DEFAULT_RESPONSE_CONTENT_TYPE = self.DEFAULT_RESPONSE_CONTENT_TYPE, "application/problem+json"
        super()._register_responses()
        self.DEFAULT_RESPONSE_CONTENT_TYPE = usual


def openapi_config(version: str) -> dict[str, Any]:
    """Return flask-smorest's settings: the document at /openapi.json, Swagger UI at /docs, nothing from a CDN."""
    return {
        "API_TITLE": "Orquestra",
        "API_VERSION": version,
        "OPENAPI_VERSION": "3.0.3",
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_SWAGGER_UI_PATH": "/docs",
        "OPENAPI_SWAGGER_UI_URL": SWAGGER_UI,
    }


def register_openapi(app: Flask) -> Api:
    """Return the API to which blueprints are added, with its ways to authenticate described."""
    api = ProblemApi(app)
    bearer = {"type": "http", "scheme": "bearer"}
    for name, scheme in {
        "accessToken": {**bearer, "bearerFormat": "JWT", "description": "`token` of /auth/login"},
        "refreshToken": {**bearer, "bearerFormat": "JWT", "description": "`refresh_token` of /auth/login"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an assistant's key"},
        "apiKeyBearer": {**bearer, "description": "an assistant's key"},
        "metricsToken": {**bearer, "description": "METRICS_TOKEN"},
    }.items():
        api.spec.components.security_scheme(name, scheme)
    return api
