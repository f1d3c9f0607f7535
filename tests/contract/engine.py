"""The answering engine on a store, with a scripted model and without Redis: locks are never held, news reach nobody."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from models.answers import Done, Inbound, TextDelta
from models.assistants import Assistant
from models.chats import Chat, ChatFilter, ChatStatus
from models.conversations import Channel
from models.deadline import Deadline
from models.documents import ScoredPassage
from models.errors import Unavailable
from models.paging import Page
from services.composing import Composer, Memory
from services.conversations import ConversationService
from services.journal import Journal
from services.leases import LeaseKeeper
from services.news import ConversationNews
from services.ports import Subscription
from services.providers.scripted import ScriptedModel
from tests.contract.stores import Stores, make_assistant


class LostLocks:
    """Implement `Locks` as they are when Redis is down: nothing is ever held."""

    @contextmanager
    def hold(self, name: str, seconds: float, wait: float) -> Iterator[bool]:
        """Hold nothing."""
        yield False


@dataclass
class HeardNews:
    """Implement `EventBus` by keeping what was published."""

    events: list[Mapping[str, Any]] = field(default_factory=list)

    def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Keep the event."""
        self.events.append(event)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription]:
        """Refuse: nobody listens here."""
        raise Unavailable("There is no Redis in this test.")
        yield


@dataclass
class FixedIndex:
    """Implement `KnowledgeIndex` with the same passages for every question."""

    found: Sequence[ScoredPassage] = ()

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the passages."""
        return self.found[:limit]

    def refresh(self, assistant: Assistant) -> None:
        """Have nothing to take in."""

    def held(self) -> Sequence[str]:
        """Keep nothing."""
        return ()

    def forget(self, assistant_id: str) -> None:
        """Forget nothing."""


class Engine:
    """One server's engine over a store; several over one store are several servers.

    Args:
        lease_seconds: short ones make attempts die soon.
    """

    def __init__(
        self,
        stores: Stores,
        model: ScriptedModel,
        *,
        assistant: Assistant | None = None,
        lease_seconds: float = 15.0,
        found: Sequence[ScoredPassage] = (),
    ) -> None:
        self.stores, self.model, self.news = stores, model, HeardNews()
        self.assistant = assistant or make_assistant()
        if assistant is None:
            stores.assistants.add(self.assistant)
        self.leases = LeaseKeeper(lease_seconds)
        journal = Journal(
            stores.assistants,
            stores.conversations,
            stores.chats,
            LostLocks(),
            ConversationNews(self.news, stores.assistants, stores.conversations),
        )
        memory = Memory(stores.chats, stores.documents, stores.passages, FixedIndex(found))
        composer = Composer(memory, {model.provider: model}, model.provider, history_tokens=1000)
        self.service = ConversationService(journal, composer, self.leases, deadline_seconds=10)

    def twin(self, model: ScriptedModel | None = None, lease_seconds: float = 15.0) -> "Engine":
        """Return another server over the same store."""
        return Engine(self.stores, model or self.model, assistant=self.assistant, lease_seconds=lease_seconds)

    def inbound(self, text: str, **fields: Any) -> Inbound:
        """Return a message of one channel."""
        return Inbound(self.assistant, fields.pop("channel", Channel("+55", "whatsapp")), text, **fields)

    def say(self, text: str, deadline: Deadline | None = None, **fields: Any) -> Done:
        """Send a message and return how it ended."""
        events = list(self.service.answer(self.inbound(text, **fields), deadline))
        done = events[-1]
        assert isinstance(done, Done)
        if done.chat.status is ChatStatus.ANSWERED and not done.replayed:
            assert "".join(event.text for event in events if isinstance(event, TextDelta)) == done.chat.response
        return done

    def chats(self) -> list[Chat]:
        """Return every stored chat, oldest first."""
        return chats_of(self.stores, self.assistant.id)


def chats_of(stores: Stores, assistant_id: str) -> list[Chat]:
    """Return every chat of an assistant, oldest first."""
    listing = stores.chats.list(ChatFilter(assistant_ids=(assistant_id,), oldest_first=True), Page(limit=1000))
    return list(listing.items)
