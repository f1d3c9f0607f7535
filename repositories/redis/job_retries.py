"""What becomes of a job that fails: it is tried again later, and given up at last.

Each message carries in its options how often it was begun (`tries`), how often it came to a process that does not know
its job (`unknown`), and what its last try failed with (`failure`: code and detail). When it was first asked for is its
`message_timestamp`, which dramatiq keeps.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dramatiq import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.middleware import Middleware, SkipMessage

from models.clock import now
from models.errors import OrquestraError
from models.ids import new_id
from models.jobs import DeadLetter

_LOG = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTERNAL = (
    "internal_error",
    "It failed for a reason that only the servers' logs tell. Look there for the name of the job, then run it again.",
)
_UNKNOWN = (
    "job_unknown",
    "No process that took it knows this job. Bring every server and worker to the same version, then run it again.",
)
_DIED = (
    "job_died",
    "The last process that began it ended before it was done. Look into the log of that time, then run it again.",
)


@dataclass(frozen=True)
class RetryPolicy:
    """When a failed job runs again, in seconds; each pause is up to half longer or shorter, so that jobs spread.

    Attributes:
        pauses: before the second try, the third ...: the first for what passes at once, all together 11 minutes, in
            which a store is restarted or a fault is noticed.
        unknown_pause: before a job is offered again that this process does not know: another may.
        most_unknown: how often it is offered: an hour, in which a fleet gets its new version.
        burial_pause: before it is tried again to store a dead letter; that is never given up.
    """

    pauses: Sequence[float] = (1.0, 3.0, 9.0, 27.0, 81.0, 240.0, 300.0)
    unknown_pause: float = 30.0
    most_unknown: int = 120
    burial_pause: float = 30.0

    @property
    def most_tries(self) -> int:
        """Return how often a job is begun at most."""
        return len(self.pauses) + 1


class JobFailed(Retry):
    """End a try of a job with a failure that may be shown; whoever raises it has logged it.

    Args:
        failure: code and detail.
    """

    def __init__(self, failure: tuple[str, str]) -> None:
        super().__init__(failure[1])
        self.failure = failure


class UnknownJob(JobFailed):
    """Refuse a job that this process does not know."""

    def __init__(self) -> None:
        super().__init__(_UNKNOWN)


class JobRetries(Middleware):
    """Settle jobs that fail: a message that has failed here is put back after its option `pause`, in milliseconds.

    Args:
        note: stores a message's options, so that a try counts though the process may die of it.
        bury: stores the letter of a job that is given up.
    """

    def __init__(
        self, policy: RetryPolicy, note: Callable[[MessageProxy], None], bury: Callable[[DeadLetter], None]
    ) -> None:
        self._policy = policy
        self._note = note
        self._bury = bury

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Count the try.

        Raises:
            SkipMessage: there were enough; it is to be buried.
        """
        tries = message.options.get("tries", 0)
        if tries >= self._policy.most_tries:
            raise SkipMessage
        message.options["tries"] = tries + 1
        message.options.pop("failure", None)
        self._note(message)

    def after_process_message(
        self, broker: Broker, message: MessageProxy, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """Put back or give up what has failed."""
        if exception is None:
            return
        options = message.options
        options["failure"] = exception.failure if isinstance(exception, JobFailed) else _INTERNAL
        if isinstance(exception, UnknownJob):
            options["tries"] -= 1  # it was not begun
            options["unknown"] = options.get("unknown", 0) + 1
            again = options["unknown"] <= self._policy.most_unknown
            pause = self._policy.unknown_pause
        else:
            again = options["tries"] < self._policy.most_tries
            pause = self._policy.pauses[options["tries"] - 1] if again else 0.0
        if again:
            _put_back(message, pause)
        else:
            self._give_up(message)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Give up what was begun often enough."""
        message.options.setdefault("failure", _DIED)
        self._give_up(message)

    def _give_up(self, message: MessageProxy) -> None:
        """Store the letter; where that fails, however it does, the message is put back with its failure."""
        _put_back(message, self._policy.burial_pause)
        letter = _letter(message)
        try:
            self._bury(letter)
        except OrquestraError as error:
            kind = type(error).__name__
            _LOG.warning("The job %s could not be buried yet: %s", letter.job, kind, extra={"code": error.code})
        else:
            message.failed = False
            _LOG.error("The job %s was given up after %d tries.", letter.job, letter.tries, extra={"code": letter.code})


def _put_back(message: MessageProxy, pause: float) -> None:
    message.options["pause"] = round(pause * random.uniform(0.5, 1.5) * 1000)
    message.fail()


def _letter(message: MessageProxy) -> DeadLetter:
    job, argument = message.args
    code, detail = message.options["failure"]
    asked_at = _EPOCH + timedelta(milliseconds=message.message_timestamp)
    return DeadLetter(new_id(), job, argument, message.options.get("tries", 0), code, detail, asked_at, now())
