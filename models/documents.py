"""Documents and the passages they are cut into."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class DocumentType(StrEnum):
    """What a document is for: knowledge to answer from, or the assistant's instructions."""

    RAG = "rag"
    PROMPT = "prompt"


class DocumentStatus(StrEnum):
    """Where a document is on its way into answers."""

    STORED = "stored"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Document:
    """A file of an assistant.

    Attributes:
        filename: a bare name, unique within the assistant and type.
        filepath: the key of its bytes in the document files, `<assistant id>/knowledge/<name>`.
        revision: names the content; the passages of another revision are not used.
        language: two letters, as detected; "" when unknown. It chooses the stemmer.
        size: bytes.
        progress: 0 to 1, how much of it is indexed.
        passages: how many passages it was cut into.
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
    progress: float = 0.0
    passages: int = 0


@dataclass(frozen=True)
class ParsedText:
    """What a parser read out of a file.

    Attributes:
        text: the text that offsets count in: the file's own for txt and md, markdown made from html.
        language: two letters, "" when unknown.
    """

    text: str
    language: str


@dataclass(frozen=True)
class Passage:
    """A piece of a document, small enough to hand to a model.

    Attributes:
        text: equals the document's text[start:end], offsets in code points.
        headings: the titles above it, outermost first.
        position: its number within the document, from 0.
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
class StagedFile:
    """Bytes that an upload wrote but did not put in their place yet.

    Attributes:
        age_seconds: how long ago they were written.
    """

    filepath: str
    revision: str
    age_seconds: float
