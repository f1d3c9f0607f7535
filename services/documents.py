"""Documents: taken in whole or not at all, replaced atomically, found by search."""

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import BinaryIO

from models.clock import now
from models.documents import (
    Document,
    DocumentStatus,
    DocumentType,
    ListedDocument,
    ScoredPassage,
    Version,
)
from models.errors import Invalid, NotFound, TooLarge
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.prompts import prompt_filename
from models.users import Principal
from services.drift import DriftCheck
from services.importing.documents import ImportLimits
from services.indexing import GAVE_UP, INDEXING_FAILED, IndexingService
from services.knowledge.filenames import safe_filename
from services.ownership import Ownership
from services.ports import Parser
from services.prompts import PromptShelf
from services.shelf import Shelf, changed

_WAIT_SECONDS = 120.0
_QUEUED = timedelta(seconds=30)
"""How long a job may wait in the queue before the sweeper asks for it again."""
_LOOK_SECONDS = (0.01, 0.25)


class DocumentService:
    """Manage the documents of assistants.

    Args:
        max_upload_bytes: largest file.
        at_once_seconds: how long every upload waits for its outcome, so that small files are ready, or refused, with
            the answer.
        most_waiting: how many requests may do that at the same time, each of which holds a thread of the server; the
            others are answered with the document as it is. Those that ask to `wait` are not among them: the server
            has counted them before.
    """

    def __init__(
        self,
        shelf: Shelf,
        indexing: IndexingService,
        parser: Parser,
        max_upload_bytes: int,
        *,
        at_once_seconds: float = 2.0,
        most_waiting: int = 32,
    ) -> None:
        self._shelf = shelf
        self._prompts = PromptShelf(shelf)
        self._library = shelf.library
        self._drift = DriftCheck(shelf.library.files)
        self._indexing = indexing
        self._parser = parser
        self._max_upload_bytes = max_upload_bytes
        self._at_once_seconds = at_once_seconds
        self._waiting = threading.BoundedSemaphore(most_waiting)
        self._ownership = Ownership(shelf.library.assistants)

    @property
    def import_limits(self) -> ImportLimits:
        """Return what an import of a folder may bring."""
        return ImportLimits(self._parser.extensions, self._max_upload_bytes)

    def add(
        self,
        caller: Principal,
        assistant_id: str,
        type: DocumentType,
        filename: str,
        content: bytes,
        *,
        wait: bool = False,
    ) -> Document:
        """Take a document in, or replace the one of the same name.

        Its text is ready to be used in an answer when its status is `ready`: with `wait` it is, unless that takes
        more than two minutes.

        Raises:
            Invalid: no usable name, nothing readable in it, or a wrong template.
            TooLarge, UnsupportedFormat: as they say. Nothing is changed in any of these cases.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        if len(content) > self._max_upload_bytes:
            raise TooLarge(f"The file has more than {self._max_upload_bytes // 2**20} MiB (MAX_UPLOAD_MB).")
        name = safe_filename(filename)
        document = _describe(assistant.id, type, name, content)
        if type is DocumentType.PROMPT:
            return self._prompts.put(document, name, content)
        self._parser.inspect(name, content)
        with self._shelf.locked(assistant.id, type, name):
            stored, before = self._shelf.put(document, content)
        self._indexing.schedule(stored)
        outcome = self._outcome(stored, wait)
        if _is_refused(outcome, stored):
            self._shelf.take_back(stored, before)
            raise Invalid(outcome.error or GAVE_UP, code=outcome.error_code)
        return outcome

    def get(self, caller: Principal, document_id: str) -> Document:
        """Return a document that the caller may see.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._library.documents.get(document_id) if is_id(document_id) else None
        if found is None or not self._ownership.sees(caller, found.assistant_id):
            raise _absent(document_id)
        return found

    def list(
        self, caller: Principal, assistant_id: str | None, type: DocumentType | None, page: Page
    ) -> Listing[ListedDocument]:
        """List the caller's documents, newest first, each with how its file differs from what was uploaded."""
        visible = self._ownership.visible_ids(caller, assistant_id)
        return self._drift.listed(self._library.documents.list(visible, type, page))

    def open(self, caller: Principal, document_id: str) -> tuple[Document, BinaryIO]:
        """Return a document and its original bytes, open for reading."""
        document = self.get(caller, document_id)
        return document, self._open(document, document.revision)

    def open_text(self, caller: Principal, document_id: str) -> tuple[Document, BinaryIO]:
        """Return a document and the UTF-8 text that answers quote, in which the offsets of citations count."""
        document = self.get(caller, document_id)
        content = self._library.files.open(document.filepath, document.build) if document.build else None
        if content is None:
            raise NotFound("The document has no text yet. Wait until its status is ready.", code="not_indexed")
        return document, content

    def reindex(self, caller: Principal, document_id: str, *, wait: bool = False) -> Document:
        """Read a document again and replace its passages; the old ones answer meanwhile.

        Raises:
            Conflict: code `file_changed`, somebody changed the file in the folder by hand.
        """
        document = self.get(caller, document_id)
        if document.type is DocumentType.PROMPT:
            return self.restore(caller, document_id, document.revision)
        with self._shelf.locked(document.assistant_id, document.type, document.filename):
            current = self.get(caller, document_id)
            self._open(current, current.revision).close()
            self._drift.require_unchanged(current)
            waiting = replace(
                current,
                status=DocumentStatus.STORED,
                error=None,
                error_code=None,
                progress=0.0,
                attempts=0,
                lease_owner=None,
                lease_until=now() + _QUEUED,
            )
            if not self._library.documents.replace(waiting, current):
                raise changed()
        self._indexing.schedule(waiting)
        return self._outcome(waiting, wait)

    def restore(self, caller: Principal, document_id: str, revision: str) -> Document:
        """Make an earlier content the current one again, as if it had just been uploaded.

        Raises:
            NotFound: the document has no such version (any more).
        """
        document = self.get(caller, document_id)
        if revision not in {version.revision for version in document.versions}:
            raise NotFound(f"The document has no version {revision!r}. See /documents/versions.", code="no_version")
        with self._open(document, revision) as stream:
            content = stream.read()
        return self.add(caller, document.assistant_id, document.type, document.filename, content)

    def delete(self, caller: Principal, document_id: str) -> None:
        """Delete a document with its versions: first from answers, then its files."""
        document = self.get(caller, document_id)
        with self._shelf.locked(document.assistant_id, document.type, document.filename):
            self._indexing.remove(self.get(caller, document_id))

    def search(self, caller: Principal, assistant_id: str, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the passages that an answer to this question would use, best first."""
        return self._library.index.search(self._ownership.assistant(caller, assistant_id), query, limit)

    def _outcome(self, document: Document, wait: bool) -> Document:
        """Return the document once its indexing has ended, or as it is when that takes longer."""
        if wait:
            return self._watched(document, _WAIT_SECONDS)
        if not self._waiting.acquire(blocking=False):
            return self._watched(document, 0.0)
        try:
            return self._watched(document, self._at_once_seconds)
        finally:
            self._waiting.release()

    def _watched(self, document: Document, seconds: float) -> Document:
        until, pause = time.monotonic() + seconds, _LOOK_SECONDS[0]
        while True:
            current = self._library.documents.get(document.id)
            if current is None:
                raise _absent(document.id)
            if current.status in (DocumentStatus.READY, DocumentStatus.FAILED) or time.monotonic() >= until:
                return current
            time.sleep(pause)
            pause = min(pause * 1.5, _LOOK_SECONDS[1])

    def _open(self, document: Document, revision: str) -> BinaryIO:
        content = self._library.files.open(document.filepath, revision)
        if content is None and revision == document.revision:
            content = self._library.files.open(document.filepath)
        if content is None:
            raise NotFound("The document's file is gone from the folder. Upload it again.", code="file_missing")
        return content


def _describe(assistant_id: str, type: DocumentType, name: str, content: bytes) -> Document:
    """Return the record of new content, not indexed yet."""
    at, revision, sha256 = now(), new_id(), hashlib.sha256(content).hexdigest()
    filename = prompt_filename(name) if type is DocumentType.PROMPT else name
    folder = assistant_id if type is DocumentType.PROMPT else f"{assistant_id}/knowledge"
    return Document(
        id=new_id(),
        assistant_id=assistant_id,
        type=type,
        filename=filename,
        filepath=f"{folder}/{filename}",
        revision=revision,
        size=len(content),
        sha256=sha256,
        status=DocumentStatus.STORED,
        created_at=at,
        updated_at=at,
        lease_until=at + _QUEUED,
        versions=(Version(revision, len(content), sha256, at),),
    )


def _is_refused(outcome: Document, stored: Document) -> bool:
    """Tell whether indexing found the content itself to be at fault, within the caller's patience."""
    failed = outcome.status is DocumentStatus.FAILED and outcome.revision == stored.revision
    return failed and outcome.error_code != INDEXING_FAILED


def _absent(document_id: str) -> NotFound:
    return NotFound(f"There is no document {document_id!r}.")
