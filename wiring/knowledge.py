"""What makes documents answerable."""

from collections.abc import Callable
from dataclasses import dataclass

from repositories.redis.locks import RedisLocks
from services.documents import DocumentService
from services.embedding import EmbeddingService, EmbeddingStores
from services.hosting.documents import HostedDocuments
from services.indexing import IndexingService
from services.knowledge.fts_index import FtsIndex
from services.knowledge.hybrid_index import HybridIndex
from services.knowledge.parsing import DocumentParser
from services.knowledge.vector_index import VectorIndex
from services.leases import LeaseKeeper
from services.ports import JobQueue
from services.shelf import Library, Shelf
from settings import Settings
from stores import Repositories
from wiring.files import Files
from wiring.providers import build_embedder

_WAITING_SHARE = 4
"""One thread in so many may wait for the outcome of an upload; the others go on answering."""


@dataclass(frozen=True)
class Knowledge:
    """Everything that makes documents answerable."""

    index: FtsIndex | HybridIndex
    documents: DocumentService
    indexing: IndexingService
    embedding: EmbeddingService | None
    shelf: Shelf
    leases: LeaseKeeper


def build_knowledge(  # noqa: PLR0913  what it wires is opened elsewhere
    settings: Settings,
    held: Repositories,
    files: Files,
    locks: RedisLocks,
    jobs: JobQueue,
    backlog: Callable[[], int],
    hosting: HostedDocuments | None,
) -> Knowledge:
    """Wire documents, their indexing and the index; `backlog` tells how many documents' jobs wait."""
    folder = settings.data_dir / "index"
    words = FtsIndex(folder, held.documents, held.passages)
    index: FtsIndex | HybridIndex = words
    embedder, embedding = build_embedder(settings), None
    if embedder is not None:
        vectors = VectorIndex(folder / "vectors", held.documents, held.passages, held.vectors, embedder.model)
        index = HybridIndex(words, vectors, embedder)
        stores = EmbeddingStores(held.assistants, held.documents, held.passages, held.vectors)
        embedding = EmbeddingService(stores, embedder, index, locks, jobs)
    library = Library(held.assistants, held.documents, held.passages, held.vectors, files, index, locks)
    shelf, parser, leases = Shelf(library, settings.document_versions), DocumentParser(), LeaseKeeper()
    indexing = IndexingService(shelf, parser, jobs, leases, embedding, hosting, backlog)
    waiting = max(1, settings.threads // _WAITING_SHARE)
    documents = DocumentService(shelf, indexing, parser, settings.max_upload_mb * 2**20, most_waiting=waiting)
    return Knowledge(index, documents, indexing, embedding, shelf, leases)
