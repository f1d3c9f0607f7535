"""What every `PassageRepository` does."""

from dataclasses import fields, replace

import pytest

from models.documents import Passage
from models.errors import Unavailable
from models.ids import new_id
from tests.contract.stores import Stores, make_passage


def added(stores: Stores, assistant_id: str, document_id: str, count: int, revision: str = "r1") -> list[Passage]:
    """Store passages, last first, and return them in order."""
    passages = [make_passage(assistant_id, document_id, number, revision) for number in range(count)]
    stores.passages.add(passages[::-1])
    return passages


def test_passages_come_back_in_order(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    passages = added(stores, assistant_id, document_id, 12)
    newer = added(stores, assistant_id, document_id, 2, "r2")
    added(stores, assistant_id, new_id(), 2)
    assert list(stores.passages.of_document(assistant_id, document_id, "r1")) == passages
    assert list(stores.passages.of_document(assistant_id, document_id, "r2")) == newer
    assert list(stores.passages.of_document(assistant_id, document_id, "r3")) == []
    assert list(stores.passages.of_document(new_id(), document_id, "r1")) == []


def test_every_field_comes_back(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    passage = replace(
        make_passage(assistant_id, document_id, 0),
        text="a | b\n\0 \x1f 𠮷",
        header="| A | B |\n|---|---|",
        page=12,
        analyser=3,
        terms=("titul 二", "agua pedid"),
    )
    assert all(getattr(passage, field.name) != field.default for field in fields(passage)), "give each a value"
    stores.passages.add([passage])
    assert list(stores.passages.of_document(assistant_id, document_id, "r1")) == [passage]


def test_a_passage_that_is_there_already_is_refused(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    passages = added(stores, assistant_id, document_id, 2)
    with pytest.raises(Unavailable) as raised:
        stores.passages.add([replace(passages[1], text="other"), make_passage(assistant_id, document_id, 2)])
    assert raised.value.code == "store_unavailable"
    assert list(stores.passages.of_document(assistant_id, document_id, "r1"))[:2] == passages


def test_no_passages_are_no_error(stores: Stores) -> None:
    stores.passages.add([])


def test_many_passages_are_added_and_deleted(stores: Stores) -> None:
    assistant_id, document_id = new_id(), new_id()
    passages = added(stores, assistant_id, document_id, 1500)
    assert list(stores.passages.of_document(assistant_id, document_id, "r1")) == passages
    newer = added(stores, assistant_id, document_id, 1200, "r2")
    stores.passages.delete_of_document(assistant_id, document_id, before="r2")
    assert list(stores.passages.of_document(assistant_id, document_id, "r1")) == []
    assert list(stores.passages.of_document(assistant_id, document_id, "r2")) == newer
    stores.passages.delete_of_assistant(assistant_id)
    assert list(stores.passages.of_document(assistant_id, document_id, "r2")) == []


def test_older_revisions_are_deleted(stores: Stores) -> None:
    assistant_id, document_id, other_id = new_id(), new_id(), new_id()
    added(stores, assistant_id, document_id, 2, "r1")
    kept = added(stores, assistant_id, document_id, 2, "r2")
    other = added(stores, assistant_id, other_id, 2, "r1")
    stores.passages.delete_of_document(assistant_id, document_id, before="r2")
    assert list(stores.passages.of_document(assistant_id, document_id, "r1")) == []
    assert list(stores.passages.of_document(assistant_id, document_id, "r2")) == kept
    stores.passages.delete_of_document(assistant_id, document_id)
    assert list(stores.passages.of_document(assistant_id, document_id, "r2")) == []
    assert list(stores.passages.of_document(assistant_id, other_id, "r1")) == other


def test_an_assistants_passages_are_deleted(stores: Stores) -> None:
    one, two, document_id = new_id(), new_id(), new_id()
    added(stores, one, document_id, 2)
    kept = added(stores, two, document_id, 2)
    stores.passages.delete_of_assistant(one)
    assert list(stores.passages.of_document(one, document_id, "r1")) == []
    assert list(stores.passages.of_document(two, document_id, "r1")) == kept
