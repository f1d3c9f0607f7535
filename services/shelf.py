"""Where documents are put and taken away: record, revisions, passages and vectors, so that a crash leaves no harm."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from models.clock import now
from models.documents import Document, DocumentStatus, DocumentType, Version
from models.errors import Conflict, NotFound, OrquestraError, Unavailable
from models.ids import new_id
from models.prompts import PROMPT_FILENAMES
from services.ports import (
    AssistantRepository,
    DocumentFiles,
    DocumentRepository,
    KnowledgeIndex,
    Locks,
    PassageRepository,
    VectorRepository,
)

logger = logging.getLogger("orquestra.documents")

_LOCK_SECONDS = 60.0
_ABANDONED_SECONDS = 3600.0
_TRIES = 5


@dataclass(frozen=True)
class Library:
    """The stores that hold documents."""

    assistants: AssistantRepository
    documents: DocumentRepository
    passages: PassageRepository
    vectors: VectorRepository
    files: DocumentFiles
    index: KnowledgeIndex
    locks: Locks


class Shelf:
    """Switch records from one content to the next.

    The bytes of every content are kept under its revision before the record names it, and the passages that answer
    (its build) are switched by the indexing job alone, so that the old content answers until the new one can.

    Args:
        versions_kept: how many contents of a document are kept, the current one among them.
    """

    def __init__(self, library: Library, versions_kept: int) -> None:
        self.library = library
        self._versions_kept = versions_kept

    @contextmanager
    def locked(self, assistant_id: str, type: DocumentType, filename: str) -> Iterator[None]:
        """Let one change of a document's name happen after the other, on all servers.

        Raises:
            Unavailable: others take too long, or Redis cannot be reached.
        """
        name = _lock_name(assistant_id, type, filename)
        with self.library.locks.hold(name, _LOCK_SECONDS, wait=_LOCK_SECONDS) as held:
            if not held:
                raise Unavailable("Documents cannot be changed at the moment. Try again.", code="documents_busy")
            yield

    def put(self, document: Document, content: bytes) -> tuple[Document, Document | None]:
        """Store a new document, or new content of the one of this name; return it and what it replaced.

        Call it under the lock.

        Raises:
            Conflict: somebody else changed it all the same.
            NotFound: its assistant is deleted; nothing is left.
        """
        files = self.library.files
        files.stage(document.filepath, document.revision, content)
        try:
            stored, before = self._switch(document)
        except OrquestraError:
            current = self.library.documents.find(document.assistant_id, document.type, document.filename)
            if current is None or document.revision not in known_revisions(current):  # else only the answer was lost
                files.discard(document.filepath, document.revision)
            raise
        files.publish(stored.filepath, stored.revision)
        if self.library.assistants.get(stored.assistant_id) is None:
            self.remove(stored)
            raise NotFound(f"There is no assistant {stored.assistant_id!r} any more.")
        return stored, before

    def take_back(self, document: Document, before: Document | None) -> Document | None:
        """Undo a `put` whose content proved unreadable, unless there is newer content; return what is there again."""
        library = self.library
        with self.locked(document.assistant_id, document.type, document.filename):
            current = library.documents.get(document.id)
            if current is None or current.revision != document.revision:
                return current
            if before is None:
                self.remove(current)
                return None
            again = _answering_as(current, replace(before, lease_owner=None, lease_until=now()))
            if current.build != before.build:  # an attempt that died after its switch; this content has to follow again
                again = replace(again, status=DocumentStatus.STORED, progress=0.0, attempts=0)
            if not library.documents.replace(again, current):
                raise changed()
            library.files.publish(again.filepath, again.revision)
            library.files.discard(document.filepath, document.revision)
            return again

    def remove(self, document: Document) -> None:
        """Take a document out of answers and the folder; the record goes last, so that this can be repeated.

        Newer content of the name stays, should the work outlast the lock.
        """
        library = self.library
        for _ in range(_TRIES):
            current = library.documents.get(document.id)
            if current is None:
                break
            going = replace(
                current,
                status=DocumentStatus.FAILED,
                error="It is being deleted. Delete it again.",
                error_code="deletion_unfinished",
                build="",
                lease_owner=None,
            )
            if library.documents.replace(going, current):
                document = current
                break
        newest = new_id(document.build)
        library.assistants.bump_index_version(document.assistant_id)
        library.files.delete(document.filepath, known_revisions(document))
        library.passages.delete_of_document(document.assistant_id, document.id, before=newest)
        library.vectors.delete_of_document(document.assistant_id, document.id)
        library.documents.delete(document.id, document.revision)

    def kept_versions(self, document: Document) -> tuple[Version, ...]:
        """Return the versions that stay once the newest content is ready; one that was sent twice is one."""
        versions = document.versions
        changes = [one for one, newer in zip(versions, (None, *versions), strict=False) if not _same(one, newer)]
        return tuple(changes[: self._versions_kept])

    def drop_rest(self, before: Document, after: Document) -> None:
        """Drop the bytes and the text that a change of the record has left without a name."""
        for revision in known_revisions(before) - known_revisions(after):
            self.library.files.discard(before.filepath, revision)

    def recover(self) -> None:
        """Drop what uploads and attempts that died have left, and indexes of assistants that are gone.

        Whatever is younger than an hour may still go on.
        """
        library = self.library
        for assistant_id in library.index.held():
            if library.assistants.get(assistant_id) is None:  # deleted, perhaps by another server
                library.index.forget(assistant_id)
        for kept in library.files.kept():
            if kept.age_seconds < _ABANDONED_SECONDS:
                continue
            path = PurePosixPath(kept.filepath)
            prompt = path.name in PROMPT_FILENAMES and len(path.parts) == 2
            type = DocumentType.PROMPT if prompt else DocumentType.RAG
            document = library.documents.find(path.parts[0], type, path.name)
            if document is None or kept.revision not in known_revisions(document):
                library.files.discard(kept.filepath, kept.revision)
                logger.warning("an upload or attempt that died was put away", extra={"filepath": kept.filepath})

    def _switch(self, document: Document) -> tuple[Document, Document | None]:
        """Make the record name the new content: the store decides who wins, not the lock."""
        documents = self.library.documents
        for _ in range(_TRIES):  # an attempt that ends meanwhile changes the build, not the content
            before = documents.find(document.assistant_id, document.type, document.filename)
            if before is None:
                if documents.add(document):
                    return document, None
                continue
            stored = _over(document, before, 2 * self._versions_kept)
            if stored.status is DocumentStatus.READY:
                stored = replace(stored, versions=self.kept_versions(stored))
            if documents.replace(stored, before):
                self.drop_rest(before, stored)
                return stored, before
        raise changed()


def known_revisions(document: Document) -> set[str]:
    """Return every revision under which the files keep something of a document."""
    return {version.revision for version in document.versions} | {document.revision} | ({document.build} - {""})


def changed() -> Conflict:
    """Return the error for a document that changed under one's hands."""
    return Conflict("The document was changed by somebody else just now. Look at it, then try again.")


def _over(document: Document, before: Document, most_versions: int) -> Document:
    """Return new content in the place of an older one, which goes on answering unless the new one does already."""
    return replace(
        document if document.build else _answering_as(before, document),
        id=before.id,
        created_at=before.created_at,
        versions=(*document.versions, *before.versions)[:most_versions],
    )


def _answering_as(answering: Document, document: Document) -> Document:
    """Return a document with the build that another state of it has."""
    return replace(
        document,
        build=answering.build,
        passages=answering.passages,
        language=answering.language,
        embeddings_model=answering.embeddings_model,
        passages_without_vector=answering.passages_without_vector,
    )


def _same(version: Version, newer: Version | None) -> bool:
    return newer is not None and version.sha256 == newer.sha256


def _lock_name(assistant_id: str, type: DocumentType, filename: str) -> str:
    return f"document:{assistant_id}:{type}:{filename}"
