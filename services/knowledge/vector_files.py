"""The files of a vector index: a matrix of float32 rows that only grows, and a map that says whose rows they are.

A map is replaced in one step and a matrix's rows never move, so whoever has read a map sees its rows unchanged whatever
a writer does meanwhile. Rows beyond the map's are what a writer that died left behind: the next one writes over them.
When more than half of the rows belong to nobody, the living ones move to a new file. One writer at a time, please.
"""

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
import numpy
from numpy.typing import NDArray

_FORMAT = 1
_FLOAT = numpy.dtype("<f4")
_POSITION = numpy.dtype("<u4")
_NOBODY = -1
_MAP_READS = 3
_TOKEN_BYTES = 16
_LARGEST_COSINE = 1.01  # of rows of length 1, rounding included


class Segment(msgspec.Struct, frozen=True):
    """The rows of one document.

    Attributes:
        first: the number of the first of them.
        positions: of each row's passage, uint32, little-endian.
        complete: whether every passage had a vector when the rows were written.
    """

    revision: str
    first: int
    positions: bytes
    complete: bool

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return len(self.positions) // _POSITION.itemsize


class VectorMap(msgspec.Struct, frozen=True):
    """What a map file says.

    Attributes:
        version: the assistant's `index_version` that it is as of.
        dimensions: of a row; 0 while there is none.
        matrix: the name of the matrix file, "" while there is no row.
        rows: how many rows of that file count, those of nobody included.
        documents: document id -> its rows.
    """

    format: int
    version: int
    model: str
    dimensions: int
    matrix: str
    rows: int
    documents: dict[str, Segment]


@dataclass(frozen=True)
class VectorHit:
    """A passage found by its vector.

    Attributes:
        revision: the build of the document that the position counts in.
        cosine: -1 to 1.
    """

    document_id: str
    revision: str
    position: int
    cosine: float


@dataclass(frozen=True)
class Snapshot:
    """A map with its rows mapped into memory; any number of threads may search it.

    Attributes:
        token: begins the map file and tells it from every other: inodes and times come again.
        owners: of each row, the number of its document in `names`.
        positions: of each row, that of its passage.
        dead: the numbers of the rows of nobody.
    """

    token: bytes
    map: VectorMap
    names: tuple[str, ...]
    matrix: NDArray[numpy.float32]
    owners: NDArray[numpy.int32]
    positions: NDArray[numpy.uint32]
    dead: NDArray[numpy.intp]

    def best(self, query: NDArray[numpy.float32], limit: int) -> list[VectorHit]:
        """Return the living rows with the largest cosines, best first.

        Raises:
            ValueError: a cosine is none, so the rows are not what was written.
        """
        with numpy.errstate(all="ignore"):
            # not BLAS: its threads wait for each other on a busy machine (20,000 x 384: 1.2 ms, with BLAS 8)
            cosines: NDArray[numpy.float32] = numpy.einsum("ij,j->i", self.matrix, query)
        if not (cosines.max() <= _LARGEST_COSINE and cosines.min() >= -_LARGEST_COSINE):  # false for NaN too
            raise ValueError("a matrix of vectors is broken")
        cosines[self.dead] = -numpy.inf
        count = min(limit, len(cosines) - len(self.dead))
        if count <= 0:
            return []
        rows = numpy.argpartition(cosines, len(cosines) - count)[-count:]
        return [self._hit(int(row), float(cosines[row])) for row in rows[numpy.lexsort((rows, -cosines[rows]))]]

    def _hit(self, row: int, cosine: float) -> VectorHit:
        name = self.names[self.owners[row]]
        return VectorHit(name, self.map.documents[name].revision, int(self.positions[row]), cosine)


_decoder = msgspec.msgpack.Decoder(VectorMap)
_encoder = msgspec.msgpack.Encoder()


def read_snapshot(path: Path, known: Snapshot | None) -> Snapshot | None:
    """Return what a map file and its matrix say now, or `known` if that is still it; None if they cannot be used."""
    for _ in range(_MAP_READS):  # a writer may delete a matrix between the reading of its map and its opening
        try:
            with path.open("rb") as file:
                token = file.read(_TOKEN_BYTES)
                if known is not None and known.token == token:
                    return known
                map = _decoder.decode(file.read())
            return _opened(path.parent, token, map) if map.format == _FORMAT else None
        except FileNotFoundError:
            continue
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, IndexError):
            return None
    return None


def write_map(path: Path, map: VectorMap) -> None:
    """Put a map in its place, durably and in one step."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(secrets.token_bytes(_TOKEN_BYTES) + _encoder.encode(map))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def delete_files(path: Path, *, but: VectorMap | None = None) -> None:
    """Delete the files of an index, or only what is not of this map; who still reads a matrix keeps it."""
    if but is None:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".new").unlink(missing_ok=True)
    for matrix in path.parent.glob(f"{path.stem}.*.f32"):
        if but is None or matrix.name != but.matrix:
            matrix.unlink(missing_ok=True)


def _opened(directory: Path, token: bytes, map: VectorMap) -> Snapshot:
    """Return a snapshot.

    Raises:
        ValueError: the matrix file is shorter than the map says.
        FileNotFoundError: it is gone.
    """
    matrix: NDArray[numpy.float32] = numpy.zeros((0, map.dimensions), numpy.float32)
    if map.rows:
        shape = (map.rows, map.dimensions)
        matrix = numpy.memmap(directory / map.matrix, _FLOAT, mode="r", shape=shape).view(numpy.ndarray)
    owners = numpy.full(map.rows, _NOBODY, numpy.int32)
    positions = numpy.zeros(map.rows, numpy.uint32)
    for number, segment in enumerate(map.documents.values()):
        rows = slice(segment.first, segment.first + segment.rows)
        owners[rows] = number
        positions[rows] = numpy.frombuffer(segment.positions, _POSITION)
    dead = numpy.flatnonzero(owners == _NOBODY)
    return Snapshot(token, map, tuple(map.documents), matrix, owners, positions, dead)


class VectorWriter:
    """Writes rows behind those that are there, or into a new file when most of those are dead.

    Use it as a context; what it has written counts once the map that it makes is put in its place.

    Args:
        path: of the map.
        dimensions: of the rows; None for those of the first vector.
    """

    def __init__(self, path: Path, dimensions: int | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._matrix, self._rows, self._dimensions = "", 0, dimensions or 0
        self._documents: dict[str, Segment] = {}

    def __enter__(self) -> "VectorWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        with self._file as file:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())

    def keep(self, held: Snapshot, names: Iterable[str]) -> None:
        """Begin with the rows of these documents, where they are or, when most others are dead, moved together."""
        living = {name: held.map.documents[name] for name in names}
        if not living:
            return
        self._dimensions = held.map.dimensions or self._dimensions
        if 2 * sum(segment.rows for segment in living.values()) >= held.map.rows:
            self._matrix, self._rows, self._documents = held.map.matrix, held.map.rows, living
            return
        for name, segment in living.items():
            rows = held.matrix[segment.first : segment.first + segment.rows]
            self._append(name, segment.revision, segment.positions, rows.tobytes(), segment.complete)

    def add(self, name: str, revision: str, vectors: Iterable[tuple[int, bytes]], complete: bool) -> None:
        """Write the vectors of a document, (position, vector); those of other dimensions are left out."""
        positions: list[int] = []
        rows: list[bytes] = []
        for position, vector in vectors:
            self._dimensions = self._dimensions or len(vector) // _FLOAT.itemsize
            if len(vector) == self._dimensions * _FLOAT.itemsize:
                positions.append(position)
                rows.append(vector)
        self._append(name, revision, numpy.array(positions, _POSITION).tobytes(), b"".join(rows), complete)

    def map(self, version: int, model: str) -> VectorMap:
        """Return the map of everything written."""
        dimensions = self._dimensions if self._rows else 0
        return VectorMap(_FORMAT, version, model, dimensions, self._matrix, self._rows, self._documents)

    def _append(self, name: str, revision: str, positions: bytes, rows: bytes, complete: bool) -> None:
        self._documents[name] = segment = Segment(revision, self._rows, positions, complete)
        if segment.rows:
            self._opened().write(rows)
            self._rows += segment.rows

    def _opened(self) -> BinaryIO:
        """Return the file, at the end of the rows that count."""
        if self._file is None and self._matrix:
            self._file = self._path.with_name(self._matrix).open("r+b")
            self._file.seek(self._rows * self._dimensions * _FLOAT.itemsize)
        elif self._file is None:
            self._matrix = f"{self._path.stem}.{secrets.token_hex(8)}.f32"
            self._file = self._path.with_name(self._matrix).open("xb")
        return self._file
