"""Where in our own documents a text stands that a provider has found in its copy of one."""

from collections.abc import Iterator

from models.chats import Citation
from models.documents import Passage, ScoredPassage
from models.ids import is_id
from services.citations import citation_of, supporting
from services.knowledge.analysis import index_terms
from services.ports import DocumentRepository, PassageRepository

_SAME = 0.6
"""A provider cuts documents in places of its own: a passage with so many of its words in the text overlaps it."""


class PassageLocator:
    """Implement `Locator` with the passages that the document has now."""

    def __init__(self, documents: DocumentRepository, passages: PassageRepository) -> None:
        self._documents = documents
        self._passages = passages

    def locate(self, document_id: str, text: str, answer: str) -> Citation | None:
        """Return the passage in the text whose words the answer has, else the one with most of its words in the text.

        None if there is no such document, or none of its passages is in the text any more.
        """
        near = sorted(self._overlapping(document_id, text), key=lambda one: -one.coverage)
        if not near:
            return None
        return next(iter(supporting(answer, near)), citation_of(near[0]))

    def _overlapping(self, document_id: str, text: str) -> Iterator[ScoredPassage]:
        document = self._documents.get(document_id) if is_id(document_id) else None
        if document is None or not document.build:
            return
        held = frozenset(index_terms(text, document.language))
        for passage in self._passages.of_document(document.assistant_id, document.id, document.build):
            share = _share(passage, held)
            if share >= _SAME:
                yield ScoredPassage(passage, share, share)


def _share(passage: Passage, held: frozenset[str]) -> float:
    words = frozenset(index_terms(passage.text, passage.language))
    return len(words & held) / len(words) if words else 0.0
