"""Chats in MongoDB."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime

from pymongo import ASCENDING

from models.callbacks import Delivery
from models.chats import Burst, Chat, ChatFilter, ChatOutcome, ChatStatus, Feedback
from models.paging import Listing, Page
from repositories.codec import CHATS, substring_pattern
from repositories.mongo.database import LONG_AGO, Documents
from repositories.mongo.table import NEWEST, Filter, Table, behind, by_id, key, of_assistants

_UNLEASED = {"lease_owner": None, "lease_until": None}
_OLDEST = (("_id", ASCENDING),)


class MongoChatRepository:
    """Implement `ChatRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._chats = Table(collection, CHATS)

    def add(self, chat: Chat) -> bool:
        """Store a new chat; False, and nothing stored, if its assistant has one with the same dedupe key."""
        return self._chats.add(chat)

    def withdraw(self, chat: Chat) -> bool:
        """Delete a chat that was just added, if nobody has done anything with it since; tell whether that was so."""
        unused = {"status": chat.status.value, "lease_owner": chat.lease_owner, "attempts": chat.attempts}
        return self._chats.delete_first(by_id(chat.id) | unused)

    def get(self, chat_id: str) -> Chat | None:
        """Return the chat with this id."""
        return self._chats.get(chat_id)

    def find_by_dedupe_key(self, assistant_id: str, dedupe_key: str) -> Chat | None:
        """Return the chat of a message."""
        return self._chats.first({"assistant_id": assistant_id, "dedupe_key": dedupe_key})

    def claim(self, seen: Chat, owner: str, until: datetime, at: datetime) -> bool:
        """Begin another attempt, if the chat is as it was seen and nobody works on it.

        A chat that was not `received` leaves its burst.
        """
        where = by_id(seen.id) | {"status": seen.status.value, "attempts": seen.attempts}
        changes: dict[str, object] = {
            "status": "received",
            "active": True,
            "paused_until": None,
            "lease_owner": owner,
            "lease_until": until,
        }
        if seen.status is not ChatStatus.RECEIVED:
            changes["burst"] = None
        elif seen.lease_owner is None:  # as it still is: only a claim, which is counted, makes an owner
            where["lease_owner"] = None
        else:
            where["lease_until"] = {"$not": {"$gt": at}}
        return self._chats.update(where, changes, {"attempts": 1})

    def renew(self, chat_ids: Iterable[str], owner: str, until: datetime) -> None:
        """Prolong the leases that this owner still holds on `received` chats."""
        ids = [key(chat_id) for chat_id in chat_ids]
        self._chats.update_all({"_id": {"$in": ids}, **_held_by(owner)}, {"lease_until": until})

    def finish(self, chat_id: str, owner: str, outcome: ChatOutcome) -> bool:
        """Write an attempt's outcome and end its lease, if the chat is `received` and still leased to this owner.

        An `answered` outcome also needs the chat to be `active` still. A `failed` one counts `failures` up.
        """
        where = by_id(chat_id) | _held_by(owner)
        if outcome.status is ChatStatus.ANSWERED:
            where["active"] = True
        written = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
        for name in ("active", "delivery"):
            if written[name] is None:
                del written[name]
        failures = {"failures": 1} if outcome.status is ChatStatus.FAILED else {}
        return self._chats.update(where, written | _UNLEASED, failures)

    def unfinished_before(self, chat: Chat) -> Chat | None:
        """Return the oldest `received` chat of the conversation with a smaller id, but none of the chat's own burst."""
        where = _before(chat.conversation_id, chat.id) | {"status": "received"}
        if chat.burst is not None:
            where["burst.began"] = {"$ne": chat.burst.began}
        return self._chats.first(where, _OLDEST)

    def later_in_burst(self, chat: Chat) -> Chat | None:
        """Return the newest `received` chat of the chat's own burst with a larger id."""
        if chat.burst is None:
            return None
        where = {"conversation_id": chat.conversation_id, "_id": {"$gt": key(chat.id)}}
        return self._chats.first(where | _received_in(chat.burst), NEWEST)

    def earlier_in_burst(self, chat: Chat) -> Sequence[Chat]:
        """Return the `received` chats of the chat's own burst with smaller ids, oldest first."""
        if chat.burst is None:
            return ()
        return self._chats.all(_before(chat.conversation_id, chat.id) | _received_in(chat.burst), _OLDEST)

    def leave_burst(self, chat_id: str, owner: str) -> bool:
        """Take the chat out of its burst, if it is `received` and still leased to this owner; tell whether it was."""
        return self._chats.update(by_id(chat_id) | _held_by(owner), {"burst": None})

    def merge(self, seen: Chat, into: str, delivery: Delivery | None) -> bool:
        """Make a chat `merged` into a later one and end its lease, if it is `received` and in the burst as seen.

        A delivery replaces the chat's own; None leaves it.
        """
        if seen.burst is None:
            return False
        changes: dict[str, object] = {"status": "merged", "merged_into": into, **_UNLEASED}
        if delivery is not None:
            changes["delivery"] = delivery
        return self._chats.update(by_id(seen.id) | _received_in(seen.burst), changes)

    def merged_into(self, conversation_id: str, chat_id: str) -> Sequence[Chat]:
        """Return the chats that were merged into this one, oldest first."""
        return self._chats.all({"merged_into": chat_id, "conversation_id": conversation_id}, _OLDEST)

    def unfinished(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return `received` chats whose `lease_until` is None or not after `at`, oldest first."""
        return self._chats.all({"status": "received", "lease_until": {"$not": {"$gt": at}}}, _OLDEST, limit)

    def requeue(self, seen: Chat, until: datetime) -> bool:
        """Take the lease of a dead attempt away and wait until then, if status, owner and lease are as seen."""
        lease = {"status": seen.status.value, "lease_owner": seen.lease_owner, "lease_until": seen.lease_until}
        return self._chats.update(by_id(seen.id) | lease, {"lease_owner": None, "lease_until": until})

    def undelivered(self, at: datetime, limit: int) -> Sequence[Chat]:
        """Return chats whose delivery's `next_at` is not after `at`, oldest `next_at` first."""
        due = {"delivery.next_at": {"$gt": LONG_AGO, "$lte": at}}
        return self._chats.all(due, (("delivery.next_at", ASCENDING), *_OLDEST), limit)

    def change_delivery(self, chat_id: str, seen: Delivery, delivery: Delivery) -> bool:
        """Replace a chat's delivery if its status, `event_id` and `next_at` are as seen; tell whether they were."""
        as_seen = {f"delivery.{name}": getattr(seen, name) for name in ("event_id", "next_at")}
        where = by_id(chat_id) | {"delivery.status": seen.status.value} | as_seen
        return self._chats.update(where, {"delivery": delivery})

    def history(self, conversation_id: str, before_id: str, limit: int, after_id: str = "") -> Sequence[Chat]:
        """Return the newest chats between the two ids which are part of the memory, oldest first."""
        if limit < 1:
            return ()
        where = _before(conversation_id, before_id) | {"status": {"$nin": ["received", "failed"]}}
        if after_id:
            where["_id"]["$gt"] = key(after_id)
        return self._chats.all(where, NEWEST, limit)[::-1]

    def newest(self, conversation_id: str) -> Chat | None:
        """Return the conversation's newest chat."""
        return self._chats.first({"conversation_id": conversation_id}, NEWEST)

    def newest_of_assistant(self, assistant_id: str) -> Chat | None:
        """Return the newest chat of all the assistant's conversations."""
        return self._chats.first({"assistant_id": assistant_id}, NEWEST)

    def newest_of_request(self, assistant_id: str, request_digest: str) -> Chat | None:
        """Return the newest chat that a request with this digest (not empty) began."""
        known = {"$eq": request_digest, "$gt": ""}
        return self._chats.first({"assistant_id": assistant_id, "request_digest": known}, NEWEST)

    def list(self, chats: ChatFilter, page: Page) -> Listing[Chat]:
        """List the chats that pass the filter, newest first (by id) unless it says otherwise."""
        where = of_assistants(chats.assistant_ids) | _passes(chats)
        if not chats.oldest_first:
            return self._chats.page(where, behind(page), page)
        follow = {} if page.after is None else {"_id": {"$gt": key(page.after)}}
        return self._chats.page(where, follow, page, [("_id", ASCENDING)])

    def set_active(self, conversation_id: str, active: bool, paused_until: datetime | None) -> None:
        """Mark every chat of a conversation as the conversation is marked."""
        marks = {"active": active, "paused_until": paused_until}
        self._chats.update_all({"conversation_id": conversation_id}, marks)

    def set_feedback(self, chat_id: str, feedback: Feedback) -> bool:
        """Store what a user thinks of the answer; tell whether the chat was there."""
        return self._chats.update(by_id(chat_id), {"feedback": feedback})

    def note_speech(self, chat_id: str, first_sentence_ms: int, first_audio_ms: int) -> bool:
        """Set these two of the chat's timings, unless its answer has them already; tell whether they were set."""
        changes = {"timings.first_sentence_ms": first_sentence_ms, "timings.first_audio_ms": first_audio_ms}
        return self._chats.update(by_id(chat_id) | {"timings.first_audio_ms": None}, changes)

    def delete_of_conversation(self, conversation_id: str) -> None:
        """Delete every chat of a conversation."""
        self._chats.delete_all({"conversation_id": conversation_id})

    def delete_of_assistant(self, assistant_id: str) -> None:
        """Delete every chat of an assistant."""
        self._chats.delete_all({"assistant_id": assistant_id})


def _held_by(owner: str) -> Filter:
    return {"status": "received", "lease_owner": owner}


def _received_in(burst: Burst) -> Filter:
    return {"status": "received", "burst.began": burst.began}


def _before(conversation_id: str, chat_id: str) -> Filter:
    return {"conversation_id": conversation_id, "_id": {"$lt": key(chat_id)}}


def _passes(chats: ChatFilter) -> Filter:
    """Return the filter of everything that is asked for, but for the assistants."""
    equals = {
        "conversation_id": chats.conversation_id,
        "channel.id": chats.channel_id,
        "channel.message_service": chats.message_service,
        "status": chats.status and chats.status.value,
    }
    where: Filter = {field: value for field, value in equals.items() if value is not None}
    if chats.active is not None:
        over: list[Filter] = [{"active": True}]
        if chats.at is not None:
            over.append({"paused_until": {"$lte": chats.at}})
        where["$or" if chats.active else "$nor"] = over
    if chats.text:
        part = {"$regex": substring_pattern(chats.text), "$options": "i"}
        where["$and"] = [{"$or": [{"message": part}, {"response": part}]}]
    return where
