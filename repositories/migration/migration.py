"""The migration itself: refuse or begin, copy, compare, end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import bson

from models.clock import now
from models.errors import Conflict, TooLarge, Unavailable
from repositories.migration.contents import Digest, Kind, Row, kinds_of
from repositories.migration.keys import KeyMigration
from repositories.migration.mark import MigrationMark
from repositories.migration.source import EmbeddedSource
from repositories.mongo.database import MongoDatabase, store_errors
from repositories.mongo.table import delete_all

Progress = Callable[[int, int, str], None]
"""Takes how many are done, of how many, and what they are."""

_ITEMS = 1000
_SIZE = 4 << 20
"""So many items, or so many characters of them, are held and sent at once: a server answers in time."""

_LARGEST = 16 << 20
"""Bytes of a document in MongoDB."""


@dataclass(frozen=True)
class Compared:
    """What one kind came to on both sides: how many there are, and the digest of their contents."""

    name: str
    source: tuple[int, str]
    target: tuple[int, str]

    @property
    def is_same(self) -> bool:
        """Tell whether the contents are the same."""
        return self.source == self.target


class StoreMigration:
    """Copy an embedded store into an empty database.

    A mark in the database keeps servers away until everything was compared. A migration that was stopped deletes what
    it has copied and begins anew, because the embedded store may have been used meanwhile.

    Args:
        keys: what Redis holds beside it; None for nothing.
    """

    def __init__(self, source: EmbeddedSource, target: MongoDatabase, keys: KeyMigration | None) -> None:
        self._source = source
        self._target = target
        self._keys = keys
        self._mark = MigrationMark(target)
        self._kinds = kinds_of(target)

    def run(self, copying: Progress, comparing: Progress) -> list[Compared]:
        """Copy and compare everything; the target is ready to be used if all of it is the same.

        Raises:
            Conflict: the target holds something else, or the source was used meanwhile.
            TooLarge: MongoDB cannot take an item.
            Unavailable: a store does not answer.
        """
        self._begin()
        counts = {kind.name: self._source.count(kind.name) for kind in self._kinds}
        copied = self._copy(sum(counts.values()), copying)
        compared = [*self._compare(copied, comparing)]
        if self._keys is not None:
            keys = self._keys.run()
            compared += [Compared(name, (count, ""), (same, "")) for name, (count, same) in keys.items()]
        self._source.require_unchanged()
        if all(one.is_same for one in compared):
            self._mark.remove()
            if self._keys is not None:
                self._keys.end()
        return compared

    def _begin(self) -> None:
        """Put the mark and make room.

        Raises:
            Conflict: the target holds something that is not from an earlier try.
        """
        begun, identity = self._mark.source(), self._source.identity
        if begun is None:
            self._require_empty()
        elif begun != identity:
            raise Conflict(
                "The database holds a part of another embedded store, whose migration was stopped. Finish that one "
                "from its DATA_DIR, or set MONGODB_DATABASE to another name."
            )
        if self._keys is not None:
            self._keys.require_room()
        if begun is None:
            self._mark.put(identity, now())
        self._target.ensure_indexes()
        for kind in self._kinds:
            delete_all(kind.collection, {})

    def _require_empty(self) -> None:
        for kind in self._kinds:
            with store_errors():
                held = kind.collection.find_one({}, {"_id": True})
            if held is not None:
                raise Conflict(
                    f"The database holds {kind.name} already, and only an empty one can take an embedded store. Set "
                    "MONGODB_DATABASE to another name, or drop this database."
                )

    def _copy(self, of: int, progress: Progress) -> dict[str, Digest]:
        """Copy every kind; return what was read."""
        done, digests = 0, {kind.name: Digest() for kind in self._kinds}
        for kind in self._kinds:
            for rows in _batches(self._source.rows(kind.select)):
                documents = []
                for row in rows:
                    document, content = kind.copied(row)
                    documents.append(document)
                    digests[kind.name].add(content)
                _insert(kind, documents)
                done += len(rows)
                progress(done, of, kind.name)
        return digests

    def _compare(self, copied: dict[str, Digest], progress: Progress) -> Iterator[Compared]:
        """Read every kind back."""
        done, of = 0, sum(digest.count for digest in copied.values())
        for kind in self._kinds:
            digest = Digest()
            with store_errors(), kind.collection.find({}, batch_size=_ITEMS) as cursor:
                for document in cursor:
                    digest.add(kind.content(document))
                    if digest.count % _ITEMS == 0:
                        progress(done + digest.count, of, kind.name)
            done += digest.count
            progress(done, of, kind.name)
            source = copied[kind.name]
            yield Compared(kind.name, (source.count, str(source)), (digest.count, str(digest)))


def _insert(kind: Kind, documents: Sequence[dict[str, object]]) -> None:
    try:
        with store_errors():
            kind.collection.insert_many(documents, ordered=False)
    except (TooLarge, Unavailable) as error:  # the driver and the server have different words for it
        size, largest = max((len(bson.encode(one)), str(one["_id"])) for one in documents)
        if size <= _LARGEST:
            raise
        raise TooLarge(
            f"{largest} in {kind.name} is larger than the 16 MB that MongoDB takes. Erase it on a server with the "
            "embedded store, then run this again."
        ) from error


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(map(len, row))
        if len(batch) >= _ITEMS or size >= _SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
