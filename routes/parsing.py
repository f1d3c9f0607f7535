"""How requests are read: flask-smorest's blueprint with a stricter parser, and the converter of chat references."""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import flask_smorest
from flask import Request, request
from marshmallow import RAISE, Schema
from webargs import core
from webargs.flaskparser import FlaskParser
from werkzeug.datastructures import CombinedMultiDict
from werkzeug.routing import BaseConverter

from models.errors import BadRequest, Invalid, UnsupportedFormat

_DEPTH = 32
_FORM = "multipart/form-data"
P = ParamSpec("P")
R = TypeVar("R")


class RequestParser(FlaskParser):
    """Say of a body that it cannot be read, instead of taking it for an empty one."""

    def load_json(self, req: Request, schema: Any) -> Any:
        """Return the JSON body.

        Raises:
            UnsupportedFormat: there is a body, and it does not say that it is JSON.
            BadRequest: it is no JSON, or nested too deeply.
        """
        body = req.get_data(cache=True)
        if not body:
            return core.missing
        if not req.is_json:
            raise UnsupportedFormat("Send JSON with Content-Type: application/json.", code="json_expected")
        return json_value(body)

    def load_files(self, req: Request, schema: Any) -> Any:
        """Return files and text fields of a multipart form together, as one schema describes them.

        Raises:
            BadRequest: the form cannot be read.
            Invalid: a field came more than once.
        """
        form: CombinedMultiDict[str, Any] = CombinedMultiDict([req.form, req.files])
        if not form and req.content_length:
            raise BadRequest("The body is no multipart form that can be read.", code="invalid_form")
        repeated = [name for name, values in form.lists() if len(values) > 1]
        if repeated:
            raise Invalid("Send every field once.", errors={name: ["Sent more than once."] for name in repeated})
        return self._makeproxy(form, schema)


def json_value(text: str | bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        BadRequest: code `invalid_json`, it is none, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is no valid JSON in UTF-8.", code="invalid_json") from error
    if _is_deeper(value, _DEPTH):
        raise BadRequest(f"The JSON is nested deeper than {_DEPTH} levels.", code="invalid_json")
    return value


def request_text() -> str:
    """Return the whole body, which is a text, whatever its Content-Type says.

    Raises:
        BadRequest: it is empty, or no UTF-8.
    """
    try:
        text = request.get_data().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest("The body is no text in UTF-8.", code="invalid_text") from error
    if not text.strip():
        raise BadRequest("The body is empty. Send the file's text.", code="invalid_text")
    return text


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose views read requests with `RequestParser`."""

    ARGUMENTS_PARSER = RequestParser()

    def arguments(self, schema: Schema | type[Schema], **options: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Read arguments by a schema that is made once: webargs makes one for each request, which costs 0.5 ms."""
        made = schema() if isinstance(schema, type) else schema
        decorator: Callable[[Callable[P, R]], Callable[P, R]] = super().arguments(made, **options)
        return decorator

    def json_or_form(self, schema: type[Schema], form: type[Schema]) -> Callable[[Callable[..., R]], Callable[..., R]]:
        """Read a JSON body by one schema, and a multipart form by another; the view gets what either makes of it."""

        def decorate(view: Callable[..., R]) -> Callable[..., R]:
            of_json = self.arguments(schema)(view)
            of_form = self.arguments(form, location="files", unknown=RAISE)(view)

            @wraps(of_json)
            def chosen(*args: Any, **kwargs: Any) -> R:
                return (of_form if request.mimetype == _FORM else of_json)(*args, **kwargs)

            document = self.doc(requestBody={"content": {_FORM: {"schema": form}}})
            documented: Callable[..., R] = document(chosen)
            return documented

        return decorate


class ReferenceConverter(BaseConverter):
    """The rest of a path, whatever is in it: a chat's id, or a channel's id with slashes and all."""

    regex = "(?s:.+)"
    part_isolating = False


def _is_deeper(value: Any, levels: int) -> bool:
    """Tell whether a JSON value has more levels, without recursion."""
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return any(isinstance(one, dict | list) for one in level)
