"""JSON as markdown, in which a value is found by its keys."""

import json

import pytest

from models.errors import Invalid
from services.knowledge.json_text import json_as_markdown


def test_short_flat_records_are_a_table() -> None:
    records = [{"city": "Recife", "rate": 280.5}, {"city": "Natal", "rate": None, "sea": True}]
    assert json_as_markdown(json.dumps(records)) == (
        "| city | rate | sea |\n| --- | --- | --- |\n| Recife | 280.5 |  |\n| Natal |  | true |"
    )


def test_records_with_long_texts_are_sections_named_by_themselves() -> None:
    records = [{"id": 7, "question": "How?", "answer": "So " * 200}, {"id": 8, "answer": "Thus " * 200}]
    lines = json_as_markdown(json.dumps(records)).splitlines()
    assert lines[0] == "# How?"
    assert lines[2:4] == ["- id: 7", "- question: How?"]
    assert "# 8" in lines


def test_nested_objects_are_headings_down_to_the_sixth_level() -> None:
    value: object = {"port": 80}
    for key in "hgfedcba":
        value = {key: value}
    blocks = json_as_markdown(json.dumps(value)).split("\n\n")
    assert blocks == ["# a", "## b", "### c", "#### d", "##### e", "###### f", "- g.h.port: 80"]


def test_lists_of_values_stay_on_a_line() -> None:
    assert json_as_markdown('{"cores": ["azul", "verde"], "vazio": []}') == "- cores: azul, verde\n- vazio: "


def test_a_value_for_each_line() -> None:
    assert json_as_markdown('{"a": 1}\n\n{"a": 2}\n') == "| a |\n| --- |\n| 1 |\n| 2 |"


@pytest.mark.parametrize(("text", "said"), [('"年假"', "年假"), ("12", "12"), ("null", ""), ("[1, 2]", "- 1\n\n- 2")])
def test_bare_values(text: str, said: str) -> None:
    assert json_as_markdown(text) == said


@pytest.mark.parametrize(("text", "place"), [('{"a": 1,\n "b": }', "line 2, column 7"), ('{"a": 1}\n{"b"}', "line 2")])
def test_broken_json_tells_the_place(text: str, place: str) -> None:
    with pytest.raises(Invalid, match=place) as caught:
        json_as_markdown(text)
    assert caught.value.code == "unreadable_document"


def test_values_may_follow_one_another_on_several_lines() -> None:
    assert json_as_markdown('{\n"a": 1\n}\n{\n"a": 2\n}\n') == "| a |\n| --- |\n| 1 |\n| 2 |"


@pytest.mark.parametrize("number", ["9" * 5000, "280.50", "1E400", "-0"])
def test_numbers_stay_as_they_are_written(number: str) -> None:
    assert json_as_markdown(f'{{"n": {number}}}') == f"- n: {number}"
