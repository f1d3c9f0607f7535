"""Appointments in Redis: one key for a purpose, with the time by Redis' clock and the token of the job that has it."""

from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_LOST_SECONDS = 120.0
"""An appointment that nobody has kept so long after its time is void: its job was lost."""

_MAKE = """
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
local held = redis.call('HGET', KEYS[1], 'due')
if held and tonumber(held) <= due then return 0 end
redis.call('HSET', KEYS[1], 'due', due, 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2] + ARGV[3])
return 1
"""
"""KEYS: the appointment. ARGV: token, milliseconds until it is due, milliseconds that it holds after that."""

_KEEP = """
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1
"""
"""KEYS: the appointment. ARGV: token."""


class RedisAppointments:
    """Implement `Appointments`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._make = database.client.register_script(_MAKE)
        self._keep = database.client.register_script(_KEEP)

    def make(self, purpose: str, token: str, delay: float) -> bool:
        """Appoint a job; False, and nothing changed, if another one is appointed for no later time."""
        times = [round(seconds * 1000) for seconds in (delay, _LOST_SECONDS)]
        with redis_errors():
            return bool(self._make(keys=[_key(purpose)], args=[token, *times]))

    def keep(self, purpose: str, token: str) -> bool:
        """Begin a job, which ends its appointment; False if another one is appointed in its place."""
        with redis_errors():
            return bool(self._keep(keys=[_key(purpose)], args=[token]))


def _key(purpose: str) -> str:
    return f"{PREFIX}appointment:{purpose}"
