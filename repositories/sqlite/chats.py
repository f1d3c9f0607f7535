"""Chats in the embedded store."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

from models.callbacks import Delivery
from models.chats import Chat, ChatFilter, ChatOutcome, ChatStatus, Feedback
from models.paging import Listing, Page
from repositories.codec import CHATS, stamp
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id, one_of

_REMEMBERED = Where("status NOT IN ('received', 'failed')")
_RECEIVED = Where("status = 'received'")
_UNLEASED = {"lease_owner": None, "lease_until": None}


class SqliteChatRepository:
    """Implement `ChatRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._chats = Table(database, "chats", CHATS)

    def add(self, chat: Chat) -> bool:
        """Store a new chat; False, and nothing stored, if its assistant has one with the same dedupe key."""
        with self._chats.database.write() as connection:
            return self._chats.add(connection, chat.id, chat)

    def withdraw(self, chat: Chat) -> bool:
        """Delete a chat that was just added, if nobody has done anything with it since; tell whether that was so."""
        unused = Where(
            "+status = ? AND lease_owner IS ? AND json_extract(body, '$.attempts') = ?",
            (chat.status.value, chat.lease_owner, chat.attempts),
        )
        return self._chats.delete(by_id(chat.id) & unused) == 1

    def get(self, chat_id: str) -> Chat | None:
        """Return the chat with this id."""
        return self._chats.get(chat_id)

    def find_by_dedupe_key(self, assistant_id: str, dedupe_key: str) -> Chat | None:
        """Return the chat of a message."""
        return self._chats.first(Where("assistant_id = ? AND dedupe_key = ?", (assistant_id, dedupe_key)))

    def claim(self, seen: Chat, owner: str, until: datetime, at: datetime) -> bool:
        """Begin another attempt, if the chat is as it was seen and nobody works on it.

        A chat that was not `received` leaves its burst.
        """
        where = by_id(seen.id) & Where("+status = ? AND attempts = ?", (seen.status.value, seen.attempts))
        changes: dict[str, object] = {
            "status": "received",
            "active": True,
            "paused_until": None,
            "lease_owner": owner,
            "lease_until": until,
        }
        if seen.status is ChatStatus.RECEIVED:
            where = where & _free(at)
        else:
            changes["burst"] = None
        return self._chats.update(where, changes, {"attempts": 1}) == 1

    def renew(self, chat_ids: Iterable[str], owner: str, until: datetime) -> None:
        """Prolong the leases that this owner still holds on `received` chats."""
        self._chats.update(one_of("id", tuple(chat_ids)) & _held_by(owner), {"lease_until": until}, synced=False)

    def finish(self, chat_id: str, owner: str, outcome: ChatOutcome) -> bool:
        """Write an attempt's outcome and end its lease, if the chat is `received` and still leased to this owner.

        An `answered` outcome also needs the chat to be `active` still. A `failed` one counts `failures` up.
        """
        where = by_id(chat_id) & _held_by(owner)
        if outcome.status is ChatStatus.ANSWERED:
            where = where & Where("active = 1")
        written = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
        for name in ("active", "delivery"):
            if written[name] is None:
                del written[name]
        failures = {"failures": 1} if outcome.status is ChatStatus.FAILED else {}
        return self._chats.update(where, written | _UNLEASED, failures) == 1

    def unfinished_before(self, chat: Chat) -> Chat | None:
        """Return the oldest `received` chat of the conversation with a smaller id, but none of the chat's own burst."""
        where = _RECEIVED & _conversation(chat.conversation_id) & Where("id < ?", (chat.id,))
        if chat.burst is not None:
            where = where & Where("burst_began IS NOT ?", (stamp(chat.burst.began),))
        return self._chats.first(where, "ORDER BY id")

    def later_in_burst(self, chat: Chat) -> Chat | None:
        """Return the newest `received` chat of the chat's own burst with a larger id."""
        return self._chats.first(_waiting_with(chat) & Where("id > ?", (chat.id,)), "ORDER BY id DESC")

    def earlier_in_burst(self, chat: Chat) -> Sequence[Chat]:
        """Return the `received` chats of the chat's own burst with smaller ids, oldest first."""
        return self._chats.all(_waiting_with(chat) & Where("id < ?", (chat.id,)), "ORDER BY id")

    def leave_burst(self, chat_id: str, owner: str) -> bool:
        """Take the chat out of its burst, if it is `received` and still leased to this owner; tell whether it was."""
        return self._chats.update(by_id(chat_id) & _held_by(owner), {"burst": None}) == 1

    def merge(self, seen: Chat, into: str, delivery: Delivery | None) -> bool:
        """Make a chat `merged` into a later one and end its lease, if it is `received` and in the burst as seen.

        A delivery replaces the chat's own; None leaves it.
        """
        changes: dict[str, object] = {"status": "merged", "merged_into": into, **_UNLEASED}
        if delivery is not None:
            changes["delivery"] = delivery
        where = by_id(seen.id) & Where("+status = 'received' AND burst_began = ?", (_began(seen),))
        return self._chats.update(where, changes) == 1

    def merged_into(self, conversation_id: str, chat_id: str) -> Sequence[Chat]:
        """Return the chats that were merged into this one, oldest first."""
        where = Where("merged_into = ? AND +conversation_id = ?", (chat_id, conversation_id))
        return self._chats.all(where, "ORDER BY id")

    def unfinished(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return `received` chats whose `lease_until` is None or not after `at`, oldest first."""
        due = Where("coalesce(lease_until, '') <= ?", (stamp(at),))
        return self._chats.all(_RECEIVED & due, f"ORDER BY id LIMIT {limit:d}")

    def requeue(self, seen: Chat, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""
        lease = (seen.status.value, seen.lease_owner, seen.lease_until and stamp(seen.lease_until))
        where = by_id(seen.id) & Where("+status = ? AND lease_owner IS ? AND lease_until IS ?", lease)
        return self._chats.update(where, {"lease_owner": None, "lease_until": until}) == 1

    def undelivered(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return chats whose delivery's `next_at` is not after `at`, oldest `next_at` first."""
        where = Where("delivery_next_at <= ?", (stamp(at),))
        return self._chats.all(where, f"ORDER BY delivery_next_at, id LIMIT {limit:d}")

    def change_delivery(self, chat_id: str, seen: Delivery, delivery: Delivery) -> bool:
        """Replace a chat's delivery if its status, `event_id` and `next_at` are as seen; tell whether they were."""
        state = "json_extract(body, '$.delivery.status') = ? AND json_extract(body, '$.delivery.event_id') = ?"
        as_seen = Where(state, (seen.status.value, seen.event_id))
        due = Where("+delivery_next_at IS ?", (seen.next_at and stamp(seen.next_at),))
        return self._chats.update(by_id(chat_id) & as_seen & due, {"delivery": delivery}) == 1

    def history(self, conversation_id: str, before_id: str, limit: int, after_id: str = "") -> Sequence[Chat]:
        """Return the newest chats between the two ids which are part of the memory, oldest first."""
        where = _conversation(conversation_id) & Where("id < ? AND id > ?", (before_id, after_id)) & _REMEMBERED
        return self._chats.all(where, f"ORDER BY id DESC LIMIT {limit:d}")[::-1]

    def newest(self, conversation_id: str) -> Chat | None:
        """Return the conversation's newest chat."""
        return self._chats.first(_conversation(conversation_id), "ORDER BY id DESC")

    def newest_of_assistant(self, assistant_id: str) -> Chat | None:
        """Return the newest chat of all the assistant's conversations."""
        return self._chats.first(Where("assistant_id = ?", (assistant_id,)), "ORDER BY id DESC")

    def newest_of_request(self, assistant_id: str, request_digest: str) -> Chat | None:
        """Return the newest chat that a request with this digest (not empty) began."""
        where = Where("assistant_id = ? AND request_digest = ?", (assistant_id, request_digest))
        return self._chats.first(where, "ORDER BY id DESC")

    def list(self, chats: ChatFilter, page: Page) -> Listing[Chat]:
        """List the chats that pass the filter, newest first (by id) unless it says otherwise."""
        assistant_ids = chats.assistant_ids
        where = _passes(chats)
        if chats.conversation_id is not None and assistant_ids is not None:
            where = where & one_of("+assistant_id", assistant_ids)
            assistant_ids = None
        direction, behind = ("ASC", ">") if chats.oldest_first else ("DESC", "<")
        follow = ALL if page.after is None else Where(f"id {behind} ?", (page.after,))
        return self._chats.page(assistant_ids, where, page, (f"id {direction}",), follow)

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> None:
        """Mark every chat of a conversation as the conversation is marked."""
        self._chats.update(_conversation(conversation_id), {"active": active, "paused_until": paused_until})

    def set_feedback(self, chat_id: str, feedback: Feedback) -> bool:
        """Store what a user thinks of the answer; tell whether the chat was there."""
        return self._chats.update(by_id(chat_id), {"feedback": feedback}) == 1

    def note_speech(self, chat_id: str, first_sentence_ms: int, first_audio_ms: int) -> bool:
        """Set these two of the chat's timings, unless its answer has them already; tell whether they were set."""
        changes = {"timings.first_sentence_ms": first_sentence_ms, "timings.first_audio_ms": first_audio_ms}
        unspoken = Where("json_extract(body, '$.timings.first_audio_ms') IS NULL")
        return self._chats.update(by_id(chat_id) & unspoken, changes) == 1

    def delete_of_conversation(self, conversation_id: str) -> None:
        """Delete every chat of a conversation."""
        self._chats.delete_all(_conversation(conversation_id))

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every chat of an assistant."""
        self._chats.delete_all(Where("assistant_id = ?", (assistant_id,)))


def _free(at: datetime) -> Where:
    return Where("(lease_owner IS NULL OR lease_until IS NULL OR lease_until <= ?)", (stamp(at),))


def _held_by(owner: str) -> Where:
    return Where("+status = 'received' AND lease_owner = ?", (owner,))


def _conversation(conversation_id: str) -> Where:
    return Where("conversation_id = ?", (conversation_id,))


def _began(chat: Chat) -> str | None:
    return None if chat.burst is None else stamp(chat.burst.began)


def _waiting_with(chat: Chat) -> Where:
    """Return the condition of the `received` chats in a chat's burst; without a burst nothing meets it."""
    return _RECEIVED & _conversation(chat.conversation_id) & Where("burst_began = ?", (_began(chat),))


def _passes(chats: ChatFilter) -> Where:
    """Return the filter's condition, but for its assistants.

    The plus keeps `status` from choosing the index: the list's order is worth more than the few rows it would save.
    """
    where = ALL
    equals = {
        "conversation_id": chats.conversation_id,
        "channel_id": chats.channel_id,
        "message_service": chats.message_service,
        "+status": chats.status and chats.status.value,
    }
    for column, value in equals.items():
        if value is not None:
            where = where & Where(f"{column} = ?", (value,))
    if chats.active is not None:
        at = None if chats.at is None else stamp(chats.at)
        where = where & Where("(active = 1 OR coalesce(paused_until <= ?, false)) = ?", (at, chats.active))
    if chats.text:
        where = where & Where("(contains(message, ?) OR contains(response, ?))", (chats.text, chats.text))
    return where
