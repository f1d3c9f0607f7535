"""The records of documents in MongoDB."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pymongo import ASCENDING

from models.documents import Build, Document, DocumentType
from models.paging import Listing, Page
from repositories.codec import DOCUMENTS
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Filter, Table, behind, by_id, key, of_assistants

_UNFINISHED: Filter = {"status": {"$in": ["stored", "indexing"]}}
_FRESH: Filter = {"status": "stored", "lease_owner": None, "attempts": 0}
_ANSWERING: Filter = {"type": "rag", "build": {"$gt": ""}}
_OLDEST = (("_id", ASCENDING),)


class MongoDocumentRepository:
    """Implement `DocumentRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._documents = Table(collection, DOCUMENTS)

    def add(self, document: Document) -> bool:
        """Store a new record; False if the assistant has one of that type and filename."""
        return self._documents.add(document)

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id."""
        return self._documents.get(document_id)

    def find(self, assistant_id: str, type: DocumentType, filename: str) -> Document | None:
        """Return an assistant's document by its name."""
        return self._documents.first({"assistant_id": assistant_id, "type": type.value, "filename": filename})

    def list(self, assistant_ids: Sequence[str] | None, type: DocumentType | None, page: Page) -> Listing[Document]:
        """List the documents of these assistants (None: all), newest first (by id)."""
        where = of_assistants(assistant_ids) | ({} if type is None else {"type": type.value})
        return self._documents.page(where, behind(page), page)

    def builds(self, assistant_id: str) -> Mapping[str, Build]:
        """Return document id -> build of every document of type `rag` that has one, in the order of ids."""
        where = {"assistant_id": assistant_id, **_ANSWERING}
        with store_errors():
            cursor = self._documents.collection.find(where, {"build": True, "embeddings_model": True}, sort=_OLDEST)
            return {str(fields["_id"]): Build(fields["build"], fields["embeddings_model"]) for fields in cursor}

    def replace(self, document: Document, seen: Document) -> bool:
        """Overwrite the record if it still has the revision and the build of `seen`; tell whether it did."""
        where = by_id(document.id) | {"revision": seen.revision, "build": seen.build}
        with store_errors():
            replaced = self._documents.collection.replace_one(where, self._documents.fields(document))
            return replaced.matched_count == 1

    def claim(self, document_id: str, owner: str, until: datetime, at: datetime) -> Document | None:
        """Begin an attempt, if the document waits for one and nobody works on it; return it."""
        free = {"$or": [{"lease_owner": None}, {"lease_until": {"$lte": at}}]}
        changes = {"status": "indexing", "lease_owner": owner, "lease_until": until}
        if not self._documents.update(by_id(document_id) | _UNFINISHED | free, changes, {"attempts": 1}):
            return None
        return self._documents.first(by_id(document_id) | {"lease_owner": owner})

    def waiting(self, at: datetime) -> Sequence[tuple[str, str]]:
        """Return (assistant id, id of its oldest document that waits), oldest first.

        Those wait that were never claimed, and unfinished ones whose `lease_until` is None or not after `at`.
        """
        waits = _UNFINISHED | {"$or": [{"lease_until": None}, {"lease_until": {"$lte": at}}, _FRESH]}
        group = {"_id": "$assistant_id", "first": {"$min": "$_id"}}
        with store_errors():
            cursor = self._documents.collection.aggregate([{"$match": waits}, {"$group": group}])
            found = [(str(fields["_id"]), str(fields["first"])) for fields in cursor]
        return sorted(found, key=lambda turn: turn[1])

    def change(self, document_id: str, revision: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields (names of `Document`) if it has this revision and is leased to this owner; tell whether."""
        return self._documents.update(by_id(document_id) | {"revision": revision, "lease_owner": owner}, changes)

    def requeue(self, seen: Document, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if owner and lease are those of `seen`."""
        dead = {"lease_owner": seen.lease_owner, "lease_until": seen.lease_until}
        return self._documents.update(by_id(seen.id) | _UNFINISHED | dead, {"lease_owner": None, "lease_until": until})

    def unfinished(self, at: datetime, limit: int) -> Sequence[Document]:
        """Return `stored` and `indexing` documents whose `lease_until` is None or not after `at`, oldest first."""
        where = _UNFINISHED | {"$or": [{"lease_until": None}, {"lease_until": {"$lte": at}}]}
        return self._documents.all(where, _OLDEST, limit)

    def without_embeddings(self, model: str, after: str | None, limit: int) -> Sequence[Document]:
        """Return documents of type `rag` with a build and vectors of another model (or none), by id from `after` on."""
        where = _ANSWERING | {"embeddings_model": {"$ne": model}}
        if after is not None:
            where["_id"] = {"$gt": key(after)}
        return self._documents.all(where, _OLDEST, limit)

    def set_embeddings_model(self, document_id: str, build: str, model: str, without_vector: int = 0) -> bool:
        """Note whose vectors a build has, and how many passages have none, if it is the document's; tell whether."""
        changes = {"embeddings_model": model, "passages_without_vector": without_vector}
        return self._documents.update(by_id(document_id) | {"build": build}, changes)

    def delete(self, document_id: str, revision: str | None = None) -> bool:
        """Delete the record, with a revision only if it still has that; tell whether it did."""
        seen = {} if revision is None else {"revision": revision}
        with store_errors():
            return self._documents.collection.delete_one(by_id(document_id) | seen).deleted_count == 1

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self._documents.delete_all({"assistant_id": assistant_id})
