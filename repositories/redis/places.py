"""Places in line, in Redis: for each line a sorted set of the places that are kept, and until when."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from redis.exceptions import RedisError

from repositories.redis.database import PREFIX, RedisDatabase

_FORGOTTEN_AFTER = 3600
"""Seconds: no place is kept for longer without being prolonged."""

_PROLONG = """
local kept = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not kept or tonumber(kept) <= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""
"""KEYS: the line. ARGV: place, the time, the time until which it is kept, seconds after which the line is forgotten."""

_LOG = logging.getLogger(__name__)
T = TypeVar("T")


class RedisPlaces:
    """Implement `Places`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._database = database
        self._prolong = database.client.register_script(_PROLONG)

    def keep(self, line: str, place: str, until: datetime) -> bool:
        """Keep a place until then; False if the server cannot be reached."""

        def write() -> bool:
            with self._database.client.pipeline() as pipeline:
                pipeline.zadd(_key(line), {place: until.timestamp()})
                pipeline.expire(_key(line), _FORGOTTEN_AFTER)
                pipeline.execute()
            return True

        return self._unless_away(write, otherwise=False)

    def prolong(self, line: str, place: str, at: datetime, until: datetime) -> None:
        """Keep a place until then, if it is kept at this time."""
        times = [at.timestamp(), until.timestamp(), _FORGOTTEN_AFTER]
        self._unless_away(lambda: bool(self._prolong(keys=[_key(line)], args=[place, *times])), otherwise=False)

    def kept(self, line: str, at: datetime) -> list[str]:
        """Return the places that are kept at that time; none if the server cannot be reached."""

        def ask() -> list[str]:
            kept = self._database.client.zrangebyscore(_key(line), f"({at.timestamp()}", "+inf")
            return [str(place) for place in kept]

        return self._unless_away(ask, otherwise=[])

    def leave(self, line: str, place: str) -> None:
        """Keep a place no longer; where the server cannot be reached it ends by itself."""
        self._unless_away(lambda: bool(self._database.client.zrem(_key(line), place)), otherwise=False)

    def _unless_away(self, ask: Callable[[], T], *, otherwise: T) -> T:
        """Ask the server, unless it failed to answer a moment ago."""
        if self._database.is_missed:
            return otherwise
        try:
            return ask()
        except RedisError as error:
            self._database.miss()
            _LOG.warning("No places in line, Redis does not answer: %s", type(error).__name__)
            return otherwise


def _key(line: str) -> str:
    return f"{PREFIX}places:{line}"
