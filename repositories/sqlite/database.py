"""The file of the embedded store: opening it, reading, writing, and what its failures mean."""

import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

from models.errors import Unavailable
from repositories.codec import substring_pattern
from repositories.sqlite import schema

_BUSY_SECONDS = 15.0
_QUEUE_SECONDS = 30.0
_IDLE_READERS = 32


class SqliteDatabase:
    """One SQLite file in WAL mode, safe for many threads and several processes of one machine.

    Readers never wait. Writers queue: within the process on a lock, between processes on SQLite's own. Open it after a
    fork, never before.

    Args:
        path: the file; it and its folders are created if absent.

    Raises:
        Unavailable: the file cannot be opened, or a newer Orquestra has written it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._closed = False
        self._synced = True
        with self._errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer = _connect(path)
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for queries.

        Raises:
            Unavailable: the store fails.
        """
        with self._errors():
            connection = self._reader()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def write(self, *, synced: bool = True) -> Iterator[sqlite3.Connection]:
        """Lend the connection for one transaction: committed at the end, undone if the block raises.

        Args:
            synced: wait until it is on the disk. Otherwise it survives the death of the process at once, and a power
                cut once any later synced transaction has returned: enough for what can be told again from the rest.

        Raises:
            Unavailable: the store fails, or is busy for too long; nothing is written then.
        """
        with self._errors():
            if not self._writing.acquire(timeout=_QUEUE_SECONDS):
                raise sqlite3.OperationalError("too many writers wait")
            try:
                if synced is not self._synced:
                    self._writer.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
                    self._synced = synced
                with self._writer:
                    self._writer.execute("BEGIN IMMEDIATE")
                    yield self._writer
            finally:
                self._writing.release()

    def ping(self) -> str:
        """Return the engine's name and version after a look into the file.

        Raises:
            Unavailable: the file cannot be read.
        """
        with self.read() as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        return f"sqlite {sqlite3.sqlite_version}"

    def close(self) -> None:
        """Close every connection, those in use when they are given back."""
        self._closed = True
        self._close_idle()
        with self._writing:
            self._writer.close()

    def _prepare(self) -> None:
        _use_wal(self._writer)
        with self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            found = schema.prepare(self._writer)
        if found > schema.VERSION:
            raise Unavailable(
                f"{self._path.name} was written by a newer Orquestra. Start that version, or restore a backup.",
                code="store_unavailable",
            )

    def _reader(self) -> sqlite3.Connection:
        if self._closed:
            raise sqlite3.ProgrammingError("the store is closed")
        try:
            return self._idle.pop()
        except IndexError:
            return _connect(self._path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < _IDLE_READERS:
            self._idle.append(connection)
        else:
            connection.close()
        if self._closed:
            self._close_idle()

    def _close_idle(self) -> None:
        while True:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise ours in place of SQLite's errors: the one place where they are told apart."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise Unavailable(
                    f"The disk of {self._path.name} is full, so nothing was stored. Free space on it, then try again.",
                    code="storage_full",
                    retry_after=30.0,
                ) from error
            raise Unavailable(
                f"The store {self._path.name} cannot be used. "
                "Check that DATA_DIR is a readable and writable folder on a local disk, then try again.",
                code="store_unavailable",
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is erased is overwritten
        connection.create_function("contains", 2, _contains, deterministic=True)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL. SQLite does not wait for other processes here, so this does."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            with closing(connection.execute("PRAGMA journal_mode = WAL")) as cursor:
                cursor.fetchone()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _contains(text: str | None, part: str) -> bool:
    """Tell whether the text holds the part in any case; `re` folds as MongoDB's regular expressions do."""
    return text is not None and _pattern(part).search(text) is not None


@lru_cache(maxsize=64)
def _pattern(part: str) -> re.Pattern[str]:
    return re.compile(substring_pattern(part), re.IGNORECASE)
