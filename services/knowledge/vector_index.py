"""Semantic search with exact cosines: the vectors of an assistant in local files, a cache that any process can rebuild.

An index is brought up to date before a query when the assistant's `index_version` is beyond the file's. The version is
read before the documents' builds, so a file never claims to be newer than it is. Writers take turns by flock, which the
system releases when a process dies; readers need no lock (`vector_files` says why).
"""

import fcntl
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
from numpy.typing import NDArray

from models.assistants import Assistant
from models.errors import Unavailable
from models.ids import is_id
from services.knowledge.embedded_text import digest_of
from services.knowledge.vector_files import (
    Snapshot,
    VectorHit,
    VectorWriter,
    delete_files,
    read_snapshot,
    write_map,
)
from services.ports import DocumentRepository, PassageRepository, VectorRepository

logger = logging.getLogger("orquestra.knowledge")

_QUERY_WAIT = 2.0  # seconds for another process that brings the index up to date
_WAIT = 60.0
_LOOK_EVERY = 0.02
_MAPPED_BYTES = 2 << 30  # of matrices that stay mapped for the next query


class VectorIndex:
    """Finds passages by the cosine of their vectors with a question's.

    Args:
        directory: where the files lie, of its own; several processes of a machine may share it.
        model: whose vectors are looked for.
    """

    def __init__(
        self,
        directory: Path,
        documents: DocumentRepository,
        passages: PassageRepository,
        vectors: VectorRepository,
        model: str,
    ) -> None:
        self._directory = directory
        self._documents = documents
        self._passages = passages
        self._vectors = vectors
        self._model = model
        self._cache = _Cache()

    def holds_vectors(self, assistant: Assistant) -> bool:
        """Tell whether there is anything to search.

        Raises:
            Unavailable: as `search`.
        """
        return self._current(assistant, None, _QUERY_WAIT).map.rows > 0

    def search(self, assistant: Assistant, query: NDArray[numpy.float32], limit: int) -> list[VectorHit]:
        """Return the passages with the largest cosines with a query of length 1, best first.

        While another process takes long to bring the index up to date, the state before is searched: the caller drops
        hits of documents that are gone or have another revision.

        Raises:
            Unavailable: the index cannot be read or built.
        """
        for _ in range(2):
            snapshot = self._current(assistant, len(query), _QUERY_WAIT)
            try:
                return snapshot.best(query, limit) if snapshot.map.rows else []
            except ValueError:
                logger.error("a matrix of vectors is broken and built again", extra={"assistant": assistant.id})
                self.forget(assistant.id)
        raise _unavailable()

    def refresh(self, assistant: Assistant) -> None:
        """Take in what has changed, so that the next search need not.

        Raises:
            Unavailable: as `search`.
        """
        self._current(assistant, None, _WAIT)

    def forget(self, assistant_id: str) -> None:
        """Drop what is kept locally for an assistant."""
        path = self._path(assistant_id)
        self._cache.drop(assistant_id)
        with _explained(), self._locked(assistant_id, _QUERY_WAIT):
            delete_files(path)

    def close(self) -> None:
        """Let go of the files."""
        self._cache.clear()

    def _path(self, assistant_id: str) -> Path:
        if not is_id(assistant_id):
            raise ValueError(f"not an id: {assistant_id!r}")
        return self._directory / f"{assistant_id}.map"

    def _current(self, assistant: Assistant, dimensions: int | None, wait: float) -> Snapshot:
        """Return the rows as of the assistant's version, made by us or by whoever is making them now."""
        path = self._path(assistant.id)
        with _explained():
            held = self._read(path, assistant.id)
            if held is not None and self._is_current(held, assistant, dimensions):
                return held
            with self._locked(assistant.id, wait) as locked:
                held = self._read(path, assistant.id)
                if held is not None and self._is_current(held, assistant, dimensions):
                    return held
                if locked:
                    return self._update(path, assistant, held, dimensions)
        if held is None or not self._is_usable(held, dimensions):
            raise _unavailable()
        return held

    def _is_current(self, held: Snapshot, assistant: Assistant, dimensions: int | None) -> bool:
        return held.map.version >= assistant.index_version and self._is_usable(held, dimensions)

    def _is_usable(self, held: Snapshot, dimensions: int | None) -> bool:
        fits = not held.map.rows or dimensions is None or dimensions == held.map.dimensions
        return fits and held.map.model == self._model

    def _read(self, path: Path, assistant_id: str) -> Snapshot | None:
        known = self._cache.get(assistant_id)
        found = read_snapshot(path, known)
        if found is not None and found is not known:
            self._cache.put(assistant_id, found)
        return found

    def _update(self, path: Path, assistant: Assistant, held: Snapshot | None, dimensions: int | None) -> Snapshot:
        """Write the rows of the documents that are new, and a map without those that are gone."""
        builds = self._documents.builds(assistant.id)
        wanted = {key: build.revision for key, build in builds.items() if build.embeddings_model == self._model}
        usable = held if held is not None and self._is_usable(held, dimensions) else None
        old = usable.map.documents if usable else {}
        kept = {key for key, segment in old.items() if segment.complete and wanted.get(key) == segment.revision}
        with VectorWriter(path, dimensions) as writer:
            if usable:
                writer.keep(usable, sorted(kept))
            for key, revision in wanted.items():
                if key not in kept:
                    self._write(writer, assistant.id, key, revision)
        map = writer.map(assistant.index_version, self._model)
        write_map(path, map)
        delete_files(path, but=map)
        made = self._read(path, assistant.id)
        if made is None:
            raise _unavailable()
        return made

    def _write(self, writer: VectorWriter, assistant_id: str, document_id: str, revision: str) -> None:
        """Write the rows of a build; passages without a vector are found by their words only."""
        vectors = self._vectors.of_document(assistant_id, document_id, self._model)
        passages = self._passages.of_document(assistant_id, document_id, revision)
        named = [(passage.position, vectors.get(digest_of(passage))) for passage in passages]
        found = [(position, vector) for position, vector in named if vector is not None]
        writer.add(document_id, revision, found, complete=len(found) == len(named))

    @contextmanager
    def _locked(self, assistant_id: str, wait: float) -> Iterator[bool]:
        """Let one writer at a time work on an assistant's files; tell whether it is our turn.

        Assistants share lock files, and those are never deleted: a lock on a deleted file would hold nobody back.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / f".lock-{assistant_id[-2:]}").open("wb") as lock:
            end = time.monotonic() + wait
            while not (held := _try_lock(lock.fileno())) and time.monotonic() < end:
                time.sleep(_LOOK_EVERY)
            yield held


class _Cache:
    """The snapshots used last, as long as their matrices are not too large together."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, assistant_id: str) -> Snapshot | None:
        with self._lock:
            if assistant_id in self._held:
                self._held.move_to_end(assistant_id)
            return self._held.get(assistant_id)

    def put(self, assistant_id: str, snapshot: Snapshot) -> None:
        with self._lock:
            self._held[assistant_id] = snapshot
            self._held.move_to_end(assistant_id)
            size = sum(held.matrix.nbytes for held in self._held.values())
            while size > _MAPPED_BYTES and len(self._held) > 1:
                size -= self._held.popitem(last=False)[1].matrix.nbytes

    def drop(self, assistant_id: str) -> None:
        with self._lock:
            self._held.pop(assistant_id, None)

    def clear(self) -> None:
        with self._lock:
            self._held.clear()


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the system's errors into ours."""
    try:
        yield
    except OSError as error:
        logger.warning("the vector index failed", extra={"error": type(error).__name__})
        raise _unavailable() from error


def _unavailable() -> Unavailable:
    return Unavailable("The knowledge index cannot be read now. Try again in a moment.")
