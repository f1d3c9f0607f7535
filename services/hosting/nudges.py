"""Asking for the job that makes a provider hold what it should. A nudge that is lost costs time only."""

import logging

from models.errors import Unavailable
from models.ids import new_id
from services.ports import Appointments, JobQueue

logger = logging.getLogger("orquestra.hosting")

SYNC_ASSISTANT = "sync_assistant"
"""The job; its argument is an assistant's id, and behind a colon the token of its appointment."""

CHECK_ASSISTANT = "check_assistant"
"""The same job, which looks through all files of the account as well."""


class HostingNudges:
    """Ask for an assistant to be synchronized; when the queue cannot be reached, the next night's turn does it.

    However often it is asked for, one job of each kind waits for an assistant: the one that is due first. What that one
    leaves to be done later, it asks for itself.
    """

    def __init__(self, jobs: JobQueue, appointments: Appointments) -> None:
        self._jobs = jobs
        self._appointments = appointments

    def ask(self, assistant_id: str, delay: float = 0.0, *, full: bool = False) -> None:
        """Ask for the job, not before `delay` seconds have passed; a full one leaves nothing unseen."""
        job, token = CHECK_ASSISTANT if full else SYNC_ASSISTANT, new_id()
        try:
            if self._appointments.make(f"{job}:{assistant_id}", token, delay):
                self._jobs.enqueue(job, f"{assistant_id}:{token}", delay)
        except Unavailable as error:
            logger.warning("a synchronization waits", extra={"code": error.code, "assistant_id": assistant_id})

    def begin(self, job: str, argument: str) -> str | None:
        """Return the assistant that a job is about; None if another job has taken its place.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        assistant_id, _, token = argument.partition(":")
        return assistant_id if self._appointments.keep(f"{job}:{assistant_id}", token) else None
