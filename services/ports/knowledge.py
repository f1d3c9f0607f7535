"""What reads documents and finds in them."""

from collections.abc import Sequence
from typing import Protocol

from models.assistants import Assistant
from models.chats import Citation
from models.documents import (
    ParsedText,
    ScoredPassage,
)
from models.hosting import HostedView


class Parser(Protocol):
    """What reads the text out of a file and cuts it."""

    extensions: frozenset[str]
    """The lower-case extensions it reads, without the dot."""

    def inspect(self, filename: str, content: bytes) -> None:
        """Refuse at once, within milliseconds, what can be seen to be unreadable without reading it all.

        Raises:
            UnsupportedFormat: the extension is not one of `extensions`.
            Invalid: as `parse`.
        """

    def parse(self, filename: str, content: bytes) -> ParsedText:
        """Return the text of a file and its pieces, with their terms.

        It bears any file: one that needs too much time or memory is given up.

        Raises:
            UnsupportedFormat: the extension is not one of `extensions`.
            Invalid: what is wrong and what to do about it; code `unreadable_document`, `empty_document`,
                `encrypted_document`, `scanned_document` or `document_too_complex`.
        """


class KnowledgeIndex(Protocol):
    """What finds passages for a question."""

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the best passages of the assistant's documents as of its `index_version`, best first."""

    def refresh(self, assistant: Assistant) -> None:
        """Take in what has changed, so that the next search need not."""

    def held(self) -> Sequence[str]:
        """Return the ids of the assistants that something is kept locally for."""

    def forget(self, assistant_id: str) -> None:
        """Drop what is kept locally for a deleted assistant."""


class HostedKnowledge(Protocol):
    """What an answer may use of the documents that a provider holds."""

    def view(self, assistant_id: str) -> HostedView:
        """Return it as of now; without a search while the provider does not hold all of them, or nobody knows."""

    def missed(self, assistant_id: str) -> None:
        """Take in that the provider could not search where a view had told it to."""


class Locator(Protocol):
    """What finds in our own documents what a provider has found in its copies."""

    def locate(self, document_id: str, text: str, answer: str) -> Citation | None:
        """Return the place of a text in a document that an answer rests on; None if it is not there any more."""
