"""Assistants in MongoDB."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pymongo import ASCENDING

from models.assistants import ApiKey, Assistant
from models.errors import Unavailable
from models.paging import Listing, Page
from repositories.codec import ASSISTANTS
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Table, behind, by_id


class MongoAssistantRepository:
    """Implement `AssistantRepository`."""

    def __init__(self, collection: Documents) -> None:
        self._assistants = Table(collection, ASSISTANTS)

    def add(self, assistant: Assistant) -> None:
        """Store a new assistant."""
        if not self._assistants.add(assistant):
            raise Unavailable("The assistant could not be stored. Try again.", code="store_unavailable")

    def get(self, assistant_id: str) -> Assistant | None:
        """Return the assistant with this id."""
        return self._assistants.get(assistant_id)

    def find_by_key_hash(self, sha256: str) -> Assistant | None:
        """Return the assistant that has a key with this digest, expired or not."""
        return self._assistants.first({"keys.sha256": sha256})

    def list(self, owner_id: str | None, page: Page) -> Listing[Assistant]:
        """List an owner's assistants, or all for None, newest first (by id)."""
        return self._assistants.page({} if owner_id is None else {"owner_id": owner_id}, behind(page), page)

    def ids_of_owner(self, owner_id: str) -> tuple[str, ...]:
        """Return the ids of all assistants of an owner."""
        with store_errors():
            cursor = self._assistants.collection.find({"owner_id": owner_id}, {"_id": True}, sort=[("_id", ASCENDING)])
            return tuple(str(fields["_id"]) for fields in cursor)

    def update(self, assistant_id: str, changes: Mapping[str, object], updated_at: datetime) -> Assistant | None:
        """Set these fields (names of `Assistant`) and count `version` up, at once; None if absent.

        What it returns may hold a later change of another caller too.
        """
        self._assistants.update(by_id(assistant_id), {**changes, "updated_at": updated_at}, {"version": 1})
        return self.get(assistant_id)

    def set_keys(self, assistant_id: str, keys: Sequence[ApiKey], expected_key_id: str) -> bool:
        """Replace the keys if the current one (keys[0]) still is the expected one; tell whether it was."""
        where = by_id(assistant_id) | {"keys.0.key_id": expected_key_id}
        return self._assistants.update(where, {"keys": tuple(keys)})

    def bump_index_version(self, assistant_id: str) -> None:
        """Count `index_version` up: its passages have changed."""
        self._assistants.update(by_id(assistant_id), {}, {"index_version": 1})

    def delete(self, assistant_id: str) -> bool:
        """Delete the assistant; tell whether it was there."""
        return self._assistants.delete(assistant_id)
