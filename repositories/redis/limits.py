"""Rate limits across servers, by the `limits` library's sliding window counter."""

import hashlib

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from models.errors import Unavailable
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors, redis_unavailable

_MARGIN = 0.01


class RedisRateLimiter:
    """Implement `RateLimiter` on the connections of a database."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database
        # the pool knows the address; the library takes from the URL only that it is redis-py's
        self._storage = RedisStorage(
            "redis://", connection_pool=database.client.connection_pool, key_prefix=f"{PREFIX}limit"
        )
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    def hit(self, scope: str, key: str, limit: int, seconds: int = 60) -> float | None:
        """Count one use of `key` in `scope`; None within `limit` per so many seconds, else the seconds to wait.

        A limit of 0 is no limit. A use that is refused does not count.
        """
        if limit == 0:
            return None
        item = RateLimitItemPerSecond(limit, seconds)
        name = hashlib.sha256(key.encode()).hexdigest()  # any length, any character, and no emails in Redis
        if self._database.is_missed:
            raise redis_unavailable()
        try:
            with redis_errors():
                if self._limiter.hit(item, scope, name):
                    return None
                window = self._storage.get_sliding_window(item.key_for(scope, name), seconds)
        except Unavailable:
            self._database.miss()
            raise
        return _seconds_until_room(window, limit, seconds) + _MARGIN


def _seconds_until_room(window: tuple[int, float, int, float], limit: int, seconds: int) -> float:
    """Say when the next use passes.

    Uses count fully in the window they fall into and, in the next one, in proportion to how much of it is left. The
    library's own `reset_time` is not taken: it is "now" within the first millisecond of a full window.
    """
    previous, previous_ends_in, current, current_expires_in = window
    window_ends_in = max(0.0, current_expires_in - seconds)
    room = limit - current
    if room <= 0 or not previous:
        return window_ends_in
    return min(window_ends_in, max(0.0, previous_ends_in - room * seconds / previous))
