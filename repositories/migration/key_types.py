"""Copying one key of Redis, some of it at a time; what was written is read back and compared."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis import Redis

_PARTS = 500
"""So many fields, members or elements are sent at once."""

_ENDING_MS = 10_000
"""Keys that end so soon are left."""

Parts = list[Any]


@dataclass(frozen=True)
class _Type:
    """How a type of key is read, written and read back.

    Attributes:
        read: yields its parts: fields with values, members with scores ...
        write: adds parts.
        again: returns these parts as they are kept now.
    """

    read: Callable[[Redis, str], Iterable[Any]]
    write: Callable[[Redis, str, Parts], object]
    again: Callable[[Redis, str, Parts], Parts]


def _fields_again(client: Redis, key: str, fields: Parts) -> Parts:
    names = [name for name, _ in fields]
    values: Any = client.hmget(key, names)
    return list(zip(names, values, strict=True))


def _scores_again(client: Redis, key: str, members: Parts) -> Parts:
    names = [name for name, _ in members]
    scores: Any = client.zmscore(key, names)
    return list(zip(names, scores, strict=True))


def _members_again(client: Redis, key: str, members: Parts) -> Parts:
    held: Any = client.smismember(key, members)
    return [name for name, is_in in zip(members, held, strict=True) if is_in]


def _elements(client: Redis, key: str) -> Parts:
    elements: Any = client.lrange(key, 0, -1)  # short ones: the flushes of one assistant
    return list(elements)


def _last_elements(client: Redis, key: str, elements: Parts) -> Parts:
    last: Any = client.lrange(key, -len(elements), -1)
    return list(last)


_TYPES = {
    "string": _Type(
        lambda client, key: [value for value in [client.get(key)] if value is not None],
        lambda client, key, parts: client.set(key, parts[0]),
        lambda client, key, _: [client.get(key)],
    ),
    "hash": _Type(
        lambda client, key: client.hscan_iter(key, count=_PARTS),
        lambda client, key, parts: client.hset(key, mapping=dict(parts)),
        _fields_again,
    ),
    "zset": _Type(
        lambda client, key: client.zscan_iter(key, count=_PARTS),
        lambda client, key, parts: client.zadd(key, dict(parts)),
        _scores_again,
    ),
    "set": _Type(
        lambda client, key: client.sscan_iter(key, count=_PARTS),
        lambda client, key, parts: client.sadd(key, *parts),
        _members_again,
    ),
    "list": _Type(_elements, lambda client, key, parts: client.rpush(key, *parts), _last_elements),
}


def copy_key(source: Redis, old: str, target: Redis, new: str) -> bool | None:
    """Copy a key with its end; tell whether the target has what the source has, None if the key ends in a moment."""
    ends_in: Any = source.pttl(old)  # -1: never, -2: it has ended
    kind = _TYPES.get(str(source.type(old)))
    if kind is None or 0 <= ends_in < _ENDING_MS:
        return None
    is_same = True
    for parts in _batches(kind.read(source, old)):
        kind.write(target, new, parts)
        is_same = kind.again(target, new, parts) == parts and is_same
    if ends_in > 0:
        target.pexpire(new, ends_in)
    return is_same


def copy_waiting(source: Redis, old: str, target: Redis, new: str) -> bool:
    """List a queue's messages that do not wait for their time, also those that a worker had; tell as `copy_key`.

    Args:
        old, new: the queue's list; `.msgs` and `.delayed` stand beside it.
    """
    kind, is_same = _TYPES["list"], True
    for messages in _batches(source.hscan_iter(f"{old}.msgs", count=_PARTS)):
        identities = [identity for identity, _ in messages]
        times: Any = source.zmscore(f"{old}.delayed", identities)
        waiting = [identity for identity, time in zip(identities, times, strict=True) if time is None]
        if waiting:
            kind.write(target, new, waiting)
            is_same = kind.again(target, new, waiting) == waiting and is_same
    return is_same


def _batches(parts: Iterable[Any]) -> Iterator[Parts]:
    waiting = iter(parts)
    while batch := list(islice(waiting, _PARTS)):
        yield batch
