"""Several queues that look like one."""

from collections.abc import Mapping

from models.errors import Conflict
from services.ports import JobQueue, Probe


class JobRouter:
    """Implement `JobQueue`: every job goes to the queue of its kind, so that slow jobs never hold up quick ones.

    Args:
        queues: name of a job -> its queue.
    """

    def __init__(self, queues: Mapping[str, JobQueue]) -> None:
        self._queues = queues

    def enqueue(self, job: str, argument: str, delay: float = 0.0) -> None:
        """Ask for a job of this name on this argument, not before `delay` seconds have passed.

        Raises:
            Conflict: code `job_unknown`, there is no such job.
            Unavailable: the queue cannot be reached.
        """
        queue = self._queues.get(job)
        if queue is None:
            raise Conflict(
                f"This version knows no job {job!r}. Delete it, or run it with the version that it is of.",
                code="job_unknown",
            )
        queue.enqueue(job, argument, delay)


class JobProbe:
    """Implement `Probe` for several queues.

    Args:
        queues: what to call a queue -> how to ask it.
    """

    def __init__(self, queues: Mapping[str, Probe]) -> None:
        self._queues = queues

    def ping(self) -> str:
        """Return what each queue says of itself.

        Raises:
            Unavailable: one of them does not answer.
        """
        return "; ".join(f"{name}: {queue.ping()}" for name, queue in self._queues.items())
