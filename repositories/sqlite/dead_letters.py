"""Jobs that were given up, in the embedded store."""

from models.jobs import DeadLetter
from models.paging import Listing, Page
from repositories.codec import DEAD_LETTERS, to_json
from repositories.sqlite.database import SqliteDatabase
from repositories.sqlite.table import ALL, Table, Where, by_id


class SqliteDeadLetterRepository:
    """Implement `DeadLetterRepository`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._letters = Table(database, "dead_letters", DEAD_LETTERS)

    def add(self, letter: DeadLetter) -> None:
        """Keep a job that was given up; one of the same name and argument takes its place."""
        row = letter.id, to_json(DEAD_LETTERS.plain(letter))
        with self._letters.database.write() as connection:
            connection.execute("INSERT OR REPLACE INTO dead_letters (id, body) VALUES (?, ?)", row)

    def get(self, letter_id: str) -> DeadLetter | None:
        """Return the letter with this id."""
        return self._letters.get(letter_id)

    def list(self, page: Page) -> Listing[DeadLetter]:
        """List all, newest first (by id)."""
        follow = ALL if page.after is None else Where("id < ?", (page.after,))
        return self._letters.page(None, ALL, page, follow=follow)

    def delete(self, letter_id: str) -> bool:
        """Delete it; tell whether it was there."""
        return self._letters.delete(by_id(letter_id)) == 1
