"""Vectors that tests can foresee, and an assistant whose passages have some."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy
from numpy.typing import NDArray

from models.assistants import Assistant
from models.deadline import Deadline
from models.documents import Document, Passage, ScoredPassage
from models.ids import new_id
from services.knowledge.embedded_text import digest_of, embedded_text
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.vector_files import VectorHit
from services.knowledge.vector_index import VectorIndex
from tests.unit.memory_knowledge import (
    MemoryDocuments,
    MemoryPassages,
    MemoryVectors,
    a_document,
    an_assistant,
    passages_of,
)

CONCEPTS = (
    ("car", "automobile", "automóvel", "carro", "汽车"),
    ("vacation", "holiday", "férias", "假期"),
    ("refund", "reembolso", "退款"),
)


class ConceptEmbedder:
    """Implement `Embedder`: a dimension for each concept, and one for texts that hold none.

    Attributes:
        texts: everything embedded so far.
        refuses: texts that hold one of these words get no vector.
        before: called before each batch; what it raises is the endpoint's failure.
    """

    def __init__(self, model: str = "concepts", dimensions: int = len(CONCEPTS) + 1) -> None:
        self.model = model
        self.dimensions = dimensions
        self.texts: list[str] = []
        self.refuses: set[str] = set()
        self.calls = 0
        self.before: Callable[[Deadline], None] = Deadline.check

    def embed(self, texts: Sequence[str], deadline: Deadline) -> NDArray[numpy.float32]:
        """Return a row of length 1 for each text, of zeros for a refused one."""
        self.calls += 1
        self.before(deadline)
        self.texts += texts
        return numpy.array([self._row(text) for text in texts], numpy.float32)

    def embed_question(self, question: str, deadline: Deadline) -> NDArray[numpy.float32]:
        """Return the row of a question."""
        row: NDArray[numpy.float32] = self.embed([question], deadline)[0]
        return row

    def _row(self, text: str) -> NDArray[numpy.float64]:
        row = numpy.zeros(self.dimensions)
        if any(word in text for word in self.refuses):
            return row
        for number, words in enumerate(CONCEPTS):
            row[number] = sum(word in text.lower() for word in words)
        if not row.any():
            row[-1] = 1.0
        return row / float(numpy.linalg.norm(row))


def unit_vector(name: str, dimensions: int) -> NDArray[numpy.float32]:
    """Return a vector of length 1 that follows from the name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    row = numpy.random.default_rng(seed).standard_normal(dimensions)
    unit: NDArray[numpy.float32] = (row / numpy.linalg.norm(row)).astype(numpy.float32)
    return unit


class Foreseen:
    """Stores whose vectors follow from the names of builds: reader and writer need not share them.

    Args:
        assistant_id: of the only assistant.
    """

    model = "foreseen"

    def __init__(self, directory: Path, assistant_id: str, dimensions: int) -> None:
        self.assistant_id, self.dimensions, self.version = assistant_id, dimensions, 0
        self.documents, self.passages, self.vectors = MemoryDocuments(), MemoryPassages(), MemoryVectors()
        self.index = VectorIndex(directory, self.documents, self.passages, self.vectors, self.model)

    def put(self, document_id: str, build: str, rows: int) -> None:
        """Store a build with so many passages in place of the document's others."""
        document = a_document(self.assistant_id, f"{document_id}.md", build)
        document = replace(document, id=document_id, embeddings_model=self.model)
        passages = [_passage(document, position) for position in range(rows)]
        named = {digest_of(one): unit_vector(f"{build}:{one.position}", self.dimensions).tobytes() for one in passages}
        self.documents.held[document_id] = document
        self.passages.add(passages)
        self.vectors.delete_of_document(self.assistant_id, document_id)
        self.vectors.add(self.assistant_id, document_id, self.model, named)
        self.version += 1

    def search(self, limit: int) -> list[VectorHit]:
        """Return what is nearest to a fixed question, checked against what its place foresees."""
        query = unit_vector("query", self.dimensions)
        hits = self.index.search(an_assistant(self.assistant_id, self.version), query, limit)
        for hit in hits:
            foreseen = float(unit_vector(f"{hit.revision}:{hit.position}", self.dimensions) @ query)
            assert abs(foreseen - hit.cosine) < 1e-5, hit
        return hits

    def refresh(self) -> None:
        """Bring the index up to date."""
        self.index.refresh(an_assistant(self.assistant_id, self.version))


def _passage(document: Document, position: int) -> Passage:
    text = f"{document.build}:{position}"
    names = (new_id(), document.assistant_id, document.id, document.build, document.filename)
    return Passage(*names, position, 0, len(text), text)


class Semantics:
    """An assistant with documents, their vectors and both indexes; the record of a document is written by hand."""

    def __init__(self, directory: Path, embedder: ConceptEmbedder | None = None) -> None:
        self.assistant_id, self.version = new_id(), 0
        self.documents, self.passages, self.vectors = MemoryDocuments(), MemoryPassages(), MemoryVectors()
        self.embedder = embedder or ConceptEmbedder()
        self.directory = directory
        self.index = self.vector_index()
        self.words = FtsIndex(directory.with_name("words"), self.documents, self.passages)
        self.hybrid = HybridIndex(self.words, self.index, self.embedder, question_seconds=2.0)

    def vector_index(self, model: str = "") -> VectorIndex:
        """Return another index over the same files, as another process has one."""
        return VectorIndex(self.directory, self.documents, self.passages, self.vectors, model or self.embedder.model)

    @property
    def assistant(self) -> Assistant:
        """Return the assistant as of now."""
        return an_assistant(self.assistant_id, self.version)

    def put(self, filename: str, text: str, language: str = "en", *, embedded: bool = True) -> Document:
        """Store a new document with its passages and, if it is to have them, vectors."""
        document = a_document(self.assistant_id, filename, new_id(), language)
        return self._store(document, text, embedded)

    def revise(self, document: Document, text: str, *, embedded: bool = True) -> Document:
        """Store another build of a document."""
        build = new_id()
        return self._store(replace(document, revision=build, build=build), text, embedded)

    def delete(self, document: Document) -> None:
        """Delete a document."""
        self.documents.delete(document.id)
        self.passages.delete_of_document(self.assistant_id, document.id)
        self.vectors.delete_of_document(self.assistant_id, document.id)
        self.version += 1

    def _store(self, document: Document, text: str, embedded: bool) -> Document:
        document = replace(document, embeddings_model=self.embedder.model if embedded else "")
        passages = passages_of(document, text)
        self.passages.add(passages)
        if embedded:
            rows = [self.embedder._row(embedded_text(passage)) for passage in passages]
            named = {
                digest_of(passage): row.astype("<f4").tobytes() for passage, row in zip(passages, rows, strict=True)
            }
            self.vectors.add(self.assistant_id, document.id, self.embedder.model, named)
        self.documents.held[document.id] = document
        self.version += 1
        self.passages.delete_of_document(self.assistant_id, document.id, before=document.build)
        return document

    def nearest(self, text: str, limit: int = 5, index: VectorIndex | None = None) -> list[VectorHit]:
        """Return what the vector index finds."""
        row = self.embedder._row(text).astype(numpy.float32)
        return (index or self.index).search(self.assistant, row, limit)

    def search(self, query: str, limit: int = 5) -> list[ScoredPassage]:
        """Return what both indexes find together."""
        return list(self.hybrid.search(self.assistant, query, limit))

    def texts(self, query: str, limit: int = 5) -> list[str]:
        """Return the texts of what is found."""
        return [scored.passage.text for scored in self.search(query, limit)]
