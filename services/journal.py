"""Messages as they arrive: each is stored once, before anybody thinks about it."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from models.answers import Arrival, Inbound
from models.assistants import Assistant
from models.callbacks import Delivery
from models.chats import Burst, Chat, ChatFilter, ChatStatus, Timings
from models.clock import now
from models.conversations import Conversation, is_active
from models.errors import Conflict, Unauthenticated, Unavailable
from models.ids import new_id
from models.paging import Page
from services.arrivals import Arrivals, is_alone
from services.deliveries import settled
from services.devices import are_of_one_session
from services.news import ConversationNews
from services.ports import AssistantRepository, ChatRepository, ConversationRepository, Locks

logger = logging.getLogger("orquestra.journal")

_MOST_PLACES = 5
"""So often a message is put behind others that came in between; after that it may be answered out of order."""

_MOST_BEHIND = 20
"""So many answers behind a place are looked at; agents' words among them overtake nobody."""

_MOST_PAUSES = 5
_LONGEST_BURST = timedelta(seconds=45)
"""Whoever writes on and on is answered after so many pauses, or so long, all the same."""


@dataclass(frozen=True)
class Journal:
    """Where messages are stored, before anybody thinks about them."""

    assistants: AssistantRepository
    conversations: ConversationRepository
    chats: ChatRepository
    locks: Locks
    news: ConversationNews
    arrivals: Arrivals

    def receive(self, inbound: Inbound, end_of_lease: Callable[[], datetime]) -> tuple[Chat, str | None]:
        """Store a message; return its chat and the attempt that it is leased to, None if it had been stored before.

        A message with a callback is leased to nobody: the lease's end says when its job counts as lost. The place that
        was kept for a message is taken, or given up.

        Raises:
            Conflict: code `message_id_reused`, the same message id came with something else before; or
                `conversation_erased`, and the message can be sent again.
            Unauthenticated: the assistant was deleted just now.
        """
        try:
            return self._receive(inbound, end_of_lease)
        finally:
            self.arrivals.leave(inbound)

    def _receive(self, inbound: Inbound, end_of_lease: Callable[[], datetime]) -> tuple[Chat, str | None]:
        assistant = inbound.assistant
        key = dedupe_key(inbound)
        earlier = self._stored_before(inbound, key)
        if earlier is not None:
            return same_message(earlier, inbound), None
        attempt = new_id()
        chat, first = self._store(inbound, attempt, key, end_of_lease)
        if chat is None:
            earlier = self.chats.find_by_dedupe_key(assistant.id, key)
            if earlier is None:
                raise erased()
            return same_message(earlier, inbound), None
        self.note(chat, inbound.text, chat.username, first=first)
        return chat, attempt

    def _stored_before(self, inbound: Inbound, key: str) -> Chat | None:
        """Return the chat of a message that was delivered before, or of a request that its client repeats."""
        if inbound.message_id is not None:
            return self.chats.find_by_dedupe_key(inbound.assistant.id, key)
        return self.chats.get(inbound.repeats) if inbound.repeats else None

    def _store(
        self, inbound: Inbound, attempt: str, key: str, end_of_lease: Callable[[], datetime]
    ) -> tuple[Chat | None, bool]:
        """Store a new chat, and tell whether it begins its conversation; None if the message is there already.

        A conversation that is erased between the two writes takes nothing along: the message begins a new one.
        """
        while True:
            begun = _begun(inbound)
            conversation = self.conversations.find_or_add(begun)
            if conversation.id == begun.id and is_alone(inbound):
                chat: Chat | None = self._alone(inbound, conversation, attempt, key, end_of_lease)
            else:
                with self.locks.hold(f"arrival:{conversation.id}", seconds=5, wait=2):
                    chat = self._append(inbound, conversation, attempt, key, end_of_lease)
            if self.assistants.get(inbound.assistant.id) is None:
                self.conversations.delete(conversation.id)
                self.chats.delete_of_conversation(conversation.id)
                raise Unauthenticated("The assistant of this API key has been deleted.", code="api_key_invalid")
            if self.conversations.get(conversation.id) is not None:
                return chat, conversation.id == begun.id
            self.chats.delete_of_conversation(conversation.id)

    def _append(
        self,
        inbound: Inbound,
        conversation: Conversation,
        attempt: str,
        key: str,
        end_of_lease: Callable[[], datetime],
    ) -> Chat | None:
        """Store a new chat behind all others of its conversation; None if the message is there already.

        Where the lock was lost, because Redis is away or the store took long, another one with a larger id may have
        been stored first, and may be answered by now. Then this one is stored once more, so that ids are in the order
        in which messages were stored, and nobody's turn comes before that of an earlier one. Other deliveries of it
        look for it again. A message whose place was kept comes before those that were stored meanwhile, and wait.
        """
        for place in range(_MOST_PLACES):
            newest = self.chats.newest(conversation.id)
            chat = self._leased(inbound, conversation, newest, attempt, key, end_of_lease)
            if not self.chats.add(chat):
                return None
            if chat.delivery is not None:  # whoever delivers it again is told its id at once, so it stays
                break
            if inbound.arrival is not None and chat.id == inbound.arrival.chat_id:
                break
            last = self.chats.newest(conversation.id)
            if last is None or last.id <= chat.id or place == _MOST_PLACES - 1 or not self.chats.withdraw(chat):
                break
        return chat

    def _alone(
        self, inbound: Inbound, begun: Conversation, attempt: str, key: str, end_of_lease: Callable[[], datetime]
    ) -> Chat:
        """Store the first chat of a conversation that nobody else can write into."""
        chat = self._leased(inbound, begun, None, attempt, key, end_of_lease)
        self.chats.add(chat)
        return chat

    def _leased(
        self,
        inbound: Inbound,
        conversation: Conversation,
        newest: Chat | None,
        attempt: str,
        key: str,
        end_of_lease: Callable[[], datetime],
    ) -> Chat:
        """Return the chat of a message that comes behind the conversation's newest, or at the place kept for it."""
        arrival = self._kept(inbound, conversation, newest)
        if arrival is None:
            # behind the memory's beginning, and places, too: a server whose clock is ahead may have set them
            known = (newest.id if newest else "", conversation.memory_from, self.arrivals.newest_place(inbound))
            arrival = Arrival(new_id(after=max(known) or None), now())
        chat = _new_chat(inbound, conversation, key, arrival)
        if chat.status is not ChatStatus.RECEIVED:
            return chat
        neighbour = newest if newest is None or newest.id < chat.id else self._waiting_beside(inbound.assistant, chat)
        if neighbour is not None and not are_of_one_session(neighbour, chat):
            neighbour = None
        burst = None if _brings_outputs(inbound) else _burst(inbound.assistant, chat, neighbour)
        leased = replace(chat, lease_until=end_of_lease(), burst=burst)
        return leased if chat.delivery else replace(leased, lease_owner=attempt, attempts=1)

    def _kept(self, inbound: Inbound, conversation: Conversation, newest: Chat | None) -> Arrival | None:
        """Return the place that was kept for a message, unless it is void: the message comes behind all others then."""
        place = inbound.arrival
        if place is None or place.chat_id < conversation.memory_from or not self.arrivals.is_kept(inbound):
            return None
        if newest is not None and newest.id > place.chat_id and self._is_overtaken(conversation.id, place.chat_id):
            return None
        return place

    def _is_overtaken(self, conversation_id: str, place: str) -> bool:
        """Tell whether a message behind a place is answered: Redis was away for the server that did it."""
        answered = ChatFilter(conversation_id=conversation_id, status=ChatStatus.ANSWERED, oldest_first=True)
        behind = self.chats.list(answered, Page(limit=_MOST_BEHIND, after=place)).items
        return any(chat.answered_by is None for chat in behind)

    def _waiting_beside(self, assistant: Assistant, chat: Chat) -> Chat | None:
        """Return the chat whose burst a message may belong to that takes a place with others waiting behind it.

        That is the first one behind it, or, where that came too late for it, the last one before it.
        """
        if not assistant.debounce_seconds:
            return None
        waiting = ChatFilter(conversation_id=chat.conversation_id, status=ChatStatus.RECEIVED, oldest_first=True)
        behind = next(iter(self.chats.list(waiting, Page(limit=1, after=chat.id)).items), None)
        pause = timedelta(seconds=assistant.debounce_seconds)
        if behind is not None and behind.burst is not None and behind.burst.began <= chat.created_at + pause:
            return behind
        before = replace(waiting, oldest_first=False)
        return next(iter(self.chats.list(before, Page(limit=1, after=chat.id)).items), None)

    def note(self, chat: Chat, text: str, username: str | None = None, *, first: bool = False) -> None:
        """Bring the conversation's list entry up to date and tell who watches; neither is worth failing for.

        Args:
            first: the entry was made with this message.
        """
        try:
            if not first:
                self.conversations.record_message(chat.conversation_id, text, now(), username=username)
            tell = self.news.began if first else self.news.changed
            tell(chat.assistant_id, chat.conversation_id)
        except Unavailable:
            logger.warning("a conversation's list entry is behind: the store cannot be reached")


def _begun(inbound: Inbound) -> Conversation:
    """Return the conversation that a message begins if there is none; its list entry has the message already."""
    at, assistant = now(), inbound.assistant
    entry = Conversation(new_id(), assistant.id, inbound.channel, at, at, username=inbound.username)
    return replace(entry, message_count=1, last_message=inbound.text)


def _new_chat(inbound: Inbound, conversation: Conversation, key: str, arrival: Arrival) -> Chat:
    at, heard = now(), inbound.heard
    answering = inbound.active and is_active(conversation.active, conversation.paused_until, at)
    chat = Chat(
        id=arrival.chat_id,
        assistant_id=inbound.assistant.id,
        conversation_id=conversation.id,
        channel=inbound.channel,
        dedupe_key=key if inbound.message_id is not None else f"chat:{arrival.chat_id}",
        status=ChatStatus.RECEIVED if answering else ChatStatus.INACTIVE,
        created_at=arrival.at,
        message=inbound.text or None,
        username=inbound.username,
        message_id=inbound.message_id,
        active=answering,
        paused_until=None if answering else conversation.paused_until,
        delivery=Delivery(inbound.callback_url) if inbound.callback_url is not None else None,
        metadata=inbound.metadata,
        given=inbound.given,
        request_digest=inbound.digest or None,
        timings=Timings(decode_ms=heard.decode_ms, transcribe_ms=heard.transcribe_ms) if heard else Timings(),
        heard=heard,
        reply_audio=inbound.reply_audio,
    )
    return chat if answering else replace(chat, delivery=settled(chat, ChatStatus.INACTIVE, at))


def _brings_outputs(inbound: Inbound) -> bool:
    """Tell whether it has what a client's functions gave: an answer to other messages would know nothing of it."""
    return inbound.given is not None and bool(inbound.given.rounds)


def _burst(assistant: Assistant, chat: Chat, neighbour: Chat | None) -> Burst | None:
    """Return the burst that a message belongs to.

    Args:
        neighbour: the chat that it comes behind in its conversation, or one in time that it comes before; None if it
            goes on from nothing.
    """
    if not assistant.debounce_seconds:
        return None
    at, pause = chat.created_at, timedelta(seconds=assistant.debounce_seconds)
    other = None if neighbour is None or neighbour.status is not ChatStatus.RECEIVED else neighbour.burst
    if neighbour is not None and other is not None and neighbour.id > chat.id:
        return other
    began = other.began if other is not None and other.until > at else at
    return Burst(began, min(at + pause, began + max(pause, min(_LONGEST_BURST, _MOST_PAUSES * pause))))


def dedupe_key(inbound: Inbound) -> str:
    """Return what is equal for deliveries of the same message: message ids count within one channel only."""
    parts = (inbound.channel.message_service, inbound.channel.id, inbound.message_id or "")
    return "message:" + hashlib.sha256("\0".join(parts).encode()).hexdigest()


def same_message(chat: Chat, inbound: Inbound) -> Chat:
    """Return a chat that has the dedupe key of a message, if it is the chat of this message.

    What was heard is compared as sound: the same recording need not be transcribed to the same words twice.

    Raises:
        Conflict: code `message_id_reused`, another message has the same id.
    """
    if inbound.heard is not None:
        check_recording(chat, inbound.heard.sha256)
    elif chat.heard is not None or (chat.message or "") != inbound.text:
        raise _reused()
    return chat


def check_recording(chat: Chat, sha256: str) -> None:
    """Check that a chat's message was heard in a recording with this digest.

    Raises:
        Conflict: code `message_id_reused`.
    """
    if chat.heard is None or chat.heard.sha256 != sha256:
        raise _reused()


def _reused() -> Conflict:
    return Conflict(
        "This message_id came with another message before. Give every message its own id.", code="message_id_reused"
    )


def erased() -> Conflict:
    """Return the error for a message whose conversation was erased while it was on its way."""
    return Conflict(
        "The conversation was erased while this message was on its way. Send it again to begin a new one.",
        code="conversation_erased",
    )
