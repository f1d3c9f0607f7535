"""A table of items: what the embedded repositories have in common."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from models.paging import Listing, Page
from repositories.codec import Codec, plain_value, to_json
from repositories.sqlite.database import SqliteDatabase

Item = TypeVar("Item")

_MERGED = 200
"""Up to so many assistants a list is merged from one short list for each, read in the order of the index."""


_BATCH = 1000
"""So many items are inserted or deleted in one transaction, so that other writers get their turns."""


@dataclass(frozen=True)
class Where:
    """A condition in SQL with the values of its question marks."""

    sql: str
    values: tuple[Any, ...] = ()

    def __and__(self, other: "Where") -> "Where":
        return Where(f"{self.sql} AND {other.sql}", self.values + other.values)


ALL = Where("true")


def by_id(item_id: str) -> Where:
    """Return the condition of one item's id."""
    return Where("id = ?", (item_id,))


def one_of(column: str, texts: Sequence[str]) -> Where:
    """Return the condition that a column is one of these texts, however many."""
    return Where(f"{column} IN (SELECT value FROM json_each(?))", (to_json(list(texts)),))


class Table(Generic[Item]):
    """One table of `schema.py` and the dataclass in it."""

    def __init__(self, database: SqliteDatabase, name: str, codec: Codec[Item]) -> None:
        self.database = database
        self._name = name
        self._codec = codec

    def get(self, item_id: str) -> Item | None:
        """Return the item with this id."""
        return self.first(by_id(item_id))

    def first(self, where: Where, order: str = "") -> Item | None:
        """Return the first item that meets the condition."""
        return next(iter(self.all(where, f"{order} LIMIT 1")), None)

    def all(self, where: Where, order: str = "") -> list[Item]:
        """Return the items that meet the condition."""
        with self.database.read() as connection, closing(self._select(connection, where, order)) as rows:
            return [self.decode(body) for (body,) in rows]

    def get_within(self, connection: sqlite3.Connection, where: Where) -> Item | None:
        """Return an item within a transaction."""
        row = self._select(connection, where, "LIMIT 1").fetchone()
        return self.decode(row[0]) if row else None

    def add(self, connection: sqlite3.Connection, item_id: str, item: Item) -> bool:
        """Insert an item; False if a unique index has it already."""
        statement = f"INSERT INTO {self._name} (id, body) VALUES (?, ?) ON CONFLICT DO NOTHING"
        return connection.execute(statement, (item_id, to_json(self._codec.plain(item)))).rowcount == 1

    def add_all(self, items: Mapping[str, Item], *, synced: bool = True) -> int:
        """Insert items by their ids, some at a time; return how many no unique index had already."""
        statement = f"INSERT INTO {self._name} (id, body) VALUES (?, ?) ON CONFLICT DO NOTHING"
        waiting = iter(items.items())
        added = 0
        while rows := [(item_id, to_json(self._codec.plain(item))) for item_id, item in islice(waiting, _BATCH)]:
            with self.database.write(synced=synced) as connection:
                added += connection.executemany(statement, rows).rowcount
        return added

    def replace(self, item: Item, where: Where) -> int:
        """Overwrite the item that meets the condition; return how many did."""
        statement = f"UPDATE {self._name} SET body = ? WHERE {where.sql}"
        with self.database.write() as connection:
            return connection.execute(statement, (to_json(self._codec.plain(item)), *where.values)).rowcount

    def update(
        self,
        where: Where,
        changes: Mapping[str, object],
        add: Mapping[str, int] | None = None,
        *,
        synced: bool = True,
    ) -> int:
        """Set fields and add to others, in a transaction of its own; return how many items met the condition."""
        with self.database.write(synced=synced) as connection:
            return self.update_within(connection, where, changes, add)

    def update_within(
        self,
        connection: sqlite3.Connection,
        where: Where,
        changes: Mapping[str, object],
        add: Mapping[str, int] | None = None,
    ) -> int:
        """As `update`, within a transaction."""
        expressions: list[str] = []
        values: list[Any] = []
        for field, value in changes.items():
            expressions.append(f", '$.{field}', json(?)")
            values.append(to_json(plain_value(value)))
        for field, step in (add or {}).items():
            expressions.append(f", '$.{field}', coalesce(json_extract(body, '$.{field}'), 0) + ?")
            values.append(step)
        statement = f"UPDATE {self._name} SET body = json_set(body{''.join(expressions)}) WHERE {where.sql}"
        return connection.execute(statement, (*values, *where.values)).rowcount

    def delete(self, where: Where) -> int:
        """Delete the items that meet the condition; return how many did."""
        with self.database.write() as connection:
            return self.delete_within(connection, where)

    def delete_all(self, where: Where) -> None:
        """Delete the items that meet the condition, some at a time."""
        some = f"SELECT id FROM {self._name} WHERE {where.sql} LIMIT {_BATCH}"
        deleted = _BATCH
        while deleted == _BATCH:
            deleted = self.delete(Where(f"id IN ({some})", where.values))

    def delete_within(self, connection: sqlite3.Connection, where: Where) -> int:
        """As `delete`, within a transaction."""
        return connection.execute(f"DELETE FROM {self._name} WHERE {where.sql}", where.values).rowcount

    def count(self, where: Where) -> int:
        """Return how many items meet the condition."""
        with self.database.read() as connection:
            return self._count(connection, where)

    def page(
        self,
        assistant_ids: Sequence[str] | None,
        where: Where,
        page: Page,
        order: Sequence[str] = ("id DESC",),
        follow: Where = ALL,
    ) -> Listing[Item]:
        """List the items of these assistants (None: all) that meet the condition.

        Args:
            order: columns with their direction, `id` among them, which the index on `assistant_id` goes on with.
            follow: what only the items behind the page before meet.
        """
        scope = ALL if assistant_ids is None else one_of("assistant_id", assistant_ids)
        statement, values = self._page(assistant_ids, scope, where & follow, order, page.limit + 1)
        with self.database.read() as connection:
            bodies = [row[0] for row in connection.execute(statement, values)]
            total = self._count(connection, scope & where)
        return Listing([self.decode(body) for body in bodies[: page.limit]], total, len(bodies) > page.limit)

    def _page(
        self, assistant_ids: Sequence[str] | None, scope: Where, where: Where, order: Sequence[str], limit: int
    ) -> tuple[str, tuple[Any, ...]]:
        select = f"SELECT body FROM {self._name} WHERE"
        end = f"ORDER BY {', '.join(order)} LIMIT {limit:d}"
        if assistant_ids is None or not 0 < len(assistant_ids) <= _MERGED:
            return f"{select} {scope.sql} AND {where.sql} {end}", scope.values + where.values
        columns = ", ".join(column.split()[0] for column in order)
        part = f"SELECT * FROM (SELECT {columns} FROM {self._name} WHERE assistant_id = ? AND {where.sql} {end})"
        parts = " UNION ALL ".join([part] * len(assistant_ids))
        values = [value for assistant_id in assistant_ids for value in (assistant_id, *where.values)]
        return f"{select} id IN (SELECT id FROM ({parts}) {end}) ORDER BY {', '.join(order)}", tuple(values)

    def decode(self, body: str) -> Item:
        """Return the item in a row."""
        return self._codec.item_of_json(body)

    def _select(self, connection: sqlite3.Connection, where: Where, order: str) -> sqlite3.Cursor:
        return connection.execute(f"SELECT body FROM {self._name} WHERE {where.sql} {order}", where.values)

    def _count(self, connection: sqlite3.Connection, where: Where) -> int:
        (count,) = connection.execute(f"SELECT count(*) FROM {self._name} WHERE {where.sql}", where.values).fetchone()
        return int(count)
