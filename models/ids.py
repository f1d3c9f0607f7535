"""Ids that sort in order of arrival."""

import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

_FRACTION = 1 << 24
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_lock = threading.Lock()
_last = 0


def new_id(after: str | None = None) -> str:
    """Return a fresh 24-hex id in the form of an ObjectId that sorts by time.

    Args:
        after: an id to sort behind, even where the clock of the server that made it is ahead.

    The layout is 4 bytes of Unix seconds (as MongoDB's ObjectId, so drivers read the time), 3 bytes of
    the second's fraction (60 ns steps) and 5 random bytes. An ObjectId's own counter is per process; with the
    fraction in its place, ids of several processes of one machine sort in order of creation too, which is what
    "newest first", `?after=` and the order of a conversation's messages rest on.
    """
    global _last
    with _lock:
        ticks = max(time.time_ns() * _FRACTION // 1_000_000_000, _last + 1, int(after[:14], 16) + 1 if after else 0)
        _last = ticks
    return f"{ticks:014x}{secrets.token_hex(5)}"


def id_at(at: datetime, after: str | None = None) -> str:
    """Return a fresh id for what happened at that time elsewhere: as `new_id` would have made it then.

    Args:
        after: an id to sort behind.
    """
    ticks = int(bound_at(at), 16)
    return f"{max(ticks, int(after[:14], 16) + 1 if after else 0):014x}{secrets.token_hex(5)}"


def bound_at(at: datetime) -> str:
    """Return what all ids that `new_id` made before that time sort below, and all later ones above."""
    return f"{(at - _EPOCH) // _MICROSECOND * _FRACTION // 1_000_000:014x}"


def is_id(text: str) -> bool:
    """Tell whether the text has the form of an id: 24 lower-case hex digits."""
    return len(text) == 24 and all(character in "0123456789abcdef" for character in text)
