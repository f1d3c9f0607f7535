"""Requests checked against botocore's own description of AWS' services, with what botocore itself leaves to the server.

botocore checks names, types and what is required before it sends; the allowed values and patterns are checked here.
"""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import botocore.session
from botocore.model import OperationModel, ServiceModel
from botocore.validate import ParamValidator

from tests.emulators.openai_wire import Recorded


@functools.cache
def service_model(service: str) -> ServiceModel:
    """Return botocore's description of a service."""
    return botocore.session.get_session().get_service_model(service)


def check_members(service: str, operation: str, members: Mapping[str, Any]) -> None:
    """Fail unless an operation takes these members with these values."""
    shape: Any = service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(dict(members), shape)
    assert not report.has_errors(), report.generate_report()
    _check(shape, members, operation)


def polly_call(request: Recorded) -> tuple[str, dict[str, Any]]:
    """Return the operation of Polly and the members that a request stands for, both checked."""
    address = urlsplit(request.path)
    for name in service_model("polly").operation_names:
        operation = service_model("polly").operation_model(name)
        if (operation.http["method"], operation.http["requestUri"]) == (request.method, address.path):
            members = dict(json.loads(request.content or b"{}"), **_queried(operation, address.query))
            check_members("polly", name, members)
            return name, members
    raise AssertionError(f"Polly has no {request.method} {address.path}")


def _queried(operation: OperationModel, query: str) -> dict[str, Any]:
    """Return the members that travel in the query, as their types have them."""
    given, found = dict(parse_qsl(query, strict_parsing=bool(query))), {}
    shapes: Any = operation.input_shape
    for name, shape in shapes.members.items():
        text = given.pop(shape.serialization.get("name", name), None)
        if text is not None:
            found[name] = text == "true" if shape.type_name == "boolean" else text
    assert not given, f"unknown in the query: {given}"
    return found


def _check(shape: Any, value: Any, where: str) -> None:
    if shape.type_name == "structure":
        for name, member in value.items():
            _check(shape.members[name], member, f"{where}.{name}")
    elif shape.type_name == "list":
        assert len(value) >= shape.metadata.get("min", 0), where
        for member in value:
            _check(shape.member, member, where)
    elif shape.type_name == "string":
        assert not shape.enum or value in shape.enum, f"{where}: {value} is none of {shape.enum}"
        pattern = shape.metadata.get("pattern")
        assert pattern is None or re.match(pattern, value), f"{where}: {value} is not like {pattern}"
        assert shape.metadata.get("min", 0) <= len(value) <= shape.metadata.get("max", len(value)), where
