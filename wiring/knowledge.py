"""What makes documents answerable, and where their files lie."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models.errors import Unavailable
from repositories.document_files import LocalDocumentFiles
from repositories.redis.locks import RedisLocks
from repositories.s3_client import build_s3_client
from repositories.s3_document_files import S3DocumentFiles
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
from wiring.providers import build_embedder

logger = logging.getLogger("orquestra")

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
    files: LocalDocumentFiles | S3DocumentFiles,
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


def build_files(settings: Settings) -> LocalDocumentFiles | S3DocumentFiles:
    """Return where documents' files lie.

    Raises:
        Unavailable: code `storage_refused`, there is no such bucket or the keys are wrong.
    """
    scheme, separator, place = settings.documents_url.partition("://")
    if not separator:
        return LocalDocumentFiles(Path(scheme))
    bucket, _, prefix = place.partition("/")
    client = build_s3_client(
        region=settings.aws_default_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key,
        endpoint_url=settings.aws_endpoint_url,
        connections=settings.threads,
    )
    files = S3DocumentFiles(client, bucket, prefix.strip("/"))
    try:
        files.ping()
    except Unavailable as fault:
        if fault.code == "storage_refused":  # no bucket of that name, or wrong keys: waiting will not mend it
            raise
        logger.warning("the document store does not answer yet", extra={"code": fault.code})
    return files
