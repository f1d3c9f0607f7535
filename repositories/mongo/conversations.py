"""Conversations in MongoDB."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import DESCENDING

from models.conversations import Channel, Conversation
from models.paging import Listing, Page
from repositories.codec import CONVERSATIONS
from repositories.mongo.database import Documents
from repositories.mongo.table import Filter, Table, by_id, key, of_assistants

_NEWEST = (("last_message_at", DESCENDING), ("_id", DESCENDING))


class MongoConversationRepository:
    """Implement `ConversationRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._conversations = Table(collection, CONVERSATIONS)

    def get(self, conversation_id: str) -> Conversation | None:
        """Return the conversation with this id."""
        return self._conversations.get(conversation_id)

    def find_or_add(self, conversation: Conversation) -> Conversation:
        """Store it unless its assistant and channel have one already; return the stored one."""
        where = _of_channel(conversation.assistant_id, conversation.channel)
        while True:  # once more only where another one was there and was deleted at this moment
            if stored := self._conversations.first(where):
                return stored
            if self._conversations.add(conversation):
                return conversation

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Conversation]:
        """List conversations of these assistants (None: all), newest `last_message_at` first, then by id.

        A page after a conversation that was deleted meanwhile is empty.
        """
        where = of_assistants(assistant_ids)
        if page.after is None:
            return self._conversations.page(where, {}, page, _NEWEST)
        last = self.get(page.after)
        if last is None:
            return Listing((), self._conversations.count(where), False)
        return self._conversations.page(where, _behind(last), page, _NEWEST)

    def find_by_channel(self, assistant_id: str, channel: Channel) -> Conversation | None:
        """Return the assistant's conversation with this channel."""
        return self._conversations.first(_of_channel(assistant_id, channel))

    def find_by_channel_id(self, channel_id: str, assistant_ids: Sequence[str] | None) -> Sequence[Conversation]:
        """Return every conversation of a channel id, whatever its message service, newest first."""
        return self._conversations.all({"channel.id": channel_id} | of_assistants(assistant_ids), _NEWEST)

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> bool:
        """Stop or resume its being answered; tell whether it was there."""
        return self._conversations.update(by_id(conversation_id), {"active": active, "paused_until": paused_until})

    def record_message(
        self, conversation_id: str, text: str, at: datetime, *, count: int = 1, username: str | None = None
    ) -> None:
        """Note its newest message, add to `message_count`, and keep the username unless it is None."""
        changes: dict[str, object] = {"last_message": text, "last_message_at": at}
        if username is not None:
            changes["username"] = username
        self._conversations.update(by_id(conversation_id), changes, {"message_count": count})

    def clear_memory(self, assistant_id: str, message_service: str, begins: str, channel_id: str | None = None) -> int:
        """Let the memory begin behind this id, in all conversations of a message service or in one channel's.

        A memory that begins later already stays as it is, so the order of two calls does not matter. Conversations
        that come later are not touched. Returns how many were changed.
        """
        where: Filter = {
            "assistant_id": assistant_id,
            "channel.message_service": message_service,
            "memory_from": {"$not": {"$gte": begins}},  # conversations from before there was a beginning have none
        }
        if channel_id is not None:
            where["channel.id"] = channel_id
        return self._conversations.update_all(where, {"memory_from": begins})

    def delete(self, conversation_id: str) -> bool:
        """Delete it; tell whether it was there."""
        return self._conversations.delete(conversation_id)

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every conversation of an assistant."""
        self._conversations.delete_all({"assistant_id": assistant_id})


def _behind(last: Conversation) -> Filter:
    """Return the filter of what follows; the outer bound on the time is what an index can use."""
    at = last.last_message_at
    return {
        "last_message_at": {"$lte": at},
        "$or": [{"last_message_at": {"$lt": at}}, {"_id": {"$lt": key(last.id)}}],
    }


def _of_channel(assistant_id: str, channel: Channel) -> Filter:
    return {
        "assistant_id": assistant_id,
        "channel.message_service": channel.message_service,
        "channel.id": channel.id,
    }
