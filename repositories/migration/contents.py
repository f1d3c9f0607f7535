"""What is copied into MongoDB, and how it is compared: every table of the embedded store that is the truth."""

import hashlib
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from repositories import codec
from repositories.codec import Codec, to_json
from repositories.mongo.database import Documents, MongoDatabase
from repositories.mongo.table import Table

Item = TypeVar("Item")
Row = tuple[Any, ...]

DERIVED = frozenset({"assistant_keys"})
"""Tables that only find what others hold; an index of MongoDB does so there."""


class Kind(Protocol):
    """One kind of what a store holds: a table there, a collection here."""

    name: str
    """Of both."""

    collection: Documents
    select: str
    """What reads the table."""

    def copied(self, row: Row) -> tuple[dict[str, Any], bytes]:
        """Return a row as the collection keeps it, and its content for a digest."""

    def content(self, document: dict[str, Any]) -> bytes:
        """Return the content of what the collection holds, for a digest."""


class Items(Generic[Item]):
    """Items of one dataclass, JSON in a table. Implement `Kind`."""

    def __init__(self, name: str, collection: Documents, codec: Codec[Item]) -> None:
        self.name = name
        self.collection = collection
        self.select = f"SELECT body FROM {name}"
        self._codec = codec
        self._table = Table(collection, codec)

    def copied(self, row: Row) -> tuple[dict[str, Any], bytes]:
        """Return a row as the collection keeps it, and its content for a digest."""
        item = self._codec.item_of_json(row[0])
        return self._document(item), self._content(item)

    def content(self, document: dict[str, Any]) -> bytes:
        """Return the content of what the collection holds, for a digest."""
        return self._content(self._table.item(document))

    def _document(self, item: Item) -> dict[str, Any]:
        return self._table.fields(item)

    def _content(self, item: Item) -> bytes:
        return to_json(self._codec.plain(item)).encode()


class Letters(Items[Item]):
    """Dead letters, whose `id` is a field of its own in MongoDB."""

    def _document(self, item: Item) -> dict[str, Any]:
        return self._codec.plain(item)


class Vectors:
    """Embedding vectors, which are no JSON. Implement `Kind`."""

    _FIELDS = ("assistant_id", "document_id", "model", "digest", "vector")

    def __init__(self, name: str, collection: Documents) -> None:
        self.name = name
        self.collection = collection
        self.select = f"SELECT {', '.join(self._FIELDS)} FROM {name}"

    def copied(self, row: Row) -> tuple[dict[str, Any], bytes]:
        """Return a row as the collection keeps it, and its content for a digest."""
        document = dict(zip(self._FIELDS, row, strict=True))
        return document, self.content(document)

    def content(self, document: dict[str, Any]) -> bytes:
        """Return the content of what the collection holds, for a digest."""
        *named, vector = (document[field] for field in self._FIELDS)
        return to_json(named).encode() + bytes(vector)


def kinds_of(database: MongoDatabase) -> Sequence[Kind]:
    """Return everything that is copied into a database."""
    codecs: dict[str, Codec[Any]] = {
        "users": codec.USERS,
        "assistants": codec.ASSISTANTS,
        "conversations": codec.CONVERSATIONS,
        "chats": codec.CHATS,
        "documents": codec.DOCUMENTS,
        "passages": codec.PASSAGES,
        "evaluation_datasets": codec.DATASETS,
        "evaluation_items": codec.DATASET_ENTRIES,
        "evaluation_runs": codec.RUNS,
        "evaluation_results": codec.RESULTS,
    }
    return [
        *(Items(name, database.collection(name), one) for name, one in codecs.items()),
        Letters("dead_letters", database.collection("dead_letters"), codec.DEAD_LETTERS),
        Vectors("vectors", database.collection("vectors")),
    ]


class Digest:
    """How many contents there are, and a number that is the same for the same ones in any order.

    It is the sum of their SHA-256, so that neither side has to be sorted and nothing is kept.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, content: bytes) -> None:
        """Count a content in."""
        self.count += 1
        self._sum += int.from_bytes(hashlib.sha256(content).digest())

    def __str__(self) -> str:
        return f"{self._sum % 2**256:064x}"
