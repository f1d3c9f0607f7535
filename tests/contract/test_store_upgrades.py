"""What becomes of a store that an earlier version has written: bodies and tables here are those of that version."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from models.documents import Build, Document, DocumentType, Passage
from models.errors import Unavailable
from models.ids import new_id
from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from tests.contract.stores import NOW, Stores, at_once, later, make_document, opened_sqlite, stores_over

VERSION_1 = Path(__file__).with_name("sqlite_version_1.sql")
AT = "2026-11-21T08:15:00.123Z"
ASSISTANT = new_id()
READY, FAILED, PROMPT, WAITING = (new_id() for _ in range(4))
AFTERWARDS = {READY: Build("r1", "m"), WAITING: Build("b1")}
PASSAGE: dict[str, Any] = {
    "id": new_id(),
    "assistant_id": ASSISTANT,
    "document_id": READY,
    "revision": "r1",
    "filename": "a.md",
    "position": 0,
    "start": 0,
    "end": 4,
    "text": "água",
    "headings": ["Título"],
    "language": "pt",
}


def old_document(document_id: str, status: str, type: str = "rag") -> dict[str, Any]:
    """Return a record as the first version stored it."""
    return {
        "id": document_id,
        "assistant_id": ASSISTANT,
        "type": type,
        "filename": document_id,
        "filepath": f"{ASSISTANT}/knowledge/{document_id}",
        "revision": "r1",
        "size": 3,
        "sha256": "0",
        "status": status,
        "created_at": AT,
        "updated_at": AT,
        "language": "pt",
        "error": None,
        "progress": 1.0,
        "passages": 1,
    }


DOCUMENTS = (
    old_document(READY, "ready"),
    old_document(FAILED, "failed"),
    old_document(PROMPT, "ready", "prompt"),
    old_document(WAITING, "indexing"),
)


def make_old_file(path: Path) -> None:
    """Make a file of the embedded store as the first version left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1.read_text())
        with connection:
            for table, bodies in {"documents": DOCUMENTS, "passages": (PASSAGE,)}.items():
                rows = [(body["id"], json.dumps(body)) for body in bodies]
                connection.executemany(f"INSERT INTO {table} (id, body) VALUES (?, ?)", rows)


@contextmanager
def old_database(uri: str) -> Iterator[MongoDatabase]:
    """Make a database as the first version left it in MongoDB, and drop it."""
    name = f"orquestra_test_{new_id()}"
    with MongoClient[dict[str, Any]](uri) as client, closing(MongoDatabase(uri, name)) as database:
        documents, passages = client[name]["documents"], client[name]["passages"]
        documents.insert_many([_stored(document) for document in DOCUMENTS])
        passages.insert_one(_stored(PASSAGE))
        documents.create_index({"assistant_id": 1, "type": 1, "filename": 1}, unique=True)
        documents.create_index({"assistant_id": 1, "_id": 1})
        passages.create_index({"assistant_id": 1, "document_id": 1})
        try:
            yield database
        finally:
            client.drop_database(name)


def _stored(body: dict[str, Any]) -> dict[str, Any]:
    times = {"created_at": NOW, "updated_at": NOW} if "created_at" in body else {}
    return {"_id": ObjectId(body["id"]), **{field: body[field] for field in body if field != "id"}, **times}


def goes_on_answering(stores: Stores) -> None:
    """Check what the documents and passages of the first version are now, and that everything can be done to them."""
    assert stores.documents.builds(ASSISTANT) == {READY: Build("r1")}
    builds = {document_id: _document(stores, document_id).build for document_id in (READY, FAILED, PROMPT, WAITING)}
    assert builds == {READY: "r1", FAILED: "", PROMPT: "r1", WAITING: ""}
    ready = _document(stores, READY)
    like = make_document(ASSISTANT, READY, language="pt", progress=1.0, passages=1, build="r1")
    assert ready == replace(like, id=READY)
    assert list(stores.passages.of_document(ASSISTANT, READY, "r1")) == [
        Passage(PASSAGE["id"], ASSISTANT, READY, "r1", "a.md", 0, 0, 4, "água", ("Título",), "pt")
    ]
    assert list(stores.documents.without_embeddings("m", None, 9)) == [ready]
    assert stores.documents.set_embeddings_model(READY, "r1", "m")
    assert list(stores.documents.without_embeddings("m", None, 9)) == []
    assert [document.id for document in stores.documents.unfinished(NOW, 9)] == [WAITING]
    assert stores.documents.requeue(_document(stores, WAITING), later(1))
    claimed = stores.documents.claim(WAITING, "me", later(30), NOW)
    assert claimed is not None and claimed.attempts == 1
    assert stores.documents.change(WAITING, "r1", "me", {"build": "b1"})
    failed = _document(stores, FAILED)
    assert stores.documents.replace(failed, failed)
    stores.vectors.add(ASSISTANT, READY, "m", {"0": b"1"})
    assert stores.vectors.of_document(ASSISTANT, READY, "m") == {"0": b"1"}


def _document(stores: Stores, document_id: str) -> Document:
    document = stores.documents.get(document_id)
    assert document is not None
    return document


def _layout(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT name, sql FROM sqlite_schema"))


def test_an_old_file_goes_on_answering(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_old_file(path)
    with opened_sqlite(path) as stores:
        goes_on_answering(stores)
    with opened_sqlite(path) as stores:
        assert stores.documents.builds(ASSISTANT) == AFTERWARDS, "once, not at each start"
    with opened_sqlite(tmp_path / "fresh.sqlite"):
        assert _layout(path) == _layout(tmp_path / "fresh.sqlite")


def test_an_old_file_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_old_file(path)

    def use(number: int) -> bool:
        with opened_sqlite(path) as stores:
            assert stores.documents.builds(ASSISTANT).keys() == {READY}
            return stores.documents.add(make_document(ASSISTANT, f"new {number}", type=DocumentType.PROMPT))

    assert all(at_once(8, use))
    with opened_sqlite(path) as stores:
        goes_on_answering(stores)


def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    make_old_file(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE vectors (in_the_way)")
    before = _layout(path)
    with pytest.raises(Unavailable):
        SqliteDatabase(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert json.loads(connection.execute("SELECT body FROM documents ORDER BY id").fetchone()[0]) == DOCUMENTS[0]
    assert _layout(path) == before
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE vectors")
    with opened_sqlite(path) as stores:
        goes_on_answering(stores)


def test_old_documents_in_mongodb_go_on_answering(mongo_uri: str) -> None:
    with old_database(mongo_uri) as database:
        at_once(4, lambda _: database.ensure_indexes())
        goes_on_answering(stores_over(database))
        database.ensure_indexes()
        assert stores_over(database).documents.builds(ASSISTANT) == AFTERWARDS, "once, not at each start"
