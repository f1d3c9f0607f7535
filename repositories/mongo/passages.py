"""The passages of documents in MongoDB."""

from collections.abc import Sequence

from pymongo import ASCENDING

from models.documents import Passage
from repositories.codec import PASSAGES
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Filter, Table

_BATCH = 1000
"""So many passages are sent by one command, which then ends well within the time for an answer."""


class MongoPassageRepository:
    """Implement `PassageRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._passages = Table(collection, PASSAGES)

    def add(self, passages: Sequence[Passage]) -> None:
        """Store new passages, all or none visible later by their revision."""
        for start in range(0, len(passages), _BATCH):
            batch = [self._passages.fields(passage) for passage in passages[start : start + _BATCH]]
            with store_errors():
                self._passages.collection.insert_many(batch, ordered=False)

    def of_document(self, assistant_id: str, document_id: str, revision: str) -> Sequence[Passage]:
        """Return one build's passages in the order of the document."""
        where = _document(assistant_id, document_id) | {"revision": revision}
        return self._passages.all(where, [("position", ASCENDING)])

    def delete_of_document(
        self, assistant_id: str, document_id: str, *, before: str | None = None, after: str | None = None
    ) -> None:
        """Delete a document's passages, or those of the builds between two: ids sort by time."""
        limits = {"$lt": before, "$gt": after}
        between = {operator: revision for operator, revision in limits.items() if revision is not None}
        self._passages.delete_all(_document(assistant_id, document_id) | ({"revision": between} if between else {}))

    def delete_revision(self, assistant_id: str, document_id: str, revision: str) -> None:
        """Delete the passages of one build of a document."""
        self._passages.delete_all(_document(assistant_id, document_id) | {"revision": revision})

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every passage of an assistant."""
        self._passages.delete_all({"assistant_id": assistant_id})


def _document(assistant_id: str, document_id: str) -> Filter:
    return {"assistant_id": assistant_id, "document_id": document_id}
