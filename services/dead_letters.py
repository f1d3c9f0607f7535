"""Jobs that were given up: seen, run again or deleted by an admin."""

import logging

from models.errors import Forbidden, NotFound
from models.ids import is_id
from models.jobs import DeadLetter
from models.paging import Listing, Page
from models.users import Principal
from services.ports import DeadLetterRepository, JobQueue

logger = logging.getLogger("orquestra.dead_letters")


class DeadLetterService:
    """Keep what no retry could do until somebody has mended the cause."""

    def __init__(self, letters: DeadLetterRepository, jobs: JobQueue) -> None:
        self._letters = letters
        self._jobs = jobs

    def bury(self, letter: DeadLetter) -> None:
        """Keep a job that was given up; a newer failure of the same job on the same argument takes its place."""
        self._letters.add(letter)

    def list(self, caller: Principal, page: Page) -> Listing[DeadLetter]:
        """List all, newest first.

        Raises:
            Forbidden: the caller is no admin.
        """
        _require_admin(caller)
        return self._letters.list(page)

    def rerun(self, caller: Principal, letter_id: str) -> DeadLetter:
        """Ask for the job again, with all its tries before it, and return the letter that it had.

        Asked for first, deleted then: whoever dies between the two leaves a job too many, which does no harm.

        Raises:
            Forbidden: the caller is no admin.
            NotFound: there is no such letter.
            Conflict: code `job_unknown`, this version has no such job; the letter stays.
            Unavailable: the queue cannot be reached; the letter stays.
        """
        _require_admin(caller)
        letter = self._letters.get(letter_id) if is_id(letter_id) else None
        if letter is None:
            raise _absent(letter_id)
        self._jobs.enqueue(letter.job, letter.argument)
        self._letters.delete(letter.id)
        logger.info("a dead letter runs again", extra={"job": letter.job, "argument": letter.argument})
        return letter

    def delete(self, caller: Principal, letter_id: str) -> None:
        """Delete a letter: the job is not done.

        Raises:
            Forbidden: the caller is no admin.
            NotFound: there is no such letter.
        """
        _require_admin(caller)
        if not (is_id(letter_id) and self._letters.delete(letter_id)):
            raise _absent(letter_id)


def _require_admin(caller: Principal) -> None:
    if not caller.is_admin:
        raise Forbidden("Only an admin may see or change dead letters. Ask one.", code="admin_only")


def _absent(letter_id: str) -> NotFound:
    return NotFound(f"There is no dead letter {letter_id!r}: it ran again, was deleted or never was. List them anew.")
