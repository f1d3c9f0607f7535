"""The records of documents in the embedded store."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from models.documents import Build, Document, DocumentType
from models.paging import Listing, Page
from repositories.codec import DOCUMENTS, stamp
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id

_UNFINISHED = "status IN ('stored', 'indexing')"
_FRESH = "status = 'stored' AND lease_owner IS NULL AND json_extract(body, '$.attempts') = 0"
_ANSWERING = "type = 'rag' AND build <> ''"


class SqliteDocumentRepository:
    """Implement `DocumentRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._documents = Table(database, "documents", DOCUMENTS)

    def add(self, document: Document) -> bool:
        """Store a new record; False if the assistant has one of that type and filename."""
        with self._documents.database.write() as connection:
            return self._documents.add(connection, document.id, document)

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id."""
        return self._documents.get(document_id)

    def find(self, assistant_id: str, type: DocumentType, filename: str) -> Document | None:
        """Return an assistant's document by its name."""
        named = "assistant_id = ? AND type = ? AND filename = ?"
        return self._documents.first(Where(named, (assistant_id, type.value, filename)))

    def list(self, assistant_ids: Sequence[str] | None, type: DocumentType | None, page: Page) -> Listing[Document]:
        """List the documents of these assistants (None: all), newest first (by id)."""
        where = ALL if type is None else Where("+type = ?", (type.value,))
        follow = ALL if page.after is None else Where("id < ?", (page.after,))
        return self._documents.page(assistant_ids, where, page, follow=follow)

    def builds(self, assistant_id: str) -> Mapping[str, Build]:
        """Return document id -> build of every document of type `rag` that has one, in the order of ids."""
        select = "SELECT id, build, embeddings_model FROM documents"
        with self._documents.database.read() as connection:
            rows = connection.execute(f"{select} WHERE assistant_id = ? AND {_ANSWERING} ORDER BY id", (assistant_id,))
            return {document_id: Build(build, model) for document_id, build, model in rows}

    def replace(self, document: Document, seen: Document) -> bool:
        """Overwrite the record if it still has the revision and the build of `seen`; tell whether it did."""
        where = by_id(document.id) & Where("revision = ? AND build = ?", (seen.revision, seen.build))
        return self._documents.replace(document, where) == 1

    def claim(self, document_id: str, owner: str, until: datetime, at: datetime) -> Document | None:
        """Begin an attempt, if the document waits for one and nobody works on it; return it."""
        free = Where(f"{_UNFINISHED} AND (lease_owner IS NULL OR lease_until <= ?)", (stamp(at),))
        where = by_id(document_id)
        changes = {"status": "indexing", "lease_owner": owner, "lease_until": until}
        with self._documents.database.write() as connection:
            if not self._documents.update_within(connection, where & free, changes, {"attempts": 1}):
                return None
            return self._documents.get_within(connection, where)

    def waiting(self, at: datetime) -> Sequence[tuple[str, str]]:
        """Return (assistant id, id of its oldest document that waits), oldest first.

        Those wait that were never claimed, and unfinished ones whose `lease_until` is None or not after `at`.
        """
        waits = f"{_UNFINISHED} AND (lease_until IS NULL OR lease_until <= ? OR {_FRESH})"
        select = f"SELECT assistant_id, min(id) FROM documents WHERE {waits} GROUP BY assistant_id ORDER BY min(id)"
        with self._documents.database.read() as connection:
            return list(connection.execute(select, (stamp(at),)))

    def change(self, document_id: str, revision: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Document`) if it has this revision and is leased to this owner; tell whether."""
        held = Where("revision = ? AND lease_owner = ?", (revision, owner))
        return self._documents.update(by_id(document_id) & held, changes) == 1

    def requeue(self, seen: Document, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if owner and lease are those of `seen`."""
        lease = (seen.lease_owner, seen.lease_until and stamp(seen.lease_until))
        dead = Where(f"{_UNFINISHED} AND lease_owner IS ? AND lease_until IS ?", lease)
        return self._documents.update(by_id(seen.id) & dead, {"lease_owner": None, "lease_until": until}) == 1

    def unfinished(self, at: datetime, limit: int) -> Sequence[Document]:
        """Return `stored` and `indexing` documents whose `lease_until` is None or not after `at`, oldest first."""
        where = Where(f"{_UNFINISHED} AND (lease_until IS NULL OR lease_until <= ?)", (stamp(at),))
        return self._documents.all(where, f"ORDER BY id LIMIT {limit:d}")

    def without_embeddings(self, model: str, after: str | None, limit: int) -> Sequence[Document]:
        """Return documents of type `rag` with a build and vectors of another model (or none), by id from `after` on."""
        where = Where(f"{_ANSWERING} AND embeddings_model <> ? AND id > ?", (model, after or ""))
        return self._documents.all(where, f"ORDER BY id LIMIT {limit:d}")

    def set_embeddings_model(self, document_id: str, build: str, model: str, without_vector: int = 0) -> bool:
        """Note whose vectors a build has, and how many passages have none, if it is the document's; tell whether."""
        changes = {"embeddings_model": model, "passages_without_vector": without_vector}
        where = by_id(document_id) & Where("build = ?", (build,))
        return self._documents.update(where, changes) == 1

    def delete(self, document_id: str, revision: str | None = None) -> bool:
        """Delete the record, with a revision only if it still has that; tell whether it did."""
        seen = ALL if revision is None else Where("revision = ?", (revision,))
        return self._documents.delete(by_id(document_id) & seen) == 1

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self._documents.delete_all(Where("assistant_id = ?", (assistant_id,)))
