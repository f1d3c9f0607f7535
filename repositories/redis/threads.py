"""Threads in Redis: one hash for a conversation, and for each assistant the set of conversations that have one."""

import json

from models.threads import Thread
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_TAKE = """
local held = redis.call('HMGET', KEYS[1], 'id', 'turns', 'settled', 'replaced', 'context')
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'settled', '0')
redis.call('SADD', KEYS[2], ARGV[2])
return held
"""
"""KEYS: the thread, the assistant's set. ARGV: attempt, conversation.

Sent twice, because the connection broke before the answer came, it says that the thread is not settled: that costs a
new one.
"""

_KEEP = """
if redis.call('HGET', KEYS[1], 'attempt') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'turns', ARGV[3], 'settled', ARGV[4], 'replaced', ARGV[5],
    'context', ARGV[6])
return 1
"""
"""KEYS: the thread. ARGV: attempt, id, turns, settled, replaced, context."""

_FORGET = """
local held = redis.call('HMGET', KEYS[1], 'id', 'turns', 'settled', 'replaced', 'context')
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
return held
"""
"""KEYS: the thread, the assistant's set. ARGV: conversation."""


class RedisThreads:
    """Implement `ThreadRegistry`. Threads last until they are forgotten: those at the provider do, too."""

    def __init__(self, database: RedisDatabase) -> None:
        self._client = database.client
        self._take = database.client.register_script(_TAKE)
        self._keep = database.client.register_script(_KEEP)
        self._forget = database.client.register_script(_FORGET)

    def take(self, assistant_id: str, conversation_id: str, attempt: str) -> Thread:
        """Return the thread as it was left, an empty one if there is none; from now on it is not settled."""
        with redis_errors():
            return _thread(self._take(keys=_keys(assistant_id, conversation_id), args=[attempt, conversation_id]))

    def keep(self, assistant_id: str, conversation_id: str, attempt: str, thread: Thread) -> bool:
        """Write the thread if this attempt took it last and it was not forgotten since; tell whether it was written."""
        turns, replaced = json.dumps(thread.turns), json.dumps(thread.replaced)
        values: list[str | int] = [attempt, thread.id, turns, int(thread.settled), replaced, thread.context]
        with redis_errors():
            return bool(self._keep(keys=_keys(assistant_id, conversation_id)[:1], args=values))

    def forget(self, assistant_id: str, conversation_id: str) -> Thread:
        """Drop the thread and return it, an empty one if there is none."""
        with redis_errors():
            return _thread(self._forget(keys=_keys(assistant_id, conversation_id), args=[conversation_id]))

    def conversations(self, assistant_id: str) -> set[str]:
        """Return the ids of the assistant's conversations that have a thread."""
        with redis_errors():
            return {str(one) for one in self._client.smembers(_set_key(assistant_id))}


def _thread(held: list[str | None]) -> Thread:
    name, turns, settled, replaced, context = held
    known, old = tuple(json.loads(turns or "[]")), tuple(json.loads(replaced or "[]"))
    return Thread(name or "", known, settled == "1", old, context or "")


def _keys(assistant_id: str, conversation_id: str) -> list[str]:
    return [f"{PREFIX}thread:{assistant_id}:{conversation_id}", _set_key(assistant_id)]


def _set_key(assistant_id: str) -> str:
    return f"{PREFIX}threads:{assistant_id}"
