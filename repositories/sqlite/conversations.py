"""Conversations in the embedded store."""

from collections.abc import Sequence
from datetime import datetime

from models.conversations import Channel, Conversation
from models.errors import Unavailable
from models.paging import Listing, Page
from repositories.codec import CONVERSATIONS, stamp
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id, one_of

_NEWEST = ("last_message_at DESC", "id DESC")


class SqliteConversationRepository:
    """Implement `ConversationRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._conversations = Table(database, "conversations", CONVERSATIONS)

    def get(self, conversation_id: str) -> Conversation | None:
        """Return the conversation with this id."""
        return self._conversations.get(conversation_id)

    def find_or_add(self, conversation: Conversation) -> Conversation:
        """Store it unless its assistant and channel have one already; return the stored one."""
        where = _of_channel(conversation.assistant_id, conversation.channel)
        if stored := self._conversations.first(where):
            return stored
        # The first chat follows at once, and its synced write takes this one along to the disk.
        with self._conversations.database.write(synced=False) as connection:
            if self._conversations.add(connection, conversation.id, conversation):
                return conversation
            if stored := self._conversations.get_within(connection, where):
                return stored
            raise Unavailable("The conversation could not be stored. Try again.", code="store_unavailable")

    def list(self, assistant_ids: Sequence[str] | None, page: Page) -> Listing[Conversation]:
        """List conversations of these assistants (None: all), newest `last_message_at` first, then by id.

        A page after a conversation that was deleted meanwhile is empty.
        """
        return self._conversations.page(assistant_ids, ALL, page, _NEWEST, self._behind(page.after))

    def find_by_channel(self, assistant_id: str, channel: Channel) -> Conversation | None:
        """Return the assistant's conversation with this channel."""
        return self._conversations.first(_of_channel(assistant_id, channel))

    def find_by_channel_id(self, channel_id: str, assistant_ids: Sequence[str] | None) -> Sequence[Conversation]:
        """Return every conversation of a channel id, whatever its message service, newest first."""
        where = Where("channel_id = ?", (channel_id,))
        if assistant_ids is not None:
            where = where & one_of("+assistant_id", assistant_ids)
        return self._conversations.all(where, "ORDER BY +last_message_at DESC, id DESC")

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> bool:
        """Stop or resume its being answered; tell whether it was there."""
        changes = {"active": active, "paused_until": paused_until}
        return self._conversations.update(by_id(conversation_id), changes) == 1

    def record_message(
        self, conversation_id: str, text: str, at: datetime, *, count: int = 1, username: str | None = None
    ) -> None:
        """Note its newest message, add to `message_count`, and keep the username unless it is None."""
        changes: dict[str, object] = {"last_message": text, "last_message_at": at}
        if username is not None:
            changes["username"] = username
        self._conversations.update(by_id(conversation_id), changes, {"message_count": count}, synced=False)

    def clear_memory(self, assistant_id: str, message_service: str, begins: str, channel_id: str | None = None) -> int:
        """Let the memory begin behind this id, in all conversations of a message service or in one channel's.

        A memory that begins later already stays as it is, so the order of two calls does not matter. Conversations
        that come later are not touched. Returns how many were changed.
        """
        where = Where(
            "assistant_id = ? AND message_service = ? AND coalesce(json_extract(body, '$.memory_from'), '') < ?",
            (assistant_id, message_service, begins),
        )
        if channel_id is not None:
            where = where & Where("channel_id = ?", (channel_id,))
        return self._conversations.update(where, {"memory_from": begins})

    def delete(self, conversation_id: str) -> bool:
        """Delete it; tell whether it was there."""
        return self._conversations.delete(by_id(conversation_id)) == 1

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every conversation of an assistant."""
        self._conversations.delete_all(Where("assistant_id = ?", (assistant_id,)))

    def _behind(self, after: str | None) -> Where:
        if after is None:
            return ALL
        last = self._conversations.get(after)
        if last is None:
            return Where("false")
        return Where("(last_message_at, id) < (?, ?)", (stamp(last.last_message_at), last.id))


def _of_channel(assistant_id: str, channel: Channel) -> Where:
    named = (assistant_id, channel.message_service, channel.id)
    return Where("assistant_id = ? AND message_service = ? AND channel_id = ?", named)
