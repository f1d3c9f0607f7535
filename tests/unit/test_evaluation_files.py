"""Datasets as files: what is read is what was written, and what is wrong is named by its line."""

import re

import pytest

from models.errors import Invalid, TooLarge
from models.evaluations import DatasetItem
from models.given import Turn
from routes.schemas.datasets import items_of_lines, lines_of_items
from services.evaluation.datasets import MOST_ITEMS, checked

FULL = DatasetItem("é", "Q?", "A", ("a", "b"), (), "polite", (Turn("hi", None), Turn(None, "yes")), "pt-BR", ("x",))
BARE = DatasetItem("2", "Q?")


def test_a_file_comes_back_as_it_was_written() -> None:
    text = lines_of_items([FULL, BARE])
    assert text.count("\n") == 2
    assert items_of_lines(text.encode()) == [FULL, BARE]
    assert '{"id": "2", "question": "Q?"}' in text, "what is empty is left out"


def test_an_item_without_an_id_has_its_number() -> None:
    assert [item.id for item in items_of_lines(b'\xef\xbb\xbf{"question": "a"}\n\n{"question": "b"}')] == ["1", "2"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "no JSON"),
        ("[]", "Invalid input"),
        ("{}", "question"),
        ('{"question": " "}', "blank"),
        ('{"question": "a", "expect": "b"}', "expect: .*Unknown"),
        ('{"question": "a", "contains": "b"}', "contains"),
        ('{"question": "a\\u0000"}', "NUL"),
        ('{"question": "a", "history": [{"role": "user"}]}', "history"),
        ('{"question": "a", "contains": ["  "]}', "contains"),
    ],
)
def test_a_wrong_line_is_named(line: str, what: str) -> None:
    with pytest.raises(Invalid) as fault:
        items_of_lines(f'{{"question": "ok"}}\n{line}\n'.encode())
    (messages,) = fault.value.errors.values()
    assert list(fault.value.errors) == ["line 2"]
    assert any(re.search(what, message) for message in messages), messages


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(Invalid, match="UTF-8"):
        items_of_lines(b"\xff\xfe\x00")


def test_a_dataset_is_bounded_and_its_items_differ() -> None:
    with pytest.raises(Invalid):
        checked([])
    with pytest.raises(Invalid, match="'2'"):
        checked([BARE, FULL, BARE])
    with pytest.raises(Invalid):
        checked([DatasetItem(str(number), "q") for number in range(MOST_ITEMS + 1)])
    with pytest.raises(TooLarge):
        checked([DatasetItem(str(number), "q" * 32_000) for number in range(300)])


def test_equal_items_have_an_equal_digest_and_others_another() -> None:
    assert checked([FULL, BARE]) == checked(items_of_lines(lines_of_items([FULL, BARE]).encode()))
    assert checked([BARE, FULL]) != checked([FULL, BARE])
