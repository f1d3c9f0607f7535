"""Rotation: whoever waits has a turn before anybody has two."""

import threading
from collections.abc import Sequence


class Rotation:
    """Whose turn it is among those who wait: that of who had none for longest, as far as this process knows."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._number = 0
        self._lock = threading.Lock()

    def next(self, waiting: Sequence[tuple[str, str]]) -> str | None:
        """Return what waits for whoever has the turn; `waiting` is pairs of who and what."""
        with self._lock:
            self._last = {who: self._last[who] for who, _ in waiting if who in self._last}
            if not waiting:
                return None
            who, what = min(waiting, key=lambda pair: self._last.get(pair[0], 0))
            self._number += 1
            self._last[who] = self._number
            return what
