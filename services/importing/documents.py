"""Importing: every file of a folder becomes a document, and a second run takes in only what has changed."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from models.documents import Document, DocumentStatus, DocumentType, ListedDocument
from models.errors import NotFound, OrquestraError, UnsupportedFormat
from models.paging import Listing, Page
from models.users import Principal
from services.importing.folder import FolderFile, Remark, Survey, survey

_LOOK_SECONDS = 0.1
_PAGE = 1000


class Documents(Protocol):
    """The part of `DocumentService` that an import needs."""

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
        """Take a document in, or replace the one of the same name."""

    def get(self, caller: Principal, document_id: str) -> Document:
        """Return a document that the caller may see."""

    def list(
        self, caller: Principal, assistant_id: str | None, type: DocumentType | None, page: Page
    ) -> Listing[ListedDocument]:
        """List the caller's documents, newest first."""


@dataclass(frozen=True)
class ImportLimits:
    """What an import may do.

    Attributes:
        extensions: of the formats that are read, lower case and without the dot.
        max_upload_bytes: largest file.
        threads: how many files are under way at a time.
        patience_seconds: how long a document may stand still on its way before it is reported.
    """

    extensions: frozenset[str]
    max_upload_bytes: int
    threads: int = 3
    patience_seconds: float = 600.0


@dataclass(frozen=True)
class ImportSummary:
    """What became of the files of a folder, by their paths in it and in this order.

    Attributes:
        added: are ready to be used in answers now, new or in the place of older content.
        unchanged: were there already, with the same bytes.
        skipped: are of no use here, such as files of formats that are not read.
        failed: should be documents and are not.
    """

    added: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    skipped: tuple[Remark, ...] = ()
    failed: tuple[Remark, ...] = ()


class _Fate(StrEnum):
    ADDED = "added"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class _Outcome:
    file: FolderFile
    fate: _Fate
    reason: str = ""


class FolderImport:
    """Upload a folder to an assistant, a few files at a time.

    It can be stopped at any moment: what has been uploaded stays, and the next run goes on from there.
    """

    def __init__(self, documents: Documents, caller: Principal, assistant_id: str, limits: ImportLimits) -> None:
        self._documents = documents
        self._caller = caller
        self._assistant_id = assistant_id
        self._limits = limits
        self._stop = threading.Event()
        self._known: dict[tuple[DocumentType, str], ListedDocument] = {}

    def run(self, folder: Path, progress: Callable[[int, int, str], None]) -> ImportSummary:
        """Import the folder; return when each of its documents is ready or has failed.

        Args:
            progress: told, in this thread, how many files are done, of how many, and the path of the last one, which
                is "" at the start.

        Raises:
            Invalid: there is no such folder.
            NotFound: there is no such assistant.
            Unavailable: a store is down at the start.
        """
        return self.take(survey(folder, self._limits.extensions), progress)

    def take(self, found: Survey, progress: Callable[[int, int, str], None]) -> ImportSummary:
        """Import the files that were found, as `run` does those of a folder.

        Raises:
            NotFound, Unavailable: as `run`.
        """
        self._known = {(document.type, document.filename): document for document in self._stored()}
        outcomes: list[_Outcome] = []
        progress(0, len(found.files), "")
        with self._pool() as pool:
            for future in as_completed([pool.submit(self._take, file) for file in found.files]):
                outcomes.append(future.result())
                progress(len(outcomes), len(found.files), outcomes[-1].file.path)
        return _summary(found, sorted(outcomes, key=lambda outcome: outcome.file.path))

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Give threads; when this is left early, they finish the upload they are at and nothing more."""
        self._stop.clear()
        pool = ThreadPoolExecutor(self._limits.threads, "import")
        try:
            yield pool
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)

    def _stored(self) -> Iterator[ListedDocument]:
        page = Page(_PAGE)
        while True:
            listing = self._documents.list(self._caller, self._assistant_id, None, page)
            yield from listing.items
            if not listing.more:
                return
            page = Page(_PAGE, listing.items[-1].id)

    def _take(self, file: FolderFile) -> _Outcome:
        """Take one file in."""
        try:
            content = _read(file.location, self._limits.max_upload_bytes)
        except OSError:
            return _Outcome(file, _Fate.FAILED, "The file cannot be read. Check its permissions, then import again.")
        if content is None:
            limit = self._limits.max_upload_bytes // 2**20
            return _Outcome(file, _Fate.FAILED, f"The file has more than {limit} MiB (MAX_UPLOAD_MB).")
        known = self._known.get((file.type, file.name))
        if known is None or known.sha256 != hashlib.sha256(content).hexdigest() or known.drift is not None:
            return self._upload(file, content)
        match known.status:
            case DocumentStatus.READY:
                return _Outcome(file, _Fate.UNCHANGED)
            case DocumentStatus.FAILED:
                return self._upload(file, content)
            case _:  # an import that was stopped has uploaded it
                return self._follow(file, known)

    def _upload(self, file: FolderFile, content: bytes) -> _Outcome:
        try:
            document = self._documents.add(self._caller, self._assistant_id, file.type, file.name, content)
        except NotFound:
            raise  # the assistant is gone, and no file will do better
        except UnsupportedFormat as refused:
            return _Outcome(file, _Fate.SKIPPED, refused.detail)
        except OrquestraError as error:
            return _Outcome(file, _Fate.FAILED, error.detail)
        return self._follow(file, document)

    def _follow(self, file: FolderFile, document: Document) -> _Outcome:
        """Wait until a document is ready or has failed."""
        moved = time.monotonic()
        while document.status in (DocumentStatus.STORED, DocumentStatus.INDEXING):
            if self._stop.wait(_LOOK_SECONDS):
                return _Outcome(file, _Fate.FAILED, "The import was stopped. Run it again.")
            try:
                current = self._documents.get(self._caller, document.id)
            except OrquestraError as error:
                return _Outcome(file, _Fate.FAILED, error.detail)
            if _place(current) != _place(document):
                document, moved = current, time.monotonic()
            elif time.monotonic() - moved > self._limits.patience_seconds:
                return _Outcome(file, _Fate.FAILED, "It is uploaded, but nobody indexes it. Start a server or worker.")
        if document.status is DocumentStatus.FAILED:
            return _Outcome(file, _Fate.FAILED, document.error or "It cannot be indexed.")
        return _Outcome(file, _Fate.ADDED)


def _read(location: Path, most: int) -> bytes | None:
    """Return a file's bytes, None if there are too many; no more than that is read of it."""
    with location.open("rb") as stream:
        content = stream.read(most + 1)
    return content if len(content) <= most else None


def _place(document: Document) -> tuple[object, ...]:
    """Return what changes while somebody works on a document."""
    return document.revision, document.status, document.attempts, document.progress


def _summary(found: Survey, outcomes: list[_Outcome]) -> ImportSummary:
    paths: dict[_Fate, list[str]] = {fate: [] for fate in _Fate}
    remarks = {_Fate.SKIPPED: list(found.skipped), _Fate.FAILED: list(found.failed)}
    for outcome in outcomes:
        if outcome.fate in remarks:
            remarks[outcome.fate].append(Remark(outcome.file.path, outcome.reason))
        else:
            paths[outcome.fate].append(outcome.file.path)
    skipped, failed = (sorted(remarks[fate], key=lambda one: one.path) for fate in (_Fate.SKIPPED, _Fate.FAILED))
    return ImportSummary(tuple(paths[_Fate.ADDED]), tuple(paths[_Fate.UNCHANGED]), tuple(skipped), tuple(failed))
