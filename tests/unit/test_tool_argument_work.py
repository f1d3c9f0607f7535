"""Checking arguments is bounded, whatever a tool's server calls a schema."""

import json
import tracemalloc

import pytest

from services.tools.arguments import BadArguments, read_arguments


def test_alternatives_for_a_long_list_are_left_to_the_server() -> None:
    schema = {"properties": {"a": {"items": {"anyOf": [{"enum": [number]} for number in range(2000, 2200)]}}}}
    tracemalloc.start()
    try:
        assert read_arguments(json.dumps({"a": [1] * 300}), schema) == {"a": [1] * 300}
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_usual_schema_is_still_checked() -> None:
    schema = {
        "properties": {f"p{number}": {"type": "string", "description": "x", "maxLength": 5} for number in range(40)},
        "required": ["p1"],
    }
    with pytest.raises(BadArguments, match="p1"):
        read_arguments('{"p2": "a"}', schema)
