"""What every `DocumentRepository` does."""

from dataclasses import fields, replace

from models.documents import Build, Document, DocumentStatus, DocumentType, Version
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


def test_every_field_comes_back(stores: Stores) -> None:
    """Datetimes within versions, enums and tuples of dataclasses too."""
    versions = tuple(Version(f"r{number}", number, "ab" * 32, later(number)) for number in (2, 1))
    document = make_document(
        new_id(),
        "表.xlsx",
        type=DocumentType.PROMPT,
        status=DocumentStatus.INDEXING,
        revision="r2",
        build="b1",
        language="zh",
        error="加密",
        error_code="encrypted_document",
        progress=0.75,
        passages=7,
        embeddings_model="m",
        passages_without_vector=2,
        attempts=3,
        lease_owner="me",
        lease_until=later(30),
        versions=versions,
    )
    assert all(getattr(document, field.name) != field.default for field in fields(document)), "give each a value"
    added(stores, document)
    assert stores.documents.get(document.id) == document
    assert stores.documents.replace(replace(document, versions=versions[:1]), document)
    assert stores.documents.get(document.id) == replace(document, versions=versions[:1])


def test_builds_are_those_of_knowledge_that_answers(stores: Stores) -> None:
    """A build answers whatever becomes of newer content."""
    assistant_id = new_id()
    a, b, c, *_ = added(
        stores,
        make_document(assistant_id, "z", build="b1", embeddings_model="m"),
        make_document(assistant_id, "b", build="b2", revision="r2", status=DocumentStatus.INDEXING),
        make_document(assistant_id, "c", build="b3", status=DocumentStatus.FAILED),
        make_document(assistant_id, "d", build=""),
        make_document(assistant_id, "p", type=DocumentType.PROMPT),
        make_document(new_id(), "a"),
    )
    builds = stores.documents.builds(assistant_id)
    assert list(builds.items()) == [(a.id, Build("b1", "m")), (b.id, Build("b2")), (c.id, Build("b3"))]
    assert stores.documents.builds(new_id()) == {}


def test_a_record_is_replaced_if_it_is_as_seen(stores: Stores) -> None:
    document, other = added(stores, make_document(new_id(), "a"), make_document(new_id(), "a"))
    newer = replace(document, revision="r2", build="b2", updated_at=later(1), progress=1.0, error=None)
    assert not stores.documents.replace(newer, replace(document, revision="r0"))
    assert not stores.documents.replace(newer, replace(document, build="b0"))
    assert stores.documents.get(document.id) == document
    assert stores.documents.replace(newer, replace(document, progress=0.1)), "only revision and build are compared"
    assert stores.documents.replace(newer, newer), "an equal record is no absence"
    assert stores.documents.get(document.id) == newer
    assert stores.documents.get(other.id) == other
    absent = make_document(new_id(), "x")
    assert not stores.documents.replace(absent, absent)


def test_of_replacements_at_once_one_wins(stores: Stores) -> None:
    (document,) = added(stores, make_document(new_id(), "a"))
    won = at_once(16, lambda n: stores.documents.replace(replace(document, revision=f"n{n}", build=f"n{n}"), document))
    assert won.count(True) == 1
    assert stores.documents.builds(document.assistant_id) == {document.id: Build(f"n{won.index(True)}")}


def test_records_are_deleted(stores: Stores) -> None:
    assistant_id = new_id()
    a, *_ = added(stores, make_document(assistant_id, "a"), make_document(assistant_id, "b"))
    (other,) = added(stores, make_document(new_id(), "a"))
    assert stores.documents.delete(a.id)
    assert not stores.documents.delete(a.id)
    stores.documents.delete_of_assistant(assistant_id)
    assert list(stores.documents.list(None, None, Page()).items) == [other]
