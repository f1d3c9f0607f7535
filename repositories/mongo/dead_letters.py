"""Jobs that were given up, in MongoDB."""

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from models.jobs import DeadLetter
from models.paging import Listing, Page
from repositories.codec import DEAD_LETTERS
from repositories.mongo.database import Documents, store_errors
from repositories.mongo.table import Table

_NEWEST = (("id", DESCENDING),)


class MongoDeadLetterRepository:
    """Implement `DeadLetterRepository`.

    `id` is a field of its own here: a letter that takes another's place has another id, and `_id` cannot change.
    """

    def __init__(self, collection: Documents) -> None:
        self._letters = Table(collection, DEAD_LETTERS)

    def add(self, letter: DeadLetter) -> None:
        """Keep a job that was given up; one of the same name and argument takes its place."""
        same_job = {"job": letter.job, "argument": letter.argument}
        fields = DEAD_LETTERS.plain(letter)
        with store_errors():
            try:
                self._letters.collection.replace_one(same_job, fields, upsert=True)
            except DuplicateKeyError:  # another one was inserted meanwhile: now there is one to replace
                self._letters.collection.replace_one(same_job, fields)

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter with this id."""
        return self._letters.first({"id": letter_id})

    def list(self, page: Page) -> Listing[DeadLetter]:
        """List all, newest first (by id)."""
        follow = {} if page.after is None else {"id": {"$lt": page.after}}
        return self._letters.page({}, follow, page, _NEWEST)

    def delete(self, letter_id: str) -> bool:
        """Delete it; tell whether it was there."""
        with store_errors():
            return self._letters.collection.delete_one({"id": letter_id}).deleted_count == 1
