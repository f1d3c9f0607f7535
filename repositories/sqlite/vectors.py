"""Embedding vectors in the embedded store."""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import Where

_BATCH = 500
"""So many vectors (up to some 10 KB each) are written or deleted in one transaction: other writers get their turns."""


class SqliteVectorRepository:
    """Implement `VectorRepository`.

    What it adds is not synced: vectors count once a record names their model, and that is written later and synced.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def add(self, assistant_id: str, document_id: str, model: str, vectors: Mapping[str, bytes]) -> None:
        """Store vectors (digest -> float32, little-endian); those that are there already are no error."""
        insert = (
            "INSERT INTO vectors (assistant_id, document_id, model, digest, vector) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING"
        )
        waiting = iter(vectors.items())
        while batch := list(islice(waiting, _BATCH)):
            rows = [(assistant_id, document_id, model, digest, vector) for digest, vector in batch]
            with self._database.write(synced=False) as connection:
                connection.executemany(insert, rows)

    def of_document(self, assistant_id: str, document_id: str, model: str) -> Mapping[str, bytes]:
        """Return a document's vectors of a model, digest -> bytes."""
        where = _document(assistant_id, document_id) & Where("model = ?", (model,))
        with self._database.read() as connection:
            return dict(connection.execute(f"SELECT digest, vector FROM vectors WHERE {where.sql}", where.values))

    def keep(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete a document's vectors but for these of this model."""
        where, kept = _document(assistant_id, document_id), {(model, digest) for digest in digests}
        with self._database.read() as connection:
            stored = connection.execute(f"SELECT model, digest FROM vectors WHERE {where.sql}", where.values).fetchall()
        self._delete(where, [vector for vector in stored if vector not in kept])

    def delete(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete these vectors of a document and a model."""
        self._delete(_document(assistant_id, document_id), [(model, digest) for digest in digests])

    def delete_of_document(self, assistant_id: str, document_id: str) -> None:
        """Delete every vector of a document."""
        self._delete_all(_document(assistant_id, document_id))

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every vector of an assistant."""
        self._delete_all(Where("assistant_id = ?", (assistant_id,)))

    def _delete(self, document: Where, vectors: Sequence[tuple[str, str]]) -> None:
        """Delete vectors of a document by (model, digest)."""
        delete = f"DELETE FROM vectors WHERE {document.sql} AND model = ? AND digest = ?"
        for start in range(0, len(vectors), _BATCH):
            rows = [(*document.values, *vector) for vector in vectors[start : start + _BATCH]]
            with self._database.write(synced=False) as connection:
                connection.executemany(delete, rows)

    def _delete_all(self, where: Where) -> None:
        some = f"SELECT rowid FROM vectors WHERE {where.sql} LIMIT {_BATCH}"
        deleted = _BATCH
        while deleted == _BATCH:
            with self._database.write() as connection:
                deleted = connection.execute(f"DELETE FROM vectors WHERE rowid IN ({some})", where.values).rowcount


def _document(assistant_id: str, document_id: str) -> Where:
    return Where("assistant_id = ? AND document_id = ?", (assistant_id, document_id))
