"""What a model is told of tools, what is filled in for it, and what becomes of the arguments that it writes."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from models.deadline import Deadline
from models.documents import ScoredPassage
from models.tools import ToolOutput, ToolSource, ToolSpec
from services.tools.arguments import BadArguments, read_arguments
from services.tools.builtin import BUILTIN_TOOLS, DocumentSearch, current_time
from services.tools.toolbox import Run, Tool, Toolbox, tools_of
from tests.contract.engine import FixedIndex
from tests.contract.stores import make_assistant, make_passage
from tests.contract.tool_servers import source, spec


def told(name: str, seconds: float) -> Run:
    """Return what tells its tool, its seconds and its arguments."""
    return lambda arguments, _: ToolOutput(json.dumps([name, seconds, dict(arguments)]))


def tools(place: ToolSource, *specs: ToolSpec, device_id: str = "") -> list[Tool]:
    """Return what a message may use of a source."""
    return tools_of(place, specs, told, device_id)


def called(tool: Tool, arguments: Mapping[str, Any]) -> Any:
    """Return what a call told."""
    return json.loads(tool.call(arguments, Deadline(1)).text)


def test_names_stay_as_long_as_they_fit() -> None:
    box = Toolbox(tools(source("desk"), spec("order-status"), spec("cancel_order")))
    assert box.names == ("order-status", "cancel_order")


def test_a_clash_gets_the_sources_name_before_it() -> None:
    both = [*tools(source("desk"), spec("find")), *tools(source("shop"), spec("find"))]
    box = Toolbox(both)
    assert box.names == ("find", "shop_find")
    first, second = box.find("find"), box.find("shop_find")
    assert first is not None and second is not None
    assert (first.source, second.source, second.spec.name) == ("desk", "shop", "shop_find")
    assert called(second, {})[0] == "find"


@pytest.mark.parametrize("name", ["a name", "preço", "a.b/c", "x" * 65, ""])
def test_a_bad_name_becomes_one_that_providers_take(name: str) -> None:
    (told_name,) = Toolbox(tools(source("desk"), spec(name))).names
    assert told_name.startswith("desk_") and len(told_name) <= 64
    assert all(sign.isascii() and (sign.isalnum() or sign in "_-") for sign in told_name)


def test_names_that_become_the_same_are_numbered() -> None:
    box = Toolbox(tools(source("desk"), spec("x" * 65), spec("x" * 66), spec("x" * 67)))
    assert len(set(box.names)) == 3 and all(len(name) <= 64 for name in box.names)


def test_a_clients_functions_keep_their_names() -> None:
    box = Toolbox(tools(source("desk"), spec("find")), [spec("find")])
    assert box.names == ("find", "desk_find")
    assert box.is_clients("find") and box.find("find") is None and not box.is_clients("desk_find")


def test_no_more_tools_than_a_provider_takes() -> None:
    box = Toolbox(tools(source("desk"), *(spec(f"t{number}") for number in range(200))), [spec("mine")])
    assert len(box.specs) == 128 and box.is_clients("mine")


def test_only_allowed_tools_are_told() -> None:
    assert Toolbox(tools(source(allowed_tools=("b",)), spec("a"), spec("b"))).names == ("b",)
    assert Toolbox(tools(source(allowed_tools=()), spec("a"))).names == ()


def test_each_tool_has_its_own_seconds() -> None:
    slow, other = tools(source(timeout_seconds=7.0, timeouts=(("slow", 60.0),)), spec("slow"), spec("other"))
    assert (slow.seconds, other.seconds) == (60.0, 7.0)
    assert called(slow, {})[1] == 60.0


def test_schemas_become_objects() -> None:
    odd: dict[str, Any] = {"properties": None, "required": "name", "description": "kept"}
    (tool,) = tools(source(), ToolSpec("t", "", odd))
    assert tool.spec.parameters == {"type": "object", "properties": {}, "description": "kept"}


def test_the_device_is_hidden_and_filled_in() -> None:
    (tool,) = tools(source(), spec("lamp", "device_id", "state"), device_id="d-1")
    assert tool.spec.parameters["properties"] == {"state": {"type": "string"}}
    assert tool.spec.parameters["required"] == ["state"]
    assert called(tool, {"state": "on"})[2] == {"state": "on", "device_id": "d-1"}


def test_a_model_cannot_name_another_device() -> None:
    (tool,) = tools(source(), spec("lamp", "device_id"), device_id="d-1")
    assert called(tool, {"device_id": "d-2"})[2] == {"device_id": "d-1"}
    (optional,) = tools(source(), spec("lamp", device_id={"type": "string"}))
    assert called(optional, {"device_id": "d-2"})[2] == {}


def test_a_tool_that_needs_a_device_is_not_offered_without_one() -> None:
    assert [tool.spec.name for tool in tools(source(), spec("lamp", "device_id"), spec("time"))] == ["time"]


ORDER = spec("order", "id", amount={"type": "integer", "minimum": 1}).parameters


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_no_arguments_are_none(text: str) -> None:
    assert read_arguments(text, {"type": "object", "properties": {}}) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ('{"id": NaN}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('["id"]', "JSON object"),
        ("{}", "'id' is a required property"),
        ('{"id": 5}', "id: 5 is not of type 'string'"),
        ('{"id": "a", "amount": 0}', "amount: 0 is less than the minimum"),
    ],
)
def test_wrong_arguments_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BadArguments, match=says):
        read_arguments(text, ORDER)


def test_a_servers_schema_cannot_keep_us_busy_or_send_us_elsewhere() -> None:
    for hostile in (
        {"pattern": "^(a+)+$"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#/properties/id"},
    ):
        read = read_arguments(json.dumps({"id": "a" * 40 + "!"}), {"type": "object", "properties": {"id": hostile}})
        assert read == {"id": "a" * 40 + "!"}


@pytest.mark.parametrize("schema", [{"type": 5}, {"properties": 3}, {"enum": "x"}, {"required": [1]}])
def test_what_is_no_schema_checks_nothing(schema: dict[str, Any]) -> None:
    assert read_arguments('{"id": "a"}', schema) == {"id": "a"}


def test_halves_of_characters_do_not_reach_a_server() -> None:
    assert read_arguments('{"id": "\\ud83d"}', ORDER) == {"id": "\ufffd"}


AT = datetime(2026, 11, 21, 14, 30, tzinfo=UTC)


def test_the_time_in_a_zone() -> None:
    assert current_time({}, AT).text == "2026-11-21T14:30:00+00:00 (Saturday, UTC)"
    assert current_time({"timezone": "America/Sao_Paulo"}, AT).text.startswith("2026-11-21T11:30:00-03:00 (Saturday")


@pytest.mark.parametrize("zone", ["Nowhere/City", "../../etc/passwd", "/etc/passwd", "America", "\0"])
def test_a_zone_that_there_is_not(zone: str) -> None:
    output = current_time({"timezone": zone}, AT)
    assert output.failed and "time zone" in output.text


def test_what_a_search_finds_can_be_cited_by_number() -> None:
    found = [ScoredPassage(make_passage("", "d", number), 1.0, 1.0) for number in range(3)]
    passages = found[:1]
    search = DocumentSearch(FixedIndex(found), make_assistant(), passages)
    output = search({"query": "water"})
    assert [f'<passage number="{number}"' in output.text for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert passages == found
    search({"query": "again"})
    assert passages == found


def test_a_search_that_finds_nothing_says_so() -> None:
    output = DocumentSearch(FixedIndex(), make_assistant(), [])({"query": "water"})
    assert "No passage" in output.text and not output.failed


def test_builtin_tools_are_told_by_their_names() -> None:
    assert all(name == tool.name for name, tool in BUILTIN_TOOLS.items())
    for tool in BUILTIN_TOOLS.values():
        (made,) = tools(replace(source(), name=tool.name), tool)
        assert made.spec == tool
