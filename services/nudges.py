"""Nudges: jobs about chats. The chat in the store says what is to be done; a nudge that is lost costs time only."""

import logging

from models.chats import Chat
from models.clock import now
from models.errors import Unavailable
from services.ports import JobQueue

logger = logging.getLogger("orquestra.nudges")

ANSWER_CHAT = "answer_chat"
"""The job that answers a chat that nobody works on; its argument is the chat's id."""

SEND_CALLBACK = "send_callback"
"""The job that goes on with a chat's delivery; its argument is the chat's id."""


class Nudges:
    """Ask for the jobs of chats; when the queue cannot be reached, the sweepers ask again."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def answer(self, chat_id: str, delay: float = 0.0) -> None:
        """Ask for a chat to be answered, not before `delay` seconds have passed."""
        self._enqueue(ANSWER_CHAT, chat_id, delay)

    def deliver(self, chat: Chat) -> None:
        """Ask for a chat's delivery to be gone on with when it is due; without a delivery, do nothing."""
        if chat.delivery is not None and chat.delivery.next_at is not None:
            self._enqueue(SEND_CALLBACK, chat.id, max(0.0, (chat.delivery.next_at - now()).total_seconds()))

    def _enqueue(self, job: str, chat_id: str, delay: float) -> None:
        try:
            self._jobs.enqueue(job, chat_id, delay)
        except Unavailable as error:
            logger.warning("a job waits for the sweeper", extra={"code": error.code, "chat": chat_id})
