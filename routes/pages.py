"""Pages for people: the start page and the assets of /docs, all served by us."""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, send_from_directory

blueprint = Blueprint("pages", __name__)

SWAGGER_UI = "/docs/assets/"
_ASSETS = Path(__file__).parent.parent / "assets"
_SWAGGER_FILES = Path(flask_swagger_ui.__file__).parent / "dist"


@blueprint.get("/")
def home() -> Response:
    """Show where to go from here."""
    return send_from_directory(_ASSETS, "index.html")


@blueprint.get(f"{SWAGGER_UI}<path:filename>")
def swagger_ui(filename: str) -> Response:
    """Serve Swagger UI's own files, from its wheel."""
    return send_from_directory(_SWAGGER_FILES, filename, max_age=86_400)
