"""The records of documents in MongoDB."""

from collections.abc import Mapping, Sequence

from models.documents import Document, DocumentType
from models.paging import Listing, Page
from repositories.codec import DOCUMENTS
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Table, behind, by_id, of_assistants


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

    def revisions(self, assistant_id: str) -> Mapping[str, str]:
        """Return document id -> revision of every `ready` document of type `rag`."""
        where = {"assistant_id": assistant_id, "type": "rag", "status": "ready"}
        with store_errors():
            cursor = self._documents.collection.find(where, {"revision": True})
            return {str(fields["_id"]): fields["revision"] for fields in cursor}

    def replace(self, document: Document, expected_revision: str) -> bool:
        """Overwrite the record if it still has the expected revision; tell whether it did."""
        where = by_id(document.id) | {"revision": expected_revision}
        with store_errors():
            replaced = self._documents.collection.replace_one(where, self._documents.fields(document))
            return replaced.matched_count == 1

    def delete(self, document_id: str) -> bool:
        """Delete the record; tell whether it was there."""
        return self._documents.delete(document_id)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self._documents.delete_all({"assistant_id": assistant_id})
