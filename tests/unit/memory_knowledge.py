"""Documents and passages in dicts: full implementations of two ports, and an assistant with its index."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from models.assistants import Assistant
from models.documents import Document, DocumentStatus, DocumentType, Passage, ScoredPassage
from models.ids import new_id
from models.paging import Listing, Page
from services.knowledge.fts_index import FtsIndex
from services.knowledge.passages import cut

MOMENT = datetime(2026, 11, 20, tzinfo=UTC)


class MemoryDocuments:
    """Records of documents; `reads` counts how often their revisions were asked for."""

    def __init__(self) -> None:
        self.held: dict[str, Document] = {}
        self.reads = 0

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

    def revisions(self, assistant_id: str) -> Mapping[str, str]:
        """Return document id -> revision of every `ready` document of type `rag`."""
        self.reads += 1
        return {
            document.id: document.revision
            for document in self.held.values()
            if document.assistant_id == assistant_id
            and document.type is DocumentType.RAG
            and document.status is DocumentStatus.READY
        }

    def replace(self, document: Document, expected_revision: str) -> bool:
        """Overwrite the record if it still has the expected revision; tell whether it did."""
        held = self.held.get(document.id)
        if held is None or held.revision != expected_revision:
            return False
        self.held[document.id] = document
        return True

    def delete(self, document_id: str) -> bool:
        """Delete the record; tell whether it was there."""
        return self.held.pop(document_id, None) is not None

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every record of an assistant."""
        self.held = {key: held for key, held in self.held.items() if held.assistant_id != assistant_id}


class MemoryPassages:
    """Passages of documents; `reads` counts how many documents were asked for, each takes `pause` seconds."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str, str], list[Passage]] = {}
        self.reads = 0
        self.pause = 0.0

    def add(self, passages: Sequence[Passage]) -> None:
        """Store new passages, all or none visible later by their revision."""
        for passage in passages:
            self.held.setdefault((passage.assistant_id, passage.document_id, passage.revision), []).append(passage)

    def of_document(self, assistant_id: str, document_id: str, revision: str) -> Sequence[Passage]:
        """Return one revision's passages in the order of the document."""
        self.reads += 1
        time.sleep(self.pause)
        held = self.held.get((assistant_id, document_id, revision), [])
        return sorted(held, key=lambda passage: passage.position)

    def delete_of_document(self, assistant_id: str, document_id: str, *, keep_revision: str | None = None) -> None:
        """Delete a document's passages, but for those of one revision."""
        for key in list(self.held):
            if key[:2] == (assistant_id, document_id) and key[2] != keep_revision:
                del self.held[key]

    def delete_revision(self, assistant_id: str, document_id: str, revision: str) -> None:
        """Delete the passages of one revision of a document."""
        self.held.pop((assistant_id, document_id, revision), None)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every passage of an assistant."""
        self.held = {key: held for key, held in self.held.items() if key[0] != assistant_id}


def an_assistant(assistant_id: str, index_version: int) -> Assistant:
    """Return an assistant whose passages have changed so many times."""
    return Assistant(assistant_id, "Ana", new_id(), (), MOMENT, MOMENT, index_version=index_version)


def a_document(assistant_id: str, filename: str, revision: str, language: str = "en") -> Document:
    """Return the record of a ready document."""
    return Document(
        id=new_id(),
        assistant_id=assistant_id,
        type=DocumentType.RAG,
        filename=filename,
        filepath=f"{assistant_id}/knowledge/{filename}",
        revision=revision,
        size=1,
        sha256="0" * 64,
        status=DocumentStatus.READY,
        created_at=MOMENT,
        updated_at=MOMENT,
        language=language,
    )


def passages_of(document: Document, text: str, *, markdown: bool = True) -> list[Passage]:
    """Cut a text into the document's passages."""
    return [
        Passage(
            id=new_id(),
            assistant_id=document.assistant_id,
            document_id=document.id,
            revision=document.revision,
            filename=document.filename,
            position=position,
            start=piece.start,
            end=piece.end,
            text=text[piece.start : piece.end],
            headings=piece.headings,
            language=document.language,
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
        """Store another revision of a document."""
        revised = replace(document, revision=new_id())
        self.passages.add(passages_of(revised, text))
        assert self.documents.replace(revised, document.revision)
        self.version += 1
        return revised

    def search(self, query: str, limit: int = 5) -> list[ScoredPassage]:
        """Search as of the newest version."""
        return list(self.index.search(an_assistant(self.assistant_id, self.version), query, limit))

    def texts(self, query: str) -> list[str]:
        """Return the texts of the passages found."""
        return [scored.passage.text for scored in self.search(query)]
