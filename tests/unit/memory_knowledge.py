"""Documents, passages and vectors in dicts: full implementations of three ports, and an assistant with its index."""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from models.assistants import Assistant
from models.documents import Build, Document, DocumentStatus, DocumentType, Passage, ScoredPassage
from models.ids import new_id
from models.paging import Listing, Page
from services.knowledge.fts_index import FtsIndex
from services.knowledge.passages import cut

MOMENT = datetime(2026, 11, 20, tzinfo=UTC)
_UNFINISHED = {DocumentStatus.STORED, DocumentStatus.INDEXING}


class MemoryDocuments:
    """Records of documents; `reads` counts how often their builds were asked for."""

    def __init__(self) -> None:
        self.held: dict[str, Document] = {}
        self.reads = 0
        self._lock = threading.Lock()

    def add(self, document: Document) -> bool:
        """Store a new record; False if the assistant has one of that type and filename."""
        if self.find(document.assistant_id, document.type, document.filename):
            return False
        self.held[document.id] = document
        return True

    def get(self, document_id: str) -> Document | None:
        """Return the document with this id."""
        return self.held.get(document_id)

    def find(self, assistant_id: str, type: DocumentType, filename: str) -> Document | None:
        """Return an assistant's document by its name."""
        key = (assistant_id, type, filename)
        return next((d for d in self.held.values() if (d.assistant_id, d.type, d.filename) == key), None)

    def list(self, assistant_ids: Sequence[str] | None, type: DocumentType | None, page: Page) -> Listing[Document]:
        """List the documents of these assistants (None: all), newest first (by id)."""
        fitting = [
            document
            for document in sorted(self.held.values(), key=lambda document: document.id, reverse=True)
            if (assistant_ids is None or document.assistant_id in assistant_ids) and type in (None, document.type)
        ]
        rest = [document for document in fitting if page.after is None or document.id < page.after]
        return Listing(rest[: page.limit], len(fitting), len(rest) > page.limit)

    def builds(self, assistant_id: str) -> Mapping[str, Build]:
        """Return document id -> build of every document of type `rag` that has one, in the order of ids."""
        self.reads += 1
        return {
            document.id: Build(document.build, document.embeddings_model)
            for document in self._sorted()
            if document.assistant_id == assistant_id and document.type is DocumentType.RAG and document.build
        }

    def replace(self, document: Document, seen: Document) -> bool:
        """Overwrite the record if it still has the revision and the build of `seen`; tell whether it did."""
        with self._lock:
            held = self.held.get(document.id)
            if held is None or (held.revision, held.build) != (seen.revision, seen.build):
                return False
            self.held[document.id] = document
            return True

    def claim(self, document_id: str, owner: str, until: datetime, at: datetime) -> Document | None:
        """Begin an attempt: make the document `indexing`, leased to this owner, one attempt more, and return it."""
        with self._lock:
            held = self.held.get(document_id)
            if held is None or held.status not in _UNFINISHED:
                return None
            if held.lease_owner is not None and held.lease_until is not None and held.lease_until > at:
                return None
            claimed = replace(
                held,
                status=DocumentStatus.INDEXING,
                attempts=held.attempts + 1,
                lease_owner=owner,
                lease_until=until,
            )
            self.held[document_id] = claimed
            return claimed

    def waiting(self, at: datetime) -> Sequence[tuple[str, str]]:
        """Return (assistant id, id of its oldest document that waits), oldest first.

        Those wait that were never claimed, and unfinished ones whose `lease_until` is None or not after `at`.
        """
        found: dict[str, str] = {}
        for held in self._sorted():
            fresh = held.status is DocumentStatus.STORED and held.lease_owner is None and not held.attempts
            unfinished = held.status in (DocumentStatus.STORED, DocumentStatus.INDEXING)
            if unfinished and (fresh or held.lease_until is None or held.lease_until <= at):
                found.setdefault(held.assistant_id, held.id)
        return list(found.items())

    def change(self, document_id: str, revision: str, owner: str, changes: Mapping[str, object]) -> bool:
        """Set these fields if it has this revision and is leased to this owner; tell whether."""
        with self._lock:
            held = self.held.get(document_id)
            if held is None or (held.revision, held.lease_owner) != (revision, owner):
                return False
            self.held[document_id] = replace(held, **cast(dict[str, Any], dict(changes)))
            return True

    def requeue(self, seen: Document, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if owner and lease are those of `seen`."""
        with self._lock:
            held = self.held.get(seen.id)
            if held is None or (held.lease_owner, held.lease_until) != (seen.lease_owner, seen.lease_until):
                return False
            self.held[seen.id] = replace(held, lease_owner=None, lease_until=until)
            return True

    def unfinished(self, at: datetime, limit: int) -> Sequence[Document]:
        """Return `stored` and `indexing` documents whose `lease_until` is None or not after `at`, oldest first."""
        found = [
            document
            for document in self._sorted()
            if document.status in _UNFINISHED and (document.lease_until is None or document.lease_until <= at)
        ]
        return found[:limit]

    def without_embeddings(self, model: str, after: str | None, limit: int) -> Sequence[Document]:
        """Return documents of type `rag` with a build and vectors of another model (or none), by id from `after` on."""
        found = [
            document
            for document in self._sorted()
            if document.type is DocumentType.RAG and document.build and document.embeddings_model != model
            if after is None or document.id > after
        ]
        return found[:limit]

    def set_embeddings_model(self, document_id: str, build: str, model: str, without_vector: int = 0) -> bool:
        """Note whose vectors a build has, and how many passages have none, if it is the document's; tell whether."""
        with self._lock:
            held = self.held.get(document_id)
            if held is None or held.build != build:
                return False
            self.held[document_id] = replace(held, embeddings_model=model, passages_without_vector=without_vector)
            return True

    def delete(self, document_id: str, revision: str | None = None) -> bool:
        """Delete the record, with a revision only if it still has that; tell whether it did."""
        held = self.held.get(document_id)
        if held is None or revision not in (None, held.revision):
            return False
        del self.held[document_id]
        return True

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self.held = {key: held for key, held in self.held.items() if held.assistant_id != assistant_id}

    def _sorted(self) -> Sequence[Document]:
        return [self.held[key] for key in sorted(self.held)]


class MemoryPassages:
    """Passages of documents.

    Attributes:
        reads: how many documents were asked for.
        pause: how many seconds each of them takes.
        before_read: called with a document's id before it is read.
    """

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, str], list[Passage]] = {}
        self.reads = 0
        self.pause = 0.0
        self.before_read: Callable[[str], None] = lambda document_id: None

    def add(self, passages: Sequence[Passage]) -> None:
        """Store new passages, all or none visible later by their revision."""
        for passage in passages:
            self.held.setdefault((passage.assistant_id, passage.document_id, passage.revision), []).append(passage)

    def of_document(self, assistant_id: str, document_id: str, revision: str) -> Sequence[Passage]:
        """Return one build's passages in the order of the document."""
        self.reads += 1
        self.before_read(document_id)
        time.sleep(self.pause)
        held = self.held.get((assistant_id, document_id, revision), [])
        return sorted(held, key=lambda passage: passage.position)

    def delete_of_document(
        self, assistant_id: str, document_id: str, *, before: str | None = None, after: str | None = None
    ) -> None:
        """Delete a document's passages, or those of the builds between two: ids sort by time."""
        for key in list(self.held):
            within = (before is None or key[2] < before) and (after is None or key[2] > after)
            if key[:2] == (assistant_id, document_id) and within:
                del self.held[key]

    def delete_revision(self, assistant_id: str, document_id: str, revision: str) -> None:
        """Delete the passages of one build of a document."""
        self.held.pop((assistant_id, document_id, revision), None)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every passage of an assistant."""
        self.held = {key: held for key, held in self.held.items() if key[0] != assistant_id}


class MemoryVectors:
    """Vectors of documents by the digest of what was embedded."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, str], dict[str, bytes]] = {}

    def add(self, assistant_id: str, document_id: str, model: str, vectors: Mapping[str, bytes]) -> None:
        """Store vectors (digest -> float32, little-endian); those that are there already are no error."""
        self.held.setdefault((assistant_id, document_id, model), {}).update(vectors)

    def of_document(self, assistant_id: str, document_id: str, model: str) -> Mapping[str, bytes]:
        """Return a document's vectors of a model, digest -> bytes."""
        return dict(self.held.get((assistant_id, document_id, model), {}))

    def keep(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete a document's vectors but for these of this model."""
        held = self.of_document(assistant_id, document_id, model)
        self.delete_of_document(assistant_id, document_id)
        self.add(assistant_id, document_id, model, {digest: held[digest] for digest in digests if digest in held})

    def delete(self, assistant_id: str, document_id: str, model: str, digests: Collection[str]) -> None:
        """Delete these vectors of a document and a model."""
        for digest in digests:
            self.held.get((assistant_id, document_id, model), {}).pop(digest, None)

    def delete_of_document(self, assistant_id: str, document_id: str) -> None:
        """Delete every vector of a document."""
        self.held = {key: held for key, held in self.held.items() if key[:2] != (assistant_id, document_id)}

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every vector of an assistant."""
        self.held = {key: held for key, held in self.held.items() if key[0] != assistant_id}


def an_assistant(assistant_id: str, index_version: int) -> Assistant:
    """Return an assistant whose passages have changed so many times."""
    return Assistant(assistant_id, "Ana", new_id(), (), MOMENT, MOMENT, index_version=index_version)


def a_document(assistant_id: str, filename: str, build: str, language: str = "en") -> Document:
    """Return the record of a ready document; build and revision have the same name here."""
    return Document(
        id=new_id(),
        assistant_id=assistant_id,
        type=DocumentType.RAG,
        filename=filename,
        filepath=f"{assistant_id}/knowledge/{filename}",
        revision=build,
        size=1,
        sha256="0" * 64,
        status=DocumentStatus.READY,
        created_at=MOMENT,
        updated_at=MOMENT,
        language=language,
        build=build,
    )


def passages_of(document: Document, text: str, *, markdown: bool = True) -> list[Passage]:
    """Cut a text into the document's passages."""
    return [
        Passage(
            id=new_id(),
            assistant_id=document.assistant_id,
            document_id=document.id,
            revision=document.build,
            filename=document.filename,
            position=position,
            start=piece.start,
            end=piece.end,
            text=text[piece.start : piece.end],
            headings=piece.headings,
            language=document.language,
            header=piece.header,
            page=piece.page,
        )
        for position, piece in enumerate(cut(text, markdown=markdown))
    ]


class Knowledge:
    """An assistant with documents and their index."""

    def __init__(self, directory: Path) -> None:
        self.assistant_id, self.version = new_id(), 0
        self.documents, self.passages = MemoryDocuments(), MemoryPassages()
        self.directory = directory
        self.index = FtsIndex(directory, self.documents, self.passages)

    @property
    def file(self) -> Path:
        """Return the index file."""
        return self.directory / f"{self.assistant_id}.sqlite3"

    def put(self, filename: str, text: str, language: str = "en") -> Document:
        """Store a new document and its passages."""
        document = a_document(self.assistant_id, filename, new_id(), language)
        self.passages.add(passages_of(document, text))
        self.documents.add(document)
        self.version += 1
        return document

    def revise(self, document: Document, text: str) -> Document:
        """Store another revision of a document and its passages, and drop the old ones."""
        name = new_id()
        revised = replace(document, revision=name, build=name)
        self.passages.add(passages_of(revised, text))
        assert self.documents.replace(revised, document)
        self.version += 1
        self.passages.delete_of_document(revised.assistant_id, revised.id, before=name)
        return revised

    def search(self, query: str, limit: int = 5) -> list[ScoredPassage]:
        """Search as of the newest version."""
        return list(self.index.search(an_assistant(self.assistant_id, self.version), query, limit))

    def texts(self, query: str) -> list[str]:
        """Return the texts of the passages found."""
        return [scored.passage.text for scored in self.search(query)]
