"""Dataclasses as plain values and back, for both stores."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

from models.assistants import Assistant
from models.chats import Chat
from models.conversations import Conversation
from models.documents import Document, Passage
from models.evaluations import Dataset, DatasetEntry, Result, Run
from models.jobs import DeadLetter
from models.users import User

Item = TypeVar("Item")


class Codec(Generic[Item]):
    """Turn one kind of dataclass into a dict of plain values (datetimes stay datetimes) and back.

    Args:
        kind: the dataclass.
        opaque: fields with strangers' JSON. They are kept as JSON text, because a store refuses or changes some of it
            (integers over 64 bits, NaN, NUL or lone surrogates in names), and it is to be returned unchanged.
    """

    def __init__(self, kind: type[Item], opaque: Sequence[str] = ()) -> None:
        self._kind = kind
        self._opaque = tuple(opaque)
        msgspec.json.Decoder(kind)  # builds the kind's description now: two threads that do so at once crash

    def plain(self, item: Item) -> dict[str, Any]:
        """Return an item's fields as plain values."""
        fields: dict[str, Any] = plain_value(item)
        return fields | {name: json.dumps(fields[name]) for name in self._opaque}

    def item(self, fields: Mapping[str, Any]) -> Item:
        """Return the item of plain values; datetimes may be texts of `to_json`."""
        opened = {name: json.loads(fields[name]) for name in self._opaque if name in fields}
        return msgspec.convert({**fields, **opened}, self._kind)

    def item_of_json(self, text: str) -> Item:
        """Return the item of plain values in JSON."""
        if self._opaque:
            return self.item(msgspec.json.decode(text))
        return msgspec.json.decode(text, type=self._kind)  # less than half the time, which many passages feel


USERS = Codec(User)
ASSISTANTS = Codec(Assistant)
CONVERSATIONS = Codec(Conversation)
CHATS = Codec(Chat, opaque=("metadata", "given"))
DOCUMENTS = Codec(Document)
PASSAGES = Codec(Passage)
DEAD_LETTERS = Codec(DeadLetter)
DATASETS = Codec(Dataset)
DATASET_ENTRIES = Codec(DatasetEntry)
RUNS = Codec(Run)
RESULTS = Codec(Result)


def plain_value(value: object) -> Any:
    """Return one value (a dataclass, an enum, a tuple of them ...) as plain values."""
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def to_json(value: object) -> str:
    """Return a plain value as JSON whose datetimes are texts of `stamp`, which sort by time."""
    return _ENCODER.encode(value)


def stamp(at: datetime) -> str:
    """Return a point in time as UTC text of fixed width with milliseconds, `2026-11-21T08:15:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_ENCODER = json.JSONEncoder(default=stamp, ensure_ascii=False, separators=(",", ":"))


def substring_pattern(text: str) -> str:
    """Return a regular expression that matches exactly this text, for Python's and MongoDB's dialects."""
    return re.escape(text).replace("\0", r"\x00")
