"""An embedded store to copy from: read as it is at one moment, never changed."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from models.errors import Conflict, Unavailable
from repositories.embedded_redis_keeper import USERS_LOCK, try_lock
from repositories.sqlite import schema

_FIRST_BYTE, _BYTES = 0x40000002, 510
"""Of a file that SQLite locks shared: in WAL mode each connection does so for as long as it lives, idle or not.

https://sqlite.org/fileformat2.html ("The Lock-Byte Page") and `SHARED_FIRST` in SQLite's os.h.
"""

_STOP = "Stop every server and worker on this DATA_DIR, then run this again."


class EmbeddedSource:
    """The file of an embedded store that nobody else uses, at one moment.

    Args:
        path: the file.

    Raises:
        Conflict: there is none, it is in use, or another version has written it.
        Unavailable: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise Conflict(f"There is no embedded store {path}. Set DATA_DIR to the folder of the one to migrate.")
        with self._errors():
            if _is_open(path):
                raise Conflict(f"{path} is in use. {_STOP}")
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            with self._errors():
                self._seen = self._pragma("data_version")
                self._connection.execute("BEGIN")
                self._require_version(self._pragma("user_version"))
        except BaseException:
            self._connection.close()
            raise

    @property
    def identity(self) -> str:
        """Return what tells this store from others: the id of its first account."""
        (first,) = next(self.rows("SELECT min(id) FROM users"))
        return first or ""

    def count(self, table: str) -> int:
        """Return how many rows a table has."""
        ((count,),) = self.rows(f"SELECT count(*) FROM {table}")
        return int(count)

    def rows(self, select: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query one by one."""
        with self._errors(), closing(self._connection.execute(select)) as cursor:
            yield from cursor

    def require_unchanged(self) -> None:
        """End the moment, and look whether anybody has written since it began.

        Raises:
            Conflict: somebody has: what was read is not all.
        """
        with self._errors():
            self._connection.execute("ROLLBACK")
            if self._pragma("data_version") != self._seen:
                raise Conflict(f"{self._path} was changed while it was copied. {_STOP}")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    def _require_version(self, found: int) -> None:
        if found < schema.VERSION:
            raise Conflict(
                f"{self._path} was written by an older Orquestra. Start this one on it once, without MONGODB_URI, "
                "which brings it up to date, and stop it; then run this again."
            )
        if found > schema.VERSION:
            raise Conflict(f"{self._path} was written by a newer Orquestra. Run that version's migrate-store.")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(
                f"The embedded store {self._path} cannot be read. Check DATA_DIR and its permissions, then try again.",
                code="store_unavailable",
            ) from error


def require_unused(folder: Path) -> None:
    """Refuse the folder of an embedded Valkey that a server or worker uses; wait for one that is just ending.

    Raises:
        Conflict: it is in use.
    """
    with open(folder / USERS_LOCK, "a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # a keeper without users holds it until its server has ended
        if not try_lock(file):
            raise Conflict(f"The embedded Valkey in {folder} is in use. {_STOP}")


def _is_open(path: Path) -> bool:
    """Tell whether any process has the file open as a store. Call it before this process has."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _BYTES, _FIRST_BYTE)
        except (BlockingIOError, PermissionError):  # POSIX leaves the choice between EAGAIN and EACCES
            return True
    return False
