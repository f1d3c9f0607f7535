"""Embedding the passages of documents: what has a vector is not embedded again, whatever cut the work off.

The vectors of a build are stored before the document's record switches to it, by the indexing, or brought later by the
job `embed_document`: after a failure of the endpoint, or when another model is configured. Until then the document is
found by its words. So is, for good, a passage whose text the model refuses: that is asked for again with the document's
next indexing, and not before.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from models.deadline import Deadline
from models.documents import Document, DocumentStatus, DocumentType, Passage
from models.errors import CallCancelled, DeadlineExceeded, ProviderFailed, Unavailable
from services.breaker import Breaker
from services.knowledge.embedded_text import digest_of, embedded_text, is_refused
from services.patience import Patience
from services.ports import (
    AssistantRepository,
    DocumentRepository,
    Embedder,
    JobQueue,
    KnowledgeIndex,
    Locks,
    PassageRepository,
    VectorRepository,
)

logger = logging.getLogger("orquestra.embedding")

EMBED_DOCUMENT = "embed_document"
_BATCH = 64
_BUILDS = 5
_JOB_SECONDS = 180.0  # more than the embedder takes to give up a server that hangs
_LOCK_SECONDS = _JOB_SECONDS + 60.0  # a worker that was killed holds a document up no longer
_LOCK_WAIT = 10.0
_PAGES = 5
_PAUSE_SECONDS = 30.0  # after a failure of the endpoint; doubled at each further one
_LONGEST_PAUSE_SECONDS = 900.0


@dataclass(frozen=True)
class EmbeddingStores:
    """The stores that embedding reads and writes."""

    assistants: AssistantRepository
    documents: DocumentRepository
    passages: PassageRepository
    vectors: VectorRepository


class EmbeddingService:
    """Give the passages of documents their vectors.

    Args:
        page: how many documents the sweep reads at once.
    """

    def __init__(
        self,
        stores: EmbeddingStores,
        embedder: Embedder,
        index: KnowledgeIndex,
        locks: Locks,
        jobs: JobQueue,
        *,
        page: int = 200,
    ) -> None:
        self._stores = stores
        self._embedder = embedder
        self._index = index
        self._locks = locks
        self._jobs = jobs
        self._breaker = Breaker(_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
        self._patience = Patience()
        self._page = page
        self._after: str | None = None

    @property
    def model(self) -> str:
        """Return the name of the model, as `Document.embeddings_model` has it."""
        return self._embedder.model

    def embed_passages(
        self,
        document: Document,
        passages: Sequence[Passage],
        deadline: Deadline,
        on_progress: Callable[[float], None] = lambda done: None,
        *,
        silent_seconds: float = math.inf,
        asks_again: bool = False,
    ) -> int:
        """Store a vector for each of these passages of a document, whatever build they are of.

        Nothing is dropped: the build that answers now keeps its vectors. `settle` follows when the record has switched.
        A prompt is not searched, so it gets none.

        Args:
            on_progress: gets the share of the passages that have a vector, 0 to 1, after each batch.
            silent_seconds: how long the first batch may take; after that the endpoint is left alone for a while.
            asks_again: ask for those as well that the model has refused before.

        Returns:
            How many of the passages get none, because the model refuses their texts.

        Raises:
            ProviderFailed: the endpoint failed, now or a moment ago (code `embeddings_paused`).
            DeadlineExceeded, CallCancelled: as `Embedder.embed`. What has been embedded is kept in all cases.
        """
        if document.type is not DocumentType.RAG:
            return 0
        digests = [digest_of(passage) for passage in passages]
        texts = dict(zip(digests, map(embedded_text, passages), strict=True))
        refused = self._refusals(document, asks_again)
        missing = [digest for digest in texts if digest not in refused]
        if missing:
            self._require_endpoint()
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            left = deadline.child(math.inf if start else silent_seconds)
            with self._watched(silent=left.seconds == silent_seconds):
                rows = self._embedder.embed([texts[digest] for digest in batch], left)
            refused |= self._stored(document, batch, rows)
            on_progress(1 - (len(missing) - start - len(batch)) / len(texts))
        if count := sum(refused[digest] for digest in missing):
            logger.warning("texts were refused; words find them", extra={"document_id": document.id, "texts": count})
        return sum(refused[digest] for digest in digests)

    def settle(self, document_id: str) -> None:
        """Drop the vectors that a document no longer needs, after it has switched to another build.

        A build that lacks some after all is left to `embed_document`.
        """
        with self._held(document_id, _LOCK_WAIT) as held:
            document = self._stores.documents.get(document_id) if held else None
            if document is None or document.type is not DocumentType.RAG or not document.build:
                return
            if document.embeddings_model == self.model and not self._is_whole(document):
                self._note(document, "")
                self._ask_for(document_id)
            else:
                self._drop_others(document)

    def embed_document(self, document_id: str) -> None:
        """Bring a document's answering build the vectors of the configured model: the job of this name.

        When the endpoint fails, nothing is raised: the sweep asks again, ever more rarely.
        """
        with self._held(document_id, 0.0) as held:
            if not held or self._breaker.is_pausing:
                return
            try:
                self._bring(document_id, Deadline(_JOB_SECONDS))
            except DeadlineExceeded:
                self._ask_for(document_id)  # it goes on where this attempt has stopped
            except ProviderFailed as error:
                logger.warning("embedding failed", extra={"document_id": document_id, "code": error.code})

    def sweep(self) -> None:
        """Ask for the job on documents whose build has no vectors of the configured model, some at each call."""
        with self._locks.hold("embeddings:sweep", 60.0, wait=0.0) as held:
            if not held or self._breaker.is_pausing:
                return
            for _ in range(_PAGES):
                page = self._stores.documents.without_embeddings(self.model, self._after, self._page)
                for document in page:
                    if self._patience.is_due((document.id, document.build)):
                        self._jobs.enqueue(EMBED_DOCUMENT, document.id)
                        self._patience.tried((document.id, document.build))
                self._after = page[-1].id if len(page) == self._page else None
                if self._after is None:
                    return

    def _bring(self, document_id: str, deadline: Deadline) -> None:
        """Embed the build that answers, and the next one if that has changed meanwhile."""
        stores, seen = self._stores, None
        for _ in range(_BUILDS):
            document = stores.documents.get(document_id)
            if document is None:
                if seen is not None:  # deleted meanwhile, perhaps before the last vectors were stored
                    stores.vectors.delete_of_document(seen.assistant_id, document_id)
                return
            if document.type is not DocumentType.RAG or document.embeddings_model == self.model or not document.build:
                return
            without_vector = self.embed_passages(document, self._passages_of(document), deadline)
            if self._note(document, self.model, without_vector):
                self._drop_others(document)
                return
            seen = document

    def _require_endpoint(self) -> None:
        if not self._breaker.allows():
            raise ProviderFailed(
                "The embeddings endpoint failed a moment ago and is left alone for a while. Try again later.",
                code="embeddings_paused",
            )

    def _stored(self, document: Document, digests: Sequence[str], rows: NDArray[numpy.float32]) -> dict[str, bool]:
        """Store these vectors; tell which of them stand for refusals."""
        named = {digest: row.astype("<f4").tobytes() for digest, row in zip(digests, rows, strict=True)}
        self._stores.vectors.add(document.assistant_id, document.id, self.model, named)
        return {digest: is_refused(vector) for digest, vector in named.items()}

    def _refusals(self, document: Document, asks_again: bool) -> dict[str, bool]:
        """Return the digests that need not be asked for, and which of them were refused."""
        vectors, place = self._stores.vectors, (document.assistant_id, document.id, self.model)
        known = {digest: is_refused(vector) for digest, vector in vectors.of_document(*place).items()}
        if not asks_again or not any(known.values()):
            return known
        vectors.delete(*place, [digest for digest, refused in known.items() if refused])
        return {digest: False for digest, refused in known.items() if not refused}

    def _note(self, document: Document, model: str, without_vector: int = 0) -> bool:
        """Note whose vectors the build has, and make them count; False if the document has another build by now."""
        stores = self._stores
        if not stores.documents.set_embeddings_model(document.id, document.build, model, without_vector):
            return False
        stores.assistants.bump_index_version(document.assistant_id)
        assistant = stores.assistants.get(document.assistant_id)
        if assistant is not None:
            self._index.refresh(assistant)
        return True

    def _drop_others(self, document: Document) -> None:
        """Keep the vectors of the build that answers, unless another one is being made: its are there already."""
        current = self._stores.documents.get(document.id)
        if current is not None and current.build == document.build and current.status is DocumentStatus.READY:
            digests = {digest_of(passage) for passage in self._passages_of(current)}
            self._stores.vectors.keep(document.assistant_id, document.id, self.model, digests)

    def _is_whole(self, document: Document) -> bool:
        digests = {digest_of(passage) for passage in self._passages_of(document)}
        return digests <= self._stores.vectors.of_document(document.assistant_id, document.id, self.model).keys()

    def _passages_of(self, document: Document) -> Sequence[Passage]:
        return self._stores.passages.of_document(document.assistant_id, document.id, document.build)

    def _ask_for(self, document_id: str) -> None:
        with contextlib.suppress(Unavailable):  # then the sweep does
            self._jobs.enqueue(EMBED_DOCUMENT, document_id)

    @contextlib.contextmanager
    def _held(self, document_id: str, wait: float) -> Iterator[bool]:
        with self._locks.hold(f"embeddings:{document_id}", _LOCK_SECONDS, wait) as held:
            yield held

    @contextlib.contextmanager
    def _watched(self, *, silent: bool) -> Iterator[None]:
        """Tell the breaker how a call ended.

        Args:
            silent: that its deadline was too short says something about the endpoint.
        """
        try:
            yield
        except CallCancelled:
            raise
        except DeadlineExceeded:
            if silent:
                self._breaker.failed()
            raise
        except ProviderFailed:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
