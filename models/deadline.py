"""How long a call may take, and whether somebody still waits for it."""

import math
import threading
import time
from collections.abc import Callable

from models.errors import CallCancelled, DeadlineExceeded


class Deadline:
    """Bound one answer in time, and let another thread cancel it.

    Args:
        seconds: from now until the answer is too late.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Tell whether nobody waits for the answer any more."""
        return self._cancelled.is_set()

    def check(self) -> None:
        """Return while there is time.

        Raises:
            CallCancelled: nobody waits any more.
            DeadlineExceeded: the time is up.
        """
        if self.cancelled:
            raise CallCancelled("The caller went away before the answer was complete.")
        if self.remaining() <= 0:
            raise DeadlineExceeded(
                f"No complete answer within {self.seconds:g} s. Try again, or raise ANSWER_DEADLINE_SECONDS."
            )

    def sleep(self, seconds: float) -> None:
        """Wait that long, but not past the deadline nor after a cancel; then `check`."""
        self._cancelled.wait(min(seconds, self.remaining()))
        self.check()

    def child(self, seconds: float = math.inf) -> "Deadline":
        """Return a deadline for a part of the work: it ends with this one at the latest, and is cancelled with it."""
        left = self.remaining()
        child = Deadline(min(seconds, left))
        if left <= seconds:
            child.seconds = self.seconds
        self.on_cancel(child.cancel)
        return child

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call this when the deadline is cancelled, at once if it already is; used to cut a blocking read."""
        with self._lock:
            self._callbacks.append(callback)
        if self.cancelled:
            callback()

    def cancel(self) -> None:
        """Say that nobody waits any more. Safe from any thread, any number of times."""
        self._cancelled.set()
        with self._lock:
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
