"""Indexing: from a document's bytes to passages that answers use, as a job that any worker may begin again."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from models.assistants import Assistant
from models.clock import now
from models.deadline import Deadline
from models.documents import Document, DocumentStatus, ParsedText, Passage
from models.errors import Invalid, OrquestraError, Unavailable, UnsupportedFormat
from models.ids import new_id
from services.embedding import EmbeddingService
from services.hosting.documents import HostedDocuments
from services.leases import LeaseKeeper
from services.ports import JobQueue, Parser
from services.rotation import Rotation
from services.shelf import Shelf

logger = logging.getLogger("orquestra.indexing")

INDEX_DOCUMENT = "index_document"
"""The job; its argument is a document's id."""

INDEXING_FAILED = "indexing_failed"
"""The error's code when attempts kept dying: the file itself may be without fault."""

_UNFINISHED = (DocumentStatus.STORED, DocumentStatus.INDEXING)
_MOST_ATTEMPTS = 8
_QUEUED_SECONDS = 30.0
"""How long a job may wait in the queue before a sweeper asks for it again."""
_BACKOFF_SECONDS = 5.0
_EMBEDDING_SECONDS = 180.0
_SILENT_SECONDS = 15.0
"""An endpoint for embeddings that says nothing for so long is waited for in the background."""

_SWEPT = 100
_BATCH = 500
_MOST_LOOKS = 100
"""So often other workers may be faster before a job is given up to the sweeper."""

GAVE_UP = (
    f"It could not be indexed in {_MOST_ATTEMPTS} attempts. Look into the server's log, then index it again, or split "
    "the file."
)


class Superseded(Exception):
    """Tell that an attempt lost its lease: newer content came, the document went, or another attempt took over."""


@dataclass(frozen=True)
class Attempt:
    """One run of the job on one content; `build` names the passages that it makes."""

    document: Document
    owner: str
    build: str


class IndexingService:
    """Make uploaded documents answerable: stored -> indexing -> ready | failed.

    The record is the truth: a job is a nudge, and what it is about may wait while it is another assistant's turn, so
    that a folder of a thousand files holds nobody else up. An attempt holds a lease on the record that it renews, and a
    sweeper nudges again whatever nobody works on. So a killed worker costs an attempt, never a document.

    Args:
        embedding: None when no embeddings model is configured.
        hosting: None when no provider that is configured holds documents.
        backlog: tells how many jobs wait for a worker.
    """

    def __init__(  # noqa: PLR0913  all but the shelf are ports
        self,
        shelf: Shelf,
        parser: Parser,
        jobs: JobQueue,
        leases: LeaseKeeper,
        embedding: EmbeddingService | None,
        hosting: HostedDocuments | None = None,
        backlog: Callable[[], int] = lambda: 0,
    ) -> None:
        self._shelf = shelf
        self._library = shelf.library
        self._parser = parser
        self._jobs = jobs
        self._leases = leases
        self._embedding = embedding
        self._hosting = hosting
        self._turns = Rotation()
        self._backlog = backlog

    def schedule(self, document: Document) -> None:
        """Ask for the document to be indexed soon; if the queue cannot be reached, the sweeper asks again."""
        try:
            self._jobs.enqueue(INDEX_DOCUMENT, document.id)
        except Unavailable as error:
            logger.warning("a job waits for the sweeper", extra={"code": error.code, "document": document.id})

    def sweep(self) -> None:
        """Ask again for documents that nobody works on: their job was lost, or their worker died.

        While many jobs wait, the documents' own are likely to be among them: more would only be in the way of others.

        Raises:
            Unavailable: the queue or the store cannot be reached.
        """
        at, room = now(), _SWEPT - self._backlog()
        if room <= 0:
            return
        for document in self._library.documents.unfinished(at, room):
            if self._library.documents.requeue(document, at + timedelta(seconds=_QUEUED_SECONDS)):
                self.schedule(document)

    def index(self, document_id: str) -> None:
        """Index this document, or the one whose turn it is, if it is still to be done and nobody else is at it."""
        owner = new_id()
        document = self._claimed(document_id, owner)
        if document is None:
            return
        attempt = Attempt(document, owner, new_id(document.build))  # newer, whoever's clock is ahead
        with self._leases.keep(lambda until: self._change(attempt, lease_until=until)):
            try:
                if document.attempts > _MOST_ATTEMPTS:
                    self._drop_dead(attempt)
                    raise Invalid(GAVE_UP, code=INDEXING_FAILED)
                self._make_ready(attempt)
            except Superseded:
                self._drop(attempt)
                logger.info("an attempt was overtaken", extra={"document": document.id})
            except (Invalid, UnsupportedFormat) as fault:
                self._drop(attempt)
                self._end(attempt, status=DocumentStatus.FAILED, error=fault.detail, error_code=fault.code)
            except OrquestraError as error:
                self._drop(attempt)
                self._try_later(attempt, error)

    def remove(self, document: Document) -> None:
        """Delete a document, here and from the provider that holds its text; call it under the shelf's lock."""
        if self._hosting is None:
            self._shelf.remove(document)
            return
        self._hosting.leaving(document)
        self._shelf.remove(document)
        self._hosting.removed(document)

    def _claimed(self, document_id: str, owner: str) -> Document | None:
        """Begin an attempt; a document whose attempts have failed before is not exchanged for another one.

        Where other jobs took both, the documents of those are left to this one.
        """
        named = self._library.documents.get(document_id)
        if named is not None and named.status in _UNFINISHED and named.attempts > 0:
            if claimed := self._claim(document_id, owner):
                return claimed
        for _ in range(_MOST_LOOKS):
            turn = self._turns.next(self._library.documents.waiting(now()))
            if claimed := (self._claim(turn, owner) if turn else None) or self._claim(document_id, owner):
                return claimed
            if turn is None:
                break
        return None

    def _claim(self, document_id: str, owner: str) -> Document | None:
        return self._library.documents.claim(document_id, owner, self._leases.end_of_lease(), now())

    def _make_ready(self, attempt: Attempt) -> None:
        """Build the passages beside those that answer, switch to them at once, then drop the old ones."""
        document, library = attempt.document, self._library
        library.files.publish(document.filepath, document.revision)
        parsed = self._parser.parse(document.filename, self._content(document))
        self._require(attempt, progress=0.4)
        library.files.stage(document.filepath, attempt.build, parsed.text.encode("utf-8", "replace"))
        passages = passages_of(document, attempt.build, parsed)
        self._store(attempt, passages)
        model, without_vector = self._embed(attempt, passages)
        if self._hosting is not None:
            self._hosting.host(document, attempt.build, lambda done: self._require(attempt, progress=0.9 + 0.05 * done))
        self._require(
            attempt,
            build=attempt.build,
            passages=len(passages),
            language=parsed.language,
            embeddings_model=model,
            passages_without_vector=without_vector,
            progress=0.95,
        )
        if self._hosting is not None:
            self._hosting.switched(document, attempt.build)
        library.assistants.bump_index_version(document.assistant_id)
        library.index.refresh(self._assistant(document))
        library.passages.delete_of_document(document.assistant_id, document.id, before=attempt.build)
        versions = self._shelf.kept_versions(document)
        self._require(
            attempt,
            status=DocumentStatus.READY,
            progress=1.0,
            error=None,
            error_code=None,
            versions=versions,
            updated_at=now(),
            lease_owner=None,
            lease_until=None,
        )
        self._shelf.drop_rest(document, replace(document, build=attempt.build, versions=versions))
        if self._embedding is not None:
            self._embedding.settle(document.id)

    def _content(self, document: Document) -> bytes:
        """Return the bytes that were uploaded, and no others."""
        for revision in (document.revision, None):
            stream = self._library.files.open(document.filepath, revision)
            if stream is None:
                continue
            with stream:
                content = stream.read()
            if hashlib.sha256(content).hexdigest() == document.sha256:
                return content
        raise Invalid("The document's file is gone or was changed by hand. Upload it again.", code="file_missing")

    def _store(self, attempt: Attempt, passages: Sequence[Passage]) -> None:
        for start in range(0, len(passages), _BATCH):
            self._library.passages.add(passages[start : start + _BATCH])
            self._require(attempt, progress=0.4 + 0.2 * (start + _BATCH) / (len(passages) + _BATCH))

    def _embed(self, attempt: Attempt, passages: Sequence[Passage]) -> tuple[str, int]:
        """Return the model whose vectors the passages have now, "" for none yet, and how many of them it refuses."""
        if self._embedding is None:
            return "", 0
        try:
            without_vector = self._embedding.embed_passages(
                attempt.document,
                passages,
                Deadline(_EMBEDDING_SECONDS),
                lambda done: self._require(attempt, progress=0.6 + 0.3 * done),
                silent_seconds=_SILENT_SECONDS,
                asks_again=True,
            )
        except OrquestraError as error:
            logger.warning(
                "a document has no vectors yet; words find it", extra={"code": error.code, "id": attempt.document.id}
            )
            return "", 0
        return self._embedding.model, without_vector

    def _assistant(self, document: Document) -> Assistant:
        assistant = self._library.assistants.get(document.assistant_id)
        if assistant is None:
            self._shelf.remove(document)
            raise Superseded
        return assistant

    def _drop(self, attempt: Attempt) -> None:
        """Leave nothing of an attempt, unless its passages answer already."""
        document, library = attempt.document, self._library
        current = library.documents.get(document.id)
        if current is not None and current.build == attempt.build:
            return
        library.passages.delete_revision(document.assistant_id, document.id, attempt.build)
        library.files.discard(document.filepath, attempt.build)
        if self._hosting is not None:
            self._hosting.dropped(document, attempt.build)
        if current is None:
            library.vectors.delete_of_document(document.assistant_id, document.id)

    def _drop_dead(self, attempt: Attempt) -> None:
        """Leave nothing of the attempts before, which have died."""
        document, passages = attempt.document, self._library.passages
        passages.delete_of_document(
            document.assistant_id, document.id, after=document.build or None, before=attempt.build
        )

    def _try_later(self, attempt: Attempt, error: OrquestraError) -> None:
        """Leave the document to the sweeper, which waits longer after each attempt."""
        seconds = _BACKOFF_SECONDS * 2 ** (attempt.document.attempts - 1)
        self._end(
            attempt,
            status=DocumentStatus.STORED,
            error=error.detail,
            error_code=error.code,
            lease_until=now() + timedelta(seconds=seconds),
        )
        logger.warning("indexing is tried again", extra={"code": error.code, "document": attempt.document.id})

    def _end(self, attempt: Attempt, **changes: object) -> None:
        self._change(attempt, **{"lease_until": None, "lease_owner": None, "updated_at": now(), **changes})

    def _require(self, attempt: Attempt, **changes: object) -> None:
        if not self._change(attempt, **changes):
            raise Superseded

    def _change(self, attempt: Attempt, **changes: object) -> bool:
        document = attempt.document
        return self._library.documents.change(document.id, document.revision, attempt.owner, changes)


def passages_of(document: Document, build: str, parsed: ParsedText) -> list[Passage]:
    """Return the passages of a build; a prompt is one, because it is read, not searched."""
    return [
        Passage(
            id=new_id(),
            assistant_id=document.assistant_id,
            document_id=document.id,
            revision=build,
            filename=document.filename,
            position=position,
            start=piece.start,
            end=piece.end,
            text=parsed.text[piece.start : piece.end],
            headings=piece.headings,
            language=parsed.language,
            header=piece.header,
            page=piece.page,
            analyser=piece.analyser,
            terms=piece.terms,
        )
        for position, piece in enumerate(parsed.pieces)
    ]
