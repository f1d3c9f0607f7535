"""Assistants in the embedded store."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from models.assistants import ApiKey, Assistant
from models.errors import Unavailable
from models.paging import Listing, Page
from repositories.codec import ASSISTANTS
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id


class SqliteAssistantRepository:
    """Implement `AssistantRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._assistants = Table(database, "assistants", ASSISTANTS)

    def add(self, assistant: Assistant) -> None:
        """Store a new assistant."""
        with self._database.write() as connection:
            if not self._assistants.add(connection, assistant.id, assistant):
                raise Unavailable("The assistant could not be stored. Try again.", code="store_unavailable")
            _add_keys(connection, assistant.id, assistant.keys)

    def get(self, assistant_id: str) -> Assistant | None:
        """Return the assistant with this id."""
        return self._assistants.get(assistant_id)

    def find_by_key_hash(self, sha256: str) -> Assistant | None:
        """Return the assistant that has a key with this digest, expired or not."""
        keyed = "id = (SELECT assistant_id FROM assistant_keys WHERE sha256 = ?)"
        return self._assistants.first(Where(keyed, (sha256,)))

    def list(self, owner_id: str | None, page: Page) -> Listing[Assistant]:
        """List an owner's assistants, or all for None, newest first (by id)."""
        follow = ALL if page.after is None else Where("id < ?", (page.after,))
        return self._assistants.page(None, ALL if owner_id is None else _owner(owner_id), page, follow=follow)

    def ids_of_owner(self, owner_id: str) -> tuple[str, ...]:
        """Return the ids of all assistants of an owner."""
        with self._database.read() as connection:
            rows = connection.execute("SELECT id FROM assistants WHERE owner_id = ? ORDER BY id", (owner_id,))
            return tuple(assistant_id for (assistant_id,) in rows)

    def update(self, assistant_id: str, changes: Mapping[str, object], updated_at: datetime) -> Assistant | None:
        """Set these fields (names of `Assistant`) and count `version` up, at once; None if absent."""
        where = by_id(assistant_id)
        with self._database.write() as connection:
            self._assistants.update_within(connection, where, {**changes, "updated_at": updated_at}, {"version": 1})
            return self._assistants.get_within(connection, where)

    def set_keys(self, assistant_id: str, keys: Sequence[ApiKey], expected_key_id: str) -> bool:
        """Replace the keys if the current one (keys[0]) still is the expected one; tell whether it was."""
        current = Where("json_extract(body, '$.keys[0].key_id') = ?", (expected_key_id,))
        with self._database.write() as connection:
            if not self._assistants.update_within(connection, by_id(assistant_id) & current, {"keys": tuple(keys)}):
                return False
            _drop_keys(connection, assistant_id)
            _add_keys(connection, assistant_id, keys)
            return True

    def bump_index_version(self, assistant_id: str) -> None:
        """Count `index_version` up: its passages have changed."""
        self._assistants.update(by_id(assistant_id), {}, {"index_version": 1})

    def delete(self, assistant_id: str) -> bool:
        """Delete the assistant; tell whether it was there."""
        with self._database.write() as connection:
            _drop_keys(connection, assistant_id)
            return self._assistants.delete_within(connection, by_id(assistant_id)) == 1


def _owner(owner_id: str) -> Where:
    return Where("owner_id = ?", (owner_id,))


def _add_keys(connection: sqlite3.Connection, assistant_id: str, keys: Sequence[ApiKey]) -> None:
    rows = [(key.sha256, assistant_id) for key in keys]
    connection.executemany("INSERT INTO assistant_keys (sha256, assistant_id) VALUES (?, ?)", rows)


def _drop_keys(connection: sqlite3.Connection, assistant_id: str) -> None:
    connection.execute("DELETE FROM assistant_keys WHERE assistant_id = ?", (assistant_id,))
