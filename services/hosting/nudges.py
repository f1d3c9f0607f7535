"""Asking for the job that makes a provider hold what it should. A nudge that is lost costs time only."""

import logging

from models.errors import Unavailable
from services.ports import JobQueue

logger = logging.getLogger("orquestra.hosting")

SYNC_ASSISTANT = "sync_assistant"
"""The job; its argument is an assistant's id."""

CHECK_ASSISTANT = "check_assistant"
"""The same job, which looks through all files of the account as well."""


class HostingNudges:
    """Ask for an assistant to be synchronized; when the queue cannot be reached, the next night's turn does it."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    def ask(self, assistant_id: str, delay: float = 0.0, *, full: bool = False) -> None:
        """Ask for the job, not before `delay` seconds have passed; a full one leaves nothing unseen."""
        try:
            self._jobs.enqueue(CHECK_ASSISTANT if full else SYNC_ASSISTANT, assistant_id, delay)
        except Unavailable as error:
            logger.warning("a synchronization waits", extra={"code": error.code, "assistant_id": assistant_id})
