"""Stopping work that several threads do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models.deadline import Deadline
from models.errors import CallCancelled


class Stop:
    """Let one thread end what others wait for: their deadlines are cancelled, and no new one begins."""

    def __init__(self) -> None:
        self._deadlines: set[Deadline] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Tell whether the work is to end."""
        return self._stopped

    def stop(self) -> None:
        """End the work; safe from any thread, any number of times."""
        with self._lock:
            self._stopped = True
            deadlines = list(self._deadlines)
        for deadline in deadlines:
            deadline.cancel()

    @contextmanager
    def over(self, deadline: Deadline) -> Iterator[Deadline]:
        """Cancel this deadline, too, if the work is stopped within the block.

        Raises:
            CallCancelled: it was stopped before.
        """
        with self._lock:
            if self._stopped:
                raise CallCancelled("The work was stopped.")
            self._deadlines.add(deadline)
        try:
            yield deadline
        finally:
            with self._lock:
                self._deadlines.discard(deadline)
