"""A file's text made ready for the index: its language, its passages and their terms."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from models.documents import ParsedText, Piece
from models.errors import Invalid
from services.knowledge.analysis import ANALYSER, index_terms
from services.knowledge.charsets import is_blank
from services.knowledge.language import detect
from services.knowledge.passages import cut


def indexable(filename: str, text: str, *, markdown: bool, pages: Sequence[int] = ()) -> ParsedText:
    """Return a text with its pieces; `pages` tells where each page starts.

    Raises:
        Invalid: it is blank; code `empty_document`.
    """
    if is_blank(text):
        raise Invalid("The file has no text. Upload one that has.", code="empty_document")
    language = detect(text)
    title = PurePath(filename).stem
    pieces = cut(text, markdown=markdown, pages=pages)
    return ParsedText(text, language, tuple(_with_terms(piece, title, text, language) for piece in pieces))


def _with_terms(piece: Piece, title: str, text: str, language: str) -> Piece:
    above = index_terms("\n".join((title, *piece.headings)), language)
    inside = index_terms(f"{piece.header}\n{text[piece.start : piece.end]}", language)
    return replace(piece, analyser=ANALYSER, terms=(" ".join(above), " ".join(inside)))
