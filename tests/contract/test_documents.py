"""What every `DocumentRepository` does."""

from dataclasses import replace

from models.documents import Document, DocumentStatus, DocumentType
from models.ids import new_id
from models.paging import Page
from tests.contract.stores import Stores, at_once, later, make_document


def added(stores: Stores, *documents: Document) -> list[Document]:
    assert all([stores.documents.add(document) for document in documents])
    return list(documents)


def test_a_record_comes_back_as_it_was(stores: Stores) -> None:
    document = make_document(new_id(), "política (2).pdf", language="pt", error="x", progress=0.25, passages=7)
    added(stores, document)
    assert stores.documents.get(document.id) == document
    assert stores.documents.find(document.assistant_id, DocumentType.RAG, "política (2).pdf") == document
    assert stores.documents.find(document.assistant_id, DocumentType.PROMPT, "política (2).pdf") is None
    assert stores.documents.get(new_id()) is None


def test_a_name_is_unique_within_assistant_and_type(stores: Stores) -> None:
    assistant_id = new_id()
    added(stores, make_document(assistant_id, "a"))
    assert not stores.documents.add(make_document(assistant_id, "a"))
    added(stores, make_document(assistant_id, "a", type=DocumentType.PROMPT), make_document(assistant_id, "A"))
    added(stores, make_document(new_id(), "a"))
    assert stores.documents.list(None, None, Page()).total == 4


def test_of_uploads_at_once_one_is_added(stores: Stores) -> None:
    assistant_id = new_id()
    assert at_once(16, lambda _: stores.documents.add(make_document(assistant_id, "a"))).count(True) == 1


def test_lists_are_newest_first_and_narrowed(stores: Stores) -> None:
    one, two = new_id(), new_id()
    mine = added(stores, *(make_document(one, name) for name in "abcd"))[::-1]
    (prompt,) = added(stores, make_document(two, "p", type=DocumentType.PROMPT))
    assert list(stores.documents.list(None, None, Page()).items) == [prompt, *mine]
    assert list(stores.documents.list([one, two], DocumentType.PROMPT, Page()).items) == [prompt]
    assert list(stores.documents.list([one], DocumentType.PROMPT, Page()).items) == []
    assert list(stores.documents.list([], None, Page()).items) == []
    page = stores.documents.list([two, one], DocumentType.RAG, Page(limit=2, after=mine[0].id))
    assert (list(page.items), page.total, page.more) == (mine[1:3], 4, True)


def test_revisions_are_those_of_ready_knowledge(stores: Stores) -> None:
    assistant_id = new_id()
    a, b, *_ = added(
        stores,
        make_document(assistant_id, "a", revision="r1"),
        make_document(assistant_id, "b", revision="r2"),
        make_document(assistant_id, "c", status=DocumentStatus.INDEXING),
        make_document(assistant_id, "p", type=DocumentType.PROMPT),
        make_document(new_id(), "a"),
    )
    assert stores.documents.revisions(assistant_id) == {a.id: "r1", b.id: "r2"}
    assert stores.documents.revisions(new_id()) == {}


def test_a_record_is_replaced_from_the_expected_revision_only(stores: Stores) -> None:
    document, other = added(stores, make_document(new_id(), "a"), make_document(new_id(), "a"))
    newer = replace(document, revision="r2", updated_at=later(1), progress=1.0, error=None)
    assert not stores.documents.replace(newer, expected_revision="r0")
    assert stores.documents.get(document.id) == document
    assert stores.documents.replace(newer, expected_revision="r1")
    assert stores.documents.replace(newer, expected_revision="r2"), "an equal record is no absence"
    assert stores.documents.get(document.id) == newer
    assert stores.documents.get(other.id) == other
    assert not stores.documents.replace(make_document(new_id(), "x"), expected_revision="r1")


def test_of_replacements_at_once_one_wins(stores: Stores) -> None:
    (document,) = added(stores, make_document(new_id(), "a"))
    won = at_once(16, lambda number: stores.documents.replace(replace(document, revision=f"n{number}"), "r1"))
    assert won.count(True) == 1
    assert stores.documents.revisions(document.assistant_id) == {document.id: f"n{won.index(True)}"}


def test_records_are_deleted(stores: Stores) -> None:
    assistant_id = new_id()
    a, *_ = added(stores, make_document(assistant_id, "a"), make_document(assistant_id, "b"))
    (other,) = added(stores, make_document(new_id(), "a"))
    assert stores.documents.delete(a.id)
    assert not stores.documents.delete(a.id)
    stores.documents.delete_of_assistant(assistant_id)
    assert list(stores.documents.list(None, None, Page()).items) == [other]
