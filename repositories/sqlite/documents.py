"""The records of documents in the embedded store."""

from collections.abc import Mapping, Sequence

from models.documents import Document, DocumentType
from models.paging import Listing, Page
from repositories.codec import DOCUMENTS
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id


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

    def revisions(self, assistant_id: str) -> Mapping[str, str]:
        """Return document id -> revision of every `ready` document of type `rag`."""
        ready = "assistant_id = ? AND type = 'rag' AND status = 'ready'"
        with self._documents.database.read() as connection:
            rows = connection.execute(f"SELECT id, revision FROM documents WHERE {ready} ORDER BY id", (assistant_id,))
            return dict(rows.fetchall())

    def replace(self, document: Document, expected_revision: str) -> bool:
        """Overwrite the record if it still has the expected revision; tell whether it did."""
        where = by_id(document.id) & Where("revision = ?", (expected_revision,))
        return self._documents.replace(document, where) == 1

    def delete(self, document_id: str) -> bool:
        """Delete the record; tell whether it was there."""
        return self._documents.delete(by_id(document_id)) == 1

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self._documents.delete_all(Where("assistant_id = ?", (assistant_id,)))
