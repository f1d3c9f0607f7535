"""What a provider holds of documents, in a Redis of its own choice: one hash for an assistant, read in one piece.

In the hash, `store` is the vector store, `last` the highest number given, `<number>` a file as JSON and
`of:<document>:<build>` the number of that text's file.
"""

from collections.abc import Mapping
from dataclasses import replace

from models.hosting import HostedFile, HostedShelf
from repositories.codec import Codec, plain_value, to_json
from repositories.redis.database import PREFIX, RedisDatabase, redis_errors

_FILES = Codec(HostedFile)
_ASSISTANTS = f"{PREFIX}files"

_REGISTER = """
redis.call('SADD', KEYS[2], ARGV[1])
local number = redis.call('HGET', KEYS[1], ARGV[2])
if not number then
    number = redis.call('HINCRBY', KEYS[1], 'last', 1)
    redis.call('HSET', KEYS[1], ARGV[2], number, number, ARGV[3])
end
return {tostring(number), redis.call('HGET', KEYS[1], number)}
"""
"""KEYS: the shelf, the set of assistants. ARGV: assistant, field of the text, the file as JSON."""

_CHANGE = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return 0 end
local file = cjson.decode(held)
for name, value in pairs(cjson.decode(ARGV[2])) do file[name] = value end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(file))
return 1
"""
"""KEYS: the shelf. ARGV: number, changes as JSON."""

_UNREGISTER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return end
local file = cjson.decode(held)
redis.call('HDEL', KEYS[1], ARGV[1], 'of:' .. file.document_id .. ':' .. file.build)
"""
"""KEYS: the shelf. ARGV: number."""


class RedisFileRegistry:
    """Implement `FileRegistry`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._client = database.client
        self._register = database.client.register_script(_REGISTER)
        self._change = database.client.register_script(_CHANGE)
        self._unregister = database.client.register_script(_UNREGISTER)

    def shelf(self, assistant_id: str) -> HostedShelf:
        """Return all of an assistant's, read at one moment."""
        with redis_errors():
            held = {str(name): str(value) for name, value in self._client.hgetall(_key(assistant_id)).items()}
        numbers = sorted(int(name) for name in held if name.isdigit())
        files = tuple(_file(number, held[str(number)]) for number in numbers)
        return HostedShelf(held.get("store", ""), int(held.get("last", 0)), files)

    def register(self, assistant_id: str, document_id: str, filename: str, build: str) -> HostedFile:
        """Return the file of this build of the document, with the next number if it is new."""
        fresh = to_json(_FILES.plain(HostedFile(0, document_id, filename, build)))
        args = [assistant_id, f"of:{document_id}:{build}", fresh]
        with redis_errors():
            number, held = self._register(keys=[_key(assistant_id), _ASSISTANTS], args=args)
        return _file(int(number), held)

    def change(self, assistant_id: str, number: int, changes: Mapping[str, object]) -> bool:
        """Set these fields of a file that is registered; tell whether it is."""
        with redis_errors():
            return bool(self._change(keys=[_key(assistant_id)], args=[number, to_json(plain_value(changes))]))

    def unregister(self, assistant_id: str, number: int) -> None:
        """Forget a file."""
        with redis_errors():
            self._unregister(keys=[_key(assistant_id)], args=[number])

    def set_store(self, assistant_id: str, store_id: str) -> None:
        """Note the assistant's vector store."""
        with redis_errors(), self._client.pipeline() as pipeline:
            pipeline.sadd(_ASSISTANTS, assistant_id)
            pipeline.hset(_key(assistant_id), "store", store_id)
            pipeline.execute()

    def assistants(self) -> set[str]:
        """Return the ids of the assistants that have a shelf."""
        with redis_errors():
            return {str(one) for one in self._client.smembers(_ASSISTANTS)}

    def forget(self, assistant_id: str) -> None:
        """Forget all of an assistant's."""
        with redis_errors(), self._client.pipeline() as pipeline:
            pipeline.delete(_key(assistant_id))
            pipeline.srem(_ASSISTANTS, assistant_id)
            pipeline.execute()


def _key(assistant_id: str) -> str:
    return f"{PREFIX}files:{assistant_id}"


def _file(number: int, held: str) -> HostedFile:
    return replace(_FILES.item_of_json(held), number=number)
