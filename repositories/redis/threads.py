"""Threads in Redis, and what is to be deleted at the provider once nothing of ours refers to it any more."""

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from models.ids import new_id
from models.threads import Leftover, LeftoverKind, Thread
from repositories.redis import thread_scripts as scripts
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_AT_ONCE = 500
_GATHERED = 100
_RETRIED_AFTER_MS = 1000


class RedisThreads:
    """Implement `ThreadRegistry`. Threads last until they are forgotten: those at the provider do, too.

    Args:
        store: names the store that the assistants are of: others may share this Redis, and know nothing of them.
        busy_seconds: longer than an attempt may use a conversation that it has taken.
        patience_seconds: how long an assistant is not named again by `due`; longer than its job is retried.
    """

    def __init__(
        self, database: RedisDatabase, store: str = "", *, busy_seconds: float = 180.0, patience_seconds: float = 900.0
    ) -> None:
        self._pending = f"{PREFIX}leftovers@{store}"
        self._busy, self._patience = round(busy_seconds * 1000), round(patience_seconds * 1000)
        register = database.client.register_script
        self._take, self._keep = register(scripts.TAKE), register(scripts.KEEP)
        self._forget, self._flush = register(scripts.FORGET), register(scripts.FLUSH)
        self._gather, self._leave = register(scripts.GATHER), register(scripts.LEAVE)
        self._claim, self._due = register(scripts.CLAIM), register(scripts.DUE)
        self._deleted, self._put_back = register(scripts.DELETED), register(scripts.PUT_BACK)

    def take(self, assistant_id: str, conversation_id: str, attempt: str) -> Thread:
        """Return the thread as it was left, an empty one if there is none; from now on it is not settled."""
        keys = [_threads(assistant_id), _gone(assistant_id), _gone(assistant_id, conversation_id)]
        with redis_errors():
            held = self._take(keys=keys, args=[conversation_id, attempt])
        return _thread(json.loads(held)) if held else Thread()

    def keep(self, assistant_id: str, conversation_id: str, attempt: str, thread: Thread) -> bool:
        """Write the thread if this attempt took it last and it was not forgotten since; tell whether it was written."""
        text = json.dumps(
            {
                "attempt": attempt,
                "id": thread.id,
                "turns": json.dumps(thread.turns),
                "settled": thread.settled,
                "context": thread.context,
            }
        )
        keys = [_threads(assistant_id), *self._keys(assistant_id)]
        with redis_errors():
            return bool(self._keep(keys=keys, args=[assistant_id, conversation_id, attempt, text, self._busy]))

    def forget(self, assistant_id: str, conversation_id: str) -> None:
        """Drop the thread of a conversation that is gone, and leave what the provider keeps of it to be deleted."""
        keys = [_threads(assistant_id), *self._keys(assistant_id), _gone(assistant_id, conversation_id)]
        with redis_errors():
            self._forget(keys=keys, args=[assistant_id, conversation_id, self._busy])

    def flush(self, assistant_id: str, *, gone: bool = False) -> int:
        """Drop all threads of an assistant as `forget` does, and return how many there were."""
        fresh = f"{_flushed(assistant_id)}:{new_id()}"
        keys = [_threads(assistant_id), _flushed(assistant_id), self._pending]
        if gone:
            keys.append(_gone(assistant_id))
        with redis_errors():
            return int(self._flush(keys=keys, args=[assistant_id, fresh, self._busy]))

    def leave(self, assistant_id: str, leftovers: Iterable[Leftover], *, in_use: bool = False) -> None:
        """Note what is to be deleted at the provider; what may be in use not before it cannot be any more."""
        names, delay = [_name(one) for one in leftovers], self._busy if in_use else 0
        with redis_errors():
            for begin in range(0, len(names), _AT_ONCE):
                some = names[begin : begin + _AT_ONCE]
                self._leave(keys=self._keys(assistant_id), args=[assistant_id, delay, *some])

    def claim(self, assistant_id: str, limit: int, seconds: float) -> Sequence[Leftover]:
        """Return leftovers that are due, the first due first; for so many seconds nobody else is given them."""
        leftovers, pending = self._keys(assistant_id)
        lease, keys = round(seconds * 1000), [_flushed(assistant_id), leftovers, pending]
        with redis_errors():
            while not (names := self._claim(keys=[leftovers], args=[assistant_id, limit, lease])):
                if not self._gather(keys=keys, args=[assistant_id, self._busy, _GATHERED]):
                    self.deleted(assistant_id, ())
                    return ()
        return [_leftover(name) for name in names]

    def deleted(self, assistant_id: str, leftovers: Collection[Leftover]) -> None:
        """Note that the provider keeps these no more."""
        keys = [*self._keys(assistant_id), _flushed(assistant_id)]
        with redis_errors():
            self._deleted(keys=keys, args=[assistant_id, *map(_name, leftovers)])

    def put_back(self, assistant_id: str, leftovers: Collection[Leftover]) -> None:
        """Note that these could not be deleted: they are due again at once, behind the others."""
        names = map(_name, leftovers)
        with redis_errors():
            self._put_back(
                keys=self._keys(assistant_id), args=[assistant_id, _RETRIED_AFTER_MS, self._patience, *names]
            )

    def due(self, limit: int) -> Sequence[str]:
        """Return assistants that have leftovers which are due; for a while they are not named again."""
        with redis_errors():
            return [str(one) for one in self._due(keys=[self._pending], args=[limit, self._patience])]

    def _keys(self, assistant_id: str) -> list[str]:
        return [f"{PREFIX}leftovers:{assistant_id}", self._pending]


def _thread(held: dict[str, Any]) -> Thread:
    """Return a thread as `KEEP` wrote it, or as `TAKE` did when there was none."""
    turns = tuple(json.loads(held.get("turns", "[]")))
    return Thread(held.get("id", ""), turns, bool(held["settled"]), held.get("context", ""))


def _name(leftover: Leftover) -> str:
    return f"{leftover.kind}:{leftover.id}"


def _leftover(name: str) -> Leftover:
    kind, _, of_provider = name.partition(":")
    return Leftover(LeftoverKind(kind), of_provider)


def _threads(assistant_id: str) -> str:
    return f"{PREFIX}threads:{assistant_id}"


def _flushed(assistant_id: str) -> str:
    return f"{PREFIX}threads-flushed:{assistant_id}"


def _gone(*ids: str) -> str:
    return f"{PREFIX}threads-gone:{':'.join(ids)}"
