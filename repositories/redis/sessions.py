"""Logins in Redis: one key each, holding the id of the refresh token that is valid now."""

from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_ROTATE = """
local current = redis.call('GET', KEYS[1])
if current == ARGV[1] or current == ARGV[2] then
    redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
    return 1
end
redis.call('DEL', KEYS[1])
return 0
"""
"""KEYS: the session. ARGV: used id, next id, seconds.

The next id is fresh and secret: finding it there already means that the driver sent the script twice, because the
connection broke before the answer came.
"""


class RedisSessionRepository:
    """Implement `SessionRepository`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._client = database.client
        self._rotate = database.client.register_script(_ROTATE)

    def start(self, session: str, refresh_id: str, seconds: int) -> None:
        """Begin a session whose only valid refresh token is this one, for so long."""
        with redis_errors():
            self._client.set(_key(session), refresh_id, ex=seconds)

    def rotate(self, session: str, used_id: str, next_id: str, seconds: int) -> bool:
        """Exchange the refresh token; a token that is not the current one ends the session and gives False."""
        with redis_errors():
            return bool(self._rotate(keys=[_key(session)], args=[used_id, next_id, seconds]))

    def is_active(self, session: str) -> bool:
        """Tell whether the session goes on."""
        with redis_errors():
            return bool(self._client.exists(_key(session)))

    def end(self, session: str) -> None:
        """End the session: its access and refresh tokens are void at once."""
        with redis_errors():
            self._client.delete(_key(session))


def _key(session: str) -> str:
    return f"{PREFIX}session:{session}"
