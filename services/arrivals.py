"""The order of arrival, for messages that cannot be stored as soon as they arrive: recordings are heard first."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from models.answers import Arrival, Inbound
from models.chats import Chat
from models.clock import now
from models.conversations import Channel
from models.deadline import Deadline
from models.ids import bound_at, new_id
from services.leases import LeaseKeeper
from services.ports import ChatRepository, ConversationRepository, Places

_MOST_TRIES = 5
"""So often a place is put behind messages that were stored while it was taken; after that none is kept."""


@dataclass(frozen=True)
class Arrivals:
    """Keep the places in their conversations of messages that are being heard.

    A place is the id that its message's chat will have. Whoever comes later is stored at once, but waits in its turn
    until all places before it are taken or given up. A server that dies stops prolonging its places.
    """

    conversations: ConversationRepository
    chats: ChatRepository
    places: Places
    leases: LeaseKeeper

    @contextmanager
    def keeping(self, inbound: Inbound, deadline: Deadline) -> Iterator[Arrival | None]:
        """Keep a message's place while the block runs, and for a lease's time after it, for the journal to take it.

        The value is None where Redis cannot be reached: the message comes behind all that are stored before it. A block
        that fails gives the place up, and one that goes on when its time is up loses it.
        """
        line, arrival = _line_of(inbound), self._take(inbound)
        if arrival is None:
            yield None
            return

        def prolong(until: datetime) -> None:
            if deadline.remaining() > 0:
                self.places.prolong(line, arrival.chat_id, now(), until)

        try:
            with self.leases.keep(prolong):
                yield arrival
        except BaseException:
            self.places.leave(line, arrival.chat_id)
            raise
        self.places.prolong(line, arrival.chat_id, now(), self.leases.end_of_lease())

    def is_kept(self, inbound: Inbound) -> bool:
        """Tell whether a message has a place that is still its own."""
        place = inbound.arrival
        return place is not None and place.chat_id in self.places.kept(_line_of(inbound), now())

    def leave(self, inbound: Inbound) -> None:
        """Give a message's place up, if it has one: it is stored, or will not be."""
        if inbound.arrival is not None:
            self.places.leave(_line_of(inbound), inbound.arrival.chat_id)

    def are_awaited(self, chat: Chat) -> bool:
        """Tell whether a message is still being heard that arrived before this chat, or within its burst."""
        if is_alone(chat):
            return False
        bound = chat.id if chat.burst is None else max(chat.id, bound_at(chat.burst.until))
        return any(place < bound for place in self.places.kept(_line(chat.assistant_id, chat.channel), now()))

    def newest_place(self, inbound: Inbound) -> str:
        """Return the newest place that is kept in a message's conversation, "" if there is none.

        What comes after it has a larger id, even where the clock of the server that keeps it is ahead.
        """
        return "" if is_alone(inbound) else max(self.places.kept(_line_of(inbound), now()), default="")

    def _take(self, inbound: Inbound) -> Arrival | None:
        """Keep the place behind all that is stored or kept; None if that cannot be had, as where Redis is away."""
        line, at = _line_of(inbound), now()
        place = new_id(after=max(self.places.kept(line, at), default=None))
        for _ in range(_MOST_TRIES):
            if not self.places.keep(line, place, self.leases.end_of_lease()):
                return None
            try:
                newest = self._newest(inbound)
            except BaseException:
                self.places.leave(line, place)
                raise
            if newest < place:
                return Arrival(place, at)
            self.places.leave(line, place)
            place = new_id(after=newest)
        return None

    def _newest(self, inbound: Inbound) -> str:
        """Return the id that the conversation's next chat comes behind."""
        conversation = self.conversations.find_by_channel(inbound.assistant.id, inbound.channel)
        if conversation is None:
            return ""
        newest = self.chats.newest(conversation.id)
        return max(newest.id if newest is not None else "", conversation.memory_from)


def is_alone(message: Inbound | Chat) -> bool:
    """Tell whether nobody else can write into the conversation that a message begins: its name is not known yet."""
    return message.message_id is None and message.given is not None and message.given.alone


def _line_of(inbound: Inbound) -> str:
    return _line(inbound.assistant.id, inbound.channel)


def _line(assistant_id: str, channel: Channel) -> str:
    named = "\0".join((channel.message_service, channel.id))
    return f"{assistant_id}:{hashlib.sha256(named.encode()).hexdigest()}"
