"""What Redis holds beside an embedded store: which keys are the truth, and where they go."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from redis import Redis

from models.errors import Conflict
from repositories.migration.key_types import copy_key, copy_waiting
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

FILES = "files"
COPIED = ("session", "request", "threads", "threads-flushed", "leftovers", FILES)
"""Logins, how clients' requests ended, and what a provider keeps for us."""

OF_STORE = ("leftovers@", "jobs")
"""Keys that have the store's name in theirs: which assistants have leftovers, and the jobs that wait."""

LEFT = ("appointment", "destination", "events", "limit", "lock", "places", "threads-gone")
"""What is made anew by itself or is over within minutes, and news, of which no key is left."""

_NAME = re.compile(re.escape(PREFIX) + r"([a-z-]+@?)(.*)", re.DOTALL)
_QUEUE = re.compile(r":(.*):(\w+:default)\.(msgs|delayed)", re.DOTALL)
_BATCH = 500


@dataclass(frozen=True)
class KeyPlaces:
    """Where keys are and where they go.

    Attributes:
        source: the Redis of the embedded store.
        target: that of the servers to come.
        files: where these look for what a provider holds of documents.

    What is the same database of the same Redis is the same object.
    """

    source: RedisDatabase
    target: RedisDatabase
    files: RedisDatabase


@dataclass(frozen=True)
class StoreNames:
    """What a store is called in the names of keys.

    Attributes:
        old: the embedded one's; None for whatever it was called: nobody else's keys are there.
        new: the database's.
    """

    old: str | None
    new: str

    def renames(self, name: str) -> bool:
        """Tell whether a store of this name is the one to rename."""
        return name != self.new if self.old is None else name == self.old


@dataclass(frozen=True)
class _Move:
    kind: str
    old: str
    new: str
    target: Redis


class KeyMigration:
    """Copy keys to where they belong from now on; where that is the same Redis, those with the store's name in theirs.

    A set beside the copies tells which they are, so that a migration that was stopped can be begun anew.
    """

    def __init__(self, places: KeyPlaces, names: StoreNames) -> None:
        self._places = places
        self._names = names
        self._source = places.source.client
        self._copied = f"{PREFIX}migrated@{names.new}"

    def require_room(self) -> None:
        """Refuse a target in which something else has a key that is to be copied.

        Raises:
            Conflict: there is one.
            Unavailable: Redis does not answer.
        """
        with redis_errors():
            for move in self._moves():
                if move.kind in OF_STORE:
                    continue  # nudges: what a server on the empty database has left does no harm
                if move.target.exists(move.new) and not move.target.sismember(self._copied, move.new):
                    raise Conflict(
                        f"Redis (REDIS_URL, REDIS_FILES_URL) holds {move.new!r} already, and so does the one of the "
                        "embedded store. Name an empty Redis; or, if this is the one that the servers have used, "
                        "move the folder valkey out of DATA_DIR."
                    )

    def run(self) -> Mapping[str, tuple[int, int]]:
        """Copy the keys; return kind -> how many there are, and of how many the content is the same afterwards.

        Raises:
            Unavailable: a Redis does not answer.
        """
        counts, same, seen = Counter[str](), Counter[str](), set[str]()
        with redis_errors():
            self._delete_copied()
            for move in self._moves():
                is_new = move.target.sadd(self._copied, move.new)
                if move.old in seen or not (is_new or move.kind in OF_STORE):
                    continue  # a scan may name a key twice
                if move.kind in OF_STORE:
                    seen.add(move.old)  # few; a DATA_DIR that was moved has them under two names, which become one
                is_same = copy_key(self._source, move.old, move.target, move.new)
                if move.kind == "jobs" and move.old.endswith(".msgs"):
                    is_same = self._copy_waiting(move) and bool(is_same)
                if is_same is not None:
                    counts[move.kind] += 1
                    same[move.kind] += is_same
        return {kind: (counts[kind], same[kind]) for kind in (*COPIED, *OF_STORE) if kind in counts}

    def end(self) -> None:
        """Forget what was copied: the target is in use from now on."""
        with redis_errors():
            for place in (self._places.target, self._places.files):
                place.client.unlink(self._copied)

    def _copy_waiting(self, move: _Move) -> bool:
        """Put the jobs of a queue into the list of those that wait, unless they wait for their time."""
        old, new = move.old.removesuffix(".msgs"), move.new.removesuffix(".msgs")
        move.target.sadd(self._copied, new)
        return copy_waiting(self._source, old, move.target, new)

    def _delete_copied(self) -> None:
        for place in (self._places.target, self._places.files):
            for name in place.client.sscan_iter(self._copied, count=_BATCH):
                place.client.unlink(name)
            place.client.unlink(self._copied)

    def _moves(self) -> Iterator[_Move]:
        """Yield every key that is to be copied."""
        for key in self._source.scan_iter(f"{PREFIX}*", count=_BATCH):
            kind, rest = _parted(key)
            place = self._places.files if kind == FILES else self._places.target
            if kind in COPIED and place is not self._places.source:
                yield _Move(kind, key, key, place.client)
            elif kind in OF_STORE and (new := self._renamed(kind, rest)):
                yield _Move(kind, key, new, self._places.target.client)

    def _renamed(self, kind: str, rest: str) -> str | None:
        """Return what a key with the store's name in it is called from now on; None if it is not to be copied."""
        if kind == "leftovers@":
            return f"{PREFIX}{kind}{self._names.new}" if self._names.renames(rest) else None
        queue = _QUEUE.fullmatch(rest)
        if queue is None or not self._names.renames(queue[1]):
            return None
        return f"{PREFIX}jobs:{self._names.new}:{queue[2]}.{queue[3]}"


def _parted(key: str) -> tuple[str, str]:
    """Return the kind of a key and what follows it."""
    found = _NAME.fullmatch(key)
    return (found[1], found[2]) if found else ("", "")
