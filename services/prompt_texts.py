"""The texts of prompts as answers use them: those of the assistant's routing, and its prompt documents."""

from models.assistants import Assistant
from models.documents import DocumentType
from models.errors import Unavailable
from models.prompts import PROMPT_FILENAME, ROLE_FILENAMES
from models.routing import PromptRole
from services.ports import DocumentRepository, PassageRepository

_READS = 5
_TALKING = frozenset({PromptRole.CHAT, PromptRole.TOOL})
"""Roles that speak as the assistant, so that its own prompt does for them."""


class PromptTexts:
    """Read prompts, not rendered yet."""

    def __init__(self, documents: DocumentRepository, passages: PassageRepository) -> None:
        self._documents = documents
        self._passages = passages

    def of(self, assistant: Assistant, role: PromptRole | None = None) -> str:
        """Return the prompt of a role, or the assistant's own for None; "" where there is none.

        A role's prompt is the one of the routing, else the document that is named after it, else, for `chat` and
        `tool`, the assistant's own.

        Raises:
            Unavailable: code `prompt_missing`; there is one, and its text is gone.
        """
        if role is None:
            return self._document(assistant.id, PROMPT_FILENAME)
        written = assistant.routing.prompts.get(role.value, "") if assistant.routing else ""
        text = written or self._document(assistant.id, ROLE_FILENAMES[role])
        return text if text or role not in _TALKING else self._document(assistant.id, PROMPT_FILENAME)

    def _document(self, assistant_id: str, filename: str) -> str:
        for _ in range(_READS):  # a prompt that is replaced between the two reads is read again
            document = self._documents.find(assistant_id, DocumentType.PROMPT, filename)
            if document is None or not document.build:
                return ""
            pieces = self._passages.of_document(assistant_id, document.id, document.build)
            if pieces:
                return "".join(piece.text for piece in pieces)
        raise Unavailable("The assistant's prompt cannot be read. Upload it again.", code="prompt_missing")
