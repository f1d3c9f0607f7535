"""Conversations: the messages of one channel with one assistant."""

from dataclasses import dataclass
from datetime import datetime


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


def is_active(active: bool, paused_until: datetime | None, at: datetime) -> bool:
    """Tell whether a model answers at that time: active, or its pause is over."""
    return active or (paused_until is not None and paused_until <= at)
