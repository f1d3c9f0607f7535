"""What a provider holds of documents, in a Redis of its own choice: one hash for an assistant, read in one piece.

In the hash, `store` is the vector store, `last` the highest number given, `<number>` a file as JSON,
`of:<document>:<build>` the number of that text's file, and `deleted` is there when the assistant is deleted.
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
local held = number and redis.call('HGET', KEYS[1], number)
if not held or (cjson.decode(held).retired_at or cjson.null) ~= cjson.null then
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
local text = 'of:' .. file.document_id .. ':' .. file.build
if redis.call('HGET', KEYS[1], text) == ARGV[1] then redis.call('HDEL', KEYS[1], text) end
redis.call('HDEL', KEYS[1], ARGV[1])
"""
"""KEYS: the shelf. ARGV: number."""

_NOTE_UPLOAD = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then return '' end
local file = cjson.decode(held)
if file.removed then return '' end
if file.file_id == '' then
    file.file_id = ARGV[2]
    redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(file))
end
return file.file_id
"""
"""KEYS: the shelf. ARGV: number, id of the file."""

_FORGET = """
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.match(name, '^%d+$') then return 0 end
end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
return 1
"""
"""KEYS: the shelf, the set of assistants. ARGV: assistant."""


class RedisFileRegistry:
    """Implement `FileRegistry`."""

    def __init__(self, database: RedisDatabase) -> None:
        self._client = database.client
        self._register = database.client.register_script(_REGISTER)
        self._change = database.client.register_script(_CHANGE)
        self._unregister = database.client.register_script(_UNREGISTER)
        self._note_upload = database.client.register_script(_NOTE_UPLOAD)
        self._forget = database.client.register_script(_FORGET)

    def shelf(self, assistant_id: str) -> HostedShelf:
        """Return all of an assistant's, read at one moment."""
        with redis_errors():
            held = {str(name): str(value) for name, value in self._client.hgetall(_key(assistant_id)).items()}
        numbers = sorted(int(name) for name in held if name.isdigit())
        files = tuple(_file(number, held[str(number)]) for number in numbers)
        return HostedShelf(held.get("store", ""), int(held.get("last", 0)), files, "deleted" in held)

    def register(self, assistant_id: str, document_id: str, filename: str, build: str) -> HostedFile:
        """Return the file of this build of the document, with the next number if it is new or was retired."""
        fresh = to_json(_FILES.plain(HostedFile(0, document_id, filename, build)))
        args = [assistant_id, f"of:{document_id}:{build}", fresh]
        with redis_errors():
            number, held = self._register(keys=[_key(assistant_id), _ASSISTANTS], args=args)
        return _file(int(number), held)

    def change(self, assistant_id: str, number: int, changes: Mapping[str, object]) -> bool:
        """Set these fields of a file that is registered; tell whether it is."""
        with redis_errors():
            return bool(self._change(keys=[_key(assistant_id)], args=[number, to_json(plain_value(changes))]))

    def note_upload(self, assistant_id: str, number: int, file_id: str) -> str:
        """Note the provider's id of a file unless it has one; return the one it has, "" if it is not registered."""
        with redis_errors():
            return str(self._note_upload(keys=[_key(assistant_id)], args=[number, file_id]))

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

    def mark_deleted(self, assistant_id: str) -> None:
        """Note that the assistant is deleted, so that whoever finds its shelf knows that it is to be cleared."""
        with redis_errors(), self._client.pipeline() as pipeline:
            pipeline.sadd(_ASSISTANTS, assistant_id)
            pipeline.hset(_key(assistant_id), "deleted", 1)
            pipeline.execute()

    def assistants(self) -> set[str]:
        """Return the ids of the assistants that have a shelf."""
        with redis_errors():
            return {str(one) for one in self._client.smembers(_ASSISTANTS)}

    def forget(self, assistant_id: str) -> bool:
        """Forget an assistant of which no file is registered; tell whether that was so."""
        with redis_errors():
            return bool(self._forget(keys=[_key(assistant_id), _ASSISTANTS], args=[assistant_id]))


def _key(assistant_id: str) -> str:
    return f"{PREFIX}files:{assistant_id}"


def _file(number: int, held: str) -> HostedFile:
    return replace(_FILES.item_of_json(held), number=number)
