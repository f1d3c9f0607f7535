"""Embedding vectors in MongoDB."""

from collections.abc import Collection, Mapping
from itertools import islice

from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Filter, delete_all, insert_absent

_BATCH = 500
"""So many vectors (up to some 10 KB each) are sent or deleted by one command, which then ends well within its time."""


class MongoVectorRepository:
    """Implement `VectorRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._collection = collection

    def add(self, assistant_id: str, document_id: str, model: str, vectors: Mapping[str, bytes]) -> None:
        """Store vectors (digest -> float32, little-endian); those that are there already are no error."""
        named = {**_document(assistant_id, document_id), "model": model}
        waiting = iter(vectors.items())
        while batch := list(islice(waiting, _BATCH)):
            insert_absent(self._collection, [{**named, "digest": digest, "vector": vector} for digest, vector in batch])

    def of_document(self, assistant_id: str, document_id: str, model: str) -> Mapping[str, bytes]:
        """Return a document's vectors of a model, digest -> bytes."""
        where = {**_document(assistant_id, document_id), "model": model}
        with store_errors():
            cursor = self._collection.find(where, {"digest": True, "vector": True})
            return {fields["digest"]: fields["vector"] for fields in cursor}

    def keep(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete a document's vectors but for these of this model."""
        where, kept = _document(assistant_id, document_id), {(model, digest) for digest in digests}
        with store_errors():
            stored = self._collection.find(where, {"model": True, "digest": True})
            doomed = [fields["_id"] for fields in stored if (fields["model"], fields["digest"]) not in kept]
            for start in range(0, len(doomed), _BATCH):
                self._collection.delete_many(where | {"_id": {"$in": doomed[start : start + _BATCH]}})

    def delete(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete these vectors of a document and a model."""
        named, doomed = {**_document(assistant_id, document_id), "model": model}, list(digests)
        with store_errors():
            for start in range(0, len(doomed), _BATCH):
                self._collection.delete_many(named | {"digest": {"$in": doomed[start : start + _BATCH]}})

    def delete_of_document(self, assistant_id: str, document_id: str) -> None:
        """Delete every vector of a document."""
        delete_all(self._collection, _document(assistant_id, document_id))

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every vector of an assistant."""
        delete_all(self._collection, {"assistant_id": assistant_id})


def _document(assistant_id: str, document_id: str) -> Filter:
    return {"assistant_id": assistant_id, "document_id": document_id}
