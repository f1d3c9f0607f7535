"""What batch jobs leave in AWS is removed, however they end.

Transcribe deletes no job that goes on, and such a job writes its result whenever it is done. So a thread removes the
recording at once and the rest when the job is over, while whoever waited for its text has gone on.
"""

import logging
import threading
from collections.abc import Callable

from models.deadline import Deadline
from models.errors import OrquestraError
from services.providers.aws_transcribe_jobs import BatchJob, BatchJobs

logger = logging.getLogger("orquestra.providers")

_CALL_SECONDS = 15.0
_WAIT_SECONDS = 1_800.0
"""A job takes a part of its recording's length, and the time that it is queued."""

_CLOSE_SECONDS = 10.0


class Leftovers:
    """Remove what jobs leave.

    Args:
        pause: seconds between looks at a job that goes on.
    """

    def __init__(self, jobs: BatchJobs, pause: float) -> None:
        self._jobs = jobs
        self._pause = pause
        self._hurry = threading.Event()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()

    def remove(self, job: BatchJob) -> None:
        """Begin to remove a job and its files."""
        thread = threading.Thread(target=self._remove, args=(job,), name="transcribe-leftovers", daemon=True)
        with self._lock:
            self._threads = {one for one in self._threads if one.is_alive()} | {thread}
            thread.start()

    def close(self) -> None:
        """Wait for no job any more, and for the removals a few seconds."""
        self._hurry.set()
        end = Deadline(_CLOSE_SECONDS)
        with self._lock:
            threads = set(self._threads)
        for thread in threads:
            thread.join(end.remaining())

    def _remove(self, job: BatchJob) -> None:
        self._try(job, self._jobs.remove_recording)
        end = Deadline(_WAIT_SECONDS)
        while self._goes_on(job) and end.remaining() and not self._hurry.wait(self._pause):
            continue
        self._try(job, self._jobs.remove_job)
        self._try(job, self._jobs.remove_result)

    def _goes_on(self, job: BatchJob) -> bool:
        """Tell whether Transcribe works on a job; if it does not tell, nobody waits for it."""
        known: list[bool] = []
        self._try(job, lambda one, deadline: known.append(not self._jobs.state(one, deadline).is_over))
        return known == [True]

    def _try(self, job: BatchJob, do: Callable[[BatchJob, Deadline], None]) -> None:
        try:
            do(job, Deadline(_CALL_SECONDS))
        except OrquestraError as failure:
            logger.warning(
                "something of a transcription may be left in AWS", extra={"job": job.name, "code": failure.code}
            )
