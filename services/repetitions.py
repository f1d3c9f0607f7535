"""Requests that clients send once more by themselves: which chat is theirs, and when they are new all the same."""

import logging
from datetime import timedelta

from models.chats import Chat, ChatStatus
from models.clock import now
from models.errors import Unavailable
from services.ports import ChatRepository, RequestNotes

logger = logging.getLogger("orquestra.repetitions")

LONGEST_REPETITION = timedelta(hours=1)
"""So long after a request its client may still repeat it: OpenAI's waits 10 minutes for an answer, three times."""

_LOST_ANSWER = timedelta(seconds=30)
"""So long after an answer was given out its client may repeat the request because the network has lost it."""

_REFUSED = "refused"
_UNSETTLED = frozenset({ChatStatus.RECEIVED, ChatStatus.FAILED})


class Repetitions:
    """Tell the repetition of a request from a new one in the same words.

    A client does not repeat what was answered, so whether its last request of these words was refused before it was
    stored, or was given its answer, is noted. Without a note, because Redis was away, a repetition counts as one.
    """

    def __init__(self, chats: ChatRepository, notes: RequestNotes) -> None:
        self._chats = chats
        self._notes = notes

    def first_try(self, assistant_id: str, digest: str) -> Chat | None:
        """Return the chat of a request that its client repeats; None if nothing of it was stored."""
        earlier = self._chats.newest_of_request(assistant_id, digest)
        if earlier is None or now() - earlier.created_at >= LONGEST_REPETITION:
            return None
        return earlier if earlier.status in _UNSETTLED or self._may_be_lost(earlier, digest) else None

    def named(self, assistant_id: str, digest: str, message_id: str) -> Chat | None:
        """Return the chat of a request that its client names as one that it sent before."""
        earlier = self._chats.newest_of_request(assistant_id, digest)
        return earlier if earlier is not None and earlier.message_id == message_id else None

    def refused(self, digest: str) -> None:
        """Note that a request was turned away before anything of it was stored."""
        self._keep(digest, _REFUSED)

    def delivered(self, digest: str, chat: Chat) -> None:
        """Note that a request's client was given the answer, as far as can be seen from here."""
        self._keep(digest, chat.id)

    def _may_be_lost(self, chat: Chat, digest: str) -> bool:
        """Tell whether a client may be without the answer of a settled chat.

        One that was delivered may still be lost on its way. That counts in a thread, where asking once more would add
        the turn once more; a request without a thread would be shown the thread of somebody else with the same words.
        """
        try:
            note = self._notes.find(digest)
        except Unavailable:
            return True
        if note != chat.id:
            return note != _REFUSED
        alone = chat.given is not None and chat.given.alone
        return not alone and now() - (chat.answered_at or chat.created_at) < _LOST_ANSWER

    def _keep(self, digest: str, note: str) -> None:
        try:
            self._notes.keep(digest, note)
        except Unavailable:
            logger.warning("how a request ended was not noted: Redis cannot be reached")
