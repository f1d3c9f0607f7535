"""A circuit breaker (Nygard, "Release It!"): what failed a moment ago is left alone for a while."""

import threading
import time
from collections.abc import Callable


class Breaker:
    """Let calls through until one fails, then one at a time, each after a pause that is twice the one before.

    Args:
        seconds: the first pause.
        longest: the longest one.
        clock: tells seconds.
    """

    def __init__(self, seconds: float, longest: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._first, self._longest, self._clock = seconds, longest, clock
        self._pause = self._until = 0.0
        self._trying = False
        self._lock = threading.Lock()

    @property
    def is_pausing(self) -> bool:
        """Tell whether no call is let through now."""
        return self._pause > 0 and self._clock() < self._until

    def allows(self) -> bool:
        """Tell whether to make a call now; who is let through after a pause tries for all others."""
        with self._lock:
            if self.is_pausing:
                return False
            self._trying = self._pause > 0
            self._until = self._clock() + self._pause
            return True

    def failed(self) -> None:
        """Note that a call failed: a pause begins. Calls that fail together count once."""
        with self._lock:
            if self._pause == 0:
                self._pause = self._first
            elif self._trying:
                self._pause = min(self._pause * 2, self._longest)
            self._trying = False
            self._until = self._clock() + self._pause

    def succeeded(self) -> None:
        """Note that a call succeeded: all go through again."""
        with self._lock:
            self._pause = 0.0
