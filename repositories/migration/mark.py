"""What says in a database that a migration into it is not done yet."""

from datetime import datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from models.errors import Conflict, Unavailable
from repositories.mongo.database import MongoDatabase, store_errors

_ID = "unfinished"


class MigrationMark:
    """A document that is there from before the first copied one until all have been compared."""

    def __init__(self, database: MongoDatabase) -> None:
        self._collection = database.collection("migration")

    def source(self) -> str | None:
        """Return which embedded store is being copied; None while none is."""
        with store_errors():
            found: dict[str, Any] | None = self._collection.find_one({"_id": _ID})
        return None if found is None else str(found["source"])

    def put(self, source: str, at: datetime) -> None:
        """Begin.

        Raises:
            Conflict: another migration has begun at this moment.
        """
        with store_errors():
            try:
                self._collection.insert_one({"_id": _ID, "source": source, "begun_at": at})
            except DuplicateKeyError:
                raise Conflict("Another migration into this database has just begun. Wait for its end.") from None

    def remove(self) -> None:
        """End: everything is there."""
        with store_errors():
            self._collection.drop()


def require_no_mark(database: MongoDatabase) -> None:
    """Refuse a database into which a migration has begun and not ended.

    Raises:
        Unavailable: it has, or MongoDB does not answer.
    """
    if MigrationMark(database).source() is not None:
        raise Unavailable(
            "The database holds a part of an embedded store only: `python main.py migrate-store` runs, or was stopped. "
            "Wait for its end, or run it again, then start this server.",
            code="store_unavailable",
        )
