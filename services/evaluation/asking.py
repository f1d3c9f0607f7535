"""A run's questions go through the one engine; what they leave in the store is erased again."""

from dataclasses import replace

from models.answers import Done, Inbound
from models.assistants import Assistant
from models.chats import Chat, ChatStatus
from models.conversations import Channel
from models.deadline import Deadline
from models.errors import ProviderFailed
from models.evaluations import EVALUATION, Result
from models.given import Given
from models.users import OPERATOR
from services.conversations import ConversationService
from services.ports import ConversationRepository
from services.viewer import ConversationViewer


class Asker:
    """Ask the questions of runs, each in a conversation of its own."""

    def __init__(
        self, answering: ConversationService, viewer: ConversationViewer, conversations: ConversationRepository
    ) -> None:
        self._answering = answering
        self._viewer = viewer
        self._conversations = conversations

    def new_deadline(self) -> Deadline:
        """Return the deadline of a question, or of its judge, that begins now."""
        return self._answering.new_deadline()

    def ask(self, assistant: Assistant, result: Result, deadline: Deadline) -> Chat:
        """Return the answered chat of an item's question; asked again before it is forgotten, the same one.

        Raises:
            ProviderFailed: also (code `not_answered`) where people have taken the conversation over.
            DeadlineExceeded, CallCancelled: as `ConversationService.answer`.
        """
        item = result.item
        inbound = Inbound(
            replace(assistant, debounce_seconds=0.0),  # nobody writes on
            _channel(result),
            item.question,
            message_id=result.id,
            given=Given(alone=True, turns=item.history) if item.history else None,
        )
        *_, done = self._answering.answer(inbound, deadline)
        chat = done.chat if isinstance(done, Done) else None
        if chat is None or chat.status is not ChatStatus.ANSWERED or chat.response is None:
            raise ProviderFailed("The assistant gave no answer. Try again.", code="not_answered")
        return chat

    def forget(self, result: Result) -> None:
        """Erase the conversation of an item's question, here and at the provider; that there is none is as good.

        Raises:
            Unavailable: it may be there still; repeat it.
        """
        held = self._conversations.find_by_channel(result.assistant_id, _channel(result))
        if held is not None:
            self._viewer.erase(OPERATOR, held.id)


def _channel(result: Result) -> Channel:
    return Channel(f"{result.run_id}.{result.position}", EVALUATION)
