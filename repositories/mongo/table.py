"""A collection of items: what the repositories of MongoDB have in common."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from bson import ObjectId
from pymongo import DESCENDING
from pymongo.errors import BulkWriteError, DuplicateKeyError

from models.ids import is_id
from models.paging import Listing, Page
from repositories.codec import Codec, plain_value
from repositories.mongo.database import Documents, store_errors

Item = TypeVar("Item")
Filter = dict[str, Any]
Order = Sequence[tuple[str, int]]

_BATCH = 1000
"""So many items are deleted by one command, which then ends well within the time for an answer."""

_DUPLICATE_KEY = 11000
"""The server's code for what a unique index has already."""

NEWEST: Order = (("_id", DESCENDING),)
"""The order of most lists: by id, which is by time."""


def key(item_id: str) -> ObjectId | str:
    """Return an id as it is stored; what is none stays text, which equals no stored id."""
    return ObjectId(item_id) if is_id(item_id) else item_id


def by_id(item_id: str) -> Filter:
    """Return the filter of one item's id."""
    return {"_id": key(item_id)}


def of_assistants(assistant_ids: Sequence[str] | None) -> Filter:
    """Return the filter of what belongs to these assistants; None: to any."""
    if assistant_ids is None:
        return {}
    return {"assistant_id": assistant_ids[0] if len(assistant_ids) == 1 else {"$in": list(assistant_ids)}}


def behind(page: Page) -> Filter:
    """Return the filter of what follows the page before, newest first."""
    return {} if page.after is None else {"_id": {"$lt": key(page.after)}}


def delete_all(collection: Documents, where: Filter) -> None:
    """Delete everything that passes the filter, some at a time."""
    with store_errors():
        while found := collection.find(where, {"_id": True}, limit=_BATCH).to_list():
            some = {"_id": {"$in": [fields["_id"] for fields in found]}} if len(found) == _BATCH else {}
            collection.delete_many(where | some)


def insert_absent(collection: Documents, documents: Sequence[dict[str, Any]]) -> None:
    """Insert what no unique index has already."""
    with store_errors():
        try:
            collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failures = error.details
            others = [failure for failure in failures["writeErrors"] if failure["code"] != _DUPLICATE_KEY]
            if others or failures["writeConcernErrors"]:
                raise


class Table(Generic[Item]):
    """One collection and the dataclass in it; `id` is its `_id`."""

    def __init__(self, collection: Documents, codec: Codec[Item]) -> None:
        self.collection = collection
        self._codec = codec

    def get(self, item_id: str) -> Item | None:
        """Return the item with this id."""
        return self.first(by_id(item_id))

    def first(self, where: Filter, order: Order | None = None) -> Item | None:
        """Return the first item that passes the filter."""
        return next(iter(self.all(where, order, 1)), None)

    def all(self, where: Filter, order: Order | None = None, limit: int = 0) -> list[Item]:
        """Return the items that pass the filter, at most so many unless the limit is 0."""
        with store_errors():
            found = self.collection.find(where, limit=limit, sort=order).to_list()
        return [self.item(fields) for fields in found]

    def count(self, where: Filter) -> int:
        """Return how many items pass the filter."""
        with store_errors():
            return self.collection.count_documents(where)

    def page(self, where: Filter, follow: Filter, page: Page, order: Order = NEWEST) -> Listing[Item]:
        """List the items that pass a filter.

        Args:
            follow: what only items behind the page before pass; it names no field that the filter names.
        """
        items = self.all(where | follow, order, page.limit + 1)
        return Listing(items[: page.limit], self.count(where), len(items) > page.limit)

    def add(self, item: Item) -> bool:
        """Insert an item; False if a unique index has it already."""
        with store_errors():
            try:
                self.collection.insert_one(self.fields(item))
            except DuplicateKeyError:
                return False
        return True

    def update(self, where: Filter, changes: Mapping[str, object], add: Mapping[str, int] | None = None) -> bool:
        """Set fields of the item that passes the filter and add to others, at once; tell whether one passed."""
        with store_errors():
            return self.collection.update_one(where, _change(changes, add)).matched_count == 1

    def update_all(self, where: Filter, changes: Mapping[str, object]) -> int:
        """Set fields of every item that passes the filter; return how many did."""
        with store_errors():
            return self.collection.update_many(where, _change(changes, None)).matched_count

    def delete(self, item_id: str) -> bool:
        """Delete an item; tell whether it was there."""
        return self.delete_first(by_id(item_id))

    def delete_first(self, where: Filter) -> bool:
        """Delete one item that passes the filter; tell whether one did."""
        with store_errors():
            return self.collection.delete_one(where).deleted_count == 1

    def delete_all(self, where: Filter) -> None:
        """Delete every item that passes the filter."""
        delete_all(self.collection, where)

    def fields(self, item: Item) -> dict[str, Any]:
        """Return an item as it is stored."""
        fields = self._codec.plain(item)
        return {"_id": key(fields.pop("id")), **fields}

    def item(self, fields: dict[str, Any]) -> Item:
        """Return a stored item."""
        return self._codec.item({"id": str(fields.pop("_id")), **fields})


def _change(changes: Mapping[str, object], add: Mapping[str, int] | None) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if changes:
        change["$set"] = plain_value(changes)
    if add:
        change["$inc"] = dict(add)
    return change
