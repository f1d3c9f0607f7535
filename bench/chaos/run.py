"""The record of a chaos run with its parts where the rules look for them."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.chaos.records import Kind, Record, Stored

_TOGETHER_SECONDS = 3.0
_MARGIN_SECONDS = 1.0
Item = TypeVar("Item")


class Run:
    """A record with its parts where the rules look for them."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.messages = {message.id: message for message in record.messages}
        self.by_id = {chat.id: chat for chat in record.chats}
        self.chats = grouped(record.chats, lambda chat: chat.message)
        self.deliveries = grouped(record.deliveries, lambda delivery: delivery.message)
        self.calls = grouped(record.calls, lambda call: call.message)
        self.posts = grouped(record.posts, lambda post: post.chat.get("message_id") or "")
        self.conversations = grouped(sorted(record.chats, key=lambda chat: chat.id), lambda chat: chat.conversation)
        self.pauses = grouped(record.pauses, lambda pause: pause.conversation)

    def chat(self, message: str) -> Stored | None:
        """Return the chat of a message, if there is exactly one."""
        chats = self.chats.get(message, [])
        return chats[0] if len(chats) == 1 else None

    def holder(self, chat: Stored) -> Stored:
        """Return the chat that has a chat's answer: itself, or the one that took it in."""
        return self.by_id.get(chat.merged_into or "", chat)

    def without_redis(self, one: Stored, other: Stored) -> bool:
        """Tell whether two messages arrived together while Redis was away, so that nobody could tell their order."""
        first, last = sorted((one.created, other.created))
        return last - first < _TOGETHER_SECONDS and any(
            fault.at - _MARGIN_SECONDS < first and last < fault.back + _MARGIN_SECONDS
            for fault in self.record.faults
            if fault.kind is Kind.KILL_REDIS
        )


def grouped(items: Sequence[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Return the items by their keys, in their order."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)
