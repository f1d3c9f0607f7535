"""The passages of documents in the embedded store."""

from collections.abc import Sequence

from models.documents import Passage
from models.errors import Unavailable
from repositories.codec import PASSAGES
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import Table, Where


class SqlitePassageRepository:
    """Implement `PassageRepository`.

    What it adds is not synced: passages count once a record names their build, and that is written later and synced.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._passages = Table(database, "passages", PASSAGES)

    def add(self, passages: Sequence[Passage]) -> None:
        """Store new passages, all or none visible later by their revision."""
        added = self._passages.add_all({passage.id: passage for passage in passages}, synced=False)
        if added < len(passages):
            raise Unavailable("The passages could not be stored. Try again.", code="store_unavailable")

    def of_document(self, assistant_id: str, document_id: str, revision: str) -> Sequence[Passage]:
        """Return one build's passages in the order of the document."""
        where = _document(assistant_id, document_id) & Where("revision = ?", (revision,))
        return self._passages.all(where, "ORDER BY position")

    def delete_of_document(
        self, assistant_id: str, document_id: str, *, before: str | None = None, after: str | None = None
    ) -> None:
        """Delete a document's passages, or those of the builds between two: ids sort by time."""
        where = _document(assistant_id, document_id)
        if before is not None:
            where = where & Where("revision < ?", (before,))
        if after is not None:
            where = where & Where("revision > ?", (after,))
        self._passages.delete_all(where)

    def delete_revision(self, assistant_id: str, document_id: str, revision: str) -> None:
        """Delete the passages of one build of a document."""
        self._passages.delete_all(_document(assistant_id, document_id) & Where("revision = ?", (revision,)))

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every passage of an assistant."""
        self._passages.delete_all(Where("assistant_id = ?", (assistant_id,)))


def _document(assistant_id: str, document_id: str) -> Where:
    return Where("assistant_id = ? AND document_id = ?", (assistant_id, document_id))
