"""Prompt documents: an assistant's instructions, read whole with every question."""

from dataclasses import replace
from pathlib import PurePosixPath

from models.documents import Document, DocumentStatus, ParsedText, Piece
from models.errors import Invalid, OrquestraError, TooLarge, UnsupportedFormat
from models.ids import new_id
from services import templates
from services.indexing import passages_of
from services.knowledge.charsets import decode
from services.shelf import Shelf

_EXTENSIONS = ("md", "txt")
MOST_CHARACTERS = 100_000
"""The longest prompt."""


class PromptShelf:
    """Put prompts on the shelf; there is nothing to index, so one is ready when it is stored."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def put(self, document: Document, name: str, content: bytes) -> Document:
        """Store a prompt in the place of the one before; the switch of the record is the switch of the prompt.

        Args:
            name: as it was uploaded; its extension tells what it is.

        Raises:
            UnsupportedFormat, TooLarge, Invalid: it is no text, too long, empty, or a wrong template.
        """
        text = _read(name, content)
        library = self._shelf.library
        with self._shelf.locked(document.assistant_id, document.type, document.filename):
            before = library.documents.find(document.assistant_id, document.type, document.filename)
            ready = replace(
                document,
                id=before.id if before else document.id,
                status=DocumentStatus.READY,
                progress=1.0,
                passages=1,
                build=new_id(before.build if before else None),
                lease_until=None,
            )
            stored = self._switch(ready, text, content)
            library.passages.delete_of_document(stored.assistant_id, stored.id, before=stored.build)
        return stored

    def _switch(self, ready: Document, text: str, content: bytes) -> Document:
        """Store the build beside the one that answers, then the record that names it."""
        library = self._shelf.library
        try:
            library.passages.add(passages_of(ready, ready.build, ParsedText(text, "", (Piece(0, len(text)),))))
            library.files.stage(ready.filepath, ready.build, text.encode())
            return self._shelf.put(ready, content)[0]
        except OrquestraError:
            current = library.documents.find(ready.assistant_id, ready.type, ready.filename)
            if current is None or current.build != ready.build:  # else it answers already, whatever failed after that
                library.passages.delete_revision(ready.assistant_id, ready.id, ready.build)
                library.files.discard(ready.filepath, ready.build)
            raise


def _read(name: str, content: bytes) -> str:
    extension = PurePosixPath(name).suffix.lstrip(".").lower()
    if extension not in _EXTENSIONS:
        raise UnsupportedFormat(f"A prompt is plain text. Send one of: {', '.join(_EXTENSIONS)}.")
    text = decode(content)
    if not text.strip():
        raise Invalid("The prompt has no text. Upload one that has, or delete the document.", code="empty_document")
    if len(text) > MOST_CHARACTERS:
        raise TooLarge(f"A prompt has at most {MOST_CHARACTERS} characters: it goes into every question.")
    templates.check(text)
    return text
