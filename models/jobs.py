"""Jobs that were given up."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class DeadLetter:
    """A job that failed too often, kept until somebody runs it again or deletes it.

    Attributes:
        job: its name, as `JobQueue.enqueue` takes it.
        argument: what it was to be done on, an id.
        tries: how often it was begun.
        code: of the last failure.
        detail: what the last failure says to do; never text of a foreign exception.
    """

    id: str
    job: str
    argument: str
    tries: int
    code: str
    detail: str
    asked_at: datetime
    died_at: datetime
