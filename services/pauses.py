"""Waiting on the store: for what others will have done, and for the store itself."""

import time
from collections.abc import Callable
from typing import TypeVar

from models.deadline import Deadline
from models.errors import Unavailable

_SHORTEST = 0.02
_LONGEST = 0.25
_SHARE = 10
"""What has been waited for is noticed late by at most this fraction of the wait, or by the longest pause."""

_AWAY_SECONDS = 30.0
"""How long a store may be away: a failover takes some seconds, and an answer that is written is worth keeping."""
_AWAY_PAUSE = 0.5
Found = TypeVar("Found")


class Pauses:
    """Grow with the time that has been waited: short waits end at once, long ones cost the store little."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def next(self) -> float:
        """Return the seconds until the next look."""
        return min(_LONGEST, _SHORTEST + (time.monotonic() - self._began) / _SHARE)


def patiently(call: Callable[[], Found], deadline: Deadline) -> Found:
    """Call the store; while it is away, call again, up to half a minute long.

    Raises:
        Unavailable: it is still away.
        DeadlineExceeded, CallCancelled: as `Deadline.sleep`.
    """
    until = time.monotonic() + _AWAY_SECONDS
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > until:
                raise
            deadline.sleep(_AWAY_PAUSE)
