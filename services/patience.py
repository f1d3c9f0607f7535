"""Asking again for the same thing ever more rarely."""

import math
import time
from collections.abc import Callable, Hashable


class Patience:
    """Remember in this process what was tried, and when to try it again: after pauses that double.

    Args:
        seconds: the first pause.
        longest: the longest one; what has not been tried for twice as long is forgotten.
        clock: tells seconds.
    """

    def __init__(
        self, seconds: float = 60.0, longest: float = 3600.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first, self._longest, self._clock = seconds, longest, clock
        self._tried: dict[Hashable, tuple[float, float]] = {}
        self._swept = clock()

    def is_due(self, key: Hashable) -> bool:
        """Tell whether the pause after the last try is over."""
        at, pause = self._tried.get(key, (-math.inf, 0.0))
        return self._clock() >= at + pause

    def tried(self, key: Hashable) -> None:
        """Note a try: the next pause begins."""
        at = self._clock()
        pause = self._tried.get(key, (0.0, 0.0))[1]
        self._tried[key] = at, min(pause * 2 or self._first, self._longest)
        if at > self._swept + self._longest:
            self._swept = at
            self._tried = {key: held for key, held in self._tried.items() if held[0] > at - 2 * self._longest}
