"""The events that callbacks carry, as Standard Webhooks shapes them: type, timestamp, data."""

import json
from datetime import datetime

from models.chats import Chat
from routes.audio_links import AudioLinks
from routes.schemas.chats import ChatEventSchema


def event_body(chat: Chat, links: AudioLinks) -> bytes:
    """Return the event of a settled chat.

    It is the same for every try, unless somebody switches the conversation on or off (`active`) or rates the answer
    (`feedback`) in between, or it has an `audio_url`, which is valid for a day from the try on. An outcome that is
    neither answer nor failure and is sent again after it was given up has a new `timestamp`, too.
    """
    event = {"type": f"chat.{chat.status.value}", "timestamp": _settled_at(chat), "data": links.on(chat)}
    return json.dumps(ChatEventSchema().dump(event)).encode()


def _settled_at(chat: Chat) -> datetime | None:
    """Return when the chat's outcome came about."""
    failed_at = chat.error.at if chat.error is not None else None
    return chat.answered_at or failed_at or (chat.delivery.since if chat.delivery is not None else None)
