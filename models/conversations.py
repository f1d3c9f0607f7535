"""Conversations: the messages of one channel with one assistant."""

from dataclasses import dataclass
from datetime import datetime

QUERY_ASSISTANT = "queryAssistant"
"""The message service of system 000's clients: their `address` is the channel's id."""

THREAD = "thread"
"""The message service of threads, which API clients name themselves: whichever door they come by, it is one memory."""

DEVICE = "device"
"""The message service of devices, which begin conversations of their own: one memory, which each of these empties."""


@dataclass(frozen=True)
class Channel:
    """Where a person writes from: `message_service` names the kind (WhatsApp ...), `id` the person there."""

    id: str
    message_service: str


@dataclass(frozen=True)
class Conversation:
    """All that one channel and one assistant said to each other.

    Attributes:
        active: False while people have taken over and no model is called.
        paused_until: when an inactive conversation becomes active again by itself; None for never.
        message_count: messages of the person, the model and human agents.
        last_message: the newest of them, for lists.
        memory_from: the id that the memory begins behind: chats up to it are shown, and no model is told of them.
    """

    id: str
    assistant_id: str
    channel: Channel
    created_at: datetime
    last_message_at: datetime
    username: str | None = None
    active: bool = True
    paused_until: datetime | None = None
    message_count: int = 0
    last_message: str = ""
    memory_from: str = ""


def is_active(active: bool, paused_until: datetime | None, at: datetime) -> bool:
    """Tell whether a model answers at that time: active, or its pause is over."""
    return active or (paused_until is not None and paused_until <= at)
