"""Documents: taken in whole or not at all, replaced atomically, found by search."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import BinaryIO

from models.clock import now
from models.documents import Document, DocumentStatus, DocumentType, ParsedText, Passage, ScoredPassage
from models.errors import Conflict, NotFound, OrquestraError, TooLarge, Unavailable, UnsupportedFormat
from models.ids import is_id, new_id
from models.paging import Listing, Page
from models.users import Principal
from services.composing import PROMPT_FILENAME
from services.knowledge.filenames import safe_filename
from services.knowledge.passages import Piece, cut
from services.ownership import Ownership
from services.ports import (
    AssistantRepository,
    DocumentFiles,
    DocumentRepository,
    KnowledgeIndex,
    Locks,
    Parser,
    PassageRepository,
)

logger = logging.getLogger("orquestra.documents")

_PROMPT_EXTENSIONS = frozenset({"md", "txt"})
_PROMPT_CHARACTERS = 100_000
_LOCK_SECONDS = 60.0
_ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True)
class Library:
    """The stores that hold documents."""

    documents: DocumentRepository
    passages: PassageRepository
    files: DocumentFiles
    index: KnowledgeIndex
    locks: Locks


class DocumentService:
    """Manage the documents of assistants.

    Replacing a document never leaves a moment without it: the new file is staged and the new passages are stored
    under a new revision, one conditional update of the record switches to it, and only then the old ones go.

    Args:
        max_upload_bytes: largest file.
    """

    def __init__(
        self,
        assistants: AssistantRepository,
        library: Library,
        parser: Parser,
        max_upload_bytes: int,
    ) -> None:
        self._assistants = assistants
        self._library = library
        self._parser = parser
        self._max_upload_bytes = max_upload_bytes
        self._ownership = Ownership(assistants)

    def add(self, caller: Principal, assistant_id: str, type: DocumentType, filename: str, content: bytes) -> Document:
        """Take a document in, or replace the one of the same name; it is `ready` when this returns.

        Raises:
            Invalid: no usable name, or nothing readable in it.
            TooLarge, UnsupportedFormat: as they say. Nothing is stored in any of these cases.
        """
        assistant = self._ownership.assistant(caller, assistant_id)
        if len(content) > self._max_upload_bytes:
            raise TooLarge(f"The file has more than {self._max_upload_bytes // 2**20} MiB (MAX_UPLOAD_MB).")
        name = safe_filename(filename)
        parsed = self._parse(type, name, content)
        document = _describe(assistant.id, type, name, content, parsed)
        with self._locked(document):
            current = self._library.documents.find(assistant.id, type, document.filename)
            return self._store(document, parsed, content, current)

    def get(self, caller: Principal, document_id: str) -> Document:
        """Return a document that the caller may see.

        Raises:
            NotFound: it does not exist, or is somebody else's.
        """
        found = self._library.documents.get(document_id) if is_id(document_id) else None
        if found is None or not self._ownership.sees(caller, found.assistant_id):
            raise NotFound(f"There is no document {document_id!r}.")
        return found

    def list(
        self, caller: Principal, assistant_id: str | None, type: DocumentType | None, page: Page
    ) -> Listing[Document]:
        """List the caller's documents, newest first."""
        return self._library.documents.list(self._ownership.visible_ids(caller, assistant_id), type, page)

    def open(self, caller: Principal, document_id: str) -> tuple[Document, BinaryIO]:
        """Return a document and its original bytes, open for reading."""
        document = self.get(caller, document_id)
        content = self._library.files.open(document.filepath)
        if content is None:
            with self._locked(document):  # an upload may be about to put it there
                content = self._library.files.open(document.filepath)
        if content is None:
            raise NotFound("The document's file is gone from the folder. Upload it again.", code="file_missing")
        return document, content

    def reindex(self, caller: Principal, document_id: str) -> Document:
        """Read a document's file again and replace its passages.

        Raises:
            Conflict: it was replaced or deleted meanwhile, and what was done then stands; or the file is not the one
                that was uploaded.
        """
        seen, stream = self.open(caller, document_id)
        with stream:
            content = stream.read()
        if hashlib.sha256(content).hexdigest() != seen.sha256:
            raise _changed()  # read between a record and its file, or somebody changed the file by hand
        parsed = self._parse(seen.type, seen.filename, content)
        document = _describe(seen.assistant_id, seen.type, seen.filename, content, parsed)
        with self._locked(document):
            current = self._library.documents.get(seen.id)
            if current is None or current.revision != seen.revision:
                raise _changed()
            return self._store(document, parsed, content, current)

    def delete(self, caller: Principal, document_id: str) -> None:
        """Delete a document: first from answers, then its file."""
        document = self.get(caller, document_id)
        with self._locked(document):
            current = self._library.documents.get(document.id)
            if current is None:
                raise NotFound(f"There is no document {document_id!r}.")
            self._remove(current)

    def search(self, caller: Principal, assistant_id: str, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the passages that an answer to this question would use, best first."""
        return self._library.index.search(self._ownership.assistant(caller, assistant_id), query, limit)

    def recover(self) -> None:
        """Finish or undo replacements that a crash cut off: what the record says counts.

        An upload that is still going on holds its lock and is left alone.
        """
        library = self._library
        for staged in library.files.staged():
            path = PurePosixPath(staged.filepath)
            type = DocumentType.PROMPT if path.name == PROMPT_FILENAME and len(path.parts) == 2 else DocumentType.RAG
            with library.locks.hold(_lock_name(path.parts[0], type, path.name), _LOCK_SECONDS, wait=0.1) as held:
                if not held:
                    continue
                document = library.documents.find(path.parts[0], type, path.name)
                if document is not None and document.revision == staged.revision:
                    self._settle(document)
                elif staged.age_seconds > _ABANDONED_SECONDS:
                    library.files.discard(staged.filepath, staged.revision)
                    if document is not None:
                        self._settle(document)
            logger.warning("an upload that was cut off has been looked at", extra={"filepath": staged.filepath})

    def _parse(self, type: DocumentType, name: str, content: bytes) -> ParsedText:
        extension = PurePosixPath(name).suffix.lstrip(".").lower()
        readable = _PROMPT_EXTENSIONS if type is DocumentType.PROMPT else self._parser.extensions
        if extension not in readable:
            raise UnsupportedFormat(f"Files of this kind are not read. Send one of: {', '.join(sorted(readable))}.")
        parsed = self._parser.parse(name, content)
        if type is DocumentType.PROMPT and len(parsed.text) > _PROMPT_CHARACTERS:
            raise TooLarge(f"A prompt has at most {_PROMPT_CHARACTERS} characters: it goes into every question.")
        return parsed

    def _passages_of(self, document: Document, parsed: ParsedText) -> Sequence[Passage]:
        """Cut a text; a prompt stays whole, because it is read, not searched."""
        markdown = not document.filename.lower().endswith(".txt")
        whole = [Piece(0, len(parsed.text), ())]
        pieces = whole if document.type is DocumentType.PROMPT else cut(parsed.text, markdown=markdown)
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
                text=parsed.text[piece.start : piece.end],
                headings=piece.headings,
                language=parsed.language,
            )
            for position, piece in enumerate(pieces)
        ]

    def _store(self, document: Document, parsed: ParsedText, content: bytes, current: Document | None) -> Document:
        """Store a revision beside the old one, make it the current one, then drop the old one.

        Wherever this is cut off, the old revision answers, or `recover` finds the staged file and finishes.
        """
        library, path, revision = self._library, document.filepath, document.revision
        if current is not None:
            document = replace(document, id=current.id, created_at=current.created_at)
        passages = self._passages_of(document, parsed)
        document = replace(document, passages=len(passages))
        library.files.stage(path, revision, content)
        try:
            library.passages.add(passages)
            self._make_current(document, current)
        except OrquestraError:
            library.files.discard(path, revision)
            library.passages.delete_revision(document.assistant_id, document.id, revision)
            raise
        self._settle(document)
        assistant = self._assistants.get(document.assistant_id)
        if assistant is None:
            self._remove(document)
            raise NotFound(f"There is no assistant {document.assistant_id!r} any more.")
        library.index.refresh(assistant)
        return document

    def _remove(self, document: Document) -> None:
        """Take a document out of answers and the folder; the record goes last, so that this can be repeated."""
        library = self._library
        going = replace(document, status=DocumentStatus.FAILED, error="It is being deleted. Delete it again.")
        library.documents.replace(going, document.revision)
        self._assistants.bump_index_version(document.assistant_id)
        library.passages.delete_of_document(document.assistant_id, document.id)
        library.files.delete(document.filepath)
        library.documents.delete(document.id)

    @contextmanager
    def _locked(self, document: Document) -> Iterator[None]:
        """Let one change of a document's name happen after the other, on all servers.

        Raises:
            Unavailable: others take too long, or Redis cannot be reached.
        """
        name = _lock_name(document.assistant_id, document.type, document.filename)
        with self._library.locks.hold(name, _LOCK_SECONDS, wait=_LOCK_SECONDS) as held:
            if not held:
                raise Unavailable("Documents cannot be changed at the moment. Try again.", code="documents_busy")
            yield

    def _make_current(self, document: Document, before: Document | None) -> None:
        """Switch the record over, unless somebody else did in the meantime: the store decides, not the lock."""
        documents = self._library.documents
        done = documents.add(document) if before is None else documents.replace(document, before.revision)
        if not done:
            raise _changed()

    def _settle(self, document: Document) -> None:
        """Do what follows from a switched record; any number of times."""
        library = self._library
        self._assistants.bump_index_version(document.assistant_id)
        library.files.publish(document.filepath, document.revision)
        library.passages.delete_of_document(document.assistant_id, document.id, keep_revision=document.revision)


def _describe(assistant_id: str, type: DocumentType, name: str, content: bytes, parsed: ParsedText) -> Document:
    at = now()
    prompt = type is DocumentType.PROMPT
    return Document(
        id=new_id(),
        assistant_id=assistant_id,
        type=type,
        filename=PROMPT_FILENAME if prompt else name,
        filepath=f"{assistant_id}/{PROMPT_FILENAME}" if prompt else f"{assistant_id}/knowledge/{name}",
        revision=new_id(),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        status=DocumentStatus.READY,
        created_at=at,
        updated_at=at,
        language=parsed.language,
        progress=1.0,
    )


def _lock_name(assistant_id: str, type: DocumentType, filename: str) -> str:
    return f"document:{assistant_id}:{type}:{filename}"


def _changed() -> Conflict:
    return Conflict("The document was changed by somebody else just now. Look at it, then try again.")
