"""The file of a full-text index: its tables, and what is put into and taken out of them.

FTS5 keeps which passages hold a term, and nothing else: neither positions nor texts nor lengths, which is what makes
its lists short and quick to read. `fts_query` computes the ranks from the terms in `contents`, where those of the
titles stand twice, for they count twice. How many passages hold a term is kept beside it: a question needs it to choose
what to look for, and FTS5's own vocabulary tables count by walking the whole list.
"""

import fcntl
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from models.documents import Passage
from services.knowledge.analysis import ANALYSER, passage_terms

WAIT = 60.0
"""Seconds that a connection waits for another one's change."""

_FORMAT = 4_000 + ANALYSER  # what is in the lists has to be what questions are analysed into
_SCHEMA = f"""
CREATE TABLE state
    (version INTEGER NOT NULL, passages INTEGER NOT NULL, length INTEGER NOT NULL, languages TEXT NOT NULL);
INSERT INTO state VALUES (-1, 0, 0, '');
CREATE TABLE documents (
    id TEXT PRIMARY KEY, build TEXT NOT NULL, passages INTEGER NOT NULL, length INTEGER NOT NULL,
    language TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE passages
    (number INTEGER PRIMARY KEY, document_id TEXT NOT NULL, position INTEGER NOT NULL, packed BLOB NOT NULL);
CREATE TABLE contents (number INTEGER PRIMARY KEY, length INTEGER NOT NULL, held TEXT NOT NULL);
CREATE UNIQUE INDEX passages_place ON passages (document_id, position);
CREATE TABLE counts (term TEXT PRIMARY KEY, passages INTEGER NOT NULL) WITHOUT ROWID;
CREATE VIRTUAL TABLE terms USING fts5 (held, content = '', columnsize = 0, detail = none,
    tokenize = "ascii tokenchars '.'");
PRAGMA user_version = {_FORMAT};
"""
_K1, _B = 1.2, 0.75
_USUAL_LENGTH = 150  # terms of a passage


@dataclass(frozen=True)
class Level:
    """How much a term stands out in a passage.

    Attributes:
        mark: what follows the term in FTS5's lists; no term holds it, since folding makes digits of it.
        least: the smallest prominence.
        gain: how much more than the level below it counts on average.
    """

    mark: str
    least: float
    gain: float


LEVELS = (Level("²", 1.3, 0.5), Level("³", 1.7, 0.4))
"""From the lowest to the highest. FTS5 is not asked how often a term occurs, so the lists tell roughly."""

_decoder = msgspec.msgpack.Decoder(Passage)
_encoder = msgspec.msgpack.Encoder()


def open_file(path: Path) -> sqlite3.Connection:
    """Open an index file, making its tables if it is new."""
    connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        if _format(connection) != _FORMAT:
            with locked(path.parent):
                _create(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, unless another process has just done so; a file of another format fails here and is rebuilt."""
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if _format(connection) != _FORMAT:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Let one process at a time make or delete files: SQLite's own locks do not cover that."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def identity(path: Path) -> int | None:
    """Tell one file from another that has taken its name."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def delete_file(path: Path) -> None:
    """Delete an index file; its log goes first, so that it never meets a new file."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def version_of(connection: sqlite3.Connection) -> int:
    """Return the `index_version` that the file is up to date with, -1 for a new file."""
    return int(connection.execute("SELECT version FROM state").fetchone()[0])


def builds_of(connection: sqlite3.Connection) -> Mapping[str, str]:
    """Return document id -> build of what the file holds."""
    return dict(connection.execute("SELECT id, build FROM documents").fetchall())


def unpack(packed: bytes) -> Passage:
    """Return a passage as `Change.put` took it, without its terms."""
    return _decoder.decode(packed)


class Change:
    """A change of the file within the caller's transaction, which `finish` must end.

    Attributes:
        passages: how many were put in or taken out so far.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._counts: Counter[str] = Counter()
        self.passages = 0

    def put(self, document_id: str, build: str, passages: Sequence[Passage]) -> None:
        """Take in a document's passages in place of those that are held."""
        self.drop(document_id)
        execute = self._connection.execute
        last = execute("SELECT coalesce(max(number), 0) FROM passages").fetchone()[0]
        total = 0
        for number, passage in enumerate(passages, last + 1):
            titles, body = _terms(passage)
            held = _spaced(f"{titles} {body} {titles}")
            length = len(titles.split()) + len(body.split())
            packed = _encoder.encode(replace(passage, terms=("", "")))
            execute("INSERT INTO passages VALUES (?, ?, ?, ?)", (number, document_id, passage.position, packed))
            execute("INSERT INTO contents VALUES (?, ?, ?)", (number, length, held))
            execute("INSERT INTO terms (rowid, held) VALUES (?, ?)", (number, _marked(held, length)))
            self._count(held, 1)
            total += length
        language = passages[0].language if passages else ""
        execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?)", (document_id, build, len(passages), total, language))

    def drop(self, document_id: str) -> None:
        """Take out a document, if it is held."""
        execute = self._connection.execute
        rows = "SELECT number, length, held FROM contents JOIN passages USING (number) WHERE document_id = ?"
        for number, length, held in execute(rows, (document_id,)).fetchall():
            marked = _marked(held, length)  # FTS5 forgets what it is told again
            execute("INSERT INTO terms (terms, rowid, held) VALUES ('delete', ?, ?)", (number, marked))
            execute("DELETE FROM contents WHERE number = ?", (number,))
            self._count(held, -1)
        execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
        execute("DELETE FROM documents WHERE id = ?", (document_id,))

    def finish(self, version: int) -> None:
        """Write what sums up the file."""
        self._connection.executemany(
            "INSERT INTO counts VALUES (?, ?) ON CONFLICT DO UPDATE SET passages = passages + excluded.passages",
            sorted(self._counts.items()),
        )
        self._connection.execute(
            "UPDATE state SET (version, passages, length, languages) = (SELECT ?, coalesce(sum(passages), 0),"
            " coalesce(sum(length), 0), coalesce(group_concat(DISTINCT language), '') FROM documents)",
            (version,),
        )

    def _count(self, held: str, sign: int) -> None:
        for term in set(held.split()):
            self._counts[term] += sign
        self.passages += 1


def prominence(often: int, length: float) -> float:
    """Return the part of BM25 that a term's frequency and the passage's length make: 1 for once in the mean length."""
    return often * (_K1 + 1) / (often + _K1 * (1 - _B + _B * length))


def _marked(held: str, length: int) -> str:
    """Return the terms, and those that stand out in the passage once more with a mark for each level they reach."""
    often = Counter(held.split())
    share = length / _USUAL_LENGTH
    marks = [
        term + level.mark
        for term, count in often.items()
        for level in LEVELS
        if prominence(count, share) >= level.least
    ]
    return " ".join((*often, *marks))


def _spaced(terms: str) -> str:
    """Return terms with a space of its own on either side of each, so that `str.count` counts them."""
    return "".join(f" {term} " for term in terms.split())


def _terms(passage: Passage) -> tuple[str, str]:
    """Return the passage's terms, as stored if this analysis made them."""
    if passage.analyser == ANALYSER:
        return passage.terms
    return passage_terms(passage.filename, passage.headings, passage.header, passage.text, passage.language)
