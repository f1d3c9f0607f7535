"""Documents, the pieces they are cut into and the passages that answers quote."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DocumentType(StrEnum):
    """What a document is for: knowledge to answer from, or the assistant's instructions."""

    RAG = "rag"
    PROMPT = "prompt"


class DocumentStatus(StrEnum):
    """Where a document is on its way into answers; docs/architecture.md draws it."""

    STORED = "stored"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


class Drift(StrEnum):
    """How the file in the folder differs from what was uploaded."""

    MISSING = "missing"
    CHANGED = "changed"


@dataclass(frozen=True)
class Version:
    """A content that a document has, or had: its bytes are kept under its revision."""

    revision: str
    size: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True)
class Document:
    """A file of an assistant.

    Attributes:
        filename: a bare name, unique within the assistant and type.
        filepath: the key of its bytes in the document files, `<assistant id>/knowledge/<name>`.
        revision: names the newest content; `size`, `sha256`, `status`, `error` and `progress` are about it.
        build: names the passages that answers use, "" while there are none; after a replacement it is that of the
            old content until the new one's are all there. The text that their offsets count in is kept under it.
        language: two letters, as detected in the build; "" when unknown. It chooses the stemmer.
        size: bytes.
        error: what is wrong and what to do about it; `error_code` is its stable name.
        progress: 0 to 1, how much of the newest content is indexed.
        passages: how many passages the build has.
        embeddings_model: whose vectors the build has; "" for none.
        passages_without_vector: how many of its passages have none of those, because the model refused them.
        attempts: how often the indexing of the newest content was begun.
        lease_owner: the attempt that works on it; only this one may change the record. None while nobody does.
        lease_until: when that attempt counts as dead, or, without an owner, when a sweeper may ask for one again.
        versions: newest first, the current one at the head.
    """

    id: str
    assistant_id: str
    type: DocumentType
    filename: str
    filepath: str
    revision: str
    size: int
    sha256: str
    status: DocumentStatus
    created_at: datetime
    updated_at: datetime
    language: str = ""
    error: str | None = None
    error_code: str | None = None
    progress: float = 0.0
    passages: int = 0
    build: str = ""
    embeddings_model: str = ""
    passages_without_vector: int = 0
    attempts: int = 0
    lease_owner: str | None = None
    lease_until: datetime | None = None
    versions: tuple[Version, ...] = ()


@dataclass(frozen=True)
class ListedDocument(Document):
    """A document beside its file.

    Attributes:
        drift: how the file differs from what was uploaded; None when it does not.
    """

    drift: Drift | None = None


@dataclass(frozen=True)
class Piece:
    """A passage as cut: the text's [start:end], offsets in code points.

    Attributes:
        headings: the titles above it, outermost first.
        header: what the piece needs above it to be read alone, where it is not in the piece itself: the first rows of a
            table that was split, the titles and the first cell of a wide row, the opening line of a fence; else "".
        page: the number of the page that it begins on, from 1; None where there are no pages.
        analyser: which version of the analysis made the terms; 0 for none.
        terms: what the full-text index holds for (filename and headings, text), terms separated by spaces.
    """

    start: int
    end: int
    headings: tuple[str, ...] = ()
    header: str = ""
    page: int | None = None
    analyser: int = 0
    terms: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class ParsedText:
    """What a parser read out of a file.

    Attributes:
        text: the text that offsets count in: the file's own for txt and md, markdown made from all others.
        language: two letters, "" when unknown.
        pieces: the text, cut; disjoint and in order.
    """

    text: str
    language: str
    pieces: tuple[Piece, ...] = ()


@dataclass(frozen=True)
class Passage:
    """A piece of a document, small enough to hand to a model.

    Attributes:
        revision: the build of the document that it belongs to.
        text: equals the document's text[start:end], offsets in code points.
        position: its number within the document, from 0.
        headings, header, page, analyser, terms: as on `Piece`.
    """

    id: str
    assistant_id: str
    document_id: str
    revision: str
    filename: str
    position: int
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    language: str = ""
    header: str = ""
    page: int | None = None
    analyser: int = 0
    terms: tuple[str, str] = ("", "")

    @property
    def shown(self) -> str:
        """Return the text as a model should read it: under its header."""
        return f"{self.header}\n{self.text}" if self.header else self.text


@dataclass(frozen=True)
class ScoredPassage:
    """A passage found for a question.

    Attributes:
        score: higher is better; comparable within one search only.
        coverage: 0 to 1, how much of the question's informative words the passage holds.
    """

    passage: Passage
    score: float
    coverage: float


@dataclass(frozen=True)
class Build:
    """The passages of a document that answers use now.

    Attributes:
        embeddings_model: whose vectors they have; "" for none.
    """

    revision: str
    embeddings_model: str = ""


@dataclass(frozen=True)
class StoredVersion:
    """Bytes that the document files keep under a revision.

    Attributes:
        age_seconds: how long ago they were written.
    """

    filepath: str
    revision: str
    age_seconds: float


@dataclass(frozen=True)
class PublishedFile:
    """A file in its place, as an operator sees it."""

    size: int
    modified_at: datetime
