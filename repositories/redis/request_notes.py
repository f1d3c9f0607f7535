"""How requests of API clients ended for these: one text each, for as long as a client may repeat one."""

import contextlib
from collections.abc import Iterator

from models.errors import Unavailable
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors, redis_unavailable


class RedisRequestNotes:
    """Implement `RequestNotes`.

    Args:
        seconds: how long a note is kept.
    """

    def __init__(self, database: RedisDatabase, seconds: int = 3600) -> None:
        self._database = database
        self._seconds = seconds

    def keep(self, digest: str, note: str) -> None:
        """Note how the request with this digest ended, in place of an earlier note."""
        with self._reached():
            self._database.client.set(_key(digest), note, ex=self._seconds)

    def find(self, digest: str) -> str | None:
        """Return the note on this digest."""
        with self._reached():
            note = self._database.client.get(_key(digest))
        return None if note is None else str(note)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Do without a server that has just been missed: no answer waits for a note."""
        if self._database.is_missed:
            raise redis_unavailable()
        try:
            with redis_errors():
                yield
        except Unavailable:
            self._database.miss()
            raise


def _key(digest: str) -> str:
    return f"{PREFIX}request:{digest}"
