"""News of conversations, for consoles that watch them live."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from models.conversations import Conversation
from models.users import Principal
from services.ownership import Ownership
from services.ports import AssistantRepository, ConversationRepository, EventBus, Subscription

TOPIC = "conversations"


@dataclass(frozen=True)
class News:
    """One piece of news.

    Attributes:
        kind: `conversation_new`, `conversation_updated` or `conversation_deleted`.
        conversation: as it is now; None when it is gone.
    """

    kind: str
    conversation_id: str
    conversation: Conversation | None


class ConversationNews:
    """Tell and hear what happens to conversations, on any server."""

    def __init__(self, bus: EventBus, assistants: AssistantRepository, conversations: ConversationRepository) -> None:
        self._bus = bus
        self._conversations = conversations
        self._ownership = Ownership(assistants)

    def began(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation got its first message."""
        self._tell("conversation_new", assistant_id, conversation_id)

    def changed(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation got a message, or was switched on or off."""
        self._tell("conversation_updated", assistant_id, conversation_id)

    def deleted(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation was erased."""
        self._tell("conversation_deleted", assistant_id, conversation_id)

    def _tell(self, kind: str, assistant_id: str, conversation_id: str) -> None:
        self._bus.publish(TOPIC, {"type": kind, "assistant_id": assistant_id, "conversation_id": conversation_id})

    def watch(
        self, caller: Principal, still_allowed: Callable[[], bool], check_seconds: float = 10.0
    ) -> Iterator[News | None]:
        """Yield the news that the caller may see, and None at the start and when there were none for `check_seconds`.

        It ends when `still_allowed` says so, which is asked at least that often: a login that has ended hears
        nothing more.

        Raises:
            Unavailable: the event bus cannot be reached.
        """
        with self._bus.subscribe(TOPIC) as ear:
            yield None
            while still_allowed():
                yield self._next_for(caller, ear, check_seconds)

    def _next_for(self, caller: Principal, ear: Subscription, timeout: float) -> News | None:
        event = ear.next(timeout)
        if event is None or not self._ownership.sees(caller, str(event["assistant_id"])):
            return None
        conversation_id = str(event["conversation_id"])
        return News(str(event["type"]), conversation_id, self._conversations.get(conversation_id))
