"""Locks across processes, by redis-py's `Lock`: SET NX PX, and a script that releases only what is one's own."""

import contextlib
import logging
from collections.abc import Iterator

from redis.exceptions import LockError, RedisError
from redis.lock import Lock

from repositories.redis.database import PREFIX, RedisDatabase

_LOG = logging.getLogger(__name__)
_LOOK_EVERY = 0.05


class RedisLocks:
    """Implement `Locks`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database

    @contextlib.contextmanager
    def hold(self, name: str, seconds: float, wait: float) -> Iterator[bool]:
        """Hold a named lock that ends by itself after `seconds`, waiting up to `wait` for it.

        The value tells whether it is held: False when the wait was too long or the server cannot be reached.
        """
        lock = self._database.client.lock(
            f"{PREFIX}lock:{name}", timeout=seconds, sleep=_LOOK_EVERY, blocking_timeout=wait, thread_local=False
        )
        held = not self._database.is_missed and self._acquire(lock, name)
        try:
            yield held
        finally:
            if held:
                _release(lock, name)

    def _acquire(self, lock: Lock, name: str) -> bool:
        try:
            return bool(lock.acquire())
        except RedisError as error:
            self._database.miss()
            _LOG.warning("No lock on %s, Redis does not answer: %s", name, type(error).__name__)
            return False


def _release(lock: Lock, name: str) -> None:
    try:
        lock.release()
    except LockError:
        _LOG.warning("The lock on %s had ended before its work did.", name)
    except RedisError as error:
        _LOG.warning("The lock on %s ends by itself, Redis does not answer: %s", name, type(error).__name__)
