"""Full-text search with SQLite's FTS5: one index file an assistant, a cache that any process can rebuild.

An index is brought up to date before a query when the assistant's `index_version` is beyond the file's. The version is
read before the documents' builds, so a file never claims to be newer than it is. A version that is behind the file's
belongs to a request that read its assistant earlier; it is answered from what is there, which is newer.

The change is made in batches of whole documents, a transaction each, that read the builds within SQLite's write lock:
so nobody sees half of a document, several processes share a large update instead of repeating it, and questions at the
file's own version never wait. Those that need the new one do, up to `fts_file.WAIT` seconds.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from models.assistants import Assistant
from models.documents import Build, ScoredPassage
from models.errors import Unavailable
from models.ids import is_id
from services.knowledge.fts_file import Change, builds_of, delete_file, identity, locked, open_file, version_of
from services.knowledge.fts_query import find, score
from services.ports import DocumentRepository, PassageRepository

_BATCH = 2000  # passages that a transaction changes, or one document
_REBUILDS = 3  # more than one, since several processes may find a broken file at once
_BROKEN = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
}
_Question = Callable[[sqlite3.Connection], list[ScoredPassage]]


class FtsIndex:
    """Finds passages by their words, ranked by BM25.

    Args:
        directory: where the index files lie, one an assistant; several processes may share it.
    """

    def __init__(self, directory: Path, documents: DocumentRepository, passages: PassageRepository) -> None:
        self._directory = directory
        self._documents = documents
        self._passages = passages
        directory.mkdir(parents=True, exist_ok=True)

    def search(self, assistant: Assistant, query: str, limit: int) -> Sequence[ScoredPassage]:
        """Return the best passages of the assistant's documents as of its `index_version` or later, best first.

        Raises:
            Unavailable: the index cannot be read or built, or another process takes too long to build it.
        """
        if not assistant.index_version:  # it never had a document
            return []
        return self._on_a_whole_file(assistant, lambda connection: find(connection, query, limit))

    def score(
        self, assistant: Assistant, query: str, places: Sequence[tuple[str, int]]
    ) -> dict[tuple[str, int], ScoredPassage]:
        """Return the passages at these places (document id, position) with their coverage and a score of 0.

        Places that the documents do not have now are left out.

        Raises:
            Unavailable: as `search`.
        """
        found = self._on_a_whole_file(assistant, lambda connection: score(connection, query, places))
        return {(scored.passage.document_id, scored.passage.position): scored for scored in found}

    def refresh(self, assistant: Assistant) -> None:
        """Take in what has changed, so that the next search need not.

        Raises:
            Unavailable: as `search`.
        """
        self._on_a_whole_file(assistant, lambda connection: [])

    def held(self) -> Sequence[str]:
        """Return the ids of the assistants that something is kept locally for."""
        return [path.stem for path in self._directory.glob("*.sqlite3") if is_id(path.stem)]

    def forget(self, assistant_id: str) -> None:
        """Drop what is kept locally for a deleted assistant."""
        path = self._path(assistant_id)
        with locked(self._directory):
            delete_file(path)

    def close(self) -> None:
        """Do nothing: a connection lives no longer than a search."""

    def _path(self, assistant_id: str) -> Path:
        if not is_id(assistant_id):
            raise ValueError(f"not an id: {assistant_id!r}")
        return self._directory / f"{assistant_id}.sqlite3"

    def _on_a_whole_file(self, assistant: Assistant, ask: _Question) -> list[ScoredPassage]:
        """Ask an index that is up to date, building it again if the file is broken."""
        path = self._path(assistant.id)
        try:
            for _ in range(_REBUILDS):
                found = identity(path)
                try:
                    return self._ask(path, assistant, ask)
                except sqlite3.DatabaseError as error:
                    if error.sqlite_errorcode & 0xFF not in _BROKEN:
                        raise
                    with locked(self._directory):
                        if identity(path) == found:  # else another process has built it again
                            delete_file(path)
            return self._ask(path, assistant, ask)
        except (sqlite3.Error, OSError) as error:
            raise Unavailable("The knowledge index cannot be read now. Try again in a moment.") from error

    def _ask(self, path: Path, assistant: Assistant, ask: _Question) -> list[ScoredPassage]:
        with closing(open_file(path)) as connection:
            while version_of(connection) < assistant.index_version:
                self._take_in(connection, assistant)
            with connection:
                connection.execute("BEGIN")
                return ask(connection)

    def _take_in(self, connection: sqlite3.Connection, assistant: Assistant) -> None:
        """Change a batch of documents to what the store has; the version follows when that was all."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if version_of(connection) >= assistant.index_version:
                return
            wanted = self._documents.builds(assistant.id)
            held = builds_of(connection)
            stale = [*(held.keys() - wanted.keys()), *(key for key in wanted if held.get(key) != wanted[key].revision)]
            change, whole = Change(connection), True
            for document_id in stale:
                if change.passages >= _BATCH:
                    whole = False
                    break
                whole = self._bring(change, assistant.id, document_id, wanted.get(document_id)) and whole
            change.finish(assistant.index_version if whole else version_of(connection))

    def _bring(self, change: Change, assistant_id: str, document_id: str, build: Build | None) -> bool:
        """Have the file hold this build; False, and nothing changed, if it is not the document's any more."""
        if build is None:
            change.drop(document_id)
            return True
        passages = self._passages.of_document(assistant_id, document_id, build.revision)
        document = self._documents.get(document_id)
        if document is None or document.build != build.revision:  # then its passages may have been deleted meanwhile
            return False
        change.put(document_id, build.revision, passages)
        return True
