"""Receivers of callbacks that are in trouble: one hash each, with the pause and its end by Redis' clock."""

import hashlib
import logging

from redis.commands.core import Script
from redis.exceptions import RedisError

from repositories.redis.database import PREFIX, RedisDatabase

_LOG = logging.getLogger(__name__)

_PROBE_SECONDS = 20.0
"""How long the others wait for the one that tries: a little longer than a post may take."""

_CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('HMGET', KEYS[1], 'pause', 'until', 'probed')
local function hold(pause, until_, probed, forget)
    redis.call('HSET', KEYS[1], 'pause', pause, 'until', until_, 'probed', probed)
    redis.call('PEXPIREAT', KEYS[1], until_ + forget)
end
"""

_WAIT = (
    _CLOCK
    + """
if not held[1] then return 0 end
local left = tonumber(held[2]) - now
if left > 0 then return left end
hold(held[1], now + ARGV[1], 1, ARGV[2])
return 0
"""
)
"""ARGV: milliseconds that a probe takes, the longest pause."""

_FAILED = (
    _CLOCK
    + """
local pause = tonumber(ARGV[1])
if held[1] then
    if held[3] == '0' then return end
    pause = math.min(held[1] * 2, ARGV[2])
end
hold(pause, now + pause, 0, ARGV[2])
"""
)
"""ARGV: the first pause, the longest one. Posts that were on their way together and fail together count once."""


class RedisDestinations:
    """Implement `Destinations`; whoever has not failed for the longest pause is forgotten.

    Args:
        seconds: the first pause.
        longest: the longest one.
    """

    def __init__(self, database: RedisDatabase, seconds: float = 1.0, longest: float = 300.0) -> None:
        self._database = database
        self._first, self._longest = _milliseconds(seconds), _milliseconds(longest)
        self._wait = database.client.register_script(_WAIT)
        self._failed = database.client.register_script(_FAILED)
        self._recovered = database.client.register_script("return redis.call('DEL', KEYS[1])")
        self._is_away = False

    def wait(self, destination: str) -> float:
        """Return the seconds until another try makes sense; 0.0 for now, or when unknown.

        While one is in trouble, of several callers at once one gets 0.0 when a pause is over; the others wait.
        """
        return self._run(self._wait, destination, _milliseconds(_PROBE_SECONDS), self._longest) / 1000

    def failed(self, destination: str) -> None:
        """Note that it took nothing: the next pause is twice as long."""
        self._run(self._failed, destination, self._first, self._longest)

    def recovered(self, destination: str) -> None:
        """Note that it answers."""
        self._run(self._recovered, destination)

    def _run(self, script: Script, destination: str, *milliseconds: int) -> int:
        if self._database.is_missed:
            return 0
        try:
            answer: int | None = script(keys=[_key(destination)], args=milliseconds)
        except RedisError as error:
            self._database.miss()
            if not self._is_away:
                _LOG.warning("Troubled receivers get no pauses, Redis does not answer: %s", type(error).__name__)
            self._is_away = True
            return 0
        self._is_away = False
        return answer or 0


def _key(destination: str) -> str:
    return f"{PREFIX}destination:{hashlib.sha256(destination.encode()).hexdigest()}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
