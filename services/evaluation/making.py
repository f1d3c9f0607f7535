"""Making a dataset from what an assistant has: its chats, or its documents."""

from collections.abc import Sequence

from models.assistants import Assistant
from models.deadline import Deadline
from models.evaluations import DatasetItem, Making, Origin
from services.evaluation.from_chats import ChatQuestions
from services.evaluation.from_documents import DocumentQuestions


class DatasetMaker:
    """Make the items of a dataset; which they are depends on what is stored and on the seed alone, but for a model."""

    def __init__(self, chats: ChatQuestions, documents: DocumentQuestions) -> None:
        self._chats = chats
        self._documents = documents

    def make(self, assistant: Assistant, making: Making, deadline: Deadline) -> Sequence[DatasetItem]:
        """Return up to `limit` items; none where there is nothing to make them from.

        Raises:
            ProviderFailed, DeadlineExceeded, CallCancelled: as `DocumentQuestions.make`.
        """
        if making.origin is Origin.CHATS:
            return self._chats.make(assistant, making)
        return self._documents.make(assistant, making, deadline)
