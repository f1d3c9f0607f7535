"""News of conversations, for consoles that watch them live."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.assistants import Assistant
from models.conversations import Conversation
from models.deadline import Deadline
from models.paging import Page
from models.users import Principal
from services.ports import AssistantRepository, ConversationRepository, EventBus, Subscription

TOPIC = "conversations"
_LOOK_SECONDS = 1.0


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
        self._assistants = assistants
        self._conversations = conversations

    def began(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation got its first message."""
        self._tell("conversation_new", assistant_id, conversation_id)

    def changed(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation got a message, or was switched on or off."""
        self._tell("conversation_updated", assistant_id, conversation_id)

    def deleted(self, assistant_id: str, conversation_id: str) -> None:
        """Tell that a conversation was erased."""
        self._tell("conversation_deleted", assistant_id, conversation_id)

    def deleted_with(self, assistant: Assistant) -> None:
        """Tell that an assistant takes its conversations along: the newest thousand, as far as consoles show them."""
        for conversation in self._conversations.list([assistant.id], Page(limit=1000)).items:
            self._tell("conversation_deleted", assistant.id, conversation.id, owner_id=assistant.owner_id)

    def _tell(self, kind: str, assistant_id: str, conversation_id: str, **more: str) -> None:
        """Publish news; whose they are is looked up by those who hear them, which are few."""
        news = {"type": kind, "assistant_id": assistant_id, "conversation_id": conversation_id, **more}
        self._bus.publish(TOPIC, news)

    def watch(
        self, caller: Principal, still_allowed: Callable[[], bool], silent_seconds: float = 10.0
    ) -> Iterator[News | None]:
        """Yield the news that the caller may see, and None at the start and after every `silent_seconds` without any.

        It ends when `still_allowed` says so, which is asked every second: a login that has ended hears nothing more.

        Raises:
            Unavailable: the event bus cannot be reached.
        """
        with self._bus.subscribe(TOPIC) as ear:
            yield None
            silent = 0.0
            while still_allowed():
                news = self._next_for(caller, ear, _LOOK_SECONDS)
                silent = 0.0 if news else silent + _LOOK_SECONDS
                if news or silent >= silent_seconds:
                    yield news
                    silent = 0.0

    def _next_for(self, caller: Principal, ear: Subscription, timeout: float) -> News | None:
        """Return the next news for this caller; other people's make no difference to when."""
        deadline = Deadline(timeout)
        while (event := ear.next(deadline.remaining())) is not None:
            if caller.is_admin or self._owner_of(event) == caller.user_id:
                conversation_id = str(event["conversation_id"])
                return News(str(event["type"]), conversation_id, self._conversations.get(conversation_id))
        return None

    def _owner_of(self, event: Mapping[str, Any]) -> str | None:
        """Return whose news these are; those of an assistant that is being deleted say it themselves."""
        if "owner_id" in event:
            return str(event["owner_id"])
        assistant = self._assistants.get(str(event["assistant_id"]))
        return assistant.owner_id if assistant else None
