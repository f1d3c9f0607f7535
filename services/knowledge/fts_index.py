"""Full-text search with SQLite's FTS5: one index file an assistant, a cache that any process can rebuild.

An index is brought up to date before a query when the assistant's `index_version` is not the file's. The version is
read before the documents' revisions, so a file never claims to be newer than it is; a transaction makes the change, so
nobody sees half of it, and whoever waited for its lock finds the work done.
"""

import fcntl
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from models.assistants import Assistant
from models.documents import Passage, ScoredPassage
from models.errors import Unavailable
from models.ids import is_id
from services.knowledge.analysis import QueryWord, index_terms, query_terms
from services.ports import DocumentRepository, PassageRepository

_FORMAT = 1
_SCHEMA = f"""
CREATE TABLE state (version INTEGER NOT NULL, passages INTEGER NOT NULL, languages TEXT NOT NULL);
INSERT INTO state VALUES (-1, 0, '');
CREATE TABLE documents (id TEXT PRIMARY KEY, revision TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE passages
    (number INTEGER PRIMARY KEY, document_id TEXT NOT NULL, language TEXT NOT NULL, packed BLOB NOT NULL);
CREATE INDEX passages_document ON passages (document_id, language);
CREATE VIRTUAL TABLE terms USING fts5 (headings, body, tokenize = "ascii tokenchars '.'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (terms, row);
PRAGMA user_version = {_FORMAT};
"""
_RANK = "bm25(2.0, 1.0)"  # headings count twice
_MOST_TERMS = 64  # of a query; the rarest ones are kept
_WAIT = 60.0  # seconds for another process that brings the index up to date
_REBUILDS = 3  # more than one, since several processes may find a broken file at once
_BROKEN = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
}
_decoder = msgspec.msgpack.Decoder(Passage)
_encoder = msgspec.msgpack.Encoder()
_Question = Callable[[sqlite3.Connection], list[ScoredPassage]]


class FtsIndex:
    """Finds passages by their words, ranked by BM25 (Robertson & Zaragoza 2009, as FTS5 computes it).

    Args:
        directory: where the index files lie, one an assistant; several processes may share it.
    """

    def __init__(self, directory: Path, documents: DocumentRepository, passages: PassageRepository) -> None:
        self._directory = directory
        self._documents = documents
        self._passages = passages
        directory.mkdir(parents=True, exist_ok=True)

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the best passages of the assistant's documents as of its `index_version`, best first.

        Raises:
            Unavailable: the index cannot be read or built, or another process takes too long to build it.
        """
        return self._on_a_whole_file(assistant, lambda connection: _find(connection, query, limit))

    def refresh(self, assistant: Assistant) -> None:
        """Take in what has changed, so that the next search need not.

        Raises:
            Unavailable: as `search`.
        """
        self._on_a_whole_file(assistant, lambda connection: [])

    def _on_a_whole_file(self, assistant: Assistant, ask: _Question) -> list[ScoredPassage]:
        """Ask an index that is up to date, building it again if the file is broken."""
        path = self._path(assistant.id)
        try:
            for _ in range(_REBUILDS):
                identity = _identity(path)
                try:
                    return self._ask(path, assistant, ask)
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode & 0xFF not in _BROKEN:
                        raise
                    with _locked(self._directory):
                        if _identity(path) == identity:  # else another process has built it again
                            _delete(path)
            return self._ask(path, assistant, ask)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("The knowledge index cannot be read now. Try again in a moment.") from error

    def forget(self, assistant_id: str) -> None:
        """Drop what is kept locally for a deleted assistant."""
        path = self._path(assistant_id)
        with _locked(self._directory):
            _delete(path)

    def close(self) -> None:
        """Do nothing: a connection lives no longer than a search."""

    def _path(self, assistant_id: str) -> Path:
        if not is_id(assistant_id):
            raise ValueError(f"not an id: {assistant_id!r}")
        return self._directory / f"{assistant_id}.sqlite3"

    def _ask(self, path: Path, assistant: Assistant, ask: _Question) -> list[ScoredPassage]:
        with closing(_open(path)) as connection:
            self._update(connection, assistant)
            with connection:
                connection.execute("BEGIN")
                return ask(connection)

    def _update(self, connection: sqlite3.Connection, assistant: Assistant) -> None:
        """Make the file hold the passages of the assistant's ready documents, unless it does."""
        if _version(connection) == assistant.index_version:
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if _version(connection) == assistant.index_version:
                return
            wanted = dict(self._documents.revisions(assistant.id))
            held: dict[str, str] = dict(connection.execute("SELECT id, revision FROM documents"))
            for document_id in held.keys() - {key for key, revision in wanted.items() if held.get(key) == revision}:
                _drop(connection, document_id)
            for document_id, revision in wanted.items():
                if held.get(document_id) != revision:
                    _add(
                        connection,
                        document_id,
                        revision,
                        self._passages.of_document(assistant.id, document_id, revision),
                    )
            connection.execute(
                "UPDATE state SET version = ?, passages = (SELECT count(*) FROM passages), languages ="
                " (SELECT coalesce(group_concat(language, ' '), '') FROM (SELECT DISTINCT language FROM passages))",
                (assistant.index_version,),
            )


def _open(path: Path) -> sqlite3.Connection:
    """Open an index file, making its tables if it is new."""
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None)
    try:
        if _format(connection) != _FORMAT:
            with _locked(path.parent):
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
def _locked(directory: Path) -> Iterator[None]:
    """Let one process at a time make or delete files: SQLite's own locks do not cover that."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _identity(path: Path) -> int | None:
    """Tell one file from another that has taken its name."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _format(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT version FROM state").fetchone()[0])


def _delete(path: Path) -> None:
    """Delete an index file; its log goes first, so that it never meets a new file."""
    for suffix in ("-wal", "-shm", ""):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _drop(connection: sqlite3.Connection, document_id: str) -> None:
    connection.execute(
        "DELETE FROM terms WHERE rowid IN (SELECT number FROM passages WHERE document_id = ?)", (document_id,)
    )
    connection.execute("DELETE FROM passages WHERE document_id = ?", (document_id,))
    connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def _add(connection: sqlite3.Connection, document_id: str, revision: str, passages: Iterable[Passage]) -> None:
    connection.execute("INSERT INTO documents VALUES (?, ?)", (document_id, revision))
    for passage in passages:
        number = connection.execute(
            "INSERT INTO passages (document_id, language, packed) VALUES (?, ?, ?)",
            (document_id, passage.language, _encoder.encode(passage)),
        ).lastrowid
        titles = "\n".join((passage.filename.rpartition(".")[0], *passage.headings))
        connection.execute(
            "INSERT INTO terms (rowid, headings, body) VALUES (?, ?, ?)",
            (
                number,
                " ".join(index_terms(titles, passage.language)),
                " ".join(index_terms(passage.text, passage.language)),
            ),
        )


def _find(connection: sqlite3.Connection, query: str, limit: int) -> list[ScoredPassage]:
    """Return the best passages for a question."""
    total, languages = connection.execute("SELECT passages, languages FROM state").fetchone()
    words = query_terms(query, languages.split(" ")) if total else []
    counts = _counts(connection, {term for word in words for term in word.terms})
    asked = [word for word in words if word.informative]
    terms = _rarest(asked or words, counts, total)
    if not terms:
        return []
    rows = connection.execute(
        "SELECT packed, headings, body, score FROM (SELECT rowid AS number, headings, body, -rank AS score FROM terms"
        " WHERE terms MATCH ? AND rank MATCH ? ORDER BY rank LIMIT ?) JOIN passages USING (number)"
        " ORDER BY score DESC, number",
        (" OR ".join(f'"{term}"' for term in terms), _RANK, limit),
    )
    weights = [(word.terms, _weight(word, counts, total)) for word in asked]
    return [
        ScoredPassage(_decoder.decode(packed), score, _coverage(weights, {*headings.split(" "), *body.split(" ")}))
        for packed, headings, body, score in rows
    ]


def _counts(connection: sqlite3.Connection, terms: set[str]) -> dict[str, int]:
    """Return in how many passages each known term is."""
    names = list(terms)
    counts: dict[str, int] = {}
    for start in range(0, len(names), 500):
        some = names[start : start + 500]
        marks = ",".join("?" * len(some))
        counts.update(connection.execute(f"SELECT term, doc FROM vocabulary WHERE term IN ({marks})", some))
    return counts


def _rarest(words: Iterable[QueryWord], counts: dict[str, int], total: int) -> list[str]:
    """Return the terms that the index knows, at most `_MOST_TERMS`, the rarest first.

    Those in more than half of the passages weigh nothing in FTS5's BM25, so they serve only for want of others.
    """
    known = {term for word in words for term in word.terms if term in counts}
    telling = {term for term in known if counts[term] * 2 <= total}
    return sorted(telling or known, key=lambda term: (counts[term], term))[:_MOST_TERMS]


def _weight(word: QueryWord, counts: dict[str, int], total: int) -> float:
    """Return a word's inverse document frequency, in the form that is never negative (Lucene's BM25Similarity)."""
    count = min(total, max(counts.get(term, 0) for term in word.terms))
    return math.log(1 + (total - count + 0.5) / (count + 0.5))


def _coverage(weights: list[tuple[frozenset[str], float]], held: set[str]) -> float:
    """Return the share of the asked words' weight that a passage holds; words that no passage holds count in full."""
    whole = sum(weight for _, weight in weights)
    return sum(weight for terms, weight in weights if not terms.isdisjoint(held)) / whole if whole else 0.0
