"""The store of a chaos run, read as a server reads it."""

from contextlib import closing
from datetime import datetime
from pathlib import Path

from bench.chaos.records import Stored
from models.chats import Chat, ChatFilter
from models.paging import Page
from repositories.mongo.database import MongoDatabase
from repositories.sqlite.database import SqliteDatabase
from stores import repositories_of

_PAGE = 1000
_UNDER_WAY = frozenset({"waiting", "pending"})


def stored_chats(folder: Path, uri: str, database: str) -> list[Stored]:
    """Return every chat, oldest first.

    Args:
        folder: of the embedded store, which is read when there is no URI.
    """
    opened = MongoDatabase(uri, database) if uri else SqliteDatabase(folder / "orquestra.sqlite")
    with closing(opened):
        chats = repositories_of(opened).chats
        found: list[Stored] = []
        after: str | None = None
        while True:
            page = chats.list(ChatFilter(oldest_first=True), Page(_PAGE, after))
            found += map(_stored, page.items)
            if not page.more:
                return found
            after = page.items[-1].id


def is_under_way(chat: Stored) -> bool:
    """Tell whether something is still to be done about a chat."""
    return chat.status == "received" or chat.delivery in _UNDER_WAY


def _stored(chat: Chat) -> Stored:
    delivery = chat.delivery
    return Stored(
        chat.id,
        chat.channel.id,
        chat.message_id or "",
        chat.status.value,
        chat.response,
        chat.merged_into,
        chat.attempts,
        chat.failures,
        chat.created_at.timestamp(),
        _seconds(chat.answered_at),
        delivery.status.value if delivery is not None else None,
        delivery.event_id if delivery is not None else "",
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
